/* A loop of a load, from opening its connections to its end. On its own thread. */
#include "app/load/dgram.h"

#include <string.h>

#include "base/clock.h"

enum { SCAN_LEAST_MS = 10, SCAN_MOST_MS = 250 };
#define GRACE_NS (2 * WEIR_S) /* for answers that are on their way at the end */
#define LEAVE_NS WEIR_S       /* for connections to close */

static void loop_quit(struct load_loop *loop);

static void times_clear(struct load_times *times)
{
    histogram_clear(&times->service);
    histogram_clear(&times->response);
    histogram_clear(&times->connect);
    histogram_clear(&times->handshake);
}

static const struct histogram *shown_times(const struct load_loop *loop)
{
    return load_is_open_loop(&loop->load->options) ? &loop->now->response : &loop->now->service;
}

/* Adds what came since the last time to the sums, and shows it to the caller's thread. The same is
 * done whether anybody looks or not, so that looking changes nothing. */
static void publish(struct load_loop *loop)
{
    struct load_times *now = loop->now, *total = loop->total;
    pthread_mutex_lock(&loop->load->mutex);
    loop->shared.counts = loop->counts;
    loop->shared.open_conns = loop->open;
    loop->shared.connect_error = loop->connect_error;
    if (shown_times(loop)->count != 0)
        histogram_merge(&loop->shared.times, shown_times(loop));
    if (now->handshake.count != 0)
        histogram_merge(&loop->shared.handshake, &now->handshake);
    pthread_mutex_unlock(&loop->load->mutex);
    if (now->service.count != 0)
        histogram_merge(&total->service, &now->service);
    if (now->response.count != 0)
        histogram_merge(&total->response, &now->response);
    if (now->connect.count != 0)
        histogram_merge(&total->connect, &now->connect);
    if (now->handshake.count != 0)
        histogram_merge(&total->handshake, &now->handshake);
    times_clear(now);
}

static void tell(struct load_loop *loop, bool *what)
{
    pthread_mutex_lock(&loop->load->mutex);
    *what = true;
    pthread_cond_broadcast(&loop->load->changed);
    pthread_mutex_unlock(&loop->load->mutex);
}

static void on_interval(weir_timer *timer, void *arg)
{
    struct load_loop *loop = arg;
    uint64_t interval_ns = loop->load->options.interval_ns, now_ns = weir__clock_now_ns();
    publish(loop);
    if (loop->phase == WEIR_LOAD_ENDING)
        return;
    uint64_t passed = (now_ns - loop->start_ns) / interval_ns + 1;
    weir_timer_start(&loop->interval, loop->start_ns + passed * interval_ns, on_interval, loop);
}

/* ---- time-outs, in one look at all connections now and then ---- */

static void look_at(struct load_conn *conn, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    const weir_load_options *options = &loop->load->options;
    if (loop->dgrams != NULL) {
        load_dgram_look(conn, now_ns);
        return;
    }
    if (conn->state == LOAD_LEAVING && conn->error == LOAD_ERROR_none &&
        now_ns - conn->open_ns > options->timeout_ns) {
        weir_abort(conn->conn); /* the server announced the end, and does not end */
        return;
    }
    if (conn->state != LOAD_OPEN)
        return;
    if (conn->in_flight != 0 && now_ns - conn->slots[conn->first].sent_ns > options->timeout_ns)
        load_conn_fail(conn, LOAD_ERROR_timeout);
    else if (options->life_ns != 0 && conn->in_flight == 0 && loop->running &&
             now_ns - conn->open_ns > options->life_ns) {
        conn->announced = true;
        conn->state = LOAD_LEAVING;
        if (options->reset)
            weir_abort(conn->conn);
        else
            weir_close(conn->conn);
    }
}

/* Where nothing is waited for a look is of little use, and a million connections are much to look
 * at: then it is taken once in a time-out. */
static bool look_later(struct load_loop *loop, uint64_t now_ns)
{
    const weir_load_options *options = &loop->load->options;
    bool quiet = options->hold && options->life_ns == 0 && loop->in_flight == 0;
    if (quiet && now_ns - loop->looked_ns < options->timeout_ns)
        return true;
    loop->looked_ns = now_ns;
    return false;
}

