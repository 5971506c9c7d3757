/* Conditional requests. Input: a byte for the method and the validators, then the fields, divided
 * by NUL: tag of the representation, If-Match, If-None-Match, If-Modified-Since,
 * If-Unmodified-Since, If-Range, Range, Accept-Encoding. One that is empty or begins with the byte
 * 1 is absent. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "app/http/conditional.h"
#include "app/http/encoding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int holds)
{
    if (!holds)
        abort();
}

static struct http_text next_field(const char **at, const char *end)
{
    struct http_text field = {*at, 0};
    const char *stop = *at < end ? memchr(*at, '\0', (size_t)(end - *at)) : NULL;

    field.length = (size_t)((stop ? stop : end) - *at);
    *at = stop ? stop + 1 : end;
    if (field.length == 0 || field.at[0] == '\1')
        field.at = NULL;
    return field;
}

static void check_status(int status, enum http_method method, const struct conditional *fields,
                         const struct validators *validators, const struct range_set *set)
{
    bool reads = method == HTTP_GET || method == HTTP_HEAD;

    expect(status == 200 || status == 206 || status == 304 || status == 412 || status == 416);
    expect((set->count > 0) == (status == 206));
    if (status == 206 || status == 416)
        expect(method == HTTP_GET && fields->range.at && validators->exists);
    if (status == 304)
        expect(reads && (fields->if_none_match.at || fields->if_modified_since.at));
    if (status == 412)
        expect(fields->if_match.at || fields->if_unmodified_since.at ||
               (fields->if_none_match.at && !reads));
    if (status == 206 && fields->if_range.at)
        expect(validators->etag.at || validators->has_modified);
}

/* Adding conditions never makes an answer of one that was refused: without If-Range and Range, the
 * same conditions give the same 304 or 412. */
static void check_without_range(int status, enum http_method method, struct conditional fields,
                                const struct validators *validators)
{
    struct range_set set;
    int plain;

    fields.if_range.at = fields.range.at = NULL;
    plain = conditional_judge(&fields, method, validators, &set);
    if (status == 206 || status == 416)
        expect(plain == 200);
    else
        expect(plain == status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    struct validators validators;
    struct conditional fields;
    struct coding_order order;
    struct range_set set;
    enum http_method method;
    int status;

    if (size < 1)
        return 0;
    method = (enum http_method)(data[0] % HTTP_METHODS);
    at++;
    validators.exists = data[0] & 0x10;
    validators.has_modified = data[0] & 0x20;
    validators.modified_weak = data[0] & 0x40;
    validators.modified_s = 784111777;
    validators.total_bytes = data[0] & 0x80 ? 10000 : 0;
    validators.etag = next_field(&at, end);
    fields.if_match = next_field(&at, end);
    fields.if_none_match = next_field(&at, end);
    fields.if_modified_since = next_field(&at, end);
    fields.if_unmodified_since = next_field(&at, end);
    fields.if_range = next_field(&at, end);
    fields.range = next_field(&at, end);
    fields.now_s = 1700000000;
    status = conditional_judge(&fields, method, &validators, &set);
    check_status(status, method, &fields, &validators, &set);
    check_without_range(status, method, fields, &validators);

    order = weir__encoding_order(next_field(&at, end));
    expect(order.count <= CODINGS);
    for (unsigned i = 1; i < order.count; i++)
        expect(order.coding[i] < CODINGS && order.coding[i] != order.coding[i - 1]);
    return 0;
}
