#include "proto/httpuri.h"

#include "proto/httpchar.h"

#include <arpa/inet.h>
#include <string.h>

static bool read_port(const char *p, size_t length, uint16_t *port)
{
    unsigned sum = 0;

    *port = 0;
    if (length == 0)
        return true;
    if (length > 5)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (!http_char_is((uint8_t)p[i], HTTP_CLASS_DIGIT))
            return false;
        sum = sum * 10 + ((unsigned)p[i] - '0');
    }
    *port = (uint16_t)sum;
    return sum > 0 && sum <= UINT16_MAX;
}

/* Whether the text between the brackets is an IPv6 address. */
static bool is_ipv6(const char *p, size_t length)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (length >= sizeof(copy) || memchr(p, '\0', length))
        return false;
    memcpy(copy, p, length);
    copy[length] = '\0';
    return inet_pton(AF_INET6, copy, &address) == 1;
}

bool http_authority_parse(struct http_text authority, struct http_text *name, uint16_t *port)
{
    const char *p = authority.at, *end = p + authority.length, *colon;

    if (authority.length == 0)
        return false;
    if (*p == '[') {
        colon = memchr(p, ']', authority.length);
        if (!colon || !is_ipv6(p + 1, (size_t)(colon - p - 1)))
            return false;
        colon++;
    } else {
        for (colon = p; colon < end && http_char_is((uint8_t)*colon, HTTP_CLASS_HOST); colon++)
            ;
    }
    *port = 0;
    if (colon == p || (colon < end && *colon != ':'))
        return false;
    if (colon < end && !read_port(colon + 1, (size_t)(end - colon - 1), port))
        return false;
    *name = (struct http_text){p, (size_t)(colon - p)};
    return true;
}

/* Reads the escape at p (a percent sign); -1 for a bad one. */
static int read_escape(const char *p, const char *end)
{
    if (end - p < 3 || !http_char_is((uint8_t)p[1], HTTP_CLASS_HEX) ||
        !http_char_is((uint8_t)p[2], HTTP_CLASS_HEX))
        return -1;
    return (int)(http_char_hex((uint8_t)p[1]) << 4 | http_char_hex((uint8_t)p[2]));
}

static void look_at_segment(const char *segment, const char *end, struct http_path_facts *facts)
{
    size_t length = (size_t)(end - segment);

    if ((length == 1 && segment[0] == '.') ||
        (length == 2 && segment[0] == '.' && segment[1] == '.'))
        facts->dot_segment = true;
}

ssize_t http_path_decode(struct http_text path, char *out, size_t capacity,
                         struct http_path_facts *facts)
{
    const char *p = path.at, *end = p + path.length;
    struct http_path_facts found = {false, false, false};
    char *to = out, *segment = out;

    while (p < end) {
        int c = (uint8_t)*p;

        if ((size_t)(to - out) == capacity)
            return -2;
        if (c == '%') {
            c = read_escape(p, end);
            if (c <= 0)
                return -1;
            found.escaped_slash |= c == '/' || c == '\\';
            p += 2;
        }
        p++;
        if (c == '/') {
            look_at_segment(segment, to, &found);
            found.empty_segment |= to > out && to == segment;
            segment = to + 1;
        }
        *to++ = (char)c;
    }
    look_at_segment(segment, to, &found);
    if (facts)
        *facts = found;
    return to - out;
}

bool http_query_next(struct http_text *query, struct http_text *name, struct http_text *value)
{
    while (query->length > 0) {
        const char *p = query->at, *stop = memchr(p, '&', query->length), *equals;
        size_t length = stop ? (size_t)(stop - p) : query->length;

        query->at += stop ? length + 1 : length;
        query->length -= stop ? length + 1 : length;
        if (length == 0)
            continue;
        equals = memchr(p, '=', length);
        if (!equals) {
            *name = (struct http_text){p, length};
            *value = (struct http_text){p + length, 0};
            return true;
        }
        *name = (struct http_text){p, (size_t)(equals - p)};
        *value = (struct http_text){equals + 1, (size_t)(p + length - equals - 1)};
        return true;
    }
    return false;
}

ssize_t http_query_decode(struct http_text part, char *out, size_t capacity)
{
    const char *p = part.at, *end = p + part.length;
    char *to = out;

    while (p < end) {
        int c = (uint8_t)*p;

        if ((size_t)(to - out) == capacity)
            return -2;
        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            c = read_escape(p, end);
            if (c < 0)
                return -1;
            p += 2;
        }
        p++;
        *to++ = (char)c;
    }
    return to - out;
}