static void on_scan(weir_timer *timer, void *arg)
{
    struct load_loop *loop = arg;
    uint64_t now_ns = weir__clock_now_ns(), pause_ms = loop->load->options.timeout_ns / WEIR_MS / 8;
    bool later = look_later(loop, now_ns);
    for (uint32_t i = 0; i < loop->conn_count && !loop->quitting && !later; i++)
        look_at(&loop->conns[i], now_ns);
    pause_ms = pause_ms < SCAN_LEAST_MS            ? SCAN_LEAST_MS
               : pause_ms > SCAN_MOST_MS && !later ? SCAN_MOST_MS
                                                   : pause_ms;
    if (!loop->quitting)
        weir_timer_start(&loop->scan, weir_after(pause_ms * WEIR_MS), on_scan, loop);
}

/* ---- opening ---- */

static void ramp(struct load_loop *loop);

static void on_ramp(weir_timer *timer, void *arg)
{
    ramp(arg);
}

/* Opens the next connections: all that may be connecting at once, or those whose time has come. */
static void ramp(struct load_loop *loop)
{
    uint64_t ramp_ns = loop->load->options.ramp_ns;
    while (loop->ramp_next < loop->conn_count && loop->connecting < loop->window) {
        uint64_t due_ns = loop->zero_ns +
                          (uint64_t)((double)ramp_ns * loop->ramp_next / (double)loop->conn_count);
        if (ramp_ns != 0 && due_ns > weir__clock_now_ns()) {
            weir_timer_start(&loop->ramp, due_ns, on_ramp, loop);
            return;
        }
        load_conn_connect(&loop->conns[loop->ramp_next++]);
    }
}

void load_loop_settled(struct load_loop *loop)
{
    if (loop->load->options.close)
        return;
    if (++loop->settled == loop->conn_count) {
        publish(loop);
        tell(loop, &loop->shared.settled);
    } else if (!loop->quitting && loop->ramp_next < loop->conn_count) {
        /* Not from here: this may be inside of the very function. */
        weir_timer_start(&loop->ramp, weir_now(), on_ramp, loop);
    }
}

/* Tells of the connections that were opened since the last time. */
static void on_opening(weir_timer *timer, void *arg)
{
    struct load_loop *loop = arg;
    publish(loop);
    weir_timer_start(&loop->interval, weir_after(loop->load->options.interval_ns), on_opening,
                     loop);
}

void load_loop_start(weir_task *task, void *arg)
{
    struct load_loop *loop = arg;
    loop->zero_ns = weir__clock_now_ns();
    on_scan(NULL, loop);
    on_opening(NULL, loop);
    if (loop->load->options.close) { /* they are opened one by one, as part of what is measured */
        loop->ramp_next = loop->conn_count;
        tell(loop, &loop->shared.settled);
        return;
    }
    ramp(loop);
}

/* ---- the measured time ---- */

static void on_end(weir_timer *timer, void *arg);

static void measure(struct load_loop *loop)
{
    loop->phase = WEIR_LOAD_MEASURING;
    if (loop->quota_share != UINT64_MAX) /* the answers to what is under way count */
        loop->quota = loop->quota_share > loop->in_flight ? loop->quota_share - loop->in_flight : 0;
    publish(loop);
    /* Connections that were opened before are told of beside what is measured, not thrown away. */
    histogram_clear(&loop->total->service);
    histogram_clear(&loop->total->response);
    loop->base = loop->counts;
    if (loop->dgrams != NULL)
        load_dgrams_measure(loop);
    load_mark_take(loop, &loop->begun);
    loop->measure_ns = weir__clock_now_ns();
    if (loop->load->options.duration_ns != WEIR_NEVER)
        weir_timer_start_precise(&loop->edge, loop->measure_ns + loop->load->options.duration_ns,
                                 on_end, loop);
}

static void on_warm(weir_timer *timer, void *arg)
{
    measure(arg);
}

/* One request on each connection, from the first to the last. One that is not open in its turn
 * goes without, and is missing from the number of requests. */
