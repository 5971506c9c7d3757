/* How long a body is and whether the connection outlives it: RFC 9112 6 and 9. */
#include "proto/httpfield.h"
#include "proto/http1_engine.h"

/*
 * Anything but exactly "chunked" is refused. A list that ends in chunked is well-formed and only
 * beyond us; one that does not leaves the length of the body unknown (RFC 9112 6.1, 6.3).
 */
static enum http1_refusal settle_coding(struct http_text value)
{
    struct http_text token = {value.at, 0};
    bool last_chunked = false;
    int rc, count = 0, chunked = 0;

    if (http_text_is(value, "chunked"))
        return HTTP1_ACCEPTED;
    while ((rc = http_token_list_next(&value, &token)) == 1) {
        last_chunked = http_text_is(token, "chunked");
        chunked += last_chunked;
        count++;
    }
    if (rc < 0 || !last_chunked || chunked != 1 || count == 1)
        return HTTP1_BAD_CODING;
    return HTTP1_UNKNOWN_CODING;
}

enum http1_refusal http1_settle_framing(const struct http1_fields *fields, uint8_t minor,
                                        bool *has_length, uint64_t *length, bool *chunked)
{
    const uint64_t bit_length = HTTP_NAME_BIT(HTTP_CONTENT_LENGTH);
    const uint64_t bit_coding = HTTP_NAME_BIT(HTTP_TRANSFER_ENCODING);
    struct http_text value = {NULL, 0};
    enum http1_refusal refusal;

    if (!(fields->seen & (bit_length | bit_coding)))
        return HTTP1_ACCEPTED;
    if (fields->seen & bit_length && fields->seen & bit_coding)
        return HTTP1_BOTH_LENGTHS;
    if (fields->repeated & bit_length)
        return HTTP1_REPEATED_LENGTH;
    if (fields->repeated & bit_coding)
        return HTTP1_REPEATED_CODING;
    if (http1_fields_get(fields, HTTP_CONTENT_LENGTH, &value)) {
        *has_length = http_text_number(value, length);
        return *has_length ? HTTP1_ACCEPTED : HTTP1_BAD_LENGTH;
    }
    if (minor == 0)
        return HTTP1_CODING_IN_1_0;
    http1_fields_get(fields, HTTP_TRANSFER_ENCODING, &value);
    refusal = settle_coding(value);
    *chunked = refusal == HTTP1_ACCEPTED;
    return refusal;
}

static uint8_t option_of(struct http_text token)
{
    if (http_text_is(token, "close"))
        return HTTP1_OPTION_CLOSE;
    if (http_text_is(token, "keep-alive"))
        return HTTP1_OPTION_KEEP_ALIVE;
    if (http_text_is(token, "upgrade"))
        return HTTP1_OPTION_UPGRADE;
    if (http_text_is(token, "te"))
        return HTTP1_OPTION_TE;
    return HTTP1_OPTION_OTHER;
}

enum http1_refusal http1_settle_connection(const struct http1_fields *fields, uint8_t *options)
{
    unsigned row;

    if (!http1_fields_have(fields, HTTP_CONNECTION))
        return HTTP1_ACCEPTED;
    for (row = fields->first[HTTP_CONNECTION]; row < fields->count; row++) {
        struct http_text list, token;
        int rc;

        if (fields->row[row].id != HTTP_CONNECTION)
            continue;
        list = http1_field_value(fields, row);
        while ((rc = http_token_list_next(&list, &token)) == 1)
            *options |= option_of(token);
        if (rc < 0)
            return HTTP1_BAD_CONNECTION;
        if (!(fields->repeated & HTTP_NAME_BIT(HTTP_CONNECTION)))
            break;
    }
    return HTTP1_ACCEPTED;
}

int http1_fields_find(const struct http1_fields *fields, const char *name, size_t length,
                      unsigned from)
{
    for (unsigned row = from; row < fields->count; row++) {
        if (http_text_same(http1_field_name(fields, row), name, length))
            return (int)row;
    }
    return -1;
}
