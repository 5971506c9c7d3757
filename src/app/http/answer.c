/* Heads of answers, written straight into the connection's output, with the body behind them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "app/http/errorpage.h"
#include "app/http/server.h"

bool answer_possible(const struct exchange *x)
{
    return x->conn != NULL && x->conn->phase == CONN_OPEN &&
           (conn_flags(x->conn) & CONN_OUTPUT_SHUT) == 0;
}

static struct exchange *answering(weir_exchange handle, int *result)
{
    struct exchange *x = exchange_of(handle);
    *result = x != NULL && answer_possible(x) ? 0 : WEIR_EGONE;
    return *result == 0 ? x : NULL;
}

/* The whole answer is queued; one whose handler is not running is looked at again by the loop. */
static void ended(struct exchange *x)
{
    x->answer = ANSWER_ENDED;
    if (!x->handler_running)
        loop_ready_add(x->server->loop, &x->ready);
}

static bool bodiless(unsigned status)
{
    return status < 200 || status == 204 || status == 304;
}

/* How the body's end will be known. */
struct framing {
    bool none, chunked;
    uint64_t length;
};

static void write_framing(struct exchange *x, struct http1_writer *w, const struct framing *framing)
{
    const struct http_server *server = x->server;
    if (framing->chunked)
        http1_write_literal(w, "Transfer-Encoding: chunked\r\n");
    else if (!framing->none)
        http1_write_length(w, framing->length);
    if (x->close)
        http1_write_literal(w, "Connection: close\r\n");
    else
        http1_write_raw(w, server->keep_alive, server->keep_alive_size);
}

/* Writes the head to the output with room for `extra` bytes behind it. NULL: out of memory, or a
 * value is not clean. The place behind the head; *head its size. */
static uint8_t *write_head(struct exchange *x, struct output *out, unsigned status,
                           const char *type, const struct framing *framing, size_t extra,
                           size_t *head)
{
    struct http_server *server = x->server;
    const weir_http_app *app = server->app;
    size_t type_size = type != NULL ? strlen(type) : 0, fields = HTTP_ARENA - x->fields_from;
    size_t room =
        HTTP_HEAD_ROOM + type_size + x->premade_size + fields + app->extra_head_size + extra;
    uint8_t *place = output_room(server->loop, x->conn, out, room);
    if (place == NULL)
        return NULL;
    struct http1_writer w = http1_writer_on(place, room);
    http_date(server);
    http1_write_status(&w, status);
    http1_write_date(&w, server->date);
    if (type != NULL)
        http1_write_field(&w, (struct http_text){"Content-Type", 12},
                          (struct http_text){type, type_size});
    if (x->premade_size != 0)
        http1_write_raw(&w, x->premade, x->premade_size);
    if (fields != 0)
        http1_write_raw(&w, x->room->arena + x->fields_from, fields);
    if (app->extra_head_size != 0)
        http1_write_raw(&w, app->extra_head, app->extra_head_size);
    write_framing(x, &w, framing);
    ssize_t size = http1_write_end(&w);
    if (size < 0)
        return NULL;
    *head = (size_t)size;
    x->status = (uint16_t)status;
    return place + size;
}

static bool head_method(const struct exchange *x)
{
    return x->request.method == HTTP_HEAD && !x->refusal;
}

static int out_of(struct exchange *x, int error)
{
    return error == 0 ? WEIR_ENOMEM : error;
}

