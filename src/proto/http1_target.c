/* The four forms of a request target (RFC 9112 3.2), and the Host field that belongs to it. */
#include "proto/httpchar.h"
#include "proto/httpfield.h"
#include "proto/httpuri.h"
#include "proto/http1_engine.h"

#include <string.h>

static struct http1_span span_of(const struct http1_request *request, struct http_text text)
{
    const char *base = (const char *)request->fields.base;

    return (struct http1_span){(uint32_t)(text.at - base), (uint32_t)text.length};
}

static uint16_t default_port(struct http_text scheme)
{
    if (http_text_is(scheme, "http"))
        return 80;
    return http_text_is(scheme, "https") ? 443 : 0;
}

/* Parts path and query of an absolute target; path may be empty. False for a bad character. */
static bool part_path(struct http1_request *request, struct http_text rest)
{
    const char *mark = memchr(rest.at, '?', rest.length);
    struct http_text path = {rest.at, mark ? (size_t)(mark - rest.at) : rest.length};

    for (size_t i = 0; i < path.length; i++) {
        if (!http_char_is((uint8_t)path.at[i], HTTP_CLASS_PATH))
            return false;
    }
    request->path = span_of(request, path);
    if (mark) {
        struct http_text query = {mark + 1, rest.length - path.length - 1};

        request->query = span_of(request, query);
        request->has_query = true;
    }
    return true;
}

/* Takes SCHEME://AUTHORITY[/PATH][?QUERY] apart. User names in it are refused (RFC 9110 4.2.4). */
static enum http1_refusal settle_absolute(struct http1_request *request, struct http_text target)
{
    struct http_text scheme = {target.at, 0}, rest, authority, name;
    const char *end = target.at + target.length, *p = target.at;

    while (p < end && http_char_is((uint8_t)*p, HTTP_CLASS_SCHEME))
        p++;
    scheme.length = (size_t)(p - target.at);
    if (scheme.length == 0 || (uint8_t)(http_char_lower((uint8_t)target.at[0]) - 'a') > 25 ||
        end - p < 3 || memcmp(p, "://", 3) != 0)
        return HTTP1_BAD_TARGET_FORM;
    authority = (struct http_text){p + 3, 0};
    for (p += 3; p < end && *p != '/' && *p != '?'; p++)
        ;
    authority.length = (size_t)(p - authority.at);
    rest = (struct http_text){p, (size_t)(end - p)};
    if (!http_authority_parse(authority, &name, &request->port))
        return HTTP1_BAD_TARGET_FORM;
    if (!part_path(request, rest))
        return HTTP1_BAD_TARGET;
    request->form = HTTP1_FORM_ABSOLUTE;
    request->scheme = span_of(request, scheme);
    request->host = span_of(request, authority);
    request->host_name = span_of(request, name);
    return HTTP1_ACCEPTED;
}

static enum http1_refusal settle_form(struct http1_request *request)
{
    struct http_text target = http1_text(&request->fields, request->target), name;

    if (request->method == HTTP_CONNECT) {
        /* The port is not optional here: there is no scheme to take it from. */
        if (!http_authority_parse(target, &name, &request->port) || request->port == 0)
            return HTTP1_BAD_TARGET_FORM;
        request->form = HTTP1_FORM_AUTHORITY;
        request->host = request->target;
        request->host_name = span_of(request, name);
        request->path = request->query = (struct http1_span){0, 0};
        request->has_query = false;
        return HTTP1_ACCEPTED;
    }
    if (target.at[0] == '/') {
        request->form = HTTP1_FORM_ORIGIN;
        return HTTP1_ACCEPTED;
    }
    if (target.length == 1 && target.at[0] == '*') {
        request->form = HTTP1_FORM_ASTERISK;
        request->path = request->target;
        return request->method == HTTP_OPTIONS ? HTTP1_ACCEPTED : HTTP1_BAD_TARGET_FORM;
    }
    return settle_absolute(request, target);
}

/* Whether the Host field names what the target names, ports that go without saying included. */
static bool host_agrees(const struct http1_request *request, struct http_text name, uint16_t port)
{
    const struct http1_fields *fields = &request->fields;
    struct http_text target_name = http1_text(fields, request->host_name);
    uint16_t target_port = request->port;
    uint16_t usual = default_port(http1_text(fields, request->scheme));

    if (target_port == 0)
        target_port = usual;
    if (port == 0)
        port = usual;
    return target_port == port && http_text_same(name, target_name.at, target_name.length);
}

enum http1_refusal http1_settle_target(struct http1_request *request)
{
    const struct http1_fields *fields = &request->fields;
    struct http_text value, name;
    enum http1_refusal refusal;
    uint16_t port;

    refusal = settle_form(request);
    if (refusal != HTTP1_ACCEPTED)
        return refusal;
    if (!http1_fields_get(fields, HTTP_HOST, &value))
        return request->minor == 0 ? HTTP1_ACCEPTED : HTTP1_NO_HOST;
    if (fields->repeated & HTTP_NAME_BIT(HTTP_HOST))
        return HTTP1_REPEATED_HOST;
    if (!http_authority_parse(value, &name, &port))
        return HTTP1_BAD_HOST;
    if (request->host.length > 0)
        return host_agrees(request, name, port) ? HTTP1_ACCEPTED : HTTP1_HOST_DISAGREES;
    request->host = span_of(request, value);
    request->host_name = span_of(request, name);
    request->port = port;
    return HTTP1_ACCEPTED;
}