static void prove(struct load_loop *loop)
{
    uint64_t now_ns = weir__clock_now_ns();
    while (loop->running && loop->prove_next < loop->conn_count && loop->in_flight < loop->window &&
           loop->quota != 0) {
        struct load_conn *conn = &loop->conns[loop->prove_next++];
        if (conn->state == LOAD_OPEN)
            load_conn_send(conn, 1, now_ns, now_ns);
    }
}

void load_loop_go(weir_task *task, void *arg)
{
    struct load_loop *loop = arg;
    const weir_load_options *options = &loop->load->options;
    uint64_t now_ns = weir__clock_now_ns();

    if (loop->phase != WEIR_LOAD_CONNECTING || loop->quitting)
        return;
    loop->start_ns = now_ns;
    loop->phase = WEIR_LOAD_WARMING;
    if (load_is_open_loop(options))
        load_pace_begin(loop);
    if (options->warmup_ns != 0)
        weir_timer_start_precise(&loop->edge, now_ns + options->warmup_ns, on_warm, loop);
    else
        measure(loop);
    weir_timer_start(&loop->interval, now_ns + options->interval_ns, on_interval, loop);
    loop->running = true;
    for (uint32_t i = 0; i < loop->conn_count; i++) {
        struct load_conn *conn = &loop->conns[i];
        if (options->close && !load_is_open_loop(options))
            load_conn_connect(conn);
        else if (conn->state == LOAD_OPEN || options->close)
            load_conn_begin(conn, now_ns);
    }
    if (options->prove)
        prove(loop);
}

/* ---- the end ---- */

void load_loop_sample(struct load_conn *conn)
{
    struct load_loop *loop = conn->loop;
    if (conn->state != LOAD_OPEN || conn->sampled || loop->sample_count == LOAD_TCP_SAMPLES ||
        weir_conn_tcp_info(conn->conn, &loop->samples[loop->sample_count]) != 0)
        return;
    conn->sampled = true;
    loop->sample_count++;
    loop->sample_age_ms += (weir__clock_now_ns() - conn->open_ns) / WEIR_MS;
}

static void take_samples(struct load_loop *loop)
{
    for (uint32_t i = 0; i < loop->conn_count && loop->sample_count < LOAD_TCP_SAMPLES; i++)
        load_loop_sample(&loop->conns[i]);
}

static void loop_end(struct load_loop *loop)
{
    if (loop->phase == WEIR_LOAD_ENDING)
        return;
    loop->end_ns = weir__clock_now_ns();
    if (loop->measure_ns == 0) /* stopped before it had begun */
        loop->measure_ns = loop->end_ns;
    load_mark_take(loop, &loop->ended);
    loop->phase = WEIR_LOAD_ENDING;
    loop->running = false;
    loop->final = loop->counts;
    loop->open_at_end = loop->open;
    weir_timer_cancel(&loop->edge);
    weir_timer_cancel(&loop->pace);
    if (loop->start_ns != 0 && load_is_open_loop(&loop->load->options))
        load_pace_missed(loop, loop->end_ns);
    loop->final.missed = loop->counts.missed;
    if (loop->dgrams != NULL)
        load_dgrams_end(loop);
    else
        take_samples(loop);
}

static void on_grace(weir_timer *timer, void *arg)
{
    loop_quit(arg);
}

/* Those who took what we sent tell how much it was: they are waited for. */
static bool stream_finish(struct load_loop *loop)
{
    bool wait = false;
    for (uint32_t i = 0; i < loop->conn_count; i++)
        wait |= loop->dgrams != NULL ? load_dgram_stream_finish(&loop->conns[i])
                                     : load_stream_finish(&loop->conns[i]);
    return wait;
}

/* The answers to what was due in an open loop's time belong to it. */
static void loop_finish(struct load_loop *loop)
{
    uint64_t grace_ns = loop->load->options.timeout_ns;
    if (loop->phase == WEIR_LOAD_ENDING)
        return;
    loop_end(loop);
    /* Without the server's word nothing is known of datagrams: also when there is no time left. */
    if (load_is_stream(&loop->load->options) && (!loop->load->stopped || loop->dgrams != NULL) &&
        stream_finish(loop)) {
        grace_ns = GRACE_NS;
    } else if (!load_is_open_loop(&loop->load->options) || loop->in_flight == 0 ||
               loop->load->stopped) {
        loop_quit(loop);
        return;
    }
    weir_timer_start(&loop->grace, weir_after(grace_ns < GRACE_NS ? grace_ns : GRACE_NS), on_grace,
                     loop);
}