int answer_whole(struct exchange *x, unsigned status, const char *type, weir_view body)
{
    enum { COPIED_MAX = 16384 };
    weir_loop *loop = x->server->loop;
    struct conn *c = x->conn;
    unsigned owner = body.owner >> WEIR_OWNER_SHIFT;
    if (x->answer != ANSWER_NONE)
        return WEIR_EMISUSE;
    if (owner == WEIR_OWNER_NONE)
        return WEIR_ENOMEM;
    struct output *out = conn_output(loop, c);
    bool lent = owner == WEIR_OWNER_LENT, fixed = lent || owner == WEIR_OWNER_STATIC;
    if (out == NULL)
        return WEIR_ENOMEM;
    if (!fixed && c->queued_bytes + (uint64_t)body.size + HTTP_HEAD_ROOM * 8 >
                      c->service->config.hard_cap_bytes)
        return WEIR_EFULL;
    struct framing framing = {.none = bodiless(status), .length = body.size};
    bool carried = !framing.none && !head_method(x) && body.size != 0;
    bool copied = carried && !lent && body.size <= (fixed ? 1024 : COPIED_MAX);
    size_t head;
    uint8_t *place = write_head(x, out, status, type, &framing, copied ? body.size : 0, &head);
    if (place == NULL)
        return out_of(x, 0);
    if (copied)
        memcpy(place, body.data, body.size);
    output_wrote(c, out, head + (copied ? body.size : 0));
    int result = carried && !copied ? output_view(loop, c, out, body, true) : 0;
    if (!carried && lent)
        loan_done(loop, body.owner & ((1u << WEIR_OWNER_SHIFT) - 1));
    x->answer_bytes = carried ? body.size : 0;
    conn_dirty(loop, c);
    if (result < 0) { /* the head is queued already */
        conn_fail(loop, c, WEIR_WHY_LIMIT, result);
        return result;
    }
    ended(x);
    return 0;
}

int answer_error(struct exchange *x, unsigned status, const char *cause, const char *fix)
{
    char page[ERRORPAGE_MAX];
    size_t size = weir__errorpage_write((int)status, cause, fix, page);
    if (x->conn == NULL || x->conn->phase != CONN_OPEN)
        return WEIR_EGONE;
    int result = answer_whole(x, status, ERRORPAGE_TYPE, weir_bytes(page, size));
    if (result < 0 && x->answer == ANSWER_NONE)
        conn_fail(x->server->loop, x->conn, WEIR_WHY_LIMIT, result);
    return result;
}

int answer_begin(struct exchange *x, unsigned status, const char *type, int64_t length)
{
    struct conn *c = x->conn;
    struct output *out = conn_output(x->server->loop, c);
    struct framing framing = {.none = bodiless(status) || length < 0,
                              .chunked = length < 0 && !bodiless(status),
                              .length = length > 0 ? (uint64_t)length : 0};
    size_t head;
    if (x->answer != ANSWER_NONE)
        return WEIR_EMISUSE;
    if (framing.chunked && x->request.minor == 0 && !x->refusal) {
        framing.chunked = false; /* HTTP/1.0: the end of the connection is the end of the body */
        x->close = true;
    }
    if (out == NULL || write_head(x, out, status, type, &framing, 0, &head) == NULL)
        return WEIR_ENOMEM;
    output_wrote(c, out, head);
    conn_dirty(x->server->loop, c);
    x->answer = ANSWER_BEGUN;
    x->chunked = framing.chunked;
    x->head_only = head_method(x) || bodiless(status);
    x->answer_left = length >= 0 && !bodiless(status) ? (uint64_t)length : UINT64_MAX;
    if (x->head_only)
        x->answer_left = UINT64_MAX;
    return 0;
}

int answer_field(struct exchange *x, const char *name, struct http_text value)
{
    static const char *const own[] = {"content-length", "transfer-encoding", "connection",
                                      "keep-alive", "date"};
    if (x->answer != ANSWER_NONE)
        return WEIR_EMISUSE;
    for (unsigned i = 0; i < sizeof own / sizeof *own; i++) {
        if (strcasecmp(name, own[i]) == 0)
            return WEIR_EINVALID;
    }
    size_t name_size = strlen(name), size = name_size + value.length + 4;
    if (size > x->fields_from - x->arena_used)
        return WEIR_ETOOBIG;
    char *place = x->room->arena + x->fields_from - size;
    struct http1_writer w = http1_writer_on(place, size);
    http1_write_field(&w, (struct http_text){name, name_size}, value);
    if (w.error != 0)
        return WEIR_EINVALID;
    x->fields_from -= (uint32_t)size;
    return 0;
}

int weir_http_set(weir_exchange handle, const char *name, const char *value)
{
    int result;
    struct exchange *x = answering(handle, &result);
    if (x == NULL)
        return result;
    if (name == NULL || value == NULL)
        return WEIR_EINVALID;
    return answer_field(x, name, (struct http_text){value, strlen(value)});
}

int weir_http_respond(weir_exchange handle, unsigned status, const char *type, weir_view body)
{
    int result;
    struct exchange *x = answering(handle, &result);
    if (x != NULL && (status < 200 || status > 999))
        result = WEIR_EINVALID;
    if (result == 0)
        result = answer_whole(x, status, type, body);
    if (result < 0 && body.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_LENT && loop_current() != NULL &&
        (x == NULL || x->answer == ANSWER_NONE))
        loan_done(loop_current(), body.owner & ((1u << WEIR_OWNER_SHIFT) - 1));
    return result;
}

