#include "app/http/multipart.h"

#include <stdio.h>

#include <weir/error.h>

int multipart_init(struct multipart *multipart, const unsigned char random[MULTIPART_RANDOM_SIZE],
                   struct http_text type, uint64_t total_bytes)
{
    static const char letters[] = "0123456789abcdef";
    const unsigned char *text = (const unsigned char *)type.at;

    if (type.length > MULTIPART_TYPE_MAX)
        return WEIR_ETOOBIG;
    if (type.length == 0)
        return WEIR_EINVALID;
    for (size_t i = 0; i < type.length; i++)
        if (text[i] < 0x20 || text[i] == 0x7F)
            return WEIR_EINVALID;
    for (size_t i = 0; i < MULTIPART_RANDOM_SIZE; i++) {
        multipart->boundary[2 * i] = letters[random[i] >> 4];
        multipart->boundary[2 * i + 1] = letters[random[i] & 15];
    }
    multipart->boundary[MULTIPART_BOUNDARY_SIZE] = '\0';
    multipart->type = type;
    multipart->total_bytes = total_bytes;
    return 0;
}

size_t multipart_content_type(const struct multipart *multipart,
                              char out[MULTIPART_CONTENT_TYPE_SIZE])
{
    return (size_t)snprintf(out, MULTIPART_CONTENT_TYPE_SIZE, "multipart/byteranges; boundary=%s",
                            multipart->boundary);
}

/* The line break before a boundary belongs to the boundary (RFC 2046 section 5.1.1); before the
 * first one there is no part for it to end. */
size_t multipart_head(const struct multipart *multipart, struct range part, bool first,
                      char out[MULTIPART_HEAD_SIZE])
{
    char range[RANGE_TEXT_SIZE];

    weir__range_text(part, multipart->total_bytes, range);
    return (size_t)snprintf(out, MULTIPART_HEAD_SIZE,
                            "%s--%s\r\nContent-Type: %.*s\r\nContent-Range: %s\r\n\r\n",
                            first ? "" : "\r\n", multipart->boundary, (int)multipart->type.length,
                            (const char *)multipart->type.at, range);
}

size_t multipart_tail(const struct multipart *multipart, char out[MULTIPART_TAIL_SIZE])
{
    return (size_t)snprintf(out, MULTIPART_TAIL_SIZE, "\r\n--%s--\r\n", multipart->boundary);
}

int multipart_total(const struct multipart *multipart, const struct range_set *set,
                    uint64_t *total_bytes)
{
    char scratch[MULTIPART_HEAD_SIZE];
    uint64_t sum = multipart_tail(multipart, scratch);

    for (uint32_t i = 0; i < set->count; i++) {
        uint64_t head = multipart_head(multipart, set->part[i], i == 0, scratch);
        if (__builtin_add_overflow(sum, head, &sum) ||
            __builtin_add_overflow(sum, set->part[i].size, &sum))
            return WEIR_ETOOBIG;
    }
    *total_bytes = sum;
    return 0;
}
