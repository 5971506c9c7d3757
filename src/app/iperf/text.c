/* Reports as lines of text, in the form that iperf3's users know. */
#include "app/iperf/iperf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { LINE_MAX = 512 };

void iperf_print(const struct iperf_test *test, const char *text, size_t size)
{
    if (test->options->print != NULL)
        test->options->print(text, size, test->options->user);
}

/* The report is kept for a client that wants it, and for the end if several tests run at once. */
static void keep(struct iperf_test *test, const char *line, size_t size)
{
    if (test->text_dropped)
        return;
    if (test->text_size + size >= test->text_room) {
        size_t room = test->text_room != 0 ? test->text_room * 2 : 4096;
        char *text = room <= IPERF_OUTPUT_BYTES_MAX / 2 ? weir__realloc(test->text, room) : NULL;
        if (text == NULL) {
            test->text_dropped = true; /* it ends with whole lines */
            return;
        }
        test->text = text;
        test->text_room = room;
    }
    memcpy(test->text + test->text_size, line, size);
    test->text_size += size;
    test->text[test->text_size] = '\0';
}

void iperf_text(struct iperf_test *test, const char *format, ...)
{
    char line[LINE_MAX];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (size <= 0)
        return;
    size_t length = (size_t)size < sizeof line ? (size_t)size : sizeof line - 1;
    if (test->server != NULL)
        keep(test, line, length);
    if (test->live)
        iperf_print(test, line, length);
}

bool iperf_later_add(struct iperf_later *later, const struct iperf_test *test)
{
    size_t size = later->size + test->text_size;
    char *text = size <= IPERF_OUTPUT_BYTES_MAX ? weir__realloc(later->text, size + 1) : NULL;
    if (text == NULL)
        return false;
    if (test->text_size != 0)
        memcpy(text + later->size, test->text, test->text_size);
    later->text = text;
    later->size = size;
    return true;
}

void iperf_later_print(const struct iperf_test *test, struct iperf_later *later)
{
    if (later->size != 0)
        iperf_print(test, later->text, later->size);
    weir__free(later->text);
    *later = (struct iperf_later){NULL, 0};
}

/* Three digits and a unit: "1.25 GBytes" counts in 1024s, "9.41 Gbits/sec" in 1000s. */
static void with_unit(double value, double step, const char *what, char out[24])
{
    static const char *const units[] = {"", "K", "M", "G", "T", "P"};
    unsigned unit = 0;
    while (value >= 0.9995 * step && unit < 5) {
        value /= step;
        unit++;
    }
    snprintf(out, 24,
             value < 9.995   ? "%4.2f %s%s"
             : value < 99.95 ? "%4.1f %s%s"
                             : "%4.0f %s%s",
             value, units[unit], what);
}

struct line {
    char name[8], transfer[24], rate[24], more[64];
};

static void line_of(struct line *out, const char *name, uint64_t bytes, double seconds)
{
    snprintf(out->name, sizeof out->name, "%s", name);
    with_unit((double)bytes, 1024, "Bytes", out->transfer);
    with_unit(seconds > 0 ? (double)bytes * 8 / seconds : 0, 1000, "bits/sec", out->rate);
    out->more[0] = '\0';
}

static void line_print(struct iperf_test *test, const struct line *line, double begin_s,
                       double end_s, const char *tail)
{
    iperf_text(test, "[%3s] %6.2f-%-6.2f sec  %s  %s  %-26s%s\n", line->name, begin_s, end_s,
               line->transfer, line->rate, line->more, tail);
}

static void more_sender(const struct iperf_test *test, const struct iperf_counts *counts,
                        uint64_t cwnd_bytes, char out[64])
{
    char window[24] = "";
    if (test->params.udp) {
        snprintf(out, 64, "%llu", (unsigned long long)counts->packets);
        return;
    }
    if (cwnd_bytes != 0)
        with_unit((double)cwnd_bytes, 1024, "Bytes", window);
    snprintf(out, 64, "%4lld   %s", (long long)counts->resent, window);
}

