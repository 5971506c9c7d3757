/* Answers: heads, written straight into the connection's output, and bodies that are in memory
 * whole. */
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

struct exchange *answering(weir_exchange handle, int *result)
{
    struct exchange *x = exchange_of(handle);
    *result = x != NULL && answer_possible(x) ? 0 : WEIR_EGONE;
    return *result == 0 ? x : NULL;
}

void answer_view_return(weir_view view)
{
    weir_loop *loop = loop_current();
    if (view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_LENT && loop != NULL && loop->net != NULL)
        loan_done(loop, view.owner & ((1u << WEIR_OWNER_SHIFT) - 1));
}

/* One whose handler is not running is looked at again by the loop. */
void answer_ended(struct exchange *x)
{
    x->answer = ANSWER_ENDED;
    if (!x->handler_running)
        exchange_later(x);
}

/* ---- heads ---- */

static bool bodiless(unsigned status)
{
    return status < 200 || status == 204 || status == 304;
}

/* How the body's end will be known. */
struct framing {
    bool none, chunked;
    uint64_t length;
};

/* Whether the client has asked for more already. */
static bool input_behind(const struct exchange *x)
{
    return (conn_flags(x->conn) & CONN_IN_CONSUMER) != 0 ? x->behind : http_input_held(x->conn);
}

/* The last moment to say that the connection closes: when the server is being stopped and nothing
 * is left to be answered, and when a body that nobody has read is too long to be read away. */
static void close_decide(struct exchange *x, bool whole)
{
    if (x->close)
        return;
    x->close = (x->server->loop->net->draining && !input_behind(x)) ||
               (whole && !x->body_ended && !body_discardable(x));
}

static inline uint8_t *put(uint8_t *to, const void *from, size_t size)
{
    memcpy(to, from, size);
    return to + size;
}

static uint8_t *put_length(uint8_t *to, uint64_t length)
{
    char digits[20], *first = digits + sizeof digits;
    to = put(to, "Content-Length: ", 16);
    do
        *--first = (char)('0' + length % 10);
    while ((length /= 10) != 0);
    to = put(to, first, (size_t)(digits + sizeof digits - first));
    return put(to, "\r\n", 2);
}

/* How a head begins. It is kept, for mostly the next one begins alike. */
static int made_anew(struct http_server *server, unsigned status, const char *type, size_t size)
{
    struct http1_writer w = http1_writer_on(server->made, HTTP_MADE_ROOM + server->lines_size);
    if (size > HTTP_TYPE_MAX)
        return WEIR_ETOOBIG;
    server->made_size = 0;
    http1_write_status(&w, status);
    http1_write_raw(&w, server->lines, server->lines_size);
    if (type != NULL)
        http1_write_field(&w, (struct http_text){"Content-Type", 12},
                          (struct http_text){type, size});
    if (w.error != 0 || (type != NULL && size == 0))
        return WEIR_EINVALID;
    server->made_size = (size_t)(w.at - w.begin);
    server->made_status = status;
    server->type_size = size;
    return 0;
}

static inline int made_for(struct http_server *server, unsigned status, const char *type)
{
    size_t size = type != NULL ? strlen(type) : 0;
    http_date(server);
    if (server->made_size != 0 && status == server->made_status && size == server->type_size &&
        (size == 0 || memcmp(server->made + server->made_size - 2 - size, type, size) == 0))
        return 0;
    return made_anew(server, status, type, size);
}

static uint8_t *put_framing(uint8_t *to, const struct exchange *x, const struct framing *framing)
{
    if (framing->chunked)
        to = put(to, "Transfer-Encoding: chunked\r\n", 28);
    else if (!framing->none)
        to = put_length(to, framing->length);
    if (x->close)
        to = put(to, "Connection: close\r\n", 19);
    else
        to = put(to, x->server->keep_alive, x->server->keep_alive_size);
    return put(to, "\r\n", 2);
}

/* Writes the head to the output with room for `extra` bytes behind it: *place is there, *size that
 * of the head. Whatever can fail does so before the output has changed. */
