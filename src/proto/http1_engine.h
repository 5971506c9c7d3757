/*
 * The inner loop of the HTTP/1 parsers, built once for each instruction set. An engine only knows
 * whole lines that are right: it stops at the first line that is not, and http1_judge.c, which
 * exists once, says whether that line is wrong, and how, or merely unfinished. So engines cannot
 * differ in what they answer except by a bug, which the differential tests look for.
 */
#ifndef WEIR_PROTO_HTTP1_ENGINE_H
#define WEIR_PROTO_HTTP1_ENGINE_H

#include "proto/http1.h"

enum http1_set { HTTP1_TOKEN, HTTP1_PATH, HTTP1_QUERY, HTTP1_TEXT, HTTP1_SETS };

/* Where an engine stopped: its last line, and how many lines it had taken before. */
struct http1_stop {
    const uint8_t *line;
    uint16_t lines;
};

struct http1_engine {
    const char *name;
    bool (*usable)(void); /* whether this CPU can run it */

    /* Each gives the first byte in [p, end) that is not in the set, or end. Nothing outside
     * [base, end) is read; base lies at or before p. */
    const uint8_t *(*skip[HTTP1_SETS])(const uint8_t *p, const uint8_t *end, const uint8_t *base);

    /*
     * Takes field lines from c up to and with the empty line, and gives what follows it; NULL
     * with *stop set when a line is not right in full or there are more than `most`.
     */
    const uint8_t *(*fields)(const uint8_t *base, const uint8_t *c, const uint8_t *end,
                             struct http1_fields *fields, unsigned most, struct http1_stop *stop);

    /* The same for a request, with its request line and an empty line before it. Sets method,
     * minor, method_name, target, and of a target that begins with a slash path and query. */
    const uint8_t *(*request)(const uint8_t *base, const uint8_t *end, unsigned line_bytes,
                              struct http1_request *request, unsigned most,
                              struct http1_stop *stop);
};

extern const struct http1_engine http1_engine_plain;
#if defined(__x86_64__)
extern const struct http1_engine http1_engine_sse42;
extern const struct http1_engine http1_engine_avx2;
#endif

/* The sets but for HTTP1_TEXT, as the engines with vector shuffles want them. */
extern const uint8_t http1_set_rows[HTTP1_TEXT][16];

/* All engines built, the plain one first; NULL ends the list. */
extern const struct http1_engine *const http1_engines[];

/* Gives the engine in use: the best that this CPU can run, unless http1_engine_use said else. */
const struct http1_engine *http1_engine_current(void);

/* Makes all parsers of the process use that engine, for tests and measurements; NULL goes back
 * to the best. */
void http1_engine_use(const struct http1_engine *engine);

/* ---- the judge ---- */

enum http1_kind { HTTP1_KIND_REQUEST, HTTP1_KIND_RESPONSE, HTTP1_KIND_TRAILERS };

/* The bounds that one parse runs under, defaults and storage taken into account. */
struct http1_bounds {
    enum http1_kind kind;
    uint32_t line_bytes;
    uint32_t bytes;
    uint32_t fields;
};

/*
 * Goes on from *resume, line by line. Returns 1 when the empty line has come and nothing is wrong
 * with any line, 0 when more is needed (*resume is moved on), or a refusal as a negative number.
 */
ssize_t http1_judge(const uint8_t *p, size_t n, const struct http1_bounds *bounds,
                    struct http1_resume *resume);

static inline uint32_t http1_bound(uint32_t value, uint32_t fallback, uint32_t most)
{
    if (value == 0)
        value = fallback;
    return value < most ? value : most;
}

static inline struct http1_bounds
http1_bounds_of(enum http1_kind kind, const struct http1_limits *limits, uint16_t capacity)
{
    static const struct http1_limits defaults;
    const uint32_t most_bytes = 16u << 20;
    struct http1_bounds bounds = {.kind = kind};

    /* The start line and the fields are counted together in 16 bits. */
    if (capacity == UINT16_MAX)
        capacity--;
    if (!limits)
        limits = &defaults;
    if (kind == HTTP1_KIND_TRAILERS) {
        bounds.bytes = http1_bound(limits->trailer_bytes, HTTP1_TRAILER_BYTES, most_bytes);
        bounds.fields = http1_bound(limits->trailers, HTTP1_TRAILERS, capacity);
    } else {
        bounds.line_bytes = http1_bound(limits->line_bytes, HTTP1_LINE_BYTES, most_bytes);
        bounds.bytes = http1_bound(limits->head_bytes, HTTP1_HEAD_BYTES, most_bytes);
        bounds.fields = http1_bound(limits->fields, HTTP1_FIELDS, capacity);
    }
    return bounds;
}

/* ---- what the fields mean, alike for requests and responses (http1_framing.c) ---- */

/* Content-Length and Transfer-Encoding; gives a refusal or HTTP1_ACCEPTED. */
enum http1_refusal http1_settle_framing(const struct http1_fields *fields, uint8_t minor,
                                        bool *has_length, uint64_t *length, bool *chunked);

/* The Connection fields; gives a refusal or HTTP1_ACCEPTED. */
enum http1_refusal http1_settle_connection(const struct http1_fields *fields, uint8_t *options);

/* Target form, Host, path and query of a request whose lines are right. */
enum http1_refusal http1_settle_target(struct http1_request *request);

#endif
