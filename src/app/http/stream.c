/* Answers in pieces: what a handler writes, its trailers, its end. */
#include "app/http/server.h"

static struct exchange *streaming(weir_exchange handle, int *result)
{
    struct exchange *x = answering(handle, result);
    if (x == NULL)
        return NULL;
    if (x->answer != ANSWER_BEGUN)
        *result = WEIR_EMISUSE;
    else if (x->torn)
        *result = WEIR_ETORN;
    return *result == 0 ? x : NULL;
}

int weir_http_begin(weir_exchange handle, unsigned status, const char *type, int64_t length)
{
    int result;
    struct exchange *x = answering(handle, &result);
    return x != NULL ? answer_begin(x, status, type, length) : result;
}

/* Queues one piece with its framing: 0, WEIR_SEND_WAIT or an error; the view is used up. */
static int piece_queue(struct exchange *x, weir_view data)
{
    weir_conn conn = conn_handle(x->server->loop, x->conn);
    int result;
    if (x->chunked) {
        uint8_t head[HTTP1_CHUNK_HEAD_MAX];
        size_t size = http1_chunk_head(head, data.size);
        weir_view pieces[] = {weir_bytes(head, size), data, weir_static("\r\n", 2)};
        result = weir_sendv(conn, pieces, 3);
    } else {
        result = weir_send(conn, data);
    }
    if (result < 0)
        return result;
    x->answer_bytes += data.size;
    if (x->answer_left != UINT64_MAX)
        x->answer_left -= data.size;
    return result;
}

/* What the hard cap counts goes in parts that fit below it, each when the one before has mostly
 * gone. */
static int pieces_write(struct exchange *x, weir_view data, weir_time deadline)
{
    uint32_t at = 0;
    int result = 0;
    while (at < data.size) {
        weir_view part = weir_slice(data, at, HTTP_WRITE_MAX);
        result = piece_queue(x, part);
        if (result < 0)
            break;
        at += part.size;
        if (result == WEIR_SEND_WAIT)
            result = exchange_wait(x, WAIT_DRAIN, deadline);
        if (result < 0)
            break;
    }
    /* Some of it is on its way, and nobody could tell how much. */
    if (result < 0 && at != 0 && at < data.size)
        x->torn = true;
    return result;
}

static bool borrowed(weir_view view)
{
    unsigned owner = view.owner >> WEIR_OWNER_SHIFT;
    return owner == WEIR_OWNER_CALLER || owner == WEIR_OWNER_BLOCK || owner == WEIR_OWNER_KEPT;
}

int weir_http_write(weir_exchange handle, weir_view data, weir_time deadline)
{
    int result;
    struct exchange *x = streaming(handle, &result);
    if (result == 0 && data.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_NONE)
        result = WEIR_ENOMEM;
    else if (result == 0 && data.size > x->answer_left)
        result = WEIR_ETOOBIG;
    if (result < 0 || data.size == 0 || x->head_only) {
        answer_view_return(data);
        return result;
    }
    bool waits = exchange_waits_possible(x);
    if (waits && borrowed(data) && data.size > HTTP_WRITE_MAX)
        return pieces_write(x, data, deadline);
    result = piece_queue(x, data);
    if (result == WEIR_SEND_WAIT && waits)
        result = exchange_wait(x, WAIT_DRAIN, deadline);
    return result;
}

int weir_http_trailer(weir_exchange handle, const char *name, const char *value)
{
    int result;
    struct exchange *x = streaming(handle, &result);
    if (x == NULL)
        return result;
    if (name == NULL || value == NULL)
        return WEIR_EINVALID;
    if (!x->chunked)
        return WEIR_EMISUSE;
    if (!x->trailers) { /* the place of the head's fields takes the trailers' */
        x->trailers = true;
        x->fields_size = 0;
    }
    return field_add(x, name, (struct http_text){value, strlen(value)});
}

static int chunks_end(struct exchange *x)
{
    size_t fields = x->trailers ? x->fields_size : 0;
    weir_view end[] = {weir_static("0\r\n", 3), weir_bytes(x->fields, fields),
                       weir_static("\r\n", 2)};
    return weir_sendv(conn_handle(x->server->loop, x->conn), end, 3);
}

int weir_http_end(weir_exchange handle)
{
    int result;
    struct exchange *x = streaming(handle, &result);
    if (x == NULL && result != WEIR_ETORN)
        return result;
    if (x == NULL)
        x = exchange_of(handle);
    else if (x->answer_left != 0 && x->answer_left != UINT64_MAX)
        result = WEIR_ETORN; /* fewer bytes than were promised */
    else if (x->chunked && !x->head_only)
        result = chunks_end(x);
    if (result < 0) {
        conn_fail(x->server->loop, x->conn, WEIR_WHY_ERROR, result);
        return result;
    }
    answer_ended(x);
    return 0;
}