int weir_http_text(weir_exchange handle, unsigned status, const char *format, ...)
{
    static const char type[] = "text/plain; charset=utf-8";
    char text[1024];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (size < 0 || size > HTTP_TEXT_MAX)
        return size < 0 ? WEIR_EINVALID : WEIR_ETOOBIG;
    if ((size_t)size < sizeof text)
        return weir_http_respond(handle, status, type, weir_bytes(text, (size_t)size));
    weir_loop *loop = loop_current();
    size_t room;
    char *chunk = loop != NULL ? memory_take(&loop->memory, (size_t)size + 1, false, &room) : NULL;
    if (chunk == NULL)
        return WEIR_ENOMEM;
    va_start(args, format);
    vsnprintf(chunk, room, format, args);
    va_end(args);
    int result = weir_http_respond(handle, status, type, weir_bytes(chunk, (size_t)size));
    memory_give(&loop->memory, chunk, room);
    return result;
}

int weir_http_begin(weir_exchange handle, unsigned status, const char *type, int64_t length)
{
    int result;
    struct exchange *x = answering(handle, &result);
    if (x == NULL)
        return result;
    if (status < 200 || status > 999)
        return WEIR_EINVALID;
    return answer_begin(x, status, type, length);
}

static int write_piece(struct exchange *x, weir_view data)
{
    weir_conn conn = conn_handle(x->server->loop, x->conn);
    if (!x->chunked)
        return weir_send(conn, data);
    uint8_t head[HTTP1_CHUNK_HEAD_MAX];
    size_t size = http1_chunk_head(head, data.size);
    weir_view pieces[] = {weir_bytes(head, size), data, weir_static("\r\n", 2)};
    return weir_sendv(conn, pieces, 3);
}

int weir_http_write(weir_exchange handle, weir_view data, weir_time deadline)
{
    int result;
    struct exchange *x = answering(handle, &result);
    if (x == NULL)
        return result;
    if (x->answer != ANSWER_BEGUN)
        return WEIR_EMISUSE;
    if (data.size == 0 || x->head_only)
        return 0;
    if (!x->chunked && data.size > x->answer_left)
        return WEIR_ETOOBIG;
    result = write_piece(x, data);
    if (result < 0)
        return result;
    x->answer_bytes += data.size;
    if (!x->chunked && x->answer_left != UINT64_MAX)
        x->answer_left -= data.size;
    if (result == WEIR_SEND_WAIT && !x->plain)
        result = exchange_wait(x, WAIT_DRAIN, deadline);
    return result;
}

int weir_http_trailer(weir_exchange handle, const char *name, const char *value)
{
    int result;
    struct exchange *x = answering(handle, &result);
    if (x == NULL)
        return result;
    if (x->answer != ANSWER_BEGUN || !x->chunked)
        return WEIR_EMISUSE;
    uint8_t answer = x->answer;
    x->answer = ANSWER_NONE; /* the place of the head's fields takes the trailers' */
    if (!x->trailers)
        x->fields_from = HTTP_ARENA;
    x->trailers = true;
    result = weir_http_set(handle, name, value);
    x->answer = answer;
    return result;
}

int weir_http_end(weir_exchange handle)
{
    int result;
    struct exchange *x = answering(handle, &result);
    if (x == NULL)
        return result;
    if (x->answer != ANSWER_BEGUN)
        return WEIR_EMISUSE;
    if (!x->chunked && x->answer_left != 0 && x->answer_left != UINT64_MAX)
        return WEIR_ETORN; /* fewer bytes than were promised */
    if (x->chunked && !x->head_only) {
        weir_conn conn = conn_handle(x->server->loop, x->conn);
        size_t fields = x->trailers ? HTTP_ARENA - x->fields_from : 0;
        weir_view end[] = {weir_bytes("0\r\n", 3),
                           weir_bytes(x->room->arena + x->fields_from, fields),
                           weir_bytes("\r\n", 2)};
        result = weir_sendv(conn, end, 3);
    }
    if (result >= 0)
        ended(x);
    return result < 0 ? result : 0;
}
