/* Streams of datagrams: numbered, as fast as they go or at a rate. What arrived of those that we
 * send the server tells at the end; of those that it sends we know ourselves. */
#include "app/load/dgram.h"

#include "base/clock.h"

enum { ENDINGS_MAX = 20 };
#define TICK_NS   (100 * WEIR_US) /* with a rate they leave at most this often, several at once */
#define SETTLE_NS (50 * WEIR_MS)  /* for datagrams that are overtaken by END */
#define AGAIN_NS  (100 * WEIR_MS)
#define DEAD_NS   (3 * WEIR_S)
#define RATE_MAX  1e15 /* a second; and all streams together do not overflow */

static const weir_load_options *options_of(const struct load_dgram *d)
{
    return &d->conn->loop->load->options;
}

/* ---- the end of one ---- */

static void on_ending(weir_timer *timer, void *arg)
{
    struct load_dgram *d = arg;
    if (d->conn->state != LOAD_OPEN)
        return;
    if (d->endings == ENDINGS_MAX) { /* the server has gone: nobody knows what arrived */
        load_dgram_fail(d, LOAD_ERROR_timeout);
        return;
    }
    d->endings++;
    load_dgram_say(d, WEIR_LOAD_MESSAGE_END, d->measured);
    weir_timer_start(&d->conn->timer, weir_after(AGAIN_NS), on_ending, d);
}

static void begin_end(struct load_dgram *d)
{
    if (d->ending)
        return;
    d->ending = true;
    weir_timer_start(&d->conn->timer, weir_after(SETTLE_NS), on_ending, d);
}

/* With a number of bytes: both sides have sent theirs. */
static void check_end(struct load_dgram *d)
{
    enum weir_load_way way = options_of(d)->way;
    if ((way != WEIR_LOAD_DOWN && !d->all_sent) || (way != WEIR_LOAD_UP && !d->peer_done))
        return;
    if (d->begun) {
        begin_end(d);
        return;
    }
    d->conn->state = LOAD_LEAVING; /* there is nobody to ask */
    weir_dgram_close(d->socket);
}

bool load_dgram_stream_finish(struct load_conn *conn)
{
    struct load_dgram *d = load_dgram_of(conn);
    if (conn->state != LOAD_OPEN || !d->begun)
        return false;
    if (!d->ending)
        weir_timer_cancel(&conn->timer);
    begin_end(d);
    return true;
}

/* ---- sending ---- */

static void on_pace(weir_timer *timer, void *arg)
{
    load_dgram_stream_send(arg);
}

/* Whether the next may leave; otherwise the timer brings us back. */
static bool is_due(struct load_dgram *d, uint64_t now_ns)
{
    uint64_t rate = options_of(d)->stream_rate;
    if (rate == 0)
        return true;
    uint64_t due_ns =
        d->start_ns + (uint64_t)((double)d->sent_bytes / (double)rate * (double)WEIR_S);
    if (due_ns <= now_ns)
        return true;
    if (due_ns < now_ns + TICK_NS)
        due_ns = now_ns + TICK_NS;
    weir_timer_start_precise(&d->conn->timer, due_ns, on_pace, d);
    return false;
}

/* Bytes of the next one; 0: all have been sent. The last may be shorter, but for its head. */
static uint64_t next_bytes(const struct load_dgram *d)
{
    const weir_load_options *options = options_of(d);
    uint64_t size = options->request_bytes, limit = options->stream_bytes;
    if (limit == 0)
        return size;
    uint64_t left = limit > d->sent_bytes ? limit - d->sent_bytes : 0;
    if (left == 0 || left >= size)
        return left == 0 ? 0 : size;
    return left < WEIR_LOAD_HEAD_BYTES ? WEIR_LOAD_HEAD_BYTES : left;
}

static void count_sent(struct load_dgram *d, uint64_t size, bool counts, uint64_t now_ns)
{
    weir_load_counts *sums = &d->conn->loop->counts;
    d->next++;
    d->sent_bytes += size;
    sums->sent++;
    sums->sent_bytes += size;
    sums->sent_wire_bytes += weir_load_wire_bytes(size, d->family);
    if (!counts)
        return;
    if (d->measured++ == 0)
        d->first_ns = now_ns;
    d->measured_bytes += size;
    d->last_ns = now_ns;
}

