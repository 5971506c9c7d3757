/* One connection of a load: opened, sending, answered, ended, opened again. */
#include "app/load/dgram.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"

#define AGAIN_FIRST_NS (10 * WEIR_MS)
#define AGAIN_LAST_NS  (1000 * WEIR_MS)

void load_count_error(struct load_loop *loop, enum load_error error, uint64_t times)
{
    /* The errors stand in the counts in the order of their enumerators. */
    uint64_t *first = &loop->counts.error_refused;
    first[error - LOAD_ERROR_refused] += times;
}

/* ---- sending ---- */

static void note_sent(struct load_conn *conn, uint32_t count, uint64_t due_ns, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    for (uint32_t i = 0; i < count; i++) {
        struct load_slot *slot =
            &conn->slots[(conn->first + conn->in_flight + i) & loop->slot_mask];
        slot->due_ns = due_ns;
        slot->sent_ns = now_ns;
    }
    conn->in_flight += count;
    loop->in_flight += count;
    loop->counts.sent += count;
    if (loop->quota != UINT64_MAX && !loop->load->options.close)
        loop->quota -= count < loop->quota ? count : loop->quota;
}

void load_conn_send(struct load_conn *conn, uint32_t count, uint64_t due_ns, uint64_t now_ns)
{
    const struct load_group *group = conn->group;
    uint32_t from = group->offsets[conn->sending];
    uint32_t size = group->offsets[conn->sending + count] - from;

    if (conn->loop->dgrams != NULL) {
        load_dgram_send(conn, count, due_ns, now_ns);
        return;
    }
    note_sent(conn, count, due_ns, now_ns);
    conn->sending = (conn->sending + count) % group->cycle;
    conn->loop->counts.sent_bytes += size;
    if (weir_send(conn->conn, weir_static(group->bytes + from, size)) < 0)
        load_conn_fail(conn, LOAD_ERROR_local);
}

/* Closed loop: as many as the pipeline has room for. A request with a connection of its own begins
 * with that. */
static void fill(struct load_conn *conn, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    uint32_t room = loop->load->options.pipeline - conn->in_flight;
    if (loop->load->options.close) /* it was taken off the quota when its connection began */
        now_ns = conn->connect_ns;
    else if (room > loop->quota)
        room = (uint32_t)loop->quota;
    if (room != 0)
        load_conn_send(conn, room, now_ns, now_ns);
}

void load_conn_begin(struct load_conn *conn, uint64_t now_ns)
{
    const weir_load_options *options = &conn->loop->load->options;
    if (options->rate_per_conn > 0)
        load_pace_conn(conn, now_ns);
    else if (options->rate > 0)
        load_pace_free(conn, now_ns);
    else if (options->kind == WEIR_LOAD_STREAM)
        load_stream_begin(conn, now_ns);
    else if (options->kind == WEIR_LOAD_DGRAM_STREAM)
        load_dgram_stream_begin(conn, now_ns);
    else if (!options->hold)
        fill(conn, now_ns);
}

/* ---- answers ---- */

static void opened(struct load_conn *conn);

void load_note_answer(struct load_loop *loop, uint64_t due_ns, uint64_t sent_ns, uint64_t now_ns)
{
    if (!load_is_open_loop(&loop->load->options)) {
        if (loop->phase != WEIR_LOAD_ENDING)
            histogram_add(&loop->now->service, now_ns - sent_ns);
        return;
    }
    /* What was due before the measured time began is not part of it; what was due in it is, also
     * when its answer comes behind the end. */
    if (due_ns >= loop->measure_ns && (loop->end_ns == 0 || due_ns < loop->end_ns)) {
        histogram_add(&loop->now->service, now_ns - sent_ns);
        histogram_add(&loop->now->response, now_ns - due_ns);
    }
}

void load_conn_answered(struct load_conn *conn, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    struct load_slot slot = conn->slots[conn->first];

    conn->first = (conn->first + 1) & loop->slot_mask;
    if (conn->in_flight-- == loop->load->options.pipeline)
        conn->free_ns = now_ns;
    loop->in_flight--;
    conn->reading = conn->reading + 1 == conn->group->cycle ? 0 : conn->reading + 1;
    loop->counts.requests++;
    if (conn->greeting)
        opened(conn);
    load_note_answer(loop, slot.due_ns, slot.sent_ns, now_ns);
}

static void on_data(weir_conn handle, weir_view view, void *session)
{
    struct load_conn *conn = *(struct load_conn **)session;
    struct load_loop *loop = conn->loop;
    uint64_t now_ns = weir__clock_now_ns();

    loop->counts.received_bytes += view.size;
    if (!load_take(conn, view.data, view.size, now_ns))
        return;
    if (loop->running)
        load_conn_begin(conn, now_ns);
    load_loop_check(loop);
}

/* ---- beginning and end ---- */

static void conn_next(struct load_conn *conn);

static void on_again(weir_timer *timer, void *arg)
{
    conn_next(arg);
}

