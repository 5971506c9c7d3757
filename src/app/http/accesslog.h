/* One line of the access log for one request. */
#ifndef WEIR_APP_HTTP_ACCESSLOG_H
#define WEIR_APP_HTTP_ACCESSLOG_H

#include <stddef.h>
#include <stdint.h>

#include "proto/httpname.h"

/* common:   peer - user [date] "METHOD TARGET VERSION" status bytes
 * combined: the same, then "referer" "user agent"
 * json:     one object a line, with the duration */
enum accesslog_format { ACCESSLOG_COMMON, ACCESSLOG_COMBINED, ACCESSLOG_JSON };

/* No line is longer, with its line feed: what one write() appends to a file or a pipe whole. */
enum { ACCESSLOG_LINE_MAX = 4096 };

/* XX(field, most bytes that it takes in a line, escapes and the mark of truncation included). */
#define ACCESSLOG_FIELDS(XX) \
    XX(peer, 128)            \
    XX(user, 128)            \
    XX(method, 32)           \
    XX(target, 2048)         \
    XX(version, 16)          \
    XX(referer, 768)         \
    XX(agent, 512)

/* What is logged about a request. Texts are borrowed during the call; an empty one was not there.
 */
struct accesslog_record {
#define XX(field, most) struct http_text field;
    ACCESSLOG_FIELDS(XX)
#undef XX
    int64_t time_ns;      /* since 1970: when the request came */
    uint64_t duration_ns; /* from its first byte to the last one sent */
    uint64_t body_bytes;  /* of the answer, as sent, without head and framing */
    uint16_t status;
};

/* Writes the line with its line feed; returns its length. Nothing in a text can end the line, the
 * field, or steer a terminal: all but printable ASCII is escaped (\xHH, in JSON \uHHHH). A text
 * that is cut ends in "..." and in JSON is listed under "truncated". Any thread. */
size_t accesslog_write(const struct accesslog_record *record, enum accesslog_format format,
                       char line[ACCESSLOG_LINE_MAX]);

/* The format of that name ("common", "combined", "json"), or WEIR_EINVALID. */
int weir__accesslog_format_find(const char *name);

/* "common, combined, json": for messages and help. */
const char *weir__accesslog_format_names(void);

#endif
