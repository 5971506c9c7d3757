/* What a handler may ask of the request. */
#include <string.h>

#include "app/http/server.h"
#include "proto/httpuri.h"

static weir_view view_of(struct http_text text)
{
    return weir_bytes(text.at, text.length);
}

static weir_view span_view(weir_exchange handle, size_t span_offset)
{
    struct exchange *x = exchange_of(handle);
    if (x == NULL)
        return weir_bytes(NULL, 0);
    struct http1_span span;
    memcpy(&span, (const char *)&x->request + span_offset, sizeof span);
    return view_of(http1_text(&x->request.fields, span));
}

weir_view weir_http_method(weir_exchange x)
{
    return span_view(x, offsetof(struct http1_request, method_name));
}

weir_view weir_http_target(weir_exchange x)
{
    return span_view(x, offsetof(struct http1_request, target));
}

weir_view weir_http_path(weir_exchange x)
{
    return span_view(x, offsetof(struct http1_request, path));
}

weir_view weir_http_query(weir_exchange x)
{
    return span_view(x, offsetof(struct http1_request, query));
}

weir_view weir_http_header(weir_exchange handle, const char *name)
{
    struct exchange *x = exchange_of(handle);
    if (x == NULL || name == NULL)
        return weir_bytes(NULL, 0);
    int row = http1_fields_find(&x->request.fields, name, strlen(name), 0);
    if (row < 0)
        return weir_bytes(NULL, 0);
    return view_of(http1_field_value(&x->request.fields, (unsigned)row));
}

static bool field_join(struct exchange *x, enum http_name name, struct http_text *value)
{
    const struct http1_fields *fields = &x->request.fields;
    size_t size = 0;
    for (unsigned i = 0; i < fields->count; i++)
        size += fields->row[i].id == name ? (size_t)fields->row[i].value_length + 2 : 0;
    char *joined = exchange_alloc(x, size), *at = joined;
    if (joined == NULL)
        return false;
    for (unsigned i = 0; i < fields->count; i++) {
        if (fields->row[i].id != name)
            continue;
        struct http_text part = http1_field_value(fields, i);
        if (at != joined) {
            memcpy(at, ", ", 2);
            at += 2;
        }
        memcpy(at, part.at, part.length);
        at += part.length;
    }
    *value = (struct http_text){joined, (size_t)(at - joined)};
    return true;
}

bool request_field(struct exchange *x, enum http_name name, struct http_text *value)
{
    const struct http1_fields *fields = &x->request.fields;
    *value = (struct http_text){NULL, 0};
    if ((fields->repeated & HTTP_NAME_BIT(name)) != 0)
        return field_join(x, name, value);
    http1_fields_get(fields, name, value);
    return true;
}

const char *weir_http_param(weir_exchange handle, const char *name)
{
    struct exchange *x = exchange_of(handle);
    for (unsigned i = 0; x != NULL && name != NULL && i < x->param_count; i++) {
        if (strcmp(x->room->params[i].name, name) == 0)
            return x->room->params[i].value;
    }
    return "";
}

/* Whether a name of the query, as it came, is this one. */
static bool query_name_is(struct http_text key, const char *name, size_t size)
{
    char copy[256];
    if (memchr(key.at, '%', key.length) == NULL && memchr(key.at, '+', key.length) == NULL)
        return key.length == size && memcmp(key.at, name, size) == 0;
    ssize_t decoded = http_query_decode(key, copy, sizeof copy);
    return decoded >= 0 && (size_t)decoded == size && memcmp(copy, name, size) == 0;
}

const char *weir_http_query_value(weir_exchange handle, const char *name)
{
    struct exchange *x = exchange_of(handle);
    if (x == NULL || name == NULL)
        return NULL;
    struct http_text query = http1_text(&x->request.fields, x->request.query), key, value;
    size_t name_size = strlen(name);
    while (http_query_next(&query, &key, &value)) {
        if (!query_name_is(key, name, name_size))
            continue;
        char *copy = exchange_alloc(x, value.length + 1);
        ssize_t size = copy != NULL ? http_query_decode(value, copy, value.length) : -1;
        if (size < 0)
            return NULL;
        copy[size] = 0;
        return copy;
    }
    return NULL;
}

weir_conn weir_http_conn(weir_exchange handle)
{
    struct exchange *x = exchange_of(handle);
    if (x == NULL || x->conn == NULL)
        return (weir_conn){0};
    return conn_handle(x->server->loop, x->conn);
}

bool weir_http_aborted(weir_exchange handle)
{
    struct exchange *x = exchange_of(handle);
    return x == NULL || x->conn == NULL || x->conn->phase != CONN_OPEN;
}

/* The client waits for leave to send its body: it is given when somebody wants to read it. */
static int body_invite(struct exchange *x)
{
    static const char invite[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!x->expects)
        return 0;
    x->expects = false;
    if (x->answer != ANSWER_NONE || x->body.received != 0)
        return 0;
    int result =
        weir_send(conn_handle(x->server->loop, x->conn), weir_static(invite, sizeof invite - 1));
    return result < 0 ? result : 0;
}

/* What reading gives without waiting: 0 at the end, an error, or 1: it has to be waited for. */
static int read_at_once(struct exchange *x)
{
    if (x->plain || x->answer >= ANSWER_SOURCE) /* what is left of it is read away already */
        return WEIR_EMISUSE;
    if (x->body_error != 0)
        return x->body_error;
    if (x->body_ended)
        return 0;
    if (x->conn == NULL || x->conn->phase != CONN_OPEN)
        return WEIR_EGONE;
    return exchange_waits_possible(x) ? 1 : WEIR_EMISUSE;
}

int weir_http_read(weir_exchange handle, weir_view *out, weir_time deadline)
{
    struct exchange *x = exchange_of(handle);
    if (x == NULL)
        return WEIR_EGONE;
    if (out == NULL)
        return WEIR_EINVALID;
    *out = weir_bytes(NULL, 0);
    int result = read_at_once(x);
    if (result == 1)
        result = body_invite(x);
    else
        body_piece_give(x);
    if (result < 0 || x->body_ended)
        return result;
    x->waits = WAIT_BODY; /* so that the deadline that begins now is this one */
    body_want(x);
    x->waits = WAIT_NONE;
    result = exchange_wait(x, WAIT_BODY, deadline);
    if (result != 1) {
        body_pause(x);
        return result;
    }
    *out = weir_bytes(x->piece, x->piece_size);
    return (int)x->piece_size;
}

int weir_http_on_body(weir_exchange handle, weir_http_body_fn *fn, void *arg)
{
    struct exchange *x = exchange_of(handle);
    if (x == NULL || x->conn == NULL)
        return WEIR_EGONE;
    if (fn == NULL)
        return WEIR_EINVALID;
    if (!x->plain || x->on_body != NULL || x->answer >= ANSWER_SOURCE)
        return WEIR_EMISUSE;
    int result = x->body_ended ? 0 : body_invite(x);
    if (result < 0)
        return result;
    x->on_body = fn;
    x->on_body_arg = arg;
    if (x->body_ended)
        exchange_later(x); /* not inside this verb */
    else
        body_want(x);
    return 0;
}
