#include "base/assert.h"
#include "proto/http1_engine.h"

#include "proto/httpchar.h"

#include <string.h>

static bool is_digit(uint8_t c)
{
    return http_char_is(c, HTTP_CLASS_DIGIT);
}

/*
 * Takes the status line; gives what follows its CR LF, or NULL when it is not right in full. The
 * space before an empty reason is missing from what many servers send, and not missed.
 */
static const uint8_t *take_status_line(struct http1_response *response, const uint8_t *p,
                                       const uint8_t *end, uint32_t line_bytes)
{
    const uint8_t *c = p + 12;

    if (end - p < 14 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1'))
        return NULL;
    if (p[8] != ' ' || p[9] < '1' || p[9] > '5' || !is_digit(p[10]) || !is_digit(p[11]))
        return NULL;
    response->minor = (uint8_t)(p[7] - '0');
    response->status = (uint16_t)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
    if (*c == ' ') {
        c = http1_engine_current()->skip[HTTP1_TEXT](c + 1, end, p);
        response->reason.at = 13;
        response->reason.length = (uint32_t)(c - p) - 13;
    }
    if (end - c < 2 || c[0] != '\r' || c[1] != '\n' || c - p > line_bytes)
        return NULL;
    return c + 2;
}

/* Which body follows (RFC 9112 6.3). One that announces a body that it cannot have is refused:
 * its sender may go on with that body. */
static enum http1_refusal settle_body(struct http1_response *response, enum http_method method,
                                      bool chunked)
{
    unsigned status = response->status;

    response->body = HTTP1_BODY_NONE;
    if (status < 200 || status == 204)
        return chunked || response->content_length ? HTTP1_FORBIDDEN_BODY : HTTP1_ACCEPTED;
    if (method == HTTP_HEAD || status == 304)
        return HTTP1_ACCEPTED;
    if (chunked) {
        response->body = HTTP1_BODY_CHUNKED;
    } else if (response->has_length) {
        response->body = response->content_length ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE;
    } else {
        response->body = HTTP1_BODY_UNTIL_CLOSE;
        response->keep_alive = false;
    }
    return HTTP1_ACCEPTED;
}

static enum http1_refusal settle(struct http1_response *response, enum http_method method)
{
    enum http1_refusal refusal;
    bool chunked = false;

    if (method == HTTP_CONNECT && response->status / 100 == 2) /* a tunnel: RFC 9110 9.3.6 */
        return http1_settle_connection(&response->fields, &response->options);
    refusal = http1_settle_framing(&response->fields, response->minor, &response->has_length,
                                   &response->content_length, &chunked);
    if (refusal == HTTP1_ACCEPTED)
        refusal = http1_settle_connection(&response->fields, &response->options);
    if (refusal != HTTP1_ACCEPTED)
        return refusal;
    response->keep_alive = !(response->options & HTTP1_OPTION_CLOSE) &&
                           (response->minor == 1 || response->options & HTTP1_OPTION_KEEP_ALIVE);
    response->interim = response->status < 200 && response->status != 101;
    if (response->status == 101)
        response->keep_alive = false; /* what follows is not HTTP/1.1 any more */
    return settle_body(response, method, chunked);
}

static void clear(struct http1_response *response, const uint8_t *p)
{
    size_t from = offsetof(struct http1_response, reason);

    memset((uint8_t *)response + from, 0, sizeof(*response) - from);
    response->fields.base = p;
    response->fields.count = 0;
    response->fields.seen = response->fields.repeated = 0;
}

ssize_t http1_parse_response(const uint8_t *p, size_t n, struct http1_resume *resume,
                             const struct http1_limits *limits, enum http_method method,
                             struct http1_response *response)
{
    struct http1_bounds bounds =
        http1_bounds_of(HTTP1_KIND_RESPONSE, limits, response->fields.capacity);
    struct http1_stop stop = {NULL, 0};
    enum http1_refusal refusal;
    const uint8_t *end, *next;
    ssize_t rc;

    clear(response, p);
    if (n == 0)
        return 0;
    end = p + (n < bounds.bytes ? n : bounds.bytes);
    if (resume->scanned != 0) {
        rc = http1_judge(p, n, &bounds, resume);
        if (rc <= 0)
            return rc;
    }
    stop.line = p;
    next = take_status_line(response, p, end, bounds.line_bytes);
    if (next) {
        stop.lines = 1;
        next =
            http1_engine_current()->fields(p, next, end, &response->fields, bounds.fields, &stop);
    }
    if (!next) {
        clear(response, p);
        resume->line = (uint32_t)(stop.line - p);
        resume->lines = stop.lines;
        rc = http1_judge(p, n, &bounds, resume);
        WEIR_DEBUG_ASSERT(rc <= 0); /* else judge and engine disagree on what a good line is */
        return rc <= 0 ? rc : -(ssize_t)HTTP1_BAD_STATUS_LINE;
    }
    *resume = (struct http1_resume){0, 0, 0};
    response->head_bytes = (uint32_t)(next - p);
    refusal = settle(response, method);
    return refusal == HTTP1_ACCEPTED ? next - p : -(ssize_t)refusal;
}