void load_dgram_stream_send(struct load_dgram *d)
{
    struct load_loop *loop = d->conn->loop;
    uint8_t *bytes = loop->dgrams->bytes;
    int result = 0;

    if (options_of(d)->way == WEIR_LOAD_DOWN || d->start_ns == 0 || d->ending || d->all_sent)
        return;
    while (loop->running && d->conn->state == LOAD_OPEN && result != WEIR_SEND_WAIT) {
        uint64_t now_ns = weir__clock_now_ns(), size = next_bytes(d);
        if (size == 0) {
            d->all_sent = true;
            check_end(d);
            return;
        }
        if (!is_due(d, now_ns))
            return;
        const weir_load_head head = {.message = WEIR_LOAD_MESSAGE_DATA,
                                     .counts = loop->phase == WEIR_LOAD_MEASURING,
                                     .load = loop->load->id,
                                     .number = d->next + 1,
                                     .mark = now_ns};
        weir_load_head_write(&head, bytes);
        result = weir_dgram_send(d->socket, weir_bytes(bytes, size));
        if (result < 0) { /* no memory, or no room: on_drain is not owed */
            weir_timer_start(&d->conn->timer, weir_after(WEIR_MS), on_pace, d);
            return;
        }
        count_sent(d, size, head.counts, now_ns);
    }
}

void load_dgram_stream_begin(struct load_conn *conn, uint64_t now_ns)
{
    struct load_dgram *d = load_dgram_of(conn);
    if (d->start_ns != 0)
        return;
    d->start_ns = d->heard_ns = now_ns;
    if (options_of(d)->way != WEIR_LOAD_UP)
        load_dgram_say(d, WEIR_LOAD_MESSAGE_START, 0);
    load_dgram_stream_send(d);
}

/* ---- receiving ---- */

static void take_data(struct load_dgram *d, const weir_load_head *head, const weir_datagram *in)
{
    struct load_loop *loop = d->conn->loop;
    weir_load_counts *counts = &loop->counts;
    weir_load_arrivals *arrivals = &d->in;
    uint64_t came_ns = in->flags & WEIR_DATAGRAM_TIME ? in->received_ns : weir__clock_wall_ns();
    uint64_t reordered = arrivals->reordered, duplicates = arrivals->duplicates;

    if (options_of(d)->way == WEIR_LOAD_UP || loop->phase == WEIR_LOAD_ENDING)
        return; /* an echo; or behind the end */
    weir_load_arrive(arrivals, head->number, in->full_bytes, head->mark, came_ns);
    counts->received_datagrams++;
    counts->received_bytes += in->full_bytes;
    counts->received_wire_bytes += weir_load_wire_bytes(in->full_bytes, d->family);
    counts->reordered += arrivals->reordered - reordered;
    counts->duplicates += arrivals->duplicates - duplicates;
}

/* The answer to ALIVE, to END, or the word that all has been sent. */
static void take_report(struct load_dgram *d, const weir_load_head *head, const weir_datagram *in)
{
    weir_load_report report;
    if (!weir_load_report_read(in->view.data, in->view.size, &report))
        return;
    d->report = report;
    if (d->endings != 0 && head->counts) {
        d->told = true;
        load_dgram_note_dropped(d);
        d->conn->state = LOAD_LEAVING;
        weir_timer_cancel(&d->conn->timer);
        weir_dgram_abort(d->socket);
        return;
    }
    if (report.done == 0 || d->peer_done || options_of(d)->stream_bytes == 0)
        return;
    d->peer_done = true;
    check_end(d);
}

void load_dgram_stream_take(struct load_dgram *d, const weir_load_head *head,
                            const weir_datagram *in)
{
    if (d->conn->state != LOAD_OPEN)
        return;
    d->heard_ns = weir__clock_now_ns();
    if (head->message == WEIR_LOAD_MESSAGE_DATA)
        take_data(d, head, in);
    else
        take_report(d, head, in);
}

/* ---- now and then ---- */

void load_dgram_stream_look(struct load_dgram *d, uint64_t now_ns)
{
    const weir_load_options *options = options_of(d);
    uint64_t dead_ns = options->timeout_ns > DEAD_NS ? options->timeout_ns : DEAD_NS;
    if (!d->begun || d->ending)
        return;
    if (d->start_ns != 0 && options->way != WEIR_LOAD_UP && d->in.highest == 0 &&
        d->report.sent == 0)
        load_dgram_say(d, WEIR_LOAD_MESSAGE_START, 0); /* the first one was lost */
    if (now_ns > d->heard_ns && now_ns - d->heard_ns > dead_ns)
        load_dgram_fail(d, LOAD_ERROR_timeout);
}

