/* The report as iperf3's JSON: start, intervals, end. */
#include "app/iperf/iperf.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>

#include <weir/error.h>

#include "base/alloc.h"

/* ---- start ---- */

static void host_of(const weir_address *address, char out[128])
{
    if (getnameinfo((const struct sockaddr *)&address->socket, address->socket_size, out, 128, NULL,
                    0, NI_NUMERICHOST) != 0)
        out[0] = '\0';
}

static void host_fields(weir_json_writer *out, const char *host_name, const char *port_name,
                        const weir_address *address)
{
    char host[128];
    int port = weir_address_port(address);
    host_of(address, host);
    weir_json_text(out, host_name, host);
    weir_json_number(out, port_name, port > 0 ? (uint64_t)port : 0);
}

static void connected(weir_json_writer *out, const struct iperf_test *test)
{
    weir_json_array(out, "connected");
    for (unsigned i = 0; i < test->stream_count; i++) {
        const struct iperf_stream *stream = &test->streams[i];
        weir_json_object(out, NULL);
        weir_json_number(out, "socket", iperf_socket_of(stream));
        host_fields(out, "local_host", "local_port", &stream->local);
        host_fields(out, "remote_host", "remote_port", &stream->remote);
        weir_json_end(out);
    }
    weir_json_end(out);
}

static void facts(weir_json_writer *out, const struct iperf_test *test)
{
    struct utsname name;
    char text[420];
    struct tm date;
    time_t seconds = (time_t)(test->wall_ns / WEIR_S);
    snprintf(text, sizeof text, "weir %s", weir_version());
    weir_json_text(out, "version", text);
    if (uname(&name) == 0) {
        snprintf(text, sizeof text, "%s %s %s %s %s", name.sysname, name.nodename, name.release,
                 name.version, name.machine);
        weir_json_text(out, "system_info", text);
    }
    gmtime_r(&seconds, &date);
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &date);
    weir_json_object(out, "timestamp");
    weir_json_text(out, "time", text);
    weir_json_number(out, "timesecs", (uint64_t)seconds);
    weir_json_end(out);
}

static void test_start(weir_json_writer *out, const struct iperf_test *test)
{
    const struct iperf_params *params = &test->params;
    weir_json_object(out, "test_start");
    weir_json_text(out, "protocol", params->udp ? "UDP" : "TCP");
    weir_json_number(out, "num_streams", params->streams);
    weir_json_number(out, "blksize", params->block_bytes);
    weir_json_number(out, "omit", params->omit_s);
    weir_json_number(out, "duration", params->time_s);
    weir_json_number(out, "bytes", params->bytes);
    weir_json_number(out, "blocks", params->blocks);
    weir_json_number(out, "reverse", params->reverse);
    weir_json_number(out, "tos", params->tos);
    weir_json_number(out, "target_bitrate", params->rate_bits);
    weir_json_number(out, "bidir", params->both);
    weir_json_number(out, "fqrate", 0); /* not there, but a field of 3.18 */
    uint64_t every_ns = test->options->interval_ns;
    weir_json_real(out, "interval", every_ns != WEIR_NEVER ? (double)every_ns / 1e9 : 0);
    weir_json_end(out);
}

static void start(weir_json_writer *out, const struct iperf_test *test)
{
    weir_json_object(out, "start");
    connected(out, test);
    facts(out, test);
    if (test->server != NULL) {
        weir_json_object(out, "accepted_connection");
        host_fields(out, "host", "port", &test->peer_address);
    } else {
        weir_json_object(out, "connecting_to");
        weir_json_text(out, "host", test->options->host);
        weir_json_number(out, "port", test->options->port);
    }
    weir_json_end(out);
    weir_json_text(out, "cookie", test->cookie[0] != '\0' ? test->cookie : NULL);
    if (!test->params.udp)
        weir_json_number(out, "tcp_mss_default", test->mss_bytes);
    weir_json_number(out, "target_bitrate", test->params.rate_bits);
    weir_json_number(out, "fq_rate", 0);
    weir_json_number(out, "sock_bufsize", test->params.window_bytes);
    weir_json_number(out, "sndbuf_actual", test->send_buffer_bytes);
    weir_json_number(out, "rcvbuf_actual", test->receive_buffer_bytes);
    if (test->stream_count != 0)
        test_start(out, test);
    weir_json_end(out);
}