static int write_head(struct exchange *x, struct output *out, unsigned status, const char *type,
                      const struct framing *framing, size_t extra, uint8_t **place, size_t *size)
{
    struct http_server *server = x->server;
    int result = made_for(server, status, type);
    if (result < 0)
        return result;
    size_t room = HTTP_HEAD_ROOM + server->made_size + x->premade_size + x->fields_size + extra;
    uint8_t *at = output_room(server->loop, x->conn, out, room), *begin = at;
    if (at == NULL)
        return WEIR_ENOMEM;
    at = put(at, server->made, server->made_size);
    if (x->premade_size != 0)
        at = put(at, x->premade, x->premade_size);
    if (x->fields_size != 0)
        at = put(at, x->fields, x->fields_size);
    at = put_framing(at, x, framing);
    x->status = (uint16_t)status;
    *place = at;
    *size = (size_t)(at - begin);
    return 0;
}

static int answer_check(const struct exchange *x, unsigned status)
{
    if (x->answer != ANSWER_NONE)
        return WEIR_EMISUSE;
    return status < 200 || status > 999 ? WEIR_EINVALID : 0;
}

int answer_begin(struct exchange *x, unsigned status, const char *type, int64_t length)
{
    struct conn *c = x->conn;
    bool none = bodiless(status);
    struct framing framing = {.none = none || length < 0,
                              .chunked = length < 0 && !none,
                              .length = length > 0 ? (uint64_t)length : 0};
    uint8_t *place;
    size_t size;
    int result = answer_check(x, status);
    if (result < 0)
        return result;
    if (framing.chunked && x->request.minor == 0) {
        framing.chunked = false; /* HTTP/1.0: the end of the connection is the end of the body */
        x->close = true;
    }
    close_decide(x, false);
    struct output *out = conn_output(x->server->loop, c);
    result =
        out != NULL ? write_head(x, out, status, type, &framing, 0, &place, &size) : WEIR_ENOMEM;
    if (result < 0)
        return result;
    output_wrote(c, out, size);
    conn_dirty(x->server->loop, c);
    x->answer = ANSWER_BEGUN;
    x->chunked = framing.chunked;
    x->head_only = none || x->request.method == HTTP_HEAD;
    x->answer_left = length >= 0 && !x->head_only ? (uint64_t)length : UINT64_MAX;
    return 0;
}

/* ---- whole answers ---- */

/* How a body gets into the output: not at all, behind its head in one piece, or as a segment. */
enum carriage { CARRIED_NOT, CARRIED_COPIED, CARRIED_QUEUED };

static enum carriage carriage_of(const struct exchange *x, const struct framing *framing,
                                 weir_view body)
{
    enum { COPIED_MAX = 16384, STATIC_COPIED_MAX = 1024 };
    unsigned owner = body.owner >> WEIR_OWNER_SHIFT;
    if (framing->none || x->request.method == HTTP_HEAD || body.size == 0)
        return CARRIED_NOT;
    if (owner == WEIR_OWNER_LENT)
        return CARRIED_QUEUED;
    return body.size <= (owner == WEIR_OWNER_STATIC ? STATIC_COPIED_MAX : COPIED_MAX)
               ? CARRIED_COPIED
               : CARRIED_QUEUED;
}

/* Whether the body fits below the hard cap; what is static or lent is not counted. */
static bool body_fits(const struct conn *c, weir_view body)
{
    enum { HEAD = 4096 };
    unsigned owner = body.owner >> WEIR_OWNER_SHIFT;
    return owner == WEIR_OWNER_STATIC || owner == WEIR_OWNER_LENT ||
           c->queued_bytes + (uint64_t)body.size + HEAD <= c->service->config.hard_cap_bytes;
}

static int whole_queue(struct exchange *x, struct output *out, unsigned status, const char *type,
                       weir_view body)
{
    weir_loop *loop = x->server->loop;
    struct conn *c = x->conn;
    struct framing framing = {.none = bodiless(status),
                              .length = status == 205 ? 0 : body.size}; /* RFC 9110 15.3.6 */
    enum carriage carriage = status == 205 ? CARRIED_NOT : carriage_of(x, &framing, body);
    size_t copied = carriage == CARRIED_COPIED ? body.size : 0, size;
    uint8_t *place;
    close_decide(x, true);
    int result = write_head(x, out, status, type, &framing, copied, &place, &size);
    if (result < 0)
        return result;
    if (copied != 0)
        memcpy(place, body.data, copied);
    output_wrote(c, out, size + copied);
    conn_dirty(loop, c);
    x->answer_bytes = carriage != CARRIED_NOT ? body.size : 0;
    if (carriage == CARRIED_QUEUED)
        result = output_view(loop, c, out, body, true);
    else
        answer_view_return(body);
    if (result < 0) { /* the head is queued already */
        x->answer = ANSWER_BEGUN;
        conn_fail(loop, c, WEIR_WHY_LIMIT, result);
        return result;
    }
    answer_ended(x);
    return 0;
}

