#include "proto/http1_body.h"

#include "proto/httpchar.h"
#include "proto/http1_engine.h"

#include <string.h>

/*
 * Where the decoder of chunks stands. Extensions follow their grammar (RFC 9112 7.1.1) without
 * the "bad white space" that it lets a recipient swallow: nobody sends it, and what two readers
 * take differently is where smuggling begins.
 */
enum chunk_state {
    CHUNK_SIZE,         /* digits of the size */
    CHUNK_EXT_NAME,     /* after a semicolon: at least one token character */
    CHUNK_EXT_NAME_ON,  /* more of them, or = ; CR */
    CHUNK_EXT_VALUE,    /* after =: a token character or a quote */
    CHUNK_EXT_VALUE_ON, /* more of a token, or ; CR */
    CHUNK_EXT_QUOTED,   /* inside quotes */
    CHUNK_EXT_ESCAPED,  /* after a backslash inside quotes */
    CHUNK_EXT_CLOSED,   /* after the closing quote: ; CR */
    CHUNK_SIZE_LF,      /* after the CR of the size line */
    CHUNK_DATA,
    CHUNK_DATA_CR, /* after the data */
    CHUNK_DATA_LF,
    CHUNK_LAST,    /* after the size line of the last chunk: CR, or trailers begin */
    CHUNK_LAST_LF, /* after that CR */
    CHUNK_TRAILERS,
};

/* A refusal as what a function for one byte returns. */
#define REFUSE(reason) (-(int)HTTP1_##reason)

static void begin(struct http1_body *body, enum http1_body_kind kind,
                  const struct http1_limits *limits, uint64_t most)
{
    uint32_t extension = limits ? limits->extension_bytes : 0;

    if (extension == 0)
        extension = HTTP1_EXTENSION_BYTES;
    if (extension > UINT32_MAX / 16)
        extension = UINT32_MAX / 16;
    *body = (struct http1_body){
        .most = most,
        .extension_most = extension,
        .extensions = extension * 16,
        .kind = (uint8_t)kind,
        .state = CHUNK_SIZE,
    };
}

static int begin_length(struct http1_body *body, uint64_t length)
{
    body->left = length;
    return length > body->most ? -(int)HTTP1_BODY_TOO_LARGE : 0;
}

int http1_body_begin_request(struct http1_body *body, const struct http1_request *request,
                             const struct http1_limits *limits, uint64_t most)
{
    if (request->chunked) {
        begin(body, HTTP1_BODY_CHUNKED, limits, most);
        return 0;
    }
    begin(body, request->content_length ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE, limits, most);
    return begin_length(body, request->content_length);
}

int http1_body_begin_response(struct http1_body *body, const struct http1_response *response,
                              const struct http1_limits *limits, uint64_t most)
{
    begin(body, (enum http1_body_kind)response->body, limits, most);
    if (response->body == HTTP1_BODY_LENGTH)
        return begin_length(body, response->content_length);
    return 0;
}

/* What a byte that ends a line too early, or should have ended it, is called. */
static int blame(uint8_t c, int otherwise)
{
    return c == '\n' ? REFUSE(BARE_LF) : otherwise;
}

static int take_size(struct http1_body *body, uint8_t c)
{
    if (http_char_is(c, HTTP_CLASS_HEX)) {
        /* Sixteen digits fill 64 bits; the topmost bit stays free. */
        if (body->digits == 16 || body->left >> 59 != 0)
            return REFUSE(BAD_CHUNK_SIZE);
        body->left = body->left << 4 | http_char_hex(c);
        body->digits++;
        return 0;
    }
    if (body->digits == 0 || (c != '\r' && c != ';'))
        return blame(c, REFUSE(BAD_CHUNK_SIZE));
    body->state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXT_NAME;
    return 0;
}

/* Between an extension and what may come after it. */
static int take_extension_end(struct http1_body *body, uint8_t c)
{
    if (c != ';' && c != '\r')
        return blame(c, REFUSE(BAD_CHUNK_EXTENSION));
    body->state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXT_NAME;
    return 0;
}

