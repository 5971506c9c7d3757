#include "app/http/listing.h"

#include <stdlib.h>
#include <string.h>

#include <weir/error.h>

#include "base/alloc.h"

enum { NAME_LENGTH_MAX = 255 };

void listing_init(struct listing *listing, const struct listing_config *config)
{
    memset(listing, 0, sizeof(*listing));
    if (config)
        listing->config = *config;
    if (listing->config.entries == 0)
        listing->config.entries = LISTING_ENTRIES;
    if (listing->config.name_bytes == 0)
        listing->config.name_bytes = LISTING_NAME_BYTES;
}

void listing_free(struct listing *listing)
{
    weir__free(listing->entries);
    weir__free(listing->names);
    memset(listing, 0, sizeof(*listing));
}

/* Makes room for `more` beyond `used`, doubling up to `limit`, which the caller has checked. */
static int reserve(void **memory, uint32_t *room, size_t unit, uint32_t used, uint32_t more,
                   uint32_t limit)
{
    uint64_t wanted = (uint64_t)*room * 2;
    void *moved;

    if (used + more <= *room)
        return 0;
    if (wanted < used + more)
        wanted = used + more;
    if (wanted < 64)
        wanted = 64;
    if (wanted > limit)
        wanted = limit;
    moved = weir__realloc(*memory, wanted * unit);
    if (!moved)
        return WEIR_ENOMEM;
    *memory = moved;
    *room = (uint32_t)wanted;
    return 0;
}

static bool is_shown(const struct listing *listing, struct http_text name)
{
    if (name.length == 0 || name.length > NAME_LENGTH_MAX || memchr(name.at, '/', name.length))
        return false;
    if (name.at[0] != '.')
        return true;
    return listing->config.hidden && name.length > 1 && !(name.length == 2 && name.at[1] == '.');
}

int listing_add(struct listing *listing, struct http_text name, enum listing_kind kind,
                uint64_t size_bytes, int64_t mtime_s)
{
    const struct listing_config *config = &listing->config;
    struct listing_entry *entry;
    void *entries = listing->entries, *names = listing->names;
    int error;

    if (!is_shown(listing, name))
        return 0;
    if (listing->count == config->entries ||
        config->name_bytes - listing->names_size < name.length) {
        listing->omitted++;
        return 0;
    }
    error = reserve(&entries, &listing->room, sizeof(*entry), listing->count, 1, config->entries);
    listing->entries = entries;
    if (error == 0)
        error = reserve(&names, &listing->names_room, 1, listing->names_size, (uint32_t)name.length,
                        config->name_bytes);
    listing->names = names;
    if (error < 0)
        return error;
    entry = &listing->entries[listing->count++];
    entry->size_bytes = size_bytes;
    entry->mtime_s = mtime_s;
    entry->name_at = listing->names_size;
    entry->name_length = (uint16_t)name.length;
    entry->kind = (uint8_t)kind;
    memcpy(listing->names + listing->names_size, name.at, name.length);
    listing->names_size += (uint32_t)name.length;
    if (kind == LISTING_DIRECTORY)
        listing->directories++;
    else if (__builtin_add_overflow(listing->total_bytes, size_bytes, &listing->total_bytes))
        listing->total_bytes = UINT64_MAX;
    return 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int small_letter(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte;
}

/* The digits at `*at`, without leading zeros; moves past them. */
static struct http_text take_digits(const char **at, const char *end)
{
    struct http_text digits;

    while (*at < end && **at == '0')
        ++*at;
    digits.at = *at;
    while (*at < end && is_digit(**at))
        ++*at;
    digits.length = (size_t)(*at - digits.at);
    return digits;
}

static int compare_names(struct http_text a, struct http_text b)
{
    const char *at = a.at, *end = a.at + a.length, *other = b.at, *other_end = b.at + b.length;
    size_t shorter = a.length < b.length ? a.length : b.length;
    int order;

    while (at < end && other < other_end) {
        if (is_digit(*at) && is_digit(*other)) {
            struct http_text x = take_digits(&at, end), y = take_digits(&other, other_end);
            if (x.length != y.length)
                return x.length < y.length ? -1 : 1;
            order = memcmp(x.at, y.at, x.length);
        } else {
            order = small_letter(*at++) - small_letter(*other++);
        }
        if (order != 0)
            return order;
    }
    if (at < end || other < other_end)
        return at < end ? 1 : -1;
    /* Alike so far ("a1" and "A01"): their bytes decide, so that the order is always the same. */
    order = memcmp(a.at, b.at, shorter);
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

static int compare_entries(const void *a, const void *b, void *names)
{
    const struct listing_entry *x = a, *y = b;
    const char *base = names;

    if (x->kind != y->kind)
        return x->kind == LISTING_DIRECTORY ? -1 : 1;
    return compare_names((struct http_text){base + x->name_at, x->name_length},
                         (struct http_text){base + y->name_at, y->name_length});
}

void listing_sort(struct listing *listing)
{
    if (listing->count > 1)
        qsort_r(listing->entries, listing->count, sizeof(*listing->entries), compare_entries,
                listing->names);
}
