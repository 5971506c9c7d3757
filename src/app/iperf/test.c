/* A test: its streams, the time that counts, its intervals. */
#include "app/iperf/iperf.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <weir/error.h>

#include "base/alloc.h"
#include "base/clock.h"

enum { ROWS_FIRST = 64 };

/* ---- its life ---- */

struct iperf_test *iperf_test_new(const weir_iperf_options *options)
{
    struct iperf_test *test = weir__zalloc(sizeof *test);
    if (test == NULL)
        return NULL;
    test->options = options;
    test->refs = 1;
    test->udp_listener = -1;
    test->wall_ns = weir__clock_wall_ns();
    iperf_control_expect(test, EXPECT_STATE);
    return test;
}

void iperf_test_hold(struct iperf_test *test)
{
    test->refs++;
}

void iperf_test_release(struct iperf_test *test)
{
    if (--test->refs != 0)
        return;
    weir_timer_cancel(&test->deadline);
    weir_timer_cancel(&test->edge);
    weir_timer_cancel(&test->interval);
    weir_timer_cancel(&test->drain);
    iperf_udp_unlisten(test);
    for (unsigned i = 0; i < test->stream_count; i++)
        iperf_udp_close(&test->streams[i]);
    weir__free(test->streams);
    weir__free(test->arrivals);
    weir__free(test->block);
    weir__free(test->rows);
    weir__free(test->text);
    weir__free(test->control.body);
    weir__free(test->answer);
    weir__free((void *)(uintptr_t)test->report.values);
    weir_json_free(&test->json);
    weir__free(test);
}

/* The first thing that went wrong is kept. */
void iperf_fail(struct iperf_test *test, int error, const char *format, ...)
{
    va_list args;
    if (test->error != 0)
        return;
    test->error = error;
    va_start(args, format);
    vsnprintf(test->why, sizeof test->why, format, args);
    va_end(args);
}

int iperf_test_prepare(struct iperf_test *test)
{
    const struct iperf_params *params = &test->params;
    test->stream_room = params->streams * (params->both ? 2 : 1);
    test->streams = weir__zalloc(test->stream_room * sizeof *test->streams);
    test->arrivals = weir__zalloc(test->stream_room * sizeof *test->arrivals);
    /* A datagram's first bytes are its own; what is behind them is read from here. */
    test->block = weir__alloc(params->block_bytes);
    if (test->streams == NULL || test->arrivals == NULL || test->block == NULL)
        return WEIR_ENOMEM;
    for (uint32_t i = 0; i < params->block_bytes; i++)
        test->block[i] = (uint8_t)('0' + i % 10);
    return 0;
}

/* iperf3 numbers its streams 1, 3, 4, 5, and finds them in the results by that. */
struct iperf_stream *iperf_stream_add(struct iperf_test *test, bool sender)
{
    unsigned index = test->stream_count++;
    struct iperf_stream *stream = &test->streams[index];
    stream->test = test;
    stream->id = index == 0 ? 1 : index + 2;
    stream->sender = sender;
    stream->fd = -1;
    return stream;
}

/* ---- counting ---- */

struct iperf_counts iperf_counts_since(const struct iperf_counts *now,
                                       const struct iperf_counts *then)
{
    return (struct iperf_counts){.bytes = now->bytes - then->bytes,
                                 .packets = now->packets - then->packets,
                                 .lost = now->lost - then->lost,
                                 .unordered = now->unordered - then->unordered,
                                 .resent = now->resent - then->resent};
}

bool iperf_counting(const struct iperf_stream *stream)
{
    return stream->test->running && !stream->test->ended;
}

static uint64_t moved(const struct iperf_test *test, bool sender, bool packets)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < test->stream_count; i++) {
        const struct iperf_stream *stream = &test->streams[i];
        if (stream->sender == sender)
            sum += packets ? stream->now.packets - stream->zero.packets
                           : stream->now.bytes - stream->zero.bytes;
    }
    return sum;
}

bool iperf_enough(const struct iperf_test *test, bool sender)
{
    const struct iperf_params *params = &test->params;
    if (params->bytes != 0)
        return moved(test, sender, false) >= params->bytes;
    if (params->blocks == 0)
        return false;
    if (params->udp)
        return moved(test, sender, true) >= params->blocks;
    return moved(test, sender, false) / params->block_bytes >= params->blocks;
}

void iperf_test_moved(struct iperf_test *test)
{
    if (test->server == NULL && test->running && !test->omitting && !test->ended &&
        (iperf_enough(test, true) || iperf_enough(test, false)))
        iperf_client_time_over(test);
}

