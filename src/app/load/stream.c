/* Bytes as fast as they go, or at a rate: pieces of one memory are lent to the connection, two at a
 * time, and the next when one is on its way. */
#include "app/load/load.h"

#include <string.h>

#include "base/clock.h"

enum { LENT_MAX = 2 };

static void lend(struct load_conn *conn);

static bool sends(const struct load_conn *conn)
{
    return conn->loop->load->options.way != WEIR_LOAD_DOWN;
}

static void on_pace(weir_timer *timer, void *arg)
{
    lend(arg);
}

/* All that is to be sent has been taken. */
static void all_sent(struct load_conn *conn)
{
    if (!conn->announced && conn->state == LOAD_OPEN && weir_finish(conn->conn) == 0)
        conn->announced = true;
}

static void on_taken(const void *data, size_t size, void *arg)
{
    struct load_conn *conn = arg;
    const weir_load_options *options = &conn->loop->load->options;
    conn->lent--;
    conn->lent_bytes -= size;
    if (conn->state != LOAD_OPEN)
        return;
    conn->loop->counts.sent_bytes += size;
    if (options->stream_bytes != 0 && conn->moved >= options->stream_bytes) {
        load_loop_sample(conn); /* at the end of the load it may be gone */
        all_sent(conn);
    } else {
        lend(conn);
    }
}

/* Bytes that may be given to the connection now; 0 with a rate: the timer brings us back. */
static uint64_t allowed(struct load_conn *conn)
{
    const weir_load_options *options = &conn->loop->load->options;
    uint64_t size = options->request_bytes;
    if (options->stream_bytes != 0 && size > options->stream_bytes - conn->moved)
        size = options->stream_bytes - conn->moved;
    if (options->stream_rate == 0 || size == 0)
        return size;
    /* A piece leaves when its last byte is due, so pieces are as small as a hundredth of a second.
     */
    uint64_t piece = options->stream_rate / 100 + 1;
    size = size < piece ? size : piece;
    double due = (double)(conn->moved + size) / (double)options->stream_rate * (double)WEIR_S;
    uint64_t due_ns = conn->due_ns + (uint64_t)due;
    if (due_ns <= weir__clock_now_ns())
        return size;
    weir_timer_start_precise(&conn->timer, due_ns, on_pace, conn);
    return 0;
}

static void lend(struct load_conn *conn)
{
    struct load_loop *loop = conn->loop;
    while (loop->running && conn->state == LOAD_OPEN && conn->lent < LENT_MAX) {
        uint64_t size = allowed(conn);
        if (size == 0)
            return;
        conn->lent++;
        conn->lent_bytes += size;
        conn->moved += size;
        if (weir_send(conn->conn, weir_own(conn->group->bytes, size, on_taken, conn)) < 0) {
            weir_abort(conn->conn); /* on_close counts it, with its cause */
            return;
        }
    }
}

void load_stream_begin(struct load_conn *conn, uint64_t now_ns)
{
    if (conn->due_ns != 0)
        return;
    conn->due_ns = now_ns;
    if (load_says_hello(&conn->loop->load->options)) {
        uint8_t hello[WEIR_LOAD_HELLO_BYTES];
        load_hello(conn->loop->load, hello);
        if (weir_send(conn->conn, weir_bytes(hello, sizeof hello)) < 0)
            weir_abort(conn->conn);
    }
    if (sends(conn))
        lend(conn);
}

bool load_stream_finish(struct load_conn *conn)
{
    const weir_load_options *options = &conn->loop->load->options;
    if (conn->state != LOAD_OPEN)
        return false;
    weir_timer_cancel(&conn->timer);
    if (options->way == WEIR_LOAD_UP) {
        all_sent(conn);
        return true;
    }
    conn->state = LOAD_LEAVING;
    weir_abort(conn->conn);
    return false;
}

static uint64_t get(const uint8_t *from)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < 8; i++)
        number |= (uint64_t)from[i] << 8 * i;
    return number;
}

static void on_open(weir_conn handle, void *session)
{
    struct load_conn *conn = weir_conn_user(handle);
    uint64_t now_ns = weir__clock_now_ns();
    *(struct load_conn **)session = conn;
    load_conn_opened(conn, handle, now_ns);
    if (conn->loop->quitting)
        weir_abort(handle);
    else if (conn->loop->running)
        load_stream_begin(conn, now_ns);
}

static void on_data(weir_conn handle, weir_view view, void *session)
{
    struct load_conn *conn = *(struct load_conn **)session;
    size_t room = WEIR_LOAD_TOLD_BYTES - conn->told_bytes;
    if (conn->loop->load->options.way != WEIR_LOAD_UP) {
        conn->loop->counts.received_bytes += view.size;
        return;
    }
    size_t part = view.size < room ? view.size : room;
    memcpy(conn->told + conn->told_bytes, view.data, part);
    conn->told_bytes += (uint32_t)part;
}

/* The server has sent all that it was asked for, or leaves; we may not be through. */
static void on_end(weir_conn handle, void *session)
{
    struct load_conn *conn = *(struct load_conn **)session;
    const weir_load_options *options = &conn->loop->load->options;
    if (!conn->announced && options->way == WEIR_LOAD_BOTH && options->stream_bytes != 0)
        return;
    weir_close(handle);
}

/* The server's end is the end of what we asked for, or comes too early. */
static void on_close(weir_conn handle, weir_end end, void *session)
{
    struct load_conn *conn = weir_conn_user(handle);
    struct load_loop *loop = conn->loop;
    const weir_load_options *options = &loop->load->options;
    bool was_connecting = conn->state == LOAD_CONNECTING;
    bool expected = conn->announced || conn->state == LOAD_LEAVING || loop->quitting ||
                    (options->way == WEIR_LOAD_DOWN && options->stream_bytes != 0 &&
                     end.why == WEIR_WHY_PEER_FINISHED);
    loop->alive--;
    weir_timer_cancel(&conn->timer);
    if (conn->told_bytes == WEIR_LOAD_TOLD_BYTES) {
        loop->server_bytes += get(conn->told);
        loop->server_ns = get(conn->told + 8);
    }
    /* In an orderly end all was taken, though we may be told of it only after this. */
    if (conn->announced && conn->state == LOAD_OPEN &&
        (end.why == WEIR_WHY_PEER_FINISHED || end.why == WEIR_WHY_CLOSED))
        loop->counts.sent_bytes += conn->lent_bytes;
    conn->state = LOAD_NONE;
    if (was_connecting && !loop->quitting) {
        load_conn_connect_failed(conn, end);
        return;
    }
    loop->open -= !was_connecting;
    if (!expected || conn->error != LOAD_ERROR_none)
        load_count_error(loop, load_end_error(conn, end), 1);
    if (loop->quitting)
        load_loop_gone(loop);
    else
        load_loop_check(loop);
}

const weir_service load_stream_service = {
    .conn_size = sizeof(struct load_conn *),
    .on_open = on_open,
    .on_data = on_data,
    .on_end = on_end,
    .on_close = on_close,
    .read_on = WEIR_READ_ALWAYS,
};