/* ---- what every part has ---- */

/* What one side counted of a stream, or of several. */
struct part {
    uint64_t bytes, packets;
    int64_t lost, unordered, resent;
    double jitter_s;
    unsigned count;
};

static void part_add(struct part *sum, const struct part *one)
{
    sum->bytes += one->bytes;
    sum->packets += one->packets;
    sum->lost += one->lost;
    sum->unordered += one->unordered;
    sum->resent += one->resent > 0 ? one->resent : 0;
    sum->jitter_s += one->jitter_s;
    sum->count++;
}

static struct part part_of(const struct iperf_counts *counts, double jitter_s)
{
    return (struct part){counts->bytes,
                         counts->packets,
                         counts->lost,
                         counts->unordered,
                         counts->resent,
                         jitter_s,
                         1};
}

static struct part own_part(const struct iperf_stream *stream)
{
    struct iperf_counts counts = iperf_counts_since(&stream->now, &stream->zero);
    return part_of(&counts, stream->jitter_s);
}

static struct part peer_part(const struct iperf_stream *stream)
{
    const struct iperf_result *peer = &stream->peer;
    return (struct part){peer->bytes,  peer->packets,  peer->lost, 0,
                         peer->resent, peer->jitter_s, 1};
}

static void span(weir_json_writer *out, double begin_s, double end_s, uint64_t bytes)
{
    double seconds = end_s - begin_s;
    weir_json_real(out, "start", begin_s);
    weir_json_real(out, "end", end_s);
    weir_json_real(out, "seconds", seconds);
    weir_json_number(out, "bytes", bytes);
    weir_json_real(out, "bits_per_second", seconds > 0 ? (double)bytes * 8 / seconds : 0);
}

static void udp_fields(weir_json_writer *out, const struct part *part)
{
    weir_json_real(out, "jitter_ms",
                   part->count != 0 ? part->jitter_s * 1000 / part->count : part->jitter_s * 1000);
    weir_json_signed(out, "lost_packets", part->lost);
    weir_json_number(out, "packets", part->packets);
    weir_json_real(out, "lost_percent",
                   part->packets != 0 ? 100 * (double)part->lost / (double)part->packets : 0);
}

/* ---- intervals ---- */

static void interval_stream(weir_json_writer *out, const struct iperf_test *test,
                            const struct iperf_row *row)
{
    const struct iperf_stream *stream = &test->streams[row->stream];
    struct part part = part_of(&row->counts, row->jitter_s);
    weir_json_object(out, NULL);
    weir_json_number(out, "socket", iperf_socket_of(stream));
    span(out, (double)row->begin_ns / 1e9, (double)row->end_ns / 1e9, part.bytes);
    if (test->params.udp && stream->sender) {
        weir_json_number(out, "packets", part.packets);
    } else if (test->params.udp) {
        udp_fields(out, &part);
    } else if (stream->sender) {
        weir_json_signed(out, "retransmits", part.resent);
        weir_json_number(out, "snd_cwnd", row->cwnd_bytes);
        weir_json_number(out, "snd_wnd", row->window_bytes);
        weir_json_number(out, "rtt", row->rtt_us);
        weir_json_number(out, "rttvar", row->rttvar_us);
        weir_json_number(out, "pmtu", row->pmtu_bytes);
    }
    weir_json_bool(out, "omitted", row->omitted);
    weir_json_bool(out, "sender", stream->sender);
    weir_json_end(out);
}