/* A client that sends alone sends no more than was asked for. A server goes on until it is told
 * that it is enough: its count begins at another time. */
uint64_t iperf_may_send(const struct iperf_test *test)
{
    const struct iperf_params *params = &test->params;
    uint64_t whole = params->bytes != 0 ? params->bytes : params->blocks * params->block_bytes;
    if (!test->running || test->ended)
        return 0;
    if (whole == 0 || test->server != NULL || test->omitting || params->both)
        return params->block_bytes;
    uint64_t left = whole > test->given_bytes ? whole - test->given_bytes : 0;
    return left < params->block_bytes ? left : params->block_bytes;
}

double iperf_test_seconds(const struct iperf_test *test)
{
    uint64_t end_ns = test->ended ? test->end_ns : weir__clock_now_ns();
    return (double)(end_ns - test->start_ns) / 1e9;
}

/* ---- intervals ---- */

static void look(struct iperf_stream *stream)
{
    if (!stream->test->params.udp)
        iperf_tcp_look(stream);
}

static struct iperf_row row_of(struct iperf_test *test, unsigned index, uint64_t now_ns)
{
    struct iperf_stream *stream = &test->streams[index];
    struct iperf_row row = {.begin_ns = test->interval_begin_ns - test->start_ns,
                            .end_ns = now_ns - test->start_ns,
                            .counts = iperf_counts_since(&stream->now, &stream->last),
                            .jitter_s = stream->jitter_s,
                            .cwnd_bytes = stream->cwnd_bytes,
                            .window_bytes = stream->window_bytes,
                            .rtt_us = stream->rtt_us,
                            .rttvar_us = stream->rttvar_us,
                            .pmtu_bytes = stream->pmtu_bytes,
                            .stream = (uint16_t)index,
                            .omitted = test->omitting};
    stream->last = stream->now;
    return row;
}

static bool room_for_rows(struct iperf_test *test)
{
    unsigned needed = test->row_count + test->stream_count;
    if (needed <= test->row_room)
        return true;
    unsigned room = test->row_room != 0 ? test->row_room : ROWS_FIRST;
    while (room < needed)
        room *= 2;
    struct iperf_row *rows =
        room <= IPERF_ROWS_MAX ? weir__realloc(test->rows, room * sizeof *rows) : NULL;
    if (rows == NULL)
        return false;
    test->rows = rows;
    test->row_room = room;
    return true;
}

static void interval_end(struct iperf_test *test, uint64_t now_ns)
{
    struct iperf_row rows[IPERF_STREAMS_ALL];
    for (unsigned i = 0; i < test->stream_count; i++) {
        look(&test->streams[i]);
        rows[i] = row_of(test, i, now_ns);
    }
    test->interval_begin_ns = now_ns;
    if (test->options->interval_ns == WEIR_NEVER)
        return;
    if (!test->options->json) {
        iperf_text_interval(test, rows);
    } else if (!room_for_rows(test)) {
        test->rows_dropped = true;
    } else {
        memcpy(test->rows + test->row_count, rows, test->stream_count * sizeof *rows);
        test->row_count += test->stream_count;
    }
}

static void interval_start(struct iperf_test *test);

static void on_interval(weir_timer *timer, void *arg)
{
    struct iperf_test *test = arg;
    interval_end(test, weir__clock_now_ns());
    interval_start(test);
}

/* At whole multiples of the interval from the start, so that lateness does not add up. */
static void interval_start(struct iperf_test *test)
{
    uint64_t every_ns = test->options->interval_ns;
    if (every_ns == WEIR_NEVER)
        return;
    uint64_t passed = (weir__clock_now_ns() - test->start_ns + every_ns / 2) / every_ns;
    weir_timer_start(&test->interval, test->start_ns + (passed + 1) * every_ns, on_interval, test);
}

/* ---- the time ---- */

static void cpu_mark(struct iperf_test *test)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    test->cpu_user_us =
        (uint64_t)usage.ru_utime.tv_sec * 1000000 + (uint64_t)usage.ru_utime.tv_usec;
    test->cpu_system_us =
        (uint64_t)usage.ru_stime.tv_sec * 1000000 + (uint64_t)usage.ru_stime.tv_usec;
    test->cpu_at_ns = weir__clock_now_ns();
}

static void cpu_tell(struct iperf_test *test)
{
    uint64_t user_us = test->cpu_user_us, system_us = test->cpu_system_us,
             begin_ns = test->cpu_at_ns;
    cpu_mark(test);
    double passed_us = (double)(test->cpu_at_ns - begin_ns) / 1000;
    if (passed_us <= 0)
        return;
    test->own.cpu_user = 100 * (double)(test->cpu_user_us - user_us) / passed_us;
    test->own.cpu_system = 100 * (double)(test->cpu_system_us - system_us) / passed_us;
    test->own.cpu = test->own.cpu_user + test->own.cpu_system;
}

