/* What the tests of app/ share. */
#ifndef WEIR_TESTS_APP_TEST_H
#define WEIR_TESTS_APP_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <weir/alloc.h>

#include "app/http/textout.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A literal, NUL bytes in it included. */
#define T(literal) ((struct http_text){"" literal, sizeof(literal) - 1})

/* A string, or no text at all for NULL. */
static inline struct http_text text_of(const char *string)
{
    return (struct http_text){string, string ? strlen(string) : 0};
}

/* An allocator that fails from the n-th call on; 0: never. Set before anything is allocated. */
struct scarce {
    unsigned long calls, fail_at;
};

static inline int scarce_fails(struct scarce *scarce)
{
    return ++scarce->calls >= scarce->fail_at && scarce->fail_at > 0;
}

static inline void *scarce_alloc(size_t size, void *user)
{
    return scarce_fails(user) ? NULL : malloc(size);
}

static inline void *scarce_realloc(void *memory, size_t size, void *user)
{
    return scarce_fails(user) ? NULL : realloc(memory, size);
}

static inline void scarce_free(void *memory, void *user)
{
    free(memory);
}

static inline int scarce_set(struct scarce *scarce)
{
    const weir_allocator allocator = {scarce_alloc, scarce_realloc, scarce_free, scarce};
    return weir_set_allocator(&allocator);
}

/* Takes a page into memory, up to a bound. */
struct sink {
    char *text; /* NUL-terminated */
    size_t size, most;
    unsigned calls;
};

static inline int sink_write(void *arg, const char *data, size_t size)
{
    struct sink *sink = arg;

    sink->calls++;
    if (size > sink->most - sink->size)
        return -7;
    sink->text = realloc(sink->text, sink->size + size + 1);
    memcpy(sink->text + sink->size, data, size);
    sink->size += size;
    sink->text[sink->size] = '\0';
    return 0;
}

/* Reads JSON far enough to say whether it is well formed: one value with white space around it.
 * Strings may have printable ASCII, valid escapes, and bytes from 0x80 on when `ascii` is false. */
static inline const char *json_value(const char *at, int ascii);

static inline const char *json_blank(const char *at)
{
    while (*at == ' ' || *at == '\n')
        at++;
    return at;
}

static inline const char *json_string(const char *at, int ascii)
{
    if (*at++ != '"')
        return NULL;
    while (*at != '"') {
        unsigned char byte = (unsigned char)*at++;
        if (byte < 0x20 || byte == 0x7F || (ascii && byte > 0x7F))
            return NULL;
        if (byte != '\\')
            continue;
        if (*at == 'u') {
            if (strspn(at + 1, "0123456789abcdef") < 4)
                return NULL;
            at += 5;
        } else if (*at != '\0' && strchr("\"\\/bfnrt", *at)) {
            at++;
        } else {
            return NULL;
        }
    }
    return at + 1;
}

static inline const char *json_group(const char *at, int ascii, char end)
{
    at = json_blank(at + 1);
    if (*at == end)
        return at + 1;
    for (;;) {
        if (end == '}') {
            at = json_string(json_blank(at), ascii);
            if (!at || *(at = json_blank(at)) != ':')
                return NULL;
            at++;
        }
        at = json_value(at, ascii);
        if (!at)
            return NULL;
        at = json_blank(at);
        if (*at == end)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

static inline const char *json_value(const char *at, int ascii)
{
    at = json_blank(at);
    if (*at == '"')
        return json_string(at, ascii);
    if (*at == '{')
        return json_group(at, ascii, '}');
    if (*at == '[')
        return json_group(at, ascii, ']');
    if (strncmp(at, "null", 4) == 0)
        return at + 4;
    return *at >= '0' && *at <= '9' ? at + strspn(at, "0123456789") : NULL;
}

static inline int is_json(const char *text, int ascii)
{
    const char *end = json_value(text, ascii);
    return end && *json_blank(end) == '\0';
}

#endif