static void interval_sum(weir_json_writer *out, const struct iperf_test *test, const char *name,
                         const struct iperf_row *rows, bool sender)
{
    struct part sum = {0};
    for (unsigned i = 0; i < test->stream_count; i++) {
        struct part part = part_of(&rows[i].counts, rows[i].jitter_s);
        if (test->streams[i].sender == sender)
            part_add(&sum, &part);
    }
    weir_json_object(out, name);
    span(out, (double)rows->begin_ns / 1e9, (double)rows->end_ns / 1e9, sum.bytes);
    if (test->params.udp && sender)
        weir_json_number(out, "packets", sum.packets);
    else if (test->params.udp)
        udp_fields(out, &sum);
    else if (sender)
        weir_json_signed(out, "retransmits", sum.resent);
    weir_json_bool(out, "omitted", rows->omitted);
    weir_json_bool(out, "sender", sender);
    weir_json_end(out);
}

static void intervals(weir_json_writer *out, const struct iperf_test *test)
{
    weir_json_array(out, "intervals");
    for (unsigned i = 0; i < test->row_count; i += test->stream_count) {
        const struct iperf_row *rows = test->rows + i;
        bool first = test->streams[0].sender;
        weir_json_object(out, NULL);
        weir_json_array(out, "streams");
        for (unsigned k = 0; k < test->stream_count; k++)
            interval_stream(out, test, &rows[k]);
        weir_json_end(out);
        interval_sum(out, test, "sum", rows, first);
        if (test->params.both)
            interval_sum(out, test, "sum_bidir_reverse", rows, !first);
        weir_json_end(out);
    }
    weir_json_end(out);
    if (test->rows_dropped)
        weir_json_bool(out, "intervals_dropped", true);
}

/* ---- end ---- */

static void tcp_sender_fields(weir_json_writer *out, const struct iperf_stream *stream)
{
    weir_json_number(out, "max_snd_cwnd", stream->max_cwnd_bytes);
    weir_json_number(out, "max_snd_wnd", stream->max_window_bytes);
    weir_json_number(out, "max_rtt", stream->max_rtt_us);
    weir_json_number(out, "min_rtt", stream->min_rtt_us);
    weir_json_number(out, "mean_rtt",
                     stream->rtt_count != 0 ? stream->rtt_sum_us / stream->rtt_count : 0);
}

static void end_part(weir_json_writer *out, const struct iperf_stream *stream, const char *name,
                     const struct part *part, bool sent)
{
    weir_json_object(out, name);
    weir_json_number(out, "socket", iperf_socket_of(stream));
    span(out, 0, iperf_test_seconds(stream->test), part->bytes);
    if (sent && part->resent >= 0)
        weir_json_signed(out, "retransmits", part->resent);
    if (sent && part->resent >= 0) /* of the other end's they are not known: 0, as in iperf3's */
        tcp_sender_fields(out, stream);
    weir_json_bool(out, "sender", stream->sender);
    weir_json_end(out);
}

/* Of a datagram the sender knows that it left, the receiver whether it came. */
static void end_udp(weir_json_writer *out, const struct iperf_stream *stream,
                    const struct part *sent, const struct part *received)
{
    struct part part = *received;
    part.bytes = sent->bytes;
    part.packets = sent->packets != 0 ? sent->packets : received->packets;
    weir_json_object(out, "udp");
    weir_json_number(out, "socket", iperf_socket_of(stream));
    span(out, 0, iperf_test_seconds(stream->test), part.bytes);
    udp_fields(out, &part);
    weir_json_signed(out, "out_of_order", part.unordered);
    weir_json_bool(out, "sender", stream->sender);
    weir_json_end(out);
}

static void end_streams(weir_json_writer *out, const struct iperf_test *test)
{
    weir_json_array(out, "streams");
    for (unsigned i = 0; i < test->stream_count; i++) {
        const struct iperf_stream *stream = &test->streams[i];
        struct part own = own_part(stream), peer = peer_part(stream);
        const struct part *sent = stream->sender ? &own : &peer,
                          *received = stream->sender ? &peer : &own;
        weir_json_object(out, NULL);
        if (test->params.udp) {
            end_udp(out, stream, sent, received);
        } else {
            end_part(out, stream, "sender", sent, true);
            end_part(out, stream, "receiver", received, false);
        }
        weir_json_end(out);
    }
    weir_json_end(out);
}

