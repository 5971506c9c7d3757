#include "app/http/etag.h"

#include <stdio.h>
#include <string.h>

/* Spreads every bit over all 64: multiplying by an odd number and folding the high half down are
 * both reversible, so that different inputs stay different. */
static uint64_t mix(uint64_t bits)
{
    bits ^= bits >> 31;
    bits *= 0xD1342543DE82EF95u;
    bits ^= bits >> 29;
    bits *= 0xAF251AF3B0F025B5u;
    bits ^= bits >> 32;
    return bits;
}

size_t weir__etag_make(uint64_t size_bytes, int64_t mtime_ns, uint64_t inode, bool weak,
                       char out[ETAG_SIZE])
{
    uint64_t bits = mix(mix((uint64_t)mtime_ns) + inode);

    return (size_t)snprintf(out, ETAG_SIZE, "%s\"%llx-%016llx\"", weak ? "W/" : "",
                            (unsigned long long)size_bytes, (unsigned long long)bits);
}

bool weir__etag_is_young(int64_t mtime_ns, int64_t now_ns)
{
    const int64_t tick_ns = 20 * 1000 * 1000, coarse_tick_ns = 2000 * (int64_t)1000 * 1000;
    int64_t limit_ns = mtime_ns % 1000000000 == 0 ? coarse_tick_ns : tick_ns;
    int64_t age_ns;

    if (__builtin_sub_overflow(now_ns, mtime_ns, &age_ns))
        return mtime_ns > now_ns;
    return age_ns < limit_ns;
}

bool weir__etag_read(struct cursor *cursor, struct etag *tag)
{
    const char *start;

    tag->weak = cursor->end - cursor->at >= 2 && memcmp(cursor->at, "W/", 2) == 0;
    if (tag->weak)
        cursor->at += 2;
    start = cursor->at;
    if (!cursor_skip_byte(cursor, '"'))
        return false;
    while (cursor->at < cursor->end && *cursor->at != '"') {
        unsigned char byte = (unsigned char)*cursor->at;
        if (byte <= 0x20 || byte == 0x7F)
            return false;
        cursor->at++;
    }
    if (!cursor_skip_byte(cursor, '"'))
        return false;
    tag->opaque = (struct http_text){start, (size_t)(cursor->at - start)};
    return true;
}

bool weir__etag_same_weak(struct etag a, struct etag b)
{
    return a.opaque.length == b.opaque.length &&
           memcmp(a.opaque.at, b.opaque.at, a.opaque.length) == 0;
}

bool weir__etag_same_strong(struct etag a, struct etag b)
{
    return !a.weak && !b.weak && weir__etag_same_weak(a, b);
}
