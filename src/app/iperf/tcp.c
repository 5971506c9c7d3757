/* TCP streams: the block is lent to the connection, two at a time, and what comes is counted. */
#include "app/iperf/iperf.h"

#include "base/clock.h"

enum { LENT_MAX = 2, PIECES_A_SECOND = 100 };

static void on_pace(weir_timer *timer, void *arg)
{
    iperf_tcp_send(arg);
}

/* Bytes that may leave now; 0 with a rate: the timer brings us back. A piece leaves when it is due,
 * so with a rate pieces are as small as a hundredth of a second. */
static uint64_t allowed(struct iperf_stream *stream)
{
    const struct iperf_params *params = &stream->test->params;
    uint64_t size = iperf_may_send(stream->test);
    if (params->rate_bits == 0 || size == 0)
        return size;
    uint64_t piece = params->rate_bits / 8 / PIECES_A_SECOND + 1;
    size = size < piece ? size : piece;
    uint64_t now_ns = weir__clock_now_ns(), start_ns = stream->test->start_ns;
    /* Counted from the last beginning: what was omitted has its own. */
    uint64_t sent = stream->moved - stream->zero.bytes;
    if (stream->zero.bytes > stream->moved)
        sent = 0;
    double due_ns = (double)sent * 8e9 / (double)params->rate_bits;
    if (start_ns + (uint64_t)due_ns <= now_ns)
        return size;
    weir_timer_start_precise(&stream->pace, start_ns + (uint64_t)due_ns, on_pace, stream);
    return 0;
}

static void on_taken(const void *data, size_t size, void *arg)
{
    struct iperf_stream *stream = arg;
    struct iperf_test *test = stream->test;
    stream->lent--;
    if (iperf_counting(stream)) {
        stream->now.bytes += size;
        iperf_test_moved(test);
        iperf_tcp_send(stream);
    }
    iperf_test_release(test);
}

void iperf_tcp_send(struct iperf_stream *stream)
{
    struct iperf_test *test = stream->test;
    while (stream->open && stream->lent < LENT_MAX) {
        uint64_t size = allowed(stream);
        if (size == 0)
            return;
        stream->lent++;
        stream->moved += size;
        test->given_bytes += size;
        iperf_test_hold(test);
        if (weir_send(stream->conn, weir_own(test->block, size, on_taken, stream)) < 0) {
            weir_abort(stream->conn);
            return;
        }
    }
}

void iperf_tcp_data(struct iperf_stream *stream, size_t size)
{
    if (stream->test->ended || stream->sender)
        return;
    stream->now.bytes += size;
    iperf_test_moved(stream->test);
}

void iperf_tcp_gone(struct iperf_stream *stream, weir_end end)
{
    weir_timer_cancel(&stream->pace);
    stream->open = false;
}

void iperf_tcp_look(struct iperf_stream *stream)
{
    weir_tcp_info info;
    if (!stream->open || !stream->sender || weir_conn_tcp_info(stream->conn, &info) < 0)
        return;
    stream->now.resent = info.resent_total_segments;
    stream->cwnd_bytes = (uint64_t)info.cwnd_segments * info.send_mss_bytes;
    stream->window_bytes = info.send_window_bytes;
    stream->rtt_us = info.rtt_us;
    stream->rttvar_us = info.rttvar_us;
    stream->pmtu_bytes = info.path_mtu_bytes;
    if (stream->cwnd_bytes > stream->max_cwnd_bytes)
        stream->max_cwnd_bytes = stream->cwnd_bytes;
    if (stream->window_bytes > stream->max_window_bytes)
        stream->max_window_bytes = stream->window_bytes;
    if (stream->rtt_us > stream->max_rtt_us)
        stream->max_rtt_us = stream->rtt_us;
    if (stream->rtt_us < stream->min_rtt_us || stream->rtt_count == 0)
        stream->min_rtt_us = stream->rtt_us;
    stream->rtt_sum_us += stream->rtt_us;
    stream->rtt_count++;
}

void iperf_tcp_close(struct iperf_stream *stream)
{
    weir_timer_cancel(&stream->pace);
    if (stream->open)
        weir_close(stream->conn);
}