static struct part sum_of(const struct iperf_test *test, bool sender, bool sent)
{
    struct part sum = {0};
    for (unsigned i = 0; i < test->stream_count; i++) {
        const struct iperf_stream *stream = &test->streams[i];
        struct part part = sent == sender ? own_part(stream) : peer_part(stream);
        if (stream->sender == sender)
            part_add(&sum, &part);
    }
    return sum;
}

static void end_sum(weir_json_writer *out, const struct iperf_test *test, const char *name,
                    bool sender, bool sent)
{
    struct part sum = sum_of(test, sender, sent);
    weir_json_object(out, name);
    span(out, 0, iperf_test_seconds(test), sum.bytes);
    if (test->params.udp)
        udp_fields(out, &sum);
    else if (sent)
        weir_json_signed(out, "retransmits", sum.resent);
    weir_json_bool(out, "sender", sender);
    weir_json_end(out);
}

/* UDP as one: what was sent, and what became of it. */
static void end_udp_sum(weir_json_writer *out, const struct iperf_test *test, const char *name,
                        bool sender)
{
    struct part sent = sum_of(test, sender, true), sum = sum_of(test, sender, false);
    sum.bytes = sent.bytes != 0 ? sent.bytes : sum.bytes;
    sum.packets = sent.packets != 0 ? sent.packets : sum.packets;
    weir_json_object(out, name);
    span(out, 0, iperf_test_seconds(test), sum.bytes);
    udp_fields(out, &sum);
    weir_json_bool(out, "sender", sender);
    weir_json_end(out);
}

static void end_sums(weir_json_writer *out, const struct iperf_test *test)
{
    bool first = test->streams[0].sender;
    if (test->params.udp)
        end_udp_sum(out, test, "sum", first);
    if (test->params.udp && test->params.both)
        end_udp_sum(out, test, "sum_bidir_reverse", !first);
    end_sum(out, test, "sum_sent", first, true);
    end_sum(out, test, "sum_received", first, false);
    if (test->params.both) {
        end_sum(out, test, "sum_sent_bidir_reverse", !first, true);
        end_sum(out, test, "sum_received_bidir_reverse", !first, false);
    }
}

static void end(weir_json_writer *out, const struct iperf_test *test)
{
    const struct iperf_results *own = &test->own, *peer = &test->peer;
    bool sends = test->params.both || (test->stream_count != 0 && test->streams[0].sender);
    const char *sender = sends ? own->congestion : peer->congestion;
    const char *receiver = sends ? peer->congestion : own->congestion;
    weir_json_object(out, "end");
    if (test->running) {
        end_streams(out, test);
        end_sums(out, test);
        weir_json_object(out, "cpu_utilization_percent");
        weir_json_real(out, "host_total", own->cpu);
        weir_json_real(out, "host_user", own->cpu_user);
        weir_json_real(out, "host_system", own->cpu_system);
        weir_json_real(out, "remote_total", peer->cpu);
        weir_json_real(out, "remote_user", peer->cpu_user);
        weir_json_real(out, "remote_system", peer->cpu_system);
        weir_json_end(out);
        if (sender[0] != '\0')
            weir_json_text(out, "sender_tcp_congestion", sender);
        if (receiver[0] != '\0')
            weir_json_text(out, "receiver_tcp_congestion", receiver);
    }
    weir_json_end(out);
}

void iperf_report_write(struct iperf_test *test, weir_json_writer *out)
{
    weir_json_object(out, NULL);
    if (test->params.title[0] != '\0')
        weir_json_text(out, "title", test->params.title);
    start(out, test);
    intervals(out, test);
    end(out, test);
    if (test->report.json != NULL)
        iperf_json_copy(out, "server_output_json", test->report.values, test->report.json);
    else if (test->report.text != NULL)
        iperf_json_copy(out, "server_output_text", test->report.values, test->report.text);
    if (test->error != 0)
        weir_json_text(out, "error", test->why);
    weir_json_end(out);
}