static void more_receiver(const struct iperf_test *test, int64_t lost, uint64_t packets,
                          int64_t unordered, double jitter_s, char out[64])
{
    if (!test->params.udp)
        return;
    snprintf(out, 64, "%.3f ms  %lld/%llu (%.2g%%)", jitter_s * 1000, (long long)lost,
             (unsigned long long)packets, packets != 0 ? 100 * (double)lost / (double)packets : 0);
    if (unordered > 0) {
        size_t size = strlen(out);
        snprintf(out + size, 64 - size, " %lld late", (long long)unordered);
    }
}

static void heading(struct iperf_test *test, bool sender, bool end)
{
    const char *more = sender             ? test->params.udp ? "Total Datagrams"
                                            : end            ? "Retr"
                                                             : "Retr   Cwnd"
                       : test->params.udp ? "Jitter    Lost/Total Datagrams"
                                          : "";
    iperf_text(test, "[ ID] Interval           Transfer     Bitrate         %s\n", more);
}

void iperf_text_connected(struct iperf_test *test)
{
    char local[WEIR_ADDRESS_TEXT_MAX], remote[WEIR_ADDRESS_TEXT_MAX];
    if (test->options->json)
        return;
    for (unsigned i = 0; i < test->stream_count; i++) {
        const struct iperf_stream *stream = &test->streams[i];
        if (weir_address_format(&stream->local, local, sizeof local) > 0 &&
            weir_address_format(&stream->remote, remote, sizeof remote) > 0)
            iperf_text(test, "[%3u] local %s connected to %s, %s\n", iperf_socket_of(stream),
                       local + 6, remote + 6, stream->sender ? "sending" : "receiving");
    }
    if (test->options->interval_ns != WEIR_NEVER)
        heading(test, test->params.both || test->streams[0].sender, false);
}

static void interval_sum(struct iperf_test *test, const struct iperf_row *rows, bool sender)
{
    struct iperf_row sum = {0};
    struct line line;
    unsigned count = 0;
    for (unsigned i = 0; i < test->stream_count; i++) {
        const struct iperf_row *row = &rows[i];
        if (test->streams[i].sender != sender)
            continue;
        count++;
        sum.counts.bytes += row->counts.bytes;
        sum.counts.packets += row->counts.packets;
        sum.counts.lost += row->counts.lost;
        sum.counts.unordered += row->counts.unordered;
        sum.counts.resent += row->counts.resent;
        sum.jitter_s += row->jitter_s;
    }
    if (count < 2)
        return;
    line_of(&line, "SUM", sum.counts.bytes, (double)(rows->end_ns - rows->begin_ns) / 1e9);
    if (sender)
        more_sender(test, &sum.counts, 0, line.more);
    else
        more_receiver(test, sum.counts.lost, sum.counts.packets, sum.counts.unordered,
                      sum.jitter_s / count, line.more);
    line_print(test, &line, (double)rows->begin_ns / 1e9, (double)rows->end_ns / 1e9,
               rows->omitted ? " (omitted)" : "");
}

void iperf_text_interval(struct iperf_test *test, const struct iperf_row *rows)
{
    for (unsigned i = 0; i < test->stream_count; i++) {
        const struct iperf_row *row = &rows[i];
        const struct iperf_stream *stream = &test->streams[i];
        struct line line;
        char name[8];
        snprintf(name, sizeof name, "%u", iperf_socket_of(stream));
        line_of(&line, name, row->counts.bytes, (double)(row->end_ns - row->begin_ns) / 1e9);
        if (stream->sender)
            more_sender(test, &row->counts, row->cwnd_bytes, line.more);
        else
            more_receiver(test, row->counts.lost, row->counts.packets, row->counts.unordered,
                          row->jitter_s, line.more);
        line_print(test, &line, (double)row->begin_ns / 1e9, (double)row->end_ns / 1e9,
                   row->omitted         ? " (omitted)"
                   : !test->params.both ? ""
                   : stream->sender     ? " sent"
                                        : " received");
    }
    interval_sum(test, rows, true);
    interval_sum(test, rows, false);
}

/* ---- the end ---- */

