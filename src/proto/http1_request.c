#include "base/assert.h"
#include "proto/httpfield.h"
#include "proto/http1_engine.h"

#include <string.h>

/* A request may say that it expects 100-continue, once or more often, and nothing else. */
static enum http1_refusal settle_expectation(struct http1_request *request)
{
    const struct http1_fields *fields = &request->fields;

    for (unsigned row = fields->first[HTTP_EXPECT]; row < fields->count; row++) {
        struct http_text list, element;
        int rc;

        if (fields->row[row].id != HTTP_EXPECT)
            continue;
        list = http1_field_value(fields, row);
        while ((rc = http_list_next(&list, &element)) == 1) {
            if (!http_text_is(element, "100-continue"))
                return HTTP1_UNKNOWN_EXPECTATION;
        }
        if (rc < 0)
            return HTTP1_UNKNOWN_EXPECTATION;
    }
    /* From a 1.0 client it is ignored (RFC 9110 10.1.1); without a body nobody waits. */
    request->expect_continue =
        request->minor == 1 && (request->chunked || request->content_length > 0);
    return HTTP1_ACCEPTED;
}

/* Decides what the fields mean together. */
static enum http1_refusal settle(struct http1_request *request)
{
    const uint64_t settling = HTTP_NAME_BIT(HTTP_CONTENT_LENGTH) |
                              HTTP_NAME_BIT(HTTP_TRANSFER_ENCODING) |
                              HTTP_NAME_BIT(HTTP_CONNECTION) | HTTP_NAME_BIT(HTTP_EXPECT);
    const struct http1_fields *fields = &request->fields;
    enum http1_refusal refusal;

    refusal = http1_settle_target(request);
    if (refusal != HTTP1_ACCEPTED)
        return refusal;
    request->keep_alive = request->minor == 1;
    if (!(fields->seen & settling))
        return HTTP1_ACCEPTED;
    refusal = http1_settle_framing(fields, request->minor, &request->has_length,
                                   &request->content_length, &request->chunked);
    if (refusal == HTTP1_ACCEPTED)
        refusal = http1_settle_connection(fields, &request->options);
    if (refusal != HTTP1_ACCEPTED)
        return refusal;
    request->keep_alive = !(request->options & HTTP1_OPTION_CLOSE) &&
                          (request->minor == 1 || request->options & HTTP1_OPTION_KEEP_ALIVE);
    if (http1_fields_have(fields, HTTP_EXPECT))
        refusal = settle_expectation(request);
    return refusal;
}

/* Field by field: a memset of this size becomes a string instruction, which takes its time. */
static void clear(struct http1_request *request, const uint8_t *p)
{
    const struct http1_span none = {0, 0};

    request->fields.base = p;
    request->fields.count = 0;
    request->fields.seen = request->fields.repeated = 0;
    request->method_name = request->target = request->path = request->query = none;
    request->scheme = request->host = request->host_name = none;
    request->port = 0;
    request->method = request->minor = request->form = request->options = 0;
    request->has_query = request->has_length = request->chunked = false;
    request->keep_alive = request->expect_continue = false;
    request->content_length = 0;
    request->head_bytes = 0;
}

ssize_t http1_parse_request(const uint8_t *p, size_t n, struct http1_resume *resume,
                            const struct http1_limits *limits, struct http1_request *request)
{
    struct http1_bounds bounds =
        http1_bounds_of(HTTP1_KIND_REQUEST, limits, request->fields.capacity);
    const uint8_t *end, *next;
    struct http1_stop stop;
    enum http1_refusal refusal;

    clear(request, p);
    if (n == 0)
        return 0;
    end = p + (n < bounds.bytes ? n : bounds.bytes);
    if (resume->scanned != 0) {
        ssize_t rc = http1_judge(p, n, &bounds, resume);

        if (rc <= 0)
            return rc;
    }
    next =
        http1_engine_current()->request(p, end, bounds.line_bytes, request, bounds.fields, &stop);
    if (__builtin_expect(!next, 0)) {
        ssize_t rc;

        clear(request, p);
        resume->line = (uint32_t)(stop.line - p);
        resume->lines = stop.lines;
        rc = http1_judge(p, n, &bounds, resume);
        WEIR_DEBUG_ASSERT(rc <= 0); /* else judge and engine disagree on what a good line is */
        return rc <= 0 ? rc : -(ssize_t)HTTP1_BAD_REQUEST_LINE;
    }
    *resume = (struct http1_resume){0, 0, 0};
    request->head_bytes = (uint32_t)(next - p);
    refusal = settle(request);
    return refusal == HTTP1_ACCEPTED ? next - p : -(ssize_t)refusal;
}
