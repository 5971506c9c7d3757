/* Names that HTTP fixes: methods, and the header fields that somebody on our side asks for. */
#ifndef WEIR_PROTO_HTTPNAME_H
#define WEIR_PROTO_HTTPNAME_H

#include <stddef.h>
#include <stdint.h>

/* A run of characters inside somebody else's bytes; it ends by length, not by NUL. */
struct http_text {
    const char *at;
    size_t length;
};

enum http_method {
    HTTP_METHOD_OTHER, /* a well-formed token that we have no number for */
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_CONNECT,
    HTTP_OPTIONS,
    HTTP_TRACE,
    HTTP_PATCH,
    HTTP_METHODS
};

/*
 * X(identifier, lower-case name, slot): the slot is http_name_hash() of the name. The compiler
 * refuses two names in one slot, and a unit test refuses a slot that is not the hash.
 */
#define HTTP_NAME_TABLE(X)                                                 \
    X(ACCEPT, "accept", 93)                                                \
    X(ACCEPT_CHARSET, "accept-charset", 115)                               \
    X(ACCEPT_ENCODING, "accept-encoding", 246)                             \
    X(ACCEPT_LANGUAGE, "accept-language", 233)                             \
    X(ACCEPT_RANGES, "accept-ranges", 48)                                  \
    X(ACCESS_CONTROL_REQUEST_METHOD, "access-control-request-method", 202) \
    X(AGE, "age", 192)                                                     \
    X(ALLOW, "allow", 127)                                                 \
    X(AUTHORIZATION, "authorization", 58)                                  \
    X(CACHE_CONTROL, "cache-control", 92)                                  \
    X(CONNECTION, "connection", 103)                                       \
    X(CONTENT_DISPOSITION, "content-disposition", 136)                     \
    X(CONTENT_ENCODING, "content-encoding", 53)                            \
    X(CONTENT_LANGUAGE, "content-language", 40)                            \
    X(CONTENT_LENGTH, "content-length", 1)                                 \
    X(CONTENT_LOCATION, "content-location", 130)                           \
    X(CONTENT_RANGE, "content-range", 39)                                  \
    X(CONTENT_TYPE, "content-type", 36)                                    \
    X(COOKIE, "cookie", 9)                                                 \
    X(DATE, "date", 42)                                                    \
    X(ETAG, "etag", 73)                                                    \
    X(EXPECT, "expect", 213)                                               \
    X(EXPIRES, "expires", 210)                                             \
    X(FORWARDED, "forwarded", 88)                                          \
    X(HOST, "host", 55)                                                    \
    X(HTTP2_SETTINGS, "http2-settings", 61)                                \
    X(IF_MATCH, "if-match", 215)                                           \
    X(IF_MODIFIED_SINCE, "if-modified-since", 220)                         \
    X(IF_NONE_MATCH, "if-none-match", 234)                                 \
    X(IF_RANGE, "if-range", 185)                                           \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since", 223)                     \
    X(KEEP_ALIVE, "keep-alive", 251)                                       \
    X(LAST_MODIFIED, "last-modified", 38)                                  \
    X(LINK, "link", 80)                                                    \
    X(LOCATION, "location", 128)                                           \
    X(MAX_FORWARDS, "max-forwards", 218)                                   \
    X(ORIGIN, "origin", 199)                                               \
    X(PRAGMA, "pragma", 99)                                                \
    X(PRIORITY, "priority", 100)                                           \
    X(PROXY_AUTHENTICATE, "proxy-authenticate", 176)                       \
    X(PROXY_AUTHORIZATION, "proxy-authorization", 13)                      \
    X(PROXY_CONNECTION, "proxy-connection", 10)                            \
    X(RANGE, "range", 203)                                                 \
    X(REFERER, "referer", 74)                                              \
    X(RETRY_AFTER, "retry-after", 30)                                      \
    X(SEC_WEBSOCKET_ACCEPT, "sec-websocket-accept", 169)                   \
    X(SEC_WEBSOCKET_EXTENSIONS, "sec-websocket-extensions", 180)           \
    X(SEC_WEBSOCKET_KEY, "sec-websocket-key", 214)                         \
    X(SEC_WEBSOCKET_PROTOCOL, "sec-websocket-protocol", 89)                \
    X(SEC_WEBSOCKET_VERSION, "sec-websocket-version", 112)                 \
    X(SERVER, "server", 118)                                               \
    X(SET_COOKIE, "set-cookie", 249)                                       \
    X(TE, "te", 245)                                                       \
    X(TRAILER, "trailer", 138)                                             \
    X(TRANSFER_ENCODING, "transfer-encoding", 254)                         \
    X(UPGRADE, "upgrade", 47)                                              \
    X(UPGRADE_INSECURE_REQUESTS, "upgrade-insecure-requests", 226)         \
    X(USER_AGENT, "user-agent", 189)                                       \
    X(VARY, "vary", 12)                                                    \
    X(VIA, "via", 16)                                                      \
    X(WWW_AUTHENTICATE, "www-authenticate", 121)                           \
    X(X_FORWARDED_FOR, "x-forwarded-for", 35)                              \
    X(X_FORWARDED_PROTO, "x-forwarded-proto", 253)

enum http_name {
    HTTP_NAME_OTHER, /* a well-formed name that is not in the table */
#define X(identifier, name, slot) HTTP_##identifier,
    HTTP_NAME_TABLE(X)
#undef X
        HTTP_NAMES
};
_Static_assert((int)HTTP_NAMES <= 64, "a set of names must fit in 64 bits");

#define HTTP_NAME_BIT(name) ((uint64_t)1 << (name))

/* No name in the table is longer, so a vector of this size compares any of them at once. */
#define HTTP_NAME_MAX 32

/* The slots, and each name padded with zeros, for the parsers that compare by vector. */
extern const uint8_t http_name_slots[256];
extern const uint8_t http_name_rows[HTTP_NAMES][HTTP_NAME_MAX];
extern const uint8_t http_name_lengths[HTTP_NAMES];

/* The perfect hash over the table: length, first, middle and last character, case put aside. */
static inline uint8_t http_name_hash(const uint8_t *name, size_t length)
{
    unsigned first = name[0] | 0x20u, last = name[length - 1] | 0x20u;
    unsigned middle = name[length / 2] | 0x20u;

    return (uint8_t)((unsigned)length * 3u + first * 30u + last * 10u + middle);
}

/* Finds a field name whatever its case. Takes a non-empty token; gives HTTP_NAME_OTHER for one
 * that is not in the table. */
enum http_name http_name_find(const void *name, size_t length);

/* Gives the name in lower case, NUL-terminated and static; NULL for HTTP_NAME_OTHER. */
const char *http_name_text(enum http_name name);

/* Finds a method; methods are case-sensitive (RFC 9110 9.1). */
enum http_method http_method_find(const void *name, size_t length);

/* Gives the method's name, NUL-terminated and static; NULL for HTTP_METHOD_OTHER. */
const char *http_method_text(enum http_method method);

#endif
