/*
 * HTTP/1.1 heads, sans I/O (RFC 9112, RFC 9110): bytes in, a request or a response out.
 *
 * The head must lie in one piece of memory. Nothing is allocated or copied; a parsed head holds
 * offsets into the caller's bytes, so when those move (a retained view may be a copy) it is
 * enough to set fields.base anew. Everything here is stateless between calls except for what the
 * caller passes, and may be used from any thread.
 *
 * What a parse answers depends on the bytes only, never on how they were cut: a line is judged
 * when its end or a byte that may stand in no line has come, and not before.
 */
#ifndef WEIR_PROTO_HTTP1_H
#define WEIR_PROTO_HTTP1_H

#include "proto/httpname.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- refusals ---- */

/*
 * X(identifier, name, status, close, text). A refusal's status is what a server answers with; a
 * client takes the reason only. close: where the next message begins is in doubt, so nothing
 * more may be read from the connection. The name is for logs and tests, the text for people.
 */
#define HTTP1_REFUSAL_TABLE(X)                                                                     \
    X(BARE_LF, "bare-lf", 400, true, "a line ends in LF alone; HTTP wants CR LF (with nc use -C)") \
    X(BARE_CR, "bare-cr", 400, true, "a CR that no LF follows")                                    \
    X(BAD_REQUEST_LINE, "bad-request-line", 400, true,                                             \
      "the request line is not METHOD SP TARGET SP HTTP/1.1")                                      \
    X(BAD_METHOD, "bad-method", 400, true, "the method is not a token")                            \
    X(BAD_TARGET, "bad-target", 400, true, "the request target has a character it may not have")   \
    X(BAD_TARGET_FORM, "bad-target-form", 400, true,                                               \
      "the request target is in no form that this method allows")                                  \
    X(BAD_ESCAPE, "bad-escape", 400, false, "the path has a bad percent escape or an escaped NUL") \
    X(BAD_VERSION, "bad-version", 505, true, "only HTTP/1.0 and HTTP/1.1 are spoken here")         \
    X(BAD_STATUS_LINE, "bad-status-line", 502, true,                                               \
      "the status line is not HTTP/1.1 SP CODE SP REASON")                                         \
    X(LINE_TOO_LONG, "line-too-long", 414, true, "the request line is too long")                   \
    X(HEAD_TOO_LARGE, "head-too-large", 431, true, "the head is too large")                        \
    X(TOO_MANY_FIELDS, "too-many-fields", 431, true, "too many header fields")                     \
    X(BAD_NAME, "bad-name", 400, true, "a field name is empty or has a character it may not have") \
    X(NO_COLON, "no-colon", 400, true, "a header line has no colon")                               \
    X(SPACE_BEFORE_COLON, "space-before-colon", 400, true,                                         \
      "white space between a field name and its colon")                                            \
    X(BAD_VALUE, "bad-value", 400, true, "a field value has a control character")                  \
    X(FOLDED, "folded", 400, true, "a header line begins with white space (obsolete folding)")     \
    X(NO_HOST, "no-host", 400, true, "HTTP/1.1 wants a Host field")                                \
    X(REPEATED_HOST, "repeated-host", 400, true, "more than one Host field")                       \
    X(BAD_HOST, "bad-host", 400, true, "the Host field is not HOST or HOST:PORT")                  \
    X(HOST_DISAGREES, "host-disagrees", 400, true, "Host field and request target disagree")       \
    X(BAD_LENGTH, "bad-length", 400, true, "Content-Length is not one decimal number")             \
    X(REPEATED_LENGTH, "repeated-length", 400, true, "more than one Content-Length")               \
    X(BOTH_LENGTHS, "both-lengths", 400, true, "Content-Length and Transfer-Encoding together")    \
    X(BAD_CODING, "bad-coding", 400, true, "Transfer-Encoding does not end in chunked")            \
    X(UNKNOWN_CODING, "unknown-coding", 501, true, "the only transfer coding known is chunked")    \
    X(REPEATED_CODING, "repeated-coding", 400, true, "more than one Transfer-Encoding")            \
    X(CODING_IN_1_0, "coding-in-1.0", 400, true, "HTTP/1.0 has no Transfer-Encoding")              \
    X(BAD_CONNECTION, "bad-connection", 400, true, "the Connection field is not a list of tokens") \
    X(UNKNOWN_EXPECTATION, "unknown-expectation", 417, false,                                      \
      "the only expectation known is 100-continue")                                                \
    X(FORBIDDEN_BODY, "forbidden-body", 502, true,                                                 \
      "a response that can have no body announces one")                                            \
    X(BODY_TOO_LARGE, "body-too-large", 413, true, "the body is too large")                        \
    X(BODY_CUT, "body-cut", 400, true, "the connection ended inside the body")                     \
    X(BAD_CHUNK_SIZE, "bad-chunk-size", 400, true, "a chunk size is not one hexadecimal number")   \
    X(BAD_CHUNK_EXTENSION, "bad-chunk-extension", 400, true, "a malformed chunk extension")        \
    X(CHUNK_EXTENSIONS_TOO_LARGE, "chunk-extensions-too-large", 400, true,                         \
      "chunk extensions too long for the data they come with")                                     \
    X(BAD_CHUNK_END, "bad-chunk-end", 400, true, "no CR LF where a chunk's data should end")       \
    X(TRAILERS_TOO_LARGE, "trailers-too-large", 431, true, "the trailer section is too large")     \
    X(FORBIDDEN_TRAILER, "forbidden-trailer", 400, true, "a field that may not be a trailer")

