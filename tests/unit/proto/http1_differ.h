/*
 * Runs the parsers of heads with every engine and cut in many ways, and aborts where any two
 * differ. Shared by the unit test and the fuzz targets.
 */
#ifndef WEIR_TEST_HTTP1_DIFFER_H
#define WEIR_TEST_HTTP1_DIFFER_H

#include "proto/httpchar.h"
#include "proto/http1_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIFFER_ROWS 80

/* One head parsed, as request or response, with all that it gave. */
struct parsed {
    ssize_t rc;
    bool response;
    struct http1_request request;
    struct http1_response answer;
    struct http1_field rows[DIFFER_ROWS];
};

struct differ_options {
    bool response;
    enum http_method method;
    const struct http1_limits *limits;
};

#define DIFFER_CHECK(condition)                                                        \
    do {                                                                               \
        if (!(condition)) {                                                            \
            fprintf(stderr, "%s:%d: %s (engine %s)\n", __FILE__, __LINE__, #condition, \
                    http1_engine_current()->name);                                     \
            abort();                                                                   \
        }                                                                              \
    } while (0)

/* Leaves nothing of a former parse behind that could look like an answer. */
static inline void differ_prepare(struct parsed *parsed, bool response)
{
    memset(parsed, 0xa5, sizeof(*parsed));
    parsed->response = response;
    parsed->request.fields.row = parsed->answer.fields.row = parsed->rows;
    parsed->request.fields.capacity = parsed->answer.fields.capacity = DIFFER_ROWS;
}

static inline void differ_parse(struct parsed *parsed, const uint8_t *p, size_t n,
                                struct http1_resume *resume, const struct differ_options *options)
{
    if (options->response)
        parsed->rc =
            http1_parse_response(p, n, resume, options->limits, options->method, &parsed->answer);
    else
        parsed->rc = http1_parse_request(p, n, resume, options->limits, &parsed->request);
}

static inline void differ_same_fields(const struct http1_fields *a, const struct http1_fields *b)
{
    DIFFER_CHECK(a->count == b->count && a->seen == b->seen && a->repeated == b->repeated);
    for (unsigned i = 0; i < a->count; i++) {
        const struct http1_field *x = &a->row[i], *y = &b->row[i];

        DIFFER_CHECK(x->name_at == y->name_at && x->name_length == y->name_length);
        DIFFER_CHECK(x->value_at == y->value_at && x->value_length == y->value_length);
        DIFFER_CHECK(x->id == y->id);
    }
    for (unsigned id = 1; id < HTTP_NAMES; id++) {
        if (http1_fields_have(a, (enum http_name)id))
            DIFFER_CHECK(a->first[id] == b->first[id]);
    }
}

static inline bool differ_same_span(struct http1_span a, struct http1_span b)
{
    return a.at == b.at && a.length == b.length;
}

static inline void differ_same_request(const struct http1_request *a, const struct http1_request *b)
{
    differ_same_fields(&a->fields, &b->fields);
    DIFFER_CHECK(differ_same_span(a->method_name, b->method_name));
    DIFFER_CHECK(differ_same_span(a->target, b->target));
    DIFFER_CHECK(differ_same_span(a->path, b->path));
    DIFFER_CHECK(differ_same_span(a->query, b->query));
    DIFFER_CHECK(differ_same_span(a->scheme, b->scheme));
    DIFFER_CHECK(differ_same_span(a->host, b->host));
    DIFFER_CHECK(differ_same_span(a->host_name, b->host_name));
    DIFFER_CHECK(a->port == b->port && a->method == b->method && a->minor == b->minor);
    DIFFER_CHECK(a->form == b->form && a->options == b->options);
    DIFFER_CHECK(a->has_query == b->has_query && a->has_length == b->has_length);
    DIFFER_CHECK(a->chunked == b->chunked && a->keep_alive == b->keep_alive);
    DIFFER_CHECK(a->expect_continue == b->expect_continue);
    DIFFER_CHECK(a->content_length == b->content_length && a->head_bytes == b->head_bytes);
}