static int take_extension(struct http1_body *body, uint8_t c)
{
    bool token = http_char_is(c, HTTP_CLASS_TOKEN);

    switch ((enum chunk_state)body->state) {
    case CHUNK_EXT_NAME:
        body->state = CHUNK_EXT_NAME_ON;
        return token ? 0 : blame(c, REFUSE(BAD_CHUNK_EXTENSION));
    case CHUNK_EXT_NAME_ON:
        if (token)
            return 0;
        if (c != '=')
            return take_extension_end(body, c);
        body->state = CHUNK_EXT_VALUE;
        return 0;
    case CHUNK_EXT_VALUE:
        body->state = c == '"' ? CHUNK_EXT_QUOTED : CHUNK_EXT_VALUE_ON;
        return token || c == '"' ? 0 : blame(c, REFUSE(BAD_CHUNK_EXTENSION));
    case CHUNK_EXT_VALUE_ON:
        return token ? 0 : take_extension_end(body, c);
    case CHUNK_EXT_QUOTED:
        if (c == '"' || c == '\\')
            body->state = c == '"' ? CHUNK_EXT_CLOSED : CHUNK_EXT_ESCAPED;
        return http_char_is(c, HTTP_CLASS_TEXT) ? 0 : blame(c, REFUSE(BAD_CHUNK_EXTENSION));
    case CHUNK_EXT_ESCAPED:
        body->state = CHUNK_EXT_QUOTED;
        return http_char_is(c, HTTP_CLASS_TEXT) ? 0 : blame(c, REFUSE(BAD_CHUNK_EXTENSION));
    default:
        return take_extension_end(body, c);
    }
}

/* Counts a byte of an extension, after it proved to be one. */
static int count_extension(struct http1_body *body)
{
    if (++body->extension > body->extension_most || body->extensions == 0)
        return REFUSE(CHUNK_EXTENSIONS_TOO_LARGE);
    body->extensions--;
    return 0;
}

/* The size line is through. */
static int begin_chunk(struct http1_body *body)
{
    uint64_t room = UINT32_MAX - body->extensions;

    if (body->left > body->most - body->received)
        return REFUSE(BODY_TOO_LARGE);
    body->extensions += (uint32_t)(body->left < room ? body->left : room);
    body->extension = 0;
    body->digits = 0;
    body->state = body->left ? CHUNK_DATA : CHUNK_LAST;
    return 0;
}

/* Takes one byte outside of data: 0, or a refusal. */
static int take_byte(struct http1_body *body, uint8_t c)
{
    int rc;

    switch ((enum chunk_state)body->state) {
    case CHUNK_SIZE:
        return take_size(body, c);
    case CHUNK_SIZE_LF:
        return c == '\n' ? begin_chunk(body) : REFUSE(BARE_CR);
    case CHUNK_DATA_CR:
        body->state = CHUNK_DATA_LF;
        return c == '\r' ? 0 : blame(c, REFUSE(BAD_CHUNK_END));
    case CHUNK_DATA_LF:
        body->state = CHUNK_SIZE;
        return c == '\n' ? 0 : REFUSE(BARE_CR);
    case CHUNK_LAST:
        body->state = CHUNK_LAST_LF;
        return 0;
    case CHUNK_LAST_LF:
        body->ended = true;
        return c == '\n' ? 0 : REFUSE(BARE_CR);
    default:
        rc = take_extension(body, c);
        return rc == 0 && body->state != CHUNK_SIZE_LF ? count_extension(body) : rc;
    }
}

/* Gives the next run of payload at p. */
static size_t take_data(struct http1_body *body, const uint8_t *p, size_t n,
                        struct http1_piece *piece)
{
    size_t length = n < body->left ? n : (size_t)body->left;

    *piece = (struct http1_piece){HTTP1_PIECE_DATA, p, length};
    body->left -= length;
    body->received += length;
    return length;
}

static ssize_t next_chunked(struct http1_body *body, const uint8_t *p, size_t n,
                            struct http1_piece *piece)
{
    size_t used = 0;

    while (used < n) {
        int rc;

        if (body->state == CHUNK_DATA) {
            used += take_data(body, p + used, n - used, piece);
            if (body->left == 0)
                body->state = CHUNK_DATA_CR;
            return (ssize_t)used;
        }
        if (body->state == CHUNK_LAST && p[used] != '\r')
            body->state = CHUNK_TRAILERS;
        if (body->state == CHUNK_TRAILERS) {
            piece->event = HTTP1_PIECE_TRAILERS;
            return (ssize_t)used;
        }
        rc = take_byte(body, p[used++]);
        if (rc < 0)
            return rc;
        if (body->ended) {
            piece->event = HTTP1_PIECE_END;
            return (ssize_t)used;
        }
    }
    return (ssize_t)used;
}

ssize_t http1_body_next(struct http1_body *body, const uint8_t *p, size_t n,
                        struct http1_piece *piece)
{
    *piece = (struct http1_piece){HTTP1_PIECE_MORE, NULL, 0};
    if (body->kind == HTTP1_BODY_NONE || (body->kind == HTTP1_BODY_LENGTH && body->left == 0))
        body->ended = true;
    if (body->ended) {
        piece->event = HTTP1_PIECE_END;
        return 0;
    }
    if (n == 0)
        return 0;
    if (body->kind == HTTP1_BODY_CHUNKED)
        return next_chunked(body, p, n, piece);
    if (body->kind == HTTP1_BODY_UNTIL_CLOSE) {
        if (body->received == body->most)
            return REFUSE(BODY_TOO_LARGE);
        body->left = body->most - body->received;
    }
    return (ssize_t)take_data(body, p, n, piece);
}