enum http1_refusal {
    HTTP1_ACCEPTED, /* no refusal */
#define X(identifier, name, status, close, text) HTTP1_##identifier,
    HTTP1_REFUSAL_TABLE(X)
#undef X
        HTTP1_REFUSALS
};

struct http1_refusal_row {
    const char *name;
    const char *text;
    uint16_t status;
    bool close;
};

/* Gives the row of a refusal; takes it as the parsers return it (negative) or as it is. */
const struct http1_refusal_row *http1_refusal_row(ssize_t refusal);

/* ---- limits ---- */

/* All in bytes or fields; a zero means the default. */
struct http1_limits {
    uint32_t line_bytes;      /* request or status line, without its CR LF: 8192 */
    uint32_t head_bytes;      /* the whole head with its empty line: 16384; at most 16 MiB */
    uint32_t fields;          /* header fields: 64, and never more than the storage given */
    uint32_t trailer_bytes;   /* the whole trailer section with its empty line: 4096 */
    uint32_t trailers;        /* trailer fields: 16 */
    uint32_t extension_bytes; /* extensions of one chunk: 1024; see struct http1_body */
};

#define HTTP1_LINE_BYTES      8192
#define HTTP1_HEAD_BYTES      16384
#define HTTP1_FIELDS          64
#define HTTP1_TRAILER_BYTES   4096
#define HTTP1_TRAILERS        16
#define HTTP1_EXTENSION_BYTES 1024

/* ---- what a head gives ---- */

/* Bytes of the message, counted from fields.base. */
struct http1_span {
    uint32_t at;
    uint32_t length;
};

/* One field; the value is without the white space around it. */
struct http1_field {
    uint32_t name_at;
    uint32_t value_at;
    uint32_t value_length;
    uint16_t name_length;
    uint8_t id; /* enum http_name */
};

/* The fields of a head or of a trailer section, in the order they came. */
struct http1_fields {
    const uint8_t *base;     /* first byte of the message */
    struct http1_field *row; /* caller's storage */
    uint16_t capacity;       /* caller's storage, in fields */
    uint16_t count;
    uint64_t seen;              /* HTTP_NAME_BIT of every known name that came */
    uint64_t repeated;          /* and of those that came more than once */
    uint16_t first[HTTP_NAMES]; /* row of the first such field; valid only where seen has the bit */
};

/* What the Connection field lists. */
enum http1_option {
    HTTP1_OPTION_CLOSE = 1,
    HTTP1_OPTION_KEEP_ALIVE = 2,
    HTTP1_OPTION_UPGRADE = 4,
    HTTP1_OPTION_TE = 8,
    HTTP1_OPTION_OTHER = 16, /* names of other fields, which a proxy must not pass on */
};

enum http1_form {
    HTTP1_FORM_ORIGIN,    /* /path?query */
    HTTP1_FORM_ABSOLUTE,  /* http://host/path?query */
    HTTP1_FORM_AUTHORITY, /* host:port, with CONNECT only */
    HTTP1_FORM_ASTERISK,  /* *, with OPTIONS only */
};

struct http1_request {
    struct http1_fields fields; /* the caller sets row and capacity before the first parse */
    struct http1_span method_name;
    struct http1_span target;    /* as it came */
    struct http1_span path;      /* as it came; empty for the absolute form without a path (it
                                    means "/"), and for the authority form */
    struct http1_span query;     /* after the question mark; see has_query */
    struct http1_span scheme;    /* of the absolute form, else empty */
    struct http1_span host;      /* HOST[:PORT], of the absolute or authority form where there
                                    is one, else of the Host field; empty without (1.0) */
    struct http1_span host_name; /* HOST alone, an IPv6 address with its brackets */
    uint16_t port;               /* 0 when not given */
    uint8_t method;              /* enum http_method */
    uint8_t minor;               /* HTTP/1.minor: 0 or 1 */
    uint8_t form;                /* enum http1_form */
    uint8_t options;             /* enum http1_option, a set */
    bool has_query;              /* the target has a question mark */
    bool has_length;             /* content_length came from a Content-Length */
    bool chunked;
    bool keep_alive;         /* the client wants, and may have, another request after */
    bool expect_continue;    /* the client waits for 100 before it sends its body */
    uint64_t content_length; /* 0 without the field */
    uint32_t head_bytes;     /* the head with its empty line, and one before it if any */
};

