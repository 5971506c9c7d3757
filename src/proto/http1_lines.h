/*
 * The engines' loop over lines. Each engine's file is a unit of its own that defines the
 * following, then includes this at its end.
 *
 *   THIS_ENGINE, ENGINE_NAME       the struct http1_engine to define, and its name in text
 *   CODE, ENTRY                    attributes of inlined functions and of entry points, with the
 *                                  instruction set
 *   LEAST_BYTES                    with fewer bytes than this the plain engine does the work
 *   engine_usable()                as http1_engine.usable
 *   skip_set(p, end, base, set)    as http1_engine.skip, with a constant set
 *   read_name(p, end, base, &id)   skips a token and looks it up; leaves id alone when the token is
 *                                  empty
 *   struct stops, begin_stops(&stops, c, end), next_stop(&stops, from)
 *                                  goes through the bytes that are not text; see next_stop
 */
#include "proto/http1_engine.h"

#include <string.h>

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

CODE uint32_t load_32(const uint8_t *p)
{
    uint32_t word;

    memcpy(&word, p, sizeof(word));
    return word;
}

CODE uint64_t load_64(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    return word;
}

CODE bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* Four or eight characters as a little-endian or big-endian machine loads them. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define WORD_32(a, b, c, d) \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define WORD_64(a, b, c, d, e, f, g, h) \
    ((uint64_t)WORD_32(a, b, c, d) | (uint64_t)WORD_32(e, f, g, h) << 32)
#else
#define WORD_32(a, b, c, d) \
    ((uint32_t)(d) | (uint32_t)(c) << 8 | (uint32_t)(b) << 16 | (uint32_t)(a) << 24)
#define WORD_64(a, b, c, d, e, f, g, h) \
    ((uint64_t)WORD_32(e, f, g, h) | (uint64_t)WORD_32(a, b, c, d) << 32)
#endif

/* Takes one field line; gives what follows its CR LF, or NULL when it is not right in full. */
CODE const uint8_t *take_field(const uint8_t *base, const uint8_t *c, const uint8_t *end,
                               struct stops *stops, struct http1_field *row)
{
    unsigned id = HTTP_NAME_OTHER;
    const uint8_t *colon = read_name(c, end, base, &id);
    const uint8_t *value, *stop, *tail;

    if (UNLIKELY(colon == end || *colon != ':' || colon == c || colon - c > UINT16_MAX))
        return NULL;
    value = colon + 1;
    if (LIKELY(value < end && *value == ' '))
        value++;
    while (UNLIKELY(value < end && is_blank(*value)))
        value++;
    stop = next_stop(stops, value);
    if (UNLIKELY(end - stop < 2 || stop[0] != '\r' || stop[1] != '\n'))
        return NULL;
    tail = stop;
    while (UNLIKELY(tail > value && is_blank(tail[-1])))
        tail--;
    row->name_at = (uint32_t)(c - base);
    row->value_at = (uint32_t)(value - base);
    row->value_length = (uint32_t)(tail - value);
    row->name_length = (uint16_t)(colon - c);
    row->id = (uint8_t)id;
    return stop + 2;
}

CODE const uint8_t *take_fields(const uint8_t *base, const uint8_t *c, const uint8_t *end,
                                struct stops *stops, struct http1_fields *fields, unsigned most,
                                struct http1_stop *stop)
{
    uint64_t seen = 0, repeated = 0;
    unsigned count = 0;

    for (;;) {
        const uint8_t *next;
        uint64_t bit;

        if (UNLIKELY(end - c < 2))
            break;
        if (*c == '\r') {
            if (c[1] != '\n')
                break;
            fields->seen = seen;
            fields->repeated = repeated;
            fields->count = (uint16_t)count;
            return c + 2;
        }
        if (UNLIKELY(count == most))
            break;
        next = take_field(base, c, end, stops, &fields->row[count]);
        if (UNLIKELY(!next))
            break;
        bit = HTTP_NAME_BIT(fields->row[count].id);
        if (!(seen & bit))
            fields->first[fields->row[count].id] = (uint16_t)count;
        repeated |= seen & bit;
        seen |= bit;
        count++;
        c = next;
    }
    stop->line = c;
    stop->lines = (uint16_t)(stop->lines + count);
    return NULL;
}

/* Takes the method and its space; NULL when there is none. */
CODE const uint8_t *take_method(const uint8_t *base, const uint8_t *c, const uint8_t *end,
                                struct http1_request *request)
{
    const uint8_t *stop;

    if (LIKELY(load_32(c) == WORD_32('G', 'E', 'T', ' '))) {
        request->method = HTTP_GET;
        stop = c + 3;
    } else if (load_32(c) == WORD_32('P', 'O', 'S', 'T') && c[4] == ' ') {
        request->method = HTTP_POST;
        stop = c + 4;
    } else {
        stop = skip_set(c, end, base, HTTP1_TOKEN);
        if (stop == c || stop == end || *stop != ' ')
            return NULL;
        request->method = (uint8_t)http_method_find(c, (size_t)(stop - c));
    }
    request->method_name.at = (uint32_t)(c - base);
    request->method_name.length = (uint32_t)(stop - c);
    return stop + 1;
}