static void on_end(weir_timer *timer, void *arg)
{
    loop_finish(arg);
}

/* What was never answered has waited at least until now. */
static void count_unfinished(struct load_loop *loop, uint64_t now_ns)
{
    for (uint32_t i = 0; i < loop->conn_count && loop->dgrams != NULL; i++)
        load_dgram_unfinished(&loop->conns[i], now_ns);
    if (loop->dgrams != NULL)
        return;
    loop->final.unfinished += loop->in_flight;
    if (!load_is_open_loop(&loop->load->options))
        return;
    for (uint32_t i = 0; i < loop->conn_count; i++) {
        const struct load_conn *conn = &loop->conns[i];
        for (uint32_t k = 0; k < conn->in_flight; k++) {
            uint64_t due_ns = conn->slots[(conn->first + k) & loop->slot_mask].due_ns;
            if (due_ns >= loop->measure_ns)
                histogram_add(&loop->now->response, now_ns - due_ns);
        }
    }
}

/* What is held is many, and to end in peace. */
static uint64_t leave_ns(const struct load_loop *loop)
{
    const weir_load_options *options = &loop->load->options;
    return options->hold && options->timeout_ns > LEAVE_NS ? options->timeout_ns : LEAVE_NS;
}

static void on_left(weir_timer *timer, void *arg)
{
    struct load_loop *loop = arg;
    if (loop->alive == loop->left) { /* none has gone in all that time */
        if (loop->load->options.hold)
            loop->final.error_timeout += loop->alive;
        weir_loop_stop(loop->loop);
        return;
    }
    loop->left = loop->alive;
    weir_timer_start(&loop->grace, weir_after(leave_ns(loop)), on_left, loop);
}

/* Ends connections, a window of them at a time: the server has to follow. */
static void leave_on(struct load_loop *loop)
{
    bool reset = loop->load->options.reset;
    while (loop->leave_next < loop->conn_count && loop->leaving < loop->window) {
        struct load_conn *conn = &loop->conns[loop->leave_next++];
        weir_timer_cancel(&conn->timer);
        if (conn->state == LOAD_NONE)
            continue;
        conn->ended_by_us = true;
        loop->leaving++;
        if (loop->dgrams != NULL)
            load_dgram_leave(conn);
        else if (reset || conn->in_flight != 0 || conn->state == LOAD_CONNECTING)
            weir_abort(conn->conn);
        else
            weir_close(conn->conn);
    }
}

static void loop_quit(struct load_loop *loop)
{
    if (loop->quitting)
        return;
    count_unfinished(loop, weir__clock_now_ns());
    loop->quitting = true;
    publish(loop);
    weir_timer_cancel(&loop->interval);
    weir_timer_cancel(&loop->scan);
    weir_timer_cancel(&loop->ramp);
    weir_timer_start(&loop->grace, weir_after(leave_ns(loop)), on_left, loop);
    loop->left = loop->alive;
    load_loop_gone(loop);
}

void load_loop_gone(struct load_loop *loop)
{
    if (!loop->quitting)
        return;
    leave_on(loop);
    if (loop->alive == 0)
        weir_loop_stop(loop->loop);
}

void load_loop_check(struct load_loop *loop)
{
    if (loop->load->options.prove)
        prove(loop);
    if (loop->in_flight != 0)
        return;
    if (load_is_stream(&loop->load->options)) {
        if (loop->alive == 0 && loop->phase == WEIR_LOAD_ENDING)
            loop_quit(loop);
        else if (loop->alive == 0 && loop->running)
            loop_finish(loop);
        return;
    }
    if (loop->phase == WEIR_LOAD_ENDING)
        loop_quit(loop);
    else if (loop->running && loop->quota == 0 &&
             (loop->connecting == 0 || !loop->load->options.close))
        loop_finish(loop);
}

void load_loop_stop(weir_task *task, void *arg)
{
    loop_finish(arg);
}
