#include "proto/http1_write.h"

#include "proto/httpstatus.h"
#include "proto/http1_engine.h"

#include <errno.h>
#include <string.h>

/* Makes room for length bytes; NULL when there is none, or an error came before. */
static uint8_t *take(struct http1_writer *writer, size_t length)
{
    uint8_t *at = writer->at;

    if (writer->error)
        return NULL;
    if ((size_t)(writer->end - at) < length) {
        writer->error = -ENOBUFS;
        return NULL;
    }
    writer->at += length;
    return at;
}

static void refuse(struct http1_writer *writer)
{
    if (!writer->error)
        writer->error = -EINVAL;
}

/* Whether all bytes of the text are in the set. */
static bool consists_of(struct http_text text, enum http1_set set)
{
    const uint8_t *p = (const uint8_t *)text.at, *end = p + text.length;

    return text.length == 0 || http1_engine_current()->skip[set](p, end, p) == end;
}

static bool is_value(struct http_text text)
{
    const char *p = text.at;

    if (text.length == 0)
        return true;
    if (p[0] == ' ' || p[0] == '\t' || p[text.length - 1] == ' ' || p[text.length - 1] == '\t')
        return false;
    return consists_of(text, HTTP1_TEXT);
}

static uint8_t *put(uint8_t *out, const void *bytes, size_t length)
{
    if (length > 0)
        memcpy(out, bytes, length);
    return out + length;
}

void http1_write_raw(struct http1_writer *writer, const void *bytes, size_t length)
{
    uint8_t *out = take(writer, length);

    if (out)
        put(out, bytes, length);
}

void http1_write_status(struct http1_writer *writer, unsigned status)
{
    struct http_text line = http_status_line(status);

    if (line.length > 0)
        http1_write_raw(writer, line.at, line.length);
    else
        http1_write_status_reason(writer, status, "", 0);
}

void http1_write_status_reason(struct http1_writer *writer, unsigned status, const char *reason,
                               size_t length)
{
    struct http_text text = {reason, length};
    uint8_t *out;

    if (status < 100 || status > 999 || !is_value(text)) {
        refuse(writer);
        return;
    }
    out = take(writer, 9 + 4 + length + 2);
    if (!out)
        return;
    out = put(out, "HTTP/1.1 ", 9);
    *out++ = (uint8_t)('0' + status / 100);
    *out++ = (uint8_t)('0' + status / 10 % 10);
    *out++ = (uint8_t)('0' + status % 10);
    *out++ = ' ';
    out = put(out, reason, length);
    put(out, "\r\n", 2);
}

void http1_write_request(struct http1_writer *writer, struct http_text method,
                         struct http_text target)
{
    uint8_t *out;

    if (method.length == 0 || !consists_of(method, HTTP1_TOKEN) || target.length == 0 ||
        !consists_of(target, HTTP1_QUERY)) {
        refuse(writer);
        return;
    }
    out = take(writer, method.length + 1 + target.length + 11);
    if (!out)
        return;
    out = put(out, method.at, method.length);
    *out++ = ' ';
    out = put(out, target.at, target.length);
    put(out, " HTTP/1.1\r\n", 11);
}

void http1_write_field(struct http1_writer *writer, struct http_text name, struct http_text value)
{
    uint8_t *out;

    if (name.length == 0 || !consists_of(name, HTTP1_TOKEN) || !is_value(value)) {
        refuse(writer);
        return;
    }
    out = take(writer, name.length + 2 + value.length + 2);
    if (!out)
        return;
    out = put(out, name.at, name.length);
    out = put(out, ": ", 2);
    out = put(out, value.at, value.length);
    put(out, "\r\n", 2);
}

void http1_write_date(struct http1_writer *writer, const char date[29])
{
    uint8_t *out = take(writer, 6 + 29 + 2);

    if (!out)
        return;
    memcpy(out, "Date: ", 6);
    memcpy(out + 6, date, 29);
    memcpy(out + 35, "\r\n", 2);
}

void http1_write_length(struct http1_writer *writer, uint64_t length)
{
    uint8_t digits[20], *first = digits + sizeof(digits), *out;
    size_t count;

    do {
        *--first = (uint8_t)('0' + length % 10);
        length /= 10;
    } while (length);
    count = (size_t)(digits + sizeof(digits) - first);
    out = take(writer, 16 + count + 2);
    if (!out)
        return;
    memcpy(out, "Content-Length: ", 16);
    memcpy(out + 16, first, count);
    memcpy(out + 16 + count, "\r\n", 2);
}

ssize_t http1_write_end(struct http1_writer *writer)
{
    http1_write_raw(writer, "\r\n", 2);
    return writer->error ? writer->error : writer->at - writer->begin;
}

size_t http1_chunk_head(uint8_t out[HTTP1_CHUNK_HEAD_MAX], uint64_t length)
{
    static const char digits[] = "0123456789abcdef";
    unsigned count = length ? (67u - (unsigned)__builtin_clzll(length)) / 4 : 1;

    for (unsigned i = count; i-- > 0; length >>= 4)
        out[i] = (uint8_t)digits[length & 15];
    out[count] = '\r';
    out[count + 1] = '\n';
    return count + 2;
}