/* Takes the request line; gives what follows its CR LF, or NULL when it is not right in full. */
CODE const uint8_t *take_request_line(const uint8_t *base, const uint8_t *c, const uint8_t *end,
                                      struct stops *stops, unsigned line_bytes,
                                      struct http1_request *request)
{
    const uint8_t *line = c, *target, *stop, *line_end;
    uint64_t version;

    /* The shortest is "A / HTTP/1.1" with its CR LF. */
    if (UNLIKELY(end - c < 14))
        return NULL;
    target = take_method(base, c, end, request);
    if (UNLIKELY(!target || target == end))
        return NULL;
    stop = target;
    if (LIKELY(*target == '/')) {
        stop = skip_set(target + 1, end, base, HTTP1_PATH);
        request->path.at = (uint32_t)(target - base);
        request->path.length = (uint32_t)(stop - target);
    }
    if (stop == target || (stop < end && *stop == '?')) {
        const uint8_t *mark = stop;

        stop = skip_set(mark, end, base, HTTP1_QUERY);
        if (mark != target) {
            request->query.at = (uint32_t)(mark + 1 - base);
            request->query.length = (uint32_t)(stop - mark - 1);
            request->has_query = true;
        }
    }
    if (UNLIKELY(end - stop < 11 || stop == target || stop[0] != ' '))
        return NULL;
    version = load_64(stop + 1);
    if (LIKELY(version == WORD_64('H', 'T', 'T', 'P', '/', '1', '.', '1')))
        request->minor = 1;
    else if (version != WORD_64('H', 'T', 'T', 'P', '/', '1', '.', '0'))
        return NULL;
    line_end = next_stop(stops, stop);
    if (UNLIKELY(line_end != stop + 9 || line_end[0] != '\r' || line_end[1] != '\n' ||
                 line_end - line > line_bytes))
        return NULL;
    request->target.at = (uint32_t)(target - base);
    request->target.length = (uint32_t)(stop - target);
    return line_end + 2;
}

CODE const uint8_t *take_request(const uint8_t *base, const uint8_t *end, unsigned line_bytes,
                                 struct http1_request *request, unsigned most,
                                 struct http1_stop *stop)
{
    const uint8_t *c = base, *next;
    struct stops stops;

    /* One empty line before a request is let pass (RFC 9112 2.2): old clients end a body so. */
    if (UNLIKELY(end - c >= 2 && c[0] == '\r' && c[1] == '\n'))
        c += 2;
    begin_stops(&stops, c, end);
    next = take_request_line(base, c, end, &stops, line_bytes, request);
    if (UNLIKELY(!next)) {
        stop->line = c;
        stop->lines = 0;
        return NULL;
    }
    stop->lines = 1;
    return take_fields(base, next, end, &stops, &request->fields, most, stop);
}

/* ---- the entries of struct http1_engine ---- */

ENTRY const uint8_t *skip_token(const uint8_t *p, const uint8_t *end, const uint8_t *base)
{
    return skip_set(p, end, base, HTTP1_TOKEN);
}

ENTRY const uint8_t *skip_path(const uint8_t *p, const uint8_t *end, const uint8_t *base)
{
    return skip_set(p, end, base, HTTP1_PATH);
}

ENTRY const uint8_t *skip_query(const uint8_t *p, const uint8_t *end, const uint8_t *base)
{
    return skip_set(p, end, base, HTTP1_QUERY);
}

ENTRY const uint8_t *skip_text(const uint8_t *p, const uint8_t *end, const uint8_t *base)
{
    return skip_set(p, end, base, HTTP1_TEXT);
}

ENTRY const uint8_t *run_fields(const uint8_t *base, const uint8_t *c, const uint8_t *end,
                                struct http1_fields *fields, unsigned most, struct http1_stop *stop)
{
    struct stops stops;

    if (end - base < LEAST_BYTES)
        return http1_engine_plain.fields(base, c, end, fields, most, stop);
    begin_stops(&stops, c, end);
    return take_fields(base, c, end, &stops, fields, most, stop);
}

ENTRY const uint8_t *run_request(const uint8_t *base, const uint8_t *end, unsigned line_bytes,
                                 struct http1_request *request, unsigned most,
                                 struct http1_stop *stop)
{
    if (end - base < LEAST_BYTES)
        return http1_engine_plain.request(base, end, line_bytes, request, most, stop);
    return take_request(base, end, line_bytes, request, most, stop);
}

const struct http1_engine THIS_ENGINE = {
    .name = ENGINE_NAME,
    .usable = engine_usable,
    .skip = {[HTTP1_TOKEN] = skip_token,
             [HTTP1_PATH] = skip_path,
             [HTTP1_QUERY] = skip_query,
             [HTTP1_TEXT] = skip_text},
    .fields = run_fields,
    .request = run_request,
};