static inline void differ_same(const struct parsed *a, const struct parsed *b)
{
    DIFFER_CHECK(a->rc == b->rc);
    if (a->rc == 0)
        return;
    if (!a->response) {
        differ_same_request(&a->request, &b->request);
        return;
    }
    differ_same_fields(&a->answer.fields, &b->answer.fields);
    DIFFER_CHECK(differ_same_span(a->answer.reason, b->answer.reason));
    DIFFER_CHECK(a->answer.status == b->answer.status && a->answer.minor == b->answer.minor);
    DIFFER_CHECK(a->answer.options == b->answer.options && a->answer.body == b->answer.body);
    DIFFER_CHECK(a->answer.has_length == b->answer.has_length);
    DIFFER_CHECK(a->answer.interim == b->answer.interim);
    DIFFER_CHECK(a->answer.keep_alive == b->answer.keep_alive);
    DIFFER_CHECK(a->answer.content_length == b->answer.content_length);
    DIFFER_CHECK(a->answer.head_bytes == b->answer.head_bytes);
}

/* Whether a span lies within the head and consists of what its place allows. */
static inline void differ_check_span(const struct parsed *parsed, const uint8_t *p,
                                     struct http1_span span, enum http_class set)
{
    DIFFER_CHECK((uint64_t)span.at + span.length <= (uint64_t)parsed->rc);
    for (uint32_t i = 0; i < span.length; i++)
        DIFFER_CHECK(http_char_is(p[span.at + i], set));
}

/* What must hold of any head that was taken, by whatever engine. */
static inline void differ_check_sane(const struct parsed *parsed, const uint8_t *p, size_t n)
{
    const struct http1_fields *fields =
        parsed->response ? &parsed->answer.fields : &parsed->request.fields;

    if (parsed->rc <= 0) {
        DIFFER_CHECK(parsed->rc > -(ssize_t)HTTP1_REFUSALS);
        return;
    }
    DIFFER_CHECK((size_t)parsed->rc <= n && parsed->rc >= 4);
    DIFFER_CHECK(memcmp(p + parsed->rc - 4, "\r\n\r\n", 4) == 0);
    for (unsigned i = 0; i < fields->count; i++) {
        const struct http1_field *row = &fields->row[i];
        struct http1_span name = {row->name_at, row->name_length};
        struct http1_span value = {row->value_at, row->value_length};

        DIFFER_CHECK(name.length > 0 && p[name.at + name.length] == ':');
        differ_check_span(parsed, p, name, HTTP_CLASS_TOKEN);
        differ_check_span(parsed, p, value, HTTP_CLASS_TEXT);
        DIFFER_CHECK(row->id == http_name_find(p + name.at, name.length));
    }
    if (parsed->response)
        return;
    DIFFER_CHECK(parsed->request.target.length > 0);
    differ_check_span(parsed, p, parsed->request.method_name, HTTP_CLASS_TOKEN);
    differ_check_span(parsed, p, parsed->request.target, HTTP_CLASS_QUERY);
    differ_check_span(parsed, p, parsed->request.path, HTTP_CLASS_PATH);
    differ_check_span(parsed, p, parsed->request.query, HTTP_CLASS_QUERY);
    differ_check_span(parsed, p, parsed->request.host_name, HTTP_CLASS_QUERY);
    DIFFER_CHECK(!(parsed->request.chunked && parsed->request.has_length));
    DIFFER_CHECK(parsed->request.minor == 0 || parsed->request.host.length > 0);
}

/*
 * Parses p whole with every engine, and compares. Then with the current one in pieces that grow
 * by `step` bytes, each of which must give "more" or at once what the whole gives. Gives what the
 * parser returned.
 */
static inline ssize_t differ_head(const uint8_t *p, size_t n, size_t step,
                                  const struct differ_options *options)
{
    static struct parsed whole, other;
    struct http1_resume resume = {0, 0, 0};

    http1_engine_use(http1_engines[0]);
    differ_prepare(&whole, options->response);
    differ_parse(&whole, p, n, &resume, options);
    differ_check_sane(&whole, p, n);
    for (int i = 0; http1_engines[i]; i++) {
        size_t have = 0;

        if (!http1_engines[i]->usable())
            continue;
        http1_engine_use(http1_engines[i]);
        resume = (struct http1_resume){0, 0, 0};
        differ_prepare(&other, options->response);
        differ_parse(&other, p, n, &resume, options);
        differ_same(&other, &whole);
        resume = (struct http1_resume){0, 0, 0};
        do {
            have = n - have > step ? have + step : n;
            differ_parse(&other, p, have, &resume, options);
        } while (other.rc == 0 && have < n);
        differ_same(&other, &whole);
    }
    http1_engine_use(NULL);
    return whole.rc;
}

#endif