/* One stream's end as one side tells it, or the sum of several. */
struct ending {
    uint64_t bytes, packets;
    int64_t lost, unordered, resent;
    double jitter_s;
    unsigned count;
};

static void add(struct ending *sum, const struct ending *one)
{
    sum->bytes += one->bytes;
    sum->packets += one->packets;
    sum->lost += one->lost;
    sum->unordered += one->unordered;
    sum->resent += one->resent;
    sum->jitter_s += one->jitter_s;
    sum->count++;
}

static void end_line(struct iperf_test *test, const char *name, const struct ending *end,
                     bool sender)
{
    double seconds = iperf_test_seconds(test);
    struct iperf_counts counts = {.packets = end->packets, .resent = end->resent};
    struct line line;
    line_of(&line, name, end->bytes, seconds);
    if (sender && (test->params.udp || end->resent >= 0))
        more_sender(test, &counts, 0, line.more);
    else if (!sender)
        more_receiver(test, end->lost, end->packets, end->unordered,
                      end->jitter_s / (end->count != 0 ? end->count : 1), line.more);
    line_print(test, &line, 0, seconds, sender ? " sender" : " receiver");
}

static struct ending own_end(const struct iperf_stream *stream)
{
    struct iperf_counts counts = iperf_counts_since(&stream->now, &stream->zero);
    return (struct ending){counts.bytes,
                           counts.packets,
                           counts.lost,
                           counts.unordered,
                           counts.resent,
                           stream->jitter_s,
                           1};
}

static struct ending peer_end(const struct iperf_stream *stream)
{
    const struct iperf_result *peer = &stream->peer;
    return (struct ending){peer->bytes,  peer->packets,  peer->lost, 0,
                           peer->resent, peer->jitter_s, 1};
}

static void end_of(struct iperf_test *test, bool sender)
{
    struct ending sent = {0}, received = {0};
    for (unsigned i = 0; i < test->stream_count; i++) {
        const struct iperf_stream *stream = &test->streams[i];
        if (stream->sender != sender)
            continue;
        struct ending own = own_end(stream), peer = peer_end(stream);
        char name[8];
        snprintf(name, sizeof name, "%u", iperf_socket_of(stream));
        if (sender || stream->peer.known) {
            end_line(test, name, sender ? &own : &peer, true);
            add(&sent, sender ? &own : &peer);
        }
        if (!sender || stream->peer.known) {
            end_line(test, name, sender ? &peer : &own, false);
            add(&received, sender ? &peer : &own);
        }
    }
    if (sent.count > 1)
        end_line(test, "SUM", &sent, true);
    if (received.count > 1)
        end_line(test, "SUM", &received, false);
}

static void server_report(struct iperf_test *test)
{
    const struct iperf_report *report = &test->report;
    if (report->text != NULL) {
        char *text = weir__alloc((size_t)report->text->size + 1);
        int size = text != NULL ? weir_json_to_text(report->text, text, report->text->size + 1) : 0;
        iperf_text(test, "\nServer output:\n");
        if (size > 0)
            iperf_print(test, text, (size_t)size);
        weir__free(text);
    } else if (report->json != NULL) {
        weir_json_writer out = {.indent = true};
        iperf_text(test, "\nServer JSON output:\n");
        iperf_json_copy(&out, NULL, report->values, report->json);
        if (weir_json_done(&out) == 0)
            iperf_print(test, out.data, out.size);
        weir_json_free(&out);
    }
}

void iperf_text_end(struct iperf_test *test)
{
    bool sends = test->params.both || test->streams[0].sender;
    iperf_text(test, "- - - - - - - - - - - - - - - - - - - - - - - - -\n");
    heading(test, sends && !(test->params.udp && test->server == NULL), true);
    end_of(test, true);
    end_of(test, false);
    if (test->server != NULL)
        return;
    if (test->peer.count != 0)
        iperf_text(test, "CPU: this side %.1f %%, the server %.1f %%\n", test->own.cpu,
                   test->peer.cpu);
    server_report(test);
    if (test->error == 0)
        iperf_text(test, "\niperf Done.\n");
}