enum http1_body_kind {
    HTTP1_BODY_NONE,
    HTTP1_BODY_LENGTH,
    HTTP1_BODY_CHUNKED,
    HTTP1_BODY_UNTIL_CLOSE, /* responses only */
};

struct http1_response {
    struct http1_fields fields; /* the caller sets row and capacity before the first parse */
    struct http1_span reason;
    uint16_t status;
    uint8_t minor;
    uint8_t options; /* enum http1_option, a set */
    uint8_t body;    /* enum http1_body_kind, with what the request's method says */
    bool has_length; /* content_length came from a Content-Length, also after HEAD */
    bool interim;    /* 1xx other than 101: the response proper is still to come */
    bool keep_alive; /* another request may follow on this connection */
    uint64_t content_length;
    uint32_t head_bytes;
};

/* ---- parsing ---- */

/*
 * Where an unfinished head stands. The caller keeps it beside the bytes, zeroed when a message
 * begins; it saves looking at the same bytes again, so that a peer that sends byte by byte costs
 * no more than one that does not. Nothing else needs to be kept between two calls.
 */
struct http1_resume {
    uint32_t line;                     /* offset of the first line that has not come in full */
    uint32_t scanned;                  /* offset of the first byte not looked at */
    uint16_t lines;                    /* start line and fields before it */
} __attribute__((packed, aligned(2))); /* 10 bytes: one stands in each idle connection */

/*
 * Parses the head of a request from the first byte of p. Returns its length in bytes (the body or
 * the next request begins there), 0 when more is needed, or a refusal as a negative number. A
 * refusal whose row says close = false (the unknown expectation) leaves a request that can be
 * used, head_bytes included. At most limits->head_bytes are looked at. limits may be NULL.
 */
ssize_t http1_parse_request(const uint8_t *p, size_t n, struct http1_resume *resume,
                            const struct http1_limits *limits, struct http1_request *request);

/*
 * Parses the head of a response as http1_parse_request does that of a request. method is that of
 * the request it answers: HEAD and CONNECT say what body follows (RFC 9112 6.3).
 */
ssize_t http1_parse_response(const uint8_t *p, size_t n, struct http1_resume *resume,
                             const struct http1_limits *limits, enum http_method method,
                             struct http1_response *response);

/*
 * Parses a trailer section up to and with its empty line; bounded by limits->trailer_bytes and
 * limits->trailers. A field that governs framing, routing, authentication or the meaning of the
 * body (RFC 9110 6.5.1) is refused.
 */
ssize_t http1_parse_trailers(const uint8_t *p, size_t n, struct http1_resume *resume,
                             const struct http1_limits *limits, struct http1_fields *fields);

/* ---- reading what was parsed ---- */

static inline struct http_text http1_text(const struct http1_fields *fields, struct http1_span span)
{
    return (struct http_text){(const char *)fields->base + span.at, span.length};
}

static inline struct http_text http1_field_name(const struct http1_fields *fields, unsigned row)
{
    const struct http1_field *field = &fields->row[row];

    return (struct http_text){(const char *)fields->base + field->name_at, field->name_length};
}

static inline struct http_text http1_field_value(const struct http1_fields *fields, unsigned row)
{
    const struct http1_field *field = &fields->row[row];

    return (struct http_text){(const char *)fields->base + field->value_at, field->value_length};
}

static inline bool http1_fields_have(const struct http1_fields *fields, enum http_name name)
{
    return (fields->seen >> name & 1) != 0;
}

/* Gives the value of the first field of that name; false, and value untouched, without one. */
static inline bool http1_fields_get(const struct http1_fields *fields, enum http_name name,
                                    struct http_text *value)
{
    if (name == HTTP_NAME_OTHER || !http1_fields_have(fields, name))
        return false;
    *value = http1_field_value(fields, fields->first[name]);
    return true;
}

/*
 * Finds the next row of a field by its name in text, whatever its case, from row `from` on; -1
 * without. For names in the table http1_fields_get is quicker.
 */
int http1_fields_find(const struct http1_fields *fields, const char *name, size_t length,
                      unsigned from);

#endif