/* Fields that say how to read, route or trust a message come too late behind its body. */
static const uint64_t forbidden_trailers =
    HTTP_NAME_BIT(HTTP_TRANSFER_ENCODING) | HTTP_NAME_BIT(HTTP_CONTENT_LENGTH) |
    HTTP_NAME_BIT(HTTP_HOST) | HTTP_NAME_BIT(HTTP_CONNECTION) | HTTP_NAME_BIT(HTTP_KEEP_ALIVE) |
    HTTP_NAME_BIT(HTTP_PROXY_CONNECTION) | HTTP_NAME_BIT(HTTP_UPGRADE) | HTTP_NAME_BIT(HTTP_TE) |
    HTTP_NAME_BIT(HTTP_TRAILER) | HTTP_NAME_BIT(HTTP_EXPECT) | HTTP_NAME_BIT(HTTP_MAX_FORWARDS) |
    HTTP_NAME_BIT(HTTP_CACHE_CONTROL) | HTTP_NAME_BIT(HTTP_PRAGMA) | HTTP_NAME_BIT(HTTP_RANGE) |
    HTTP_NAME_BIT(HTTP_IF_MATCH) | HTTP_NAME_BIT(HTTP_IF_NONE_MATCH) |
    HTTP_NAME_BIT(HTTP_IF_MODIFIED_SINCE) | HTTP_NAME_BIT(HTTP_IF_UNMODIFIED_SINCE) |
    HTTP_NAME_BIT(HTTP_IF_RANGE) | HTTP_NAME_BIT(HTTP_AUTHORIZATION) |
    HTTP_NAME_BIT(HTTP_PROXY_AUTHORIZATION) | HTTP_NAME_BIT(HTTP_WWW_AUTHENTICATE) |
    HTTP_NAME_BIT(HTTP_PROXY_AUTHENTICATE) | HTTP_NAME_BIT(HTTP_COOKIE) |
    HTTP_NAME_BIT(HTTP_SET_COOKIE) | HTTP_NAME_BIT(HTTP_AGE) | HTTP_NAME_BIT(HTTP_EXPIRES) |
    HTTP_NAME_BIT(HTTP_DATE) | HTTP_NAME_BIT(HTTP_LOCATION) | HTTP_NAME_BIT(HTTP_RETRY_AFTER) |
    HTTP_NAME_BIT(HTTP_VARY) | HTTP_NAME_BIT(HTTP_CONTENT_ENCODING) |
    HTTP_NAME_BIT(HTTP_CONTENT_TYPE) | HTTP_NAME_BIT(HTTP_CONTENT_RANGE) |
    HTTP_NAME_BIT(HTTP_HTTP2_SETTINGS) | HTTP_NAME_BIT(HTTP_FORWARDED) |
    HTTP_NAME_BIT(HTTP_X_FORWARDED_FOR) | HTTP_NAME_BIT(HTTP_X_FORWARDED_PROTO);

ssize_t http1_parse_trailers(const uint8_t *p, size_t n, struct http1_resume *resume,
                             const struct http1_limits *limits, struct http1_fields *fields)
{
    struct http1_bounds bounds = http1_bounds_of(HTTP1_KIND_TRAILERS, limits, fields->capacity);
    const uint8_t *next;
    struct http1_stop stop = {NULL, 0};
    ssize_t rc = http1_judge(p, n, &bounds, resume);

    fields->base = p;
    fields->count = 0;
    fields->seen = fields->repeated = 0;
    if (rc <= 0)
        return rc;
    next = http1_engine_current()->fields(p, p, p + (n < bounds.bytes ? n : bounds.bytes), fields,
                                          bounds.fields, &stop);
    if (!next)
        return REFUSE(BAD_NAME);
    *resume = (struct http1_resume){0, 0, 0};
    if (fields->seen & forbidden_trailers)
        return REFUSE(FORBIDDEN_TRAILER);
    return next - p;
}

ssize_t http1_body_trailers(struct http1_body *body, const uint8_t *p, size_t n,
                            struct http1_resume *resume, const struct http1_limits *limits,
                            struct http1_fields *fields)
{
    ssize_t rc = http1_parse_trailers(p, n, resume, limits, fields);

    if (rc > 0)
        body->ended = true;
    return rc;
}

int http1_body_cut(struct http1_body *body)
{
    if (body->kind == HTTP1_BODY_UNTIL_CLOSE)
        body->ended = true;
    if (body->kind == HTTP1_BODY_NONE || (body->kind == HTTP1_BODY_LENGTH && body->left == 0))
        body->ended = true;
    return body->ended ? 0 : REFUSE(BODY_CUT);
}
