/* HTTP requests, made once before the load begins. */
#include "app/load/load.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "proto/httpchar.h"
#include "proto/httpfield.h"

static bool is_token(struct http_text text)
{
    for (size_t i = 0; i < text.length; i++)
        if (!http_char_is((uint8_t)text.at[i], HTTP_CLASS_TOKEN))
            return false;
    return text.length != 0;
}

static bool name_is(struct http_text name, const char *known)
{
    return http_text_same(name, known, strlen(known));
}

/* A field as the user wrote it: "Name: value". */
static int check_field(const char *field, const struct load_why *why)
{
    size_t name_size = strcspn(field, ":");
    struct http_text name = {field, name_size};

    if (field[name_size] == '\0' || !is_token(name))
        return load_fail(why, WEIR_EINVALID, "the header \"%s\" is not \"Name: value\"", field);
    for (const char *c = field + name_size; *c != '\0'; c++)
        if (((uint8_t)*c < ' ' && *c != '\t') || *c == 0x7f)
            return load_fail(why, WEIR_EINVALID,
                             "the header %.*s has a control character in its value", (int)name_size,
                             field);
    if (name_is(name, "content-length") || name_is(name, "transfer-encoding"))
        return load_fail(why, WEIR_EINVALID, "the header %.*s follows from the body: leave it out",
                         (int)name_size, field);
    if (name_is(name, "connection"))
        return load_fail(why, WEIR_EINVALID,
                         "connections are kept; for one a request use --close, not the header %s",
                         field);
    return 0;
}

static bool has_field(const char *const *headers, const char *known)
{
    for (; headers != NULL && *headers != NULL; headers++)
        if (name_is((struct http_text){*headers, strcspn(*headers, ":")}, known))
            return true;
    return false;
}

static int check(const weir_load_options *options, struct http_text method, struct http_text target,
                 const struct load_why *why)
{
    if (!is_token(method))
        return load_fail(why, WEIR_EINVALID, "the method \"%s\" is no token", method.at);
    if (name_is(method, "connect"))
        return load_fail(why, WEIR_EINVALID, "CONNECT opens a tunnel, which is no load");
    for (size_t i = 0; i < target.length; i++)
        if ((uint8_t)target.at[i] <= ' ' || target.at[i] == 0x7f)
            return load_fail(why, WEIR_EINVALID,
                             "the URL has a blank or a control character: write it as %%20");
    for (const char *const *field = options->headers; field != NULL && *field != NULL; field++) {
        int result = check_field(*field, why);
        if (result < 0)
            return result;
    }
    return 0;
}

static size_t add(uint8_t *out, size_t at, const char *text, size_t size)
{
    if (out != NULL && size != 0)
        memcpy(out + at, text, size);
    return at + size;
}

static size_t add_text(uint8_t *out, size_t at, const char *text)
{
    return add(out, at, text, strlen(text));
}

/* Writes it, or counts its bytes with out NULL. */
static size_t write_request(const weir_load_options *options, struct http_text method,
                            struct http_text host, struct http_text target, uint8_t *out)
{
    char length[64];
    size_t at = add(out, 0, method.at, method.length);

    at = add_text(out, at, " ");
    at = target.length != 0 ? add(out, at, target.at, target.length) : add_text(out, at, "/");
    at = add_text(out, at, " HTTP/1.1\r\n");
    if (!has_field(options->headers, "host")) {
        at = add_text(out, at, "Host: ");
        at = add(out, at, host.at, host.length);
        at = add_text(out, at, "\r\n");
    }
    for (const char *const *field = options->headers; field != NULL && *field != NULL; field++) {
        at = add_text(out, at, *field);
        at = add_text(out, at, "\r\n");
    }
    if (options->close)
        at = add_text(out, at, "Connection: close\r\n");
    if (options->body.size != 0 || name_is(method, "post") || name_is(method, "put")) {
        snprintf(length, sizeof length, "Content-Length: %u\r\n", options->body.size);
        at = add_text(out, at, length);
    }
    at = add_text(out, at, "\r\n");
    return add(out, at, options->body.data, options->body.size);
}

int load_request_make(const weir_load_options *options, struct http_text host,
                      struct http_text target, struct load_request *out, const struct load_why *why)
{
    const char *name = options->method != NULL   ? options->method
                       : options->body.size != 0 ? "POST"
                                                 : "GET";
    struct http_text method = {name, strlen(name)};
    int result = check(options, method, target, why);

    if (result < 0)
        return result;
    out->size = write_request(options, method, host, target, NULL);
    out->method = (uint8_t)http_method_find((const uint8_t *)method.at, method.length);
    out->bytes = weir__alloc(out->size);
    if (out->bytes == NULL)
        return load_fail(why, WEIR_ENOMEM, "out of memory for a request of %zu bytes", out->size);
    write_request(options, method, host, target, out->bytes);
    return 0;
}
