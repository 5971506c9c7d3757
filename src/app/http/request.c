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

const char *weir_http_query_value(weir_exchange handle, const char *name)
{
    struct exchange *x = exchange_of(handle);
    if (x == NULL || name == NULL)
        return NULL;
    struct http_text query = http1_text(&x->request.fields, x->request.query), key, value;
    size_t name_size = strlen(name);
    while (http_query_next(&query, &key, &value)) {
        uint32_t mark = x->arena_used;
        char *copy = exchange_alloc(x, (key.length > value.length ? key.length : value.length) + 1);
        if (copy == NULL)
            return NULL;
        ssize_t size = http_query_decode(key, copy, key.length);
        if (size < 0 || (size_t)size != name_size || memcmp(copy, name, name_size) != 0) {
            x->arena_used = mark;
            continue;
        }
        size = http_query_decode(value, copy, value.length);
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
    weir_loop *loop = x->server->loop;
    x->body_ms = loop->now_ms;
    x->body_mark = x->body.received;
    if (!x->expects)
        return 0;
    x->expects = false;
    if (x->answer != ANSWER_NONE || x->body.received != 0)
        return 0;
    int result = weir_send(conn_handle(loop, x->conn), weir_static(invite, sizeof invite - 1));
    return result < 0 ? result : 0;
}

/* The body goes on with what is held, or with what comes. */
static void body_resume(struct exchange *x)
{
    struct conn *c = x->conn;
    weir_loop *loop = x->server->loop;
    conn_flags(c) |= CONN_PAUSED_PROTO; /* so that held input is looked at again in any case */
    conn_unpause(loop, c, CONN_PAUSED_PROTO);
}

int weir_http_read(weir_exchange handle, weir_view *out, weir_time deadline)
{
    struct exchange *x = exchange_of(handle);
    if (x == NULL)
        return WEIR_EGONE;
    if (out == NULL)
        return WEIR_EINVALID;
    *out = weir_bytes(NULL, 0);
    if (x->plain)
        return WEIR_EMISUSE;
    if (x->body_error != 0)
        return x->body_error;
    if (x->body_ended)
        return 0;
    if (x->conn == NULL || x->conn->phase != CONN_OPEN)
        return WEIR_EGONE;
    int result = body_invite(x);
    if (result < 0)
        return result;
    if ((conn_flags(x->conn) & CONN_IN_CONSUMER) == 0)
        body_resume(x);
    result = exchange_wait(x, WAIT_BODY, deadline);
    if (result == 1) {
        *out = weir_bytes(x->piece, x->piece_size);
        return (int)x->piece_size;
    }
    return result;
}

int weir_http_on_body(weir_exchange handle, weir_http_body_fn *fn, void *arg)
{
    struct exchange *x = exchange_of(handle);
    if (x == NULL || x->conn == NULL)
        return WEIR_EGONE;
    if (fn == NULL)
        return WEIR_EINVALID;
    if (!x->plain || x->on_body != NULL)
        return WEIR_EMISUSE;
    int result = x->body_ended ? 0 : body_invite(x);
    if (result < 0)
        return result;
    x->on_body = fn;
    x->on_body_arg = arg;
    if (x->body_ended)
        fn(handle, weir_bytes(NULL, 0), 0, arg);
    else if ((conn_flags(x->conn) & CONN_IN_CONSUMER) == 0)
        body_resume(x);
    return 0;
}