static void on_time_over(weir_timer *timer, void *arg)
{
    iperf_client_time_over(arg);
}

static void count_from_here(struct iperf_test *test, uint64_t now_ns)
{
    test->start_ns = test->interval_begin_ns = now_ns;
    test->given_bytes = 0;
    for (unsigned i = 0; i < test->stream_count; i++) {
        struct iperf_stream *stream = &test->streams[i];
        stream->zero = stream->last = stream->now;
        stream->jitter_s = 0;
        stream->max_cwnd_bytes = stream->max_window_bytes = stream->rtt_sum_us = 0;
        stream->max_rtt_us = stream->min_rtt_us = stream->rtt_count = 0;
    }
    interval_start(test);
    if (test->server == NULL && test->params.time_s != 0 && !test->omitting)
        weir_timer_start_precise(&test->edge, now_ns + test->options->time_ns, on_time_over, test);
}

static void on_omitted(weir_timer *timer, void *arg)
{
    struct iperf_test *test = arg;
    uint64_t now_ns = weir__clock_now_ns();
    interval_end(test, now_ns);
    test->omitting = false;
    cpu_mark(test);
    count_from_here(test, now_ns);
}

void iperf_test_start(struct iperf_test *test)
{
    uint64_t now_ns = weir__clock_now_ns();
    test->running = true;
    test->omitting = test->params.omit_s != 0;
    cpu_mark(test);
    count_from_here(test, now_ns);
    /* What overtook the word that the test runs belongs to it. */
    for (unsigned i = 0; i < test->stream_count; i++)
        test->streams[i].zero = test->streams[i].last = (struct iperf_counts){0};
    if (test->omitting)
        weir_timer_start_precise(&test->edge, now_ns + test->params.omit_s * WEIR_S, on_omitted,
                                 test);
    for (unsigned i = 0; i < test->stream_count; i++) {
        struct iperf_stream *stream = &test->streams[i];
        if (stream->sender && test->params.udp)
            iperf_udp_send(stream);
        else if (stream->sender)
            iperf_tcp_send(stream);
    }
}

void iperf_test_end(struct iperf_test *test)
{
    uint64_t now_ns = weir__clock_now_ns();
    if (test->ended)
        return;
    weir_timer_cancel(&test->interval);
    weir_timer_cancel(&test->edge);
    if (!test->running)
        test->start_ns = test->interval_begin_ns = now_ns;
    cpu_tell(test);
    bool any = false;
    for (unsigned i = 0; i < test->stream_count; i++)
        any |= test->streams[i].now.bytes != test->streams[i].last.bytes;
    if (any || test->options->interval_ns == WEIR_NEVER)
        interval_end(test, now_ns);
    test->ended = true;
    test->end_ns = now_ns;
}

void iperf_test_fill_results(struct iperf_test *test)
{
    struct iperf_results *own = &test->own;
    own->count = test->stream_count;
    for (unsigned i = 0; i < test->stream_count; i++) {
        const struct iperf_stream *stream = &test->streams[i];
        struct iperf_counts counts = iperf_counts_since(&stream->now, &stream->zero);
        bool tells = stream->sender && !test->params.udp;
        own->has_resent |= tells;
        own->rows[i] = (struct iperf_result){.id = stream->id,
                                             .bytes = counts.bytes,
                                             .packets = stream->now.packets,
                                             .omitted_packets = stream->zero.packets,
                                             .omitted_lost = stream->zero.lost,
                                             .resent = tells ? counts.resent : -1,
                                             .lost = stream->now.lost,
                                             .jitter_s = stream->jitter_s,
                                             .end_s = iperf_test_seconds(test)};
    }
}

/* Who is too old to tell what was omitted has omitted about as much as we have. */
void iperf_test_take_results(struct iperf_test *test)
{
    for (unsigned i = 0; i < test->peer.count; i++)
        for (unsigned k = 0; k < test->stream_count; k++) {
            struct iperf_stream *stream = &test->streams[k];
            struct iperf_result *row = &test->peer.rows[i];
            if (stream->id != row->id)
                continue;
            if (!row->tells_omitted) {
                row->omitted_packets = stream->zero.packets;
                row->omitted_lost = stream->zero.lost;
            }
            stream->peer = *row;
            stream->peer.packets -=
                row->packets > row->omitted_packets ? row->omitted_packets : row->packets;
            stream->peer.lost -= row->omitted_lost;
        }
}