int answer_whole(struct exchange *x, unsigned status, const char *type, weir_view body)
{
    int result = answer_check(x, status);
    if (result == 0 && body.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_NONE)
        result = WEIR_ENOMEM;
    if (result == 0 && !body_fits(x->conn, body))
        result = WEIR_EFULL;
    struct output *out = result == 0 ? conn_output(x->server->loop, x->conn) : NULL;
    if (result == 0)
        result = out != NULL ? whole_queue(x, out, status, type, body) : WEIR_ENOMEM;
    if (result < 0)
        answer_view_return(body);
    return result;
}

int answer_error(struct exchange *x, unsigned status, const char *cause, const char *fix)
{
    char page[ERRORPAGE_MAX];
    if (!answer_possible(x))
        return WEIR_EGONE;
    size_t size = weir__errorpage_write((int)status, cause, fix, page);
    int result = answer_whole(x, status, ERRORPAGE_TYPE, weir_bytes(page, size));
    if (result < 0 && x->answer == ANSWER_NONE)
        conn_fail(x->server->loop, x->conn, WEIR_WHY_LIMIT, result);
    return result;
}

void answer_busy(struct exchange *x, const char *cause)
{
    answer_field(x, "Retry-After", (struct http_text){"1", 1});
    answer_error(x, 503, cause, "try again in a moment");
}

/* What the handler has prepared was for another answer. */
void answer_instead(struct exchange *x, unsigned status, const char *cause)
{
    x->fields_size = 0;
    x->premade_size = 0;
    answer_error(x, status, cause, NULL);
}

/* ---- fields ---- */

/* Room for `size` more bytes of fields: in the room's own place, then in chunks. */
static char *fields_room(struct exchange *x, size_t size)
{
    struct memory *memory = &x->server->loop->memory;
    if (size > x->fields_room - x->fields_size) {
        size_t room;
        char *grown = memory_take(memory, (x->fields_size + size) * 2, true, &room);
        if (grown == NULL)
            return NULL;
        memcpy(grown, x->fields, x->fields_size);
        if (x->fields != x->room->fields)
            memory_give(memory, x->fields, x->fields_room);
        x->fields = grown;
        x->fields_room = (uint32_t)room;
    }
    return x->fields + x->fields_size;
}

bool field_own(struct http_text name)
{
    static const char *const own[] = {"content-length", "transfer-encoding", "connection",
                                      "keep-alive", "date"};
    for (unsigned i = 0; i < sizeof own / sizeof *own; i++) {
        if (strlen(own[i]) == name.length && strncasecmp(name.at, own[i], name.length) == 0)
            return true;
    }
    return false;
}

int field_add(struct exchange *x, const char *name, struct http_text value)
{
    size_t name_size = strlen(name);
    if (field_own((struct http_text){name, name_size}))
        return WEIR_EINVALID;
    if (name_size > HTTP_FIELDS_MAX || value.length > HTTP_FIELDS_MAX ||
        x->fields_size + name_size + value.length + 4 > HTTP_FIELDS_MAX)
        return WEIR_ETOOBIG;
    size_t size = name_size + value.length + 4;
    char *place = fields_room(x, size);
    if (place == NULL)
        return WEIR_ENOMEM;
    struct http1_writer w = http1_writer_on(place, size);
    http1_write_field(&w, (struct http_text){name, name_size}, value);
    if (w.error != 0)
        return WEIR_EINVALID;
    x->fields_size += (uint32_t)size;
    return 0;
}

int answer_field(struct exchange *x, const char *name, struct http_text value)
{
    return x->answer != ANSWER_NONE ? WEIR_EMISUSE : field_add(x, name, value);
}

/* ---- verbs ---- */

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
    if (x != NULL)
        return answer_whole(x, status, type, body);
    answer_view_return(body);
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
    if (loop == NULL)
        return WEIR_EGONE;
    size_t room;
    char *chunk = memory_take(&loop->memory, (size_t)size + 1, true, &room);
    if (chunk == NULL)
        return WEIR_ENOMEM;
    va_start(args, format);
    vsnprintf(chunk, room, format, args);
    va_end(args);
    int result = weir_http_respond(handle, status, type, weir_bytes(chunk, (size_t)size));
    memory_give(&loop->memory, chunk, room);
    return result;
}