/* ---- sums ---- */

/* `count` in `span_ns`, a second: between so many there is one less. 0: nobody is that fast, and
 * what the server says of itself is wrong. */
static uint64_t a_second(uint64_t count, uint64_t amount, uint64_t span_ns)
{
    if (count < 2 || span_ns == 0)
        return 0;
    double part = (double)amount * (double)(count - 1) / (double)count;
    double rate = part * (double)WEIR_S / (double)span_ns;
    return rate < RATE_MAX ? (uint64_t)rate : 0;
}

static void add_jitter(weir_load_flow *flow, uint64_t jitter_ns)
{
    flow->jitter_ns += jitter_ns; /* the sum, until the end */
    if (jitter_ns > flow->jitter_max_ns)
        flow->jitter_max_ns = jitter_ns;
}

static void sum_up_way(const struct load_dgram *d, weir_load_flow *flow)
{
    const weir_load_report *report = &d->report;
    if (!d->told) {
        flow->silent++;
        return;
    }
    flow->streams++;
    flow->sent += d->measured;
    flow->received += report->received;
    flow->lost += d->measured > report->received ? d->measured - report->received : 0;
    flow->reordered += report->reordered;
    flow->duplicates += report->duplicates;
    flow->sent_s += a_second(d->measured, d->measured, d->last_ns - d->first_ns);
    flow->sent_bytes_s += a_second(d->measured, d->measured_bytes, d->last_ns - d->first_ns);
    flow->received_s += a_second(report->received, report->received, report->received_ns);
    flow->received_bytes_s +=
        a_second(report->received, report->received_bytes, report->received_ns);
    add_jitter(flow, report->jitter_ns);
}

/* What comes we count ourselves; only how fast it was sent the server has to tell. */
static void sum_down_way(const struct load_dgram *d, weir_load_flow *flow)
{
    const weir_load_report *report = &d->report;
    const weir_load_arrivals *in = &d->in;
    uint64_t lost = weir_load_arrivals_lost(in, d->peer_done ? report->sent : 0);
    flow->silent += !d->told;
    flow->streams++;
    flow->received += in->datagrams;
    flow->lost += lost;
    flow->sent += in->datagrams + lost;
    flow->reordered += in->reordered;
    flow->duplicates += in->duplicates;
    flow->sent_s += a_second(report->sent, report->sent, report->sent_ns);
    flow->sent_bytes_s += a_second(report->sent, report->sent_bytes, report->sent_ns);
    flow->received_s += a_second(in->datagrams, in->datagrams, in->last_ns - in->first_ns);
    flow->received_bytes_s += a_second(in->datagrams, in->bytes, in->last_ns - in->first_ns);
    add_jitter(flow, weir_load_arrivals_jitter_ns(in));
}

static void sum_one(const struct load_dgram *d, weir_load_result *told)
{
    const weir_load_options *options = options_of(d);
    if (told->wire_bytes == 0)
        told->wire_bytes = weir_load_wire_bytes(options->request_bytes, d->family);
    if (told->answer_wire_bytes == 0 && !load_is_stream(options))
        told->answer_wire_bytes = weir_load_wire_bytes(options->answer_bytes, d->family);
    if (!load_is_stream(options) || options->plain || d->start_ns == 0)
        return;
    if (options->way != WEIR_LOAD_DOWN)
        sum_up_way(d, &told->up);
    if (options->way != WEIR_LOAD_UP)
        sum_down_way(d, &told->down);
}

void load_dgram_sum(const struct load *load, weir_load_result *told)
{
    const weir_load_options *options = &load->options;
    told->datagram_bytes = options->request_bytes;
    told->answer_bytes = load_is_stream(options) ? 0 : options->answer_bytes;
    for (unsigned i = 0; i < load->loop_count; i++)
        for (uint32_t k = 0; k < load->loops[i]->conn_count; k++)
            sum_one(&load->loops[i]->dgrams->dgrams[k], told);
    if (told->up.streams != 0)
        told->up.jitter_ns /= told->up.streams;
    if (told->down.streams != 0)
        told->down.jitter_ns /= told->down.streams;
    told->counts.lost += told->up.lost + told->down.lost;
    told->counts.reordered += told->up.reordered;
    told->counts.duplicates += told->up.duplicates;
}
