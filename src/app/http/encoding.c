#include "app/http/encoding.h"

#include <stdbool.h>
#include <stddef.h>

#include "proto/httpfield.h"

enum { UNNAMED = -1 };

/* Names a coding; "x-gzip" is an old name of gzip (RFC 9110 section 8.4.1.3). CODINGS: none of
 * ours. */
static unsigned coding_of(struct http_text name)
{
    if (http_text_is(name, "gzip") || http_text_is(name, "x-gzip"))
        return CODING_GZIP;
    if (http_text_is(name, "br"))
        return CODING_BR;
    if (http_text_is(name, "identity"))
        return CODING_IDENTITY;
    return CODINGS;
}

/* Reads the qualities in thousandths of all codings in one pass. False when malformed. */
static bool read_qualities(struct http_text list, int quality[CODINGS])
{
    struct http_preference preference;
    int rest = UNNAMED, more;

    for (int i = 0; i < CODINGS; i++)
        quality[i] = UNNAMED;
    while ((more = http_preference_next(&list, &preference)) == 1) {
        unsigned coding = coding_of(preference.value);
        if (coding < CODINGS && quality[coding] == UNNAMED)
            quality[coding] = preference.quality;
        else if (rest == UNNAMED && http_text_is(preference.value, "*"))
            rest = preference.quality;
    }
    for (int i = 0; i < CODINGS; i++)
        if (quality[i] == UNNAMED)
            quality[i] = rest;
    return more == 0;
}

struct coding_order weir__encoding_order(struct http_text accept_encoding)
{
    static const uint8_t liked[CODINGS] = {CODING_BR, CODING_GZIP, CODING_IDENTITY};
    struct coding_order order = {1, {CODING_IDENTITY}};
    int quality[CODINGS];

    if (!accept_encoding.at || !read_qualities(accept_encoding, quality))
        return order;
    order.count = 0;
    for (int i = 0; i < CODINGS; i++) {
        uint8_t coding = liked[i];
        unsigned place = order.count;
        if (quality[coding] == 0 || (quality[coding] == UNNAMED && coding != CODING_IDENTITY))
            continue;
        while (place > 0 && quality[order.coding[place - 1]] < quality[coding]) {
            order.coding[place] = order.coding[place - 1];
            place--;
        }
        order.coding[place] = coding;
        order.count++;
    }
    return order;
}

int weir__encoding_choose(const struct coding_order *order, unsigned available)
{
    for (unsigned i = 0; i < order->count; i++)
        if (available & CODING_BIT(order->coding[i]))
            return order->coding[i];
    return -1;
}

const char *weir__coding_suffix(enum coding coding)
{
    static const char *const suffixes[CODINGS] = {"", ".gz", ".br"};
    return suffixes[coding];
}

const char *weir__coding_name(enum coding coding)
{
    static const char *const names[CODINGS] = {NULL, "gzip", "br"};
    return names[coding];
}