static void try_again(struct load_conn *conn)
{
    uint64_t pause_ns = AGAIN_FIRST_NS << (conn->failures < 7 ? conn->failures : 7);
    if (conn->failures < UINT8_MAX)
        conn->failures++;
    conn->state = LOAD_NONE;
    weir_timer_start(&conn->timer, weir_after(pause_ns < AGAIN_LAST_NS ? pause_ns : AGAIN_LAST_NS),
                     on_again, conn);
}

static void settle(struct load_conn *conn)
{
    if (conn->settled)
        return;
    conn->settled = true;
    load_loop_settled(conn->loop);
}

static enum load_error connect_error(int error)
{
    switch (error) {
    case -ECONNREFUSED:
    case -ENOENT: /* no such unix socket */
        return LOAD_ERROR_refused;
    case -EHOSTUNREACH:
    case -ENETUNREACH:
        return LOAD_ERROR_unreachable;
    case -EADDRNOTAVAIL:
        return LOAD_ERROR_ports;
    case -EMFILE:
    case -ENFILE:
    case WEIR_EFULL:
        return LOAD_ERROR_descriptors;
    case -ETIMEDOUT:
        return LOAD_ERROR_connect_timeout;
    case -ECONNRESET:
        return LOAD_ERROR_reset;
    default:
        return LOAD_ERROR_connect_failed;
    }
}

/* With a number of requests to make, one that could not even connect is one of them: the load ends
 * when the server is gone. */
static void connect_failed(struct load_conn *conn, enum load_error error)
{
    struct load_loop *loop = conn->loop;
    load_count_error(loop, error, 1);
    loop->connect_error = error;
    if (loop->quota != UINT64_MAX && loop->quota > 0 && loop->running && !loop->load->options.close)
        loop->quota--;
    settle(conn);
    conn->owes = false;
    if (!loop->quitting)
        try_again(conn);
    load_loop_check(loop);
}

void load_conn_connect_failed(struct load_conn *conn, weir_end end)
{
    conn->loop->connecting--;
    enum load_error error = load_handshake_error(end);
    connect_failed(conn, error != LOAD_ERROR_none ? error : connect_error(end.error));
}

void load_conn_connect(struct load_conn *conn)
{
    struct load_loop *loop = conn->loop;
    if (loop->quitting || (loop->load->options.close && loop->quota == 0))
        return;
    if (loop->load->options.close && loop->quota != UINT64_MAX)
        loop->quota--;
    conn->state = LOAD_CONNECTING;
    conn->announced = false;
    conn->error = LOAD_ERROR_none;
    conn->sending = conn->reading; /* what was on its way is asked for again */
    conn->connect_ns = weir__clock_now_ns();
    loop->connecting++;
    loop->alive++;
    weir_address source;
    int result = loop->dgrams != NULL
                     ? load_dgram_connect(conn)
                     : weir_connect_from(&conn->conn, conn->group->url,
                                         load_source_of(conn, &source), &loop->service, conn);
    conn->turns++;
    if (result == 0)
        return;
    loop->connecting--;
    loop->alive--;
    connect_failed(conn, connect_error(result));
}

/* There is room for the next one to connect. */
static void opened(struct load_conn *conn)
{
    conn->greeting = false;
    conn->loop->connecting--;
    settle(conn);
}

void load_conn_opened(struct load_conn *conn, weir_conn handle, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    conn->conn = handle;
    conn->state = LOAD_OPEN;
    conn->open_ns = conn->free_ns = now_ns;
    conn->failures = 0;
    loop->open++;
    loop->counts.connects++;
    load_note_opened(conn, handle, now_ns);
    /* The kernel establishes connections that the server is far from accepting. Where each is to be
     * proven, none counts as opened before it was answered, and those behind it wait. */
    bool spent = loop->quota == 0 && !loop->load->options.close;
    conn->greeting = loop->load->options.prove && !loop->quitting && !spent;
    if (conn->greeting)
        load_conn_send(conn, 1, now_ns, now_ns);
    else
        opened(conn);
}

static void on_open(weir_conn handle, void *session)
{
    struct load_conn *conn = weir_conn_user(handle);
    struct load_loop *loop = conn->loop;
    uint64_t now_ns = weir__clock_now_ns();

    *(struct load_conn **)session = conn;
    load_conn_opened(conn, handle, now_ns);
    if (loop->quitting) {
        weir_abort(handle);
        return;
    }
    if (load_says_hello(&loop->load->options)) {
        uint8_t hello[WEIR_LOAD_HELLO_BYTES];
        load_hello(loop->load, hello);
        if (weir_send(handle, weir_bytes(hello, sizeof hello)) < 0)
            load_conn_fail(conn, LOAD_ERROR_local);
    }
    if (conn->owes) {
        conn->owes = false;
        if (loop->running)
            load_conn_send(conn, 1, conn->due_ns, conn->connect_ns);
        else
            weir_close(handle);
    } else if (loop->running) {
        load_conn_begin(conn, now_ns);
    }
}

