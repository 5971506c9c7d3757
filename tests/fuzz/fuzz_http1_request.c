/* Heads of requests and of responses: every engine against the plain one, whole against cut. Input:
 * one byte that chooses, then the bytes of a head. */
#include <stdint.h>

#include "../unit/proto/http1_differ.h"
#include "proto/httpfield.h"
#include "proto/httpuri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a server does with the values of a head that was taken: none of it may fall over. */
static void use_values(const struct http1_request *request)
{
    for (unsigned i = 0; i < request->fields.count; i++) {
        struct http_text value = http1_field_value(&request->fields, i), element, list = value;
        struct http_preference preference;

        while (http_list_next(&list, &element) == 1)
            DIFFER_CHECK(element.length > 0 && element.length <= value.length);
        list = value;
        while (http_preference_next(&list, &preference) == 1)
            DIFFER_CHECK(preference.quality <= 1000);
        http_quality_of(value, "gzip", 4);
    }
}

static void use_target(const struct http1_request *request)
{
    struct http_text path = http1_text(&request->fields, request->path);
    struct http_text query = http1_text(&request->fields, request->query), name, value;
    char *out = malloc(request->target.length + 1);
    struct http_path_facts facts;
    ssize_t n;

    DIFFER_CHECK(out);
    n = http_path_decode(path, out, path.length, &facts);
    DIFFER_CHECK(n >= -1 && n <= (ssize_t)path.length);
    DIFFER_CHECK(n < 0 || n == 0 || memchr(out, '\0', (size_t)n) == NULL);
    while (http_query_next(&query, &name, &value)) {
        DIFFER_CHECK(http_query_decode(name, out, name.length) >= -1);
        DIFFER_CHECK(http_query_decode(value, out, value.length) >= -1);
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http1_limits tight = {.line_bytes = 24, .head_bytes = 96, .fields = 4};
    static struct http1_field rows[HTTP1_FIELDS];
    struct http1_request request = {.fields = {.row = rows, .capacity = HTTP1_FIELDS}};
    struct http1_resume resume = {0, 0, 0};
    struct differ_options options = {false, HTTP_GET, NULL};
    uint8_t choice;
    uint8_t *copy;

    if (size == 0)
        return 0;
    choice = *data++;
    size--;
    options.response = choice & 1;
    options.limits = choice & 2 ? &tight : NULL;
    options.method = choice & 4 ? HTTP_HEAD : choice & 8 ? HTTP_CONNECT : HTTP_GET;
    copy = malloc(size + 1);
    DIFFER_CHECK(copy);
    /* At another alignment each time; the first and the last byte still are the memory's own. */
    memcpy(copy, data, size);
    differ_head(copy, size, 1 + (choice >> 4), &options);
    if (!options.response &&
        http1_parse_request(copy, size, &resume, options.limits, &request) > 0) {
        use_values(&request);
        use_target(&request);
    }
    free(copy);
    return 0;
}
