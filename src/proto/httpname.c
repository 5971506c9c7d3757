#include "proto/httpname.h"

#include <string.h>

const uint8_t http_name_slots[256] = {
#define X(identifier, name, slot) [slot] = HTTP_##identifier,
    HTTP_NAME_TABLE(X)
#undef X
};

const uint8_t http_name_rows[HTTP_NAMES][HTTP_NAME_MAX] = {
#define X(identifier, name, slot) [HTTP_##identifier] = name,
    HTTP_NAME_TABLE(X)
#undef X
};

const uint8_t http_name_lengths[HTTP_NAMES] = {
#define X(identifier, name, slot) [HTTP_##identifier] = sizeof(name) - 1,
    HTTP_NAME_TABLE(X)
#undef X
};

static const char *const method_names[HTTP_METHODS] = {
    [HTTP_GET] = "GET",         [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
    [HTTP_PUT] = "PUT",         [HTTP_DELETE] = "DELETE", [HTTP_CONNECT] = "CONNECT",
    [HTTP_OPTIONS] = "OPTIONS", [HTTP_TRACE] = "TRACE",   [HTTP_PATCH] = "PATCH",
};

/*
 * Names in the table consist of letters, digits and hyphens only. Setting bit 5 of a token
 * character can make such a character only from itself or from its upper-case twin (the other
 * candidates, 0x0d for a hyphen and 0x10-0x19 for a digit, are no token characters), so the
 * comparison below is exact and not merely close.
 */
enum http_name http_name_find(const void *name, size_t length)
{
    const uint8_t *p = name;
    unsigned id;

    if (length == 0 || length > HTTP_NAME_MAX)
        return HTTP_NAME_OTHER;
    id = http_name_slots[http_name_hash(p, length)];
    if (http_name_lengths[id] != length)
        return HTTP_NAME_OTHER;
    for (size_t i = 0; i < length; i++) {
        if ((p[i] | 0x20) != http_name_rows[id][i])
            return HTTP_NAME_OTHER;
    }
    return (enum http_name)id;
}

const char *http_name_text(enum http_name name)
{
    if (name <= HTTP_NAME_OTHER || name >= HTTP_NAMES)
        return NULL;
    return (const char *)http_name_rows[name];
}

enum http_method http_method_find(const void *name, size_t length)
{
    for (int i = 1; i < HTTP_METHODS; i++) {
        if (strlen(method_names[i]) == length && memcmp(method_names[i], name, length) == 0)
            return (enum http_method)i;
    }
    return HTTP_METHOD_OTHER;
}

const char *http_method_text(enum http_method method)
{
    if (method <= HTTP_METHOD_OTHER || method >= HTTP_METHODS)
        return NULL;
    return method_names[method];
}
