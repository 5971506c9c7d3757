/* What comes back: the bytes of a connection become answers. */
#include "app/load/load.h"

#include <stdio.h>
#include <string.h>

static void count_status(weir_load_counts *counts, uint16_t status)
{
    switch (status / 100) {
    case 2:
        counts->status_2xx++;
        break;
    case 3:
        counts->status_3xx++;
        break;
    case 4:
        counts->status_4xx++;
        break;
    case 5:
        counts->status_5xx++;
        break;
    default:
        counts->status_other++;
    }
}

static bool malformed(struct load_conn *conn, const char *why)
{
    struct load_loop *loop = conn->loop;
    if (loop->malformed[0] == '\0')
        snprintf(loop->malformed, sizeof loop->malformed, "%s", why);
    load_conn_fail(conn, LOAD_ERROR_malformed);
    return false;
}

/* The connection has done its work. The server is expected to end it, and only when it does not,
 * or a reset is wanted, do we: the side that ends first keeps the port for a minute. */
static bool leave(struct load_conn *conn)
{
    const weir_load_options *options = &conn->loop->load->options;
    conn->announced = true;
    conn->state = LOAD_LEAVING;
    if (options->reset)
        weir_abort(conn->conn);
    else if (options->kind != WEIR_LOAD_HTTP || conn->reply.keep_alive)
        weir_close(conn->conn);
    return false;
}

static bool take_http(struct load_conn *conn, const uint8_t *data, size_t size, uint64_t now_ns)
{
    struct load_loop *loop = conn->loop;
    struct http1_reply_piece piece;

    while (size != 0) {
        if (conn->in_flight == 0)
            return malformed(conn, "bytes came that no request asked for");
        ssize_t used =
            http1_reply_next(&conn->reply, &loop->memo, data, size,
                             (enum http_method)conn->group->methods[conn->reading], &piece);
        if (used < 0)
            return malformed(conn, used == -(ssize_t)HTTP1_REFUSALS
                                       ? "out of memory"
                                       : http1_refusal_row(used)->text);
        data += used;
        size -= (size_t)used;
        loop->counts.body_bytes += piece.length;
        if (piece.event != HTTP1_REPLY_DONE)
            continue;
        count_status(&loop->counts, conn->reply.status);
        load_conn_answered(conn, now_ns);
        if (!conn->reply.keep_alive || loop->load->options.close)
            return leave(conn);
    }
    return true;
}

/* So many bytes are an answer. */
static bool take_counted(struct load_conn *conn, size_t size, uint64_t now_ns)
{
    const weir_load_options *options = &conn->loop->load->options;
    while (size != 0) {
        uint64_t want = options->answer_bytes - conn->got;
        if (conn->in_flight == 0)
            return malformed(conn, "more bytes came than were asked for");
        if (size < want) {
            conn->got += size;
            return true;
        }
        size -= (size_t)want;
        conn->got = 0;
        load_conn_answered(conn, now_ns);
        if (options->close)
            return leave(conn);
    }
    return true;
}

/* How much of the marker the bytes end with when `byte` comes behind `matched` bytes of it: the
 * search of Knuth, Morris and Pratt, which looks at every byte once, however the input is cut. */
static size_t match_on(const struct load *load, size_t matched, uint8_t byte)
{
    const uint8_t *end = load->options.raw_end.data;
    while (matched > 0 && end[matched] != byte)
        matched = load->marker_back[matched - 1];
    return end[matched] == byte ? matched + 1 : 0;
}

void load_marker_begin(struct load *load)
{
    const uint8_t *end = load->options.raw_end.data;
    for (size_t i = 1; i < load->options.raw_end.size; i++)
        load->marker_back[i] = (uint8_t)match_on(load, load->marker_back[i - 1], end[i]);
}

static bool take_marked(struct load_conn *conn, const uint8_t *data, size_t size, uint64_t now_ns)
{
    const weir_load_options *options = &conn->loop->load->options;
    for (size_t i = 0; i < size; i++) {
        if (conn->in_flight == 0)
            return malformed(conn, "bytes came that no request asked for");
        conn->got = match_on(conn->loop->load, (size_t)conn->got, data[i]);
        if (conn->got < options->raw_end.size)
            continue;
        conn->got = 0;
        load_conn_answered(conn, now_ns);
        if (options->close)
            return leave(conn);
    }
    return true;
}

bool load_take(struct load_conn *conn, const uint8_t *data, size_t size, uint64_t now_ns)
{
    const weir_load_options *options = &conn->loop->load->options;
    if (conn->state != LOAD_OPEN)
        return false; /* it leaves: what still comes is of no interest */
    if (options->kind == WEIR_LOAD_HTTP)
        return take_http(conn, data, size, now_ns);
    if (options->kind == WEIR_LOAD_RAW && options->raw_end.size != 0)
        return take_marked(conn, data, size, now_ns);
    return take_counted(conn, size, now_ns);
}

bool load_take_end(struct load_conn *conn, uint64_t now_ns)
{
    const weir_load_options *options = &conn->loop->load->options;
    if (conn->in_flight == 0)
        return false;
    if (options->kind == WEIR_LOAD_HTTP) {
        if (http1_reply_cut(&conn->reply) != 1)
            return false;
        count_status(&conn->loop->counts, conn->reply.status);
    } else if (options->kind != WEIR_LOAD_RAW || options->raw_end.size != 0 ||
               options->answer_bytes != UINT64_MAX || conn->got == 0) {
        return false;
    }
    load_conn_answered(conn, now_ns);
    conn->announced = true;
    return true;
}