/* What the end of a connection means for the requests that wait on it. */
enum load_error load_end_error(const struct load_conn *conn, weir_end end)
{
    if (conn->error != LOAD_ERROR_none)
        return (enum load_error)conn->error;
    switch (end.why) {
    case WEIR_WHY_PEER_RESET:
        return LOAD_ERROR_reset;
    case WEIR_WHY_PEER_FINISHED:
    case WEIR_WHY_CLOSED:
        return LOAD_ERROR_cut;
    case WEIR_WHY_DEADLINE:
        return LOAD_ERROR_timeout;
    default:
        return end.error == WEIR_ECUT   ? LOAD_ERROR_cut
               : end.error == WEIR_ETLS ? LOAD_ERROR_tls
                                        : LOAD_ERROR_local;
    }
}

/* Takes back the requests that are not answered. */
static void lose(struct load_conn *conn, weir_end end)
{
    struct load_loop *loop = conn->loop;
    uint32_t lost = conn->in_flight;
    uint64_t now_ns = weir__clock_now_ns();

    if (lost == 0)
        return;
    /* It was announced with an answer, and what was sent behind it was not looked at: RFC 9112
     * 9.3.2 has the client ask again. In the open loop their time has passed. */
    bool again = conn->announced && !load_is_open_loop(&loop->load->options);
    if (again)
        loop->counts.resent += lost;
    else if (loop->running || loop->phase == WEIR_LOAD_ENDING || conn->greeting)
        load_count_error(loop, load_end_error(conn, end), lost);
    if (again && loop->quota != UINT64_MAX)
        loop->quota += lost;
    for (uint32_t i = 0; i < lost && conn->error == LOAD_ERROR_timeout; i++) {
        struct load_slot slot = conn->slots[(conn->first + i) & loop->slot_mask];
        histogram_add(&loop->now->service, now_ns - slot.sent_ns);
        if (load_is_open_loop(&loop->load->options) && slot.due_ns >= loop->measure_ns)
            histogram_add(&loop->now->response, now_ns - slot.due_ns);
    }
    loop->in_flight -= lost;
    conn->in_flight = 0;
    conn->reading = (conn->reading + lost) % conn->group->cycle;
}

/* What a connection does that has ended. With one for each request it waits for the next one. */
static void conn_next(struct load_conn *conn)
{
    struct load_loop *loop = conn->loop;
    const weir_load_options *options = &loop->load->options;

    if (!options->close)
        load_conn_connect(conn);
    else if (loop->running && load_is_open_loop(options))
        load_conn_begin(conn, weir__clock_now_ns());
    else if (loop->running && loop->quota != 0)
        load_conn_connect(conn);
}

/* At the end of the load. Connections that were held should end as gently as they were closed; of
 * others the server may want to say something more. */
static void conn_left(struct load_conn *conn, weir_end end)
{
    struct load_loop *loop = conn->loop;
    loop->leaving -= conn->ended_by_us;
    if (!loop->load->options.hold || loop->load->options.reset)
        return;
    if (end.why == WEIR_WHY_PEER_RESET)
        loop->final.error_reset++;
    else if (end.why == WEIR_WHY_DEADLINE)
        loop->final.error_timeout++;
}

static void on_close(weir_conn handle, weir_end end, void *session)
{
    struct load_conn *conn = weir_conn_user(handle);
    struct load_loop *loop = conn->loop;
    bool was_connecting = conn->state == LOAD_CONNECTING;

    loop->alive--;
    weir_timer_cancel(&conn->timer);
    if (!was_connecting) {
        loop->open--;
        /* An answer may end with its connection, unless that was cut (RFC 9112 section 9.8). */
        bool was_answer = end.error != WEIR_ECUT && load_take_end(conn, weir__clock_now_ns());
        if (!was_answer && conn->in_flight == 0 && !conn->announced && !loop->quitting &&
            conn->error == LOAD_ERROR_none)
            loop->counts.closed++;
        lose(conn, end);
        if (conn->greeting)
            opened(conn);
    }
    http1_reply_end(&conn->reply);
    conn->got = 0;
    conn->first = 0;
    conn->state = LOAD_NONE;
    if (loop->quitting) {
        conn_left(conn, end);
        load_loop_gone(loop);
        return;
    }
    if (was_connecting) {
        load_conn_connect_failed(conn, end);
        return;
    }
    conn_next(conn);
    load_loop_check(loop);
}

void load_conn_fail(struct load_conn *conn, enum load_error error)
{
    if (conn->state != LOAD_OPEN && conn->state != LOAD_LEAVING)
        return;
    if (conn->in_flight == 0) /* there is no request that could be counted with it */
        load_count_error(conn->loop, error, 1);
    conn->error = (uint8_t)error;
    conn->state = LOAD_LEAVING;
    weir_abort(conn->conn); /* if it is gone already, on_close is on its way */
}

/* Only handlers and sizes: the times are set for each load. */
const weir_service load_service = {
    .conn_size = sizeof(struct load_conn *),
    .on_open = on_open,
    .on_data = on_data,
    .on_close = on_close,
    .read_on = WEIR_READ_ALWAYS,
};
