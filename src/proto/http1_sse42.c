/* The engine that looks at 16 bytes at once, for x86-64 CPUs with SSE4.2. */
#include "proto/httpchar.h"
#include "proto/http1_engine.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define THIS_ENGINE http1_engine_sse42
#define ENGINE_NAME "sse42"
#define CODE        __attribute__((target("sse4.2"), always_inline)) static inline
#define ENTRY       __attribute__((target("sse4.2"))) static
#define WIDTH       16

static bool engine_usable(void)
{
    return __builtin_cpu_supports("sse4.2");
}

/* Gives a bit for each of the 16 bytes that is not in the set. */
CODE uint32_t strangers(__m128i bytes, enum http1_set set)
{
    const __m128i high_bits =
        _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0);
    __m128i low, high;

    if (set == HTTP1_TEXT) {
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        __m128i tab = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
        __m128i rubout = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));

        return (uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, control), rubout));
    }
    low = _mm_loadu_si128((const __m128i *)(const void *)http1_set_rows[set]);
    low = _mm_shuffle_epi8(low, bytes);
    high = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
    high = _mm_shuffle_epi8(high_bits, high);
    return (uint32_t)_mm_movemask_epi8(
        _mm_cmpeq_epi8(_mm_and_si128(low, high), _mm_setzero_si128()));
}

CODE __m128i load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/*
 * The last bytes before end are looked at with a load that ends there, so that nothing behind end
 * is touched: it may be another page.
 */
CODE const uint8_t *skip_set(const uint8_t *p, const uint8_t *end, const uint8_t *base,
                             enum http1_set set)
{
    uint32_t mask;

    while (end - p >= WIDTH) {
        mask = strangers(load(p), set);
        if (mask)
            return p + __builtin_ctz(mask);
        p += WIDTH;
    }
    if (end - base >= WIDTH) {
        if (p == end)
            return end;
        mask = strangers(load(end - WIDTH), set) >> (WIDTH - (end - p));
        return mask ? p + __builtin_ctz(mask) : end;
    }
    return http1_engine_plain.skip[set](p, end, base);
}

/* Gives a bit for each of the 16 bytes that is the row's, case put aside. */
CODE uint32_t likeness(__m128i bytes, const uint8_t *row)
{
    __m128i lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));

    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(lower, load(row)));
}

CODE const uint8_t *read_name(const uint8_t *p, const uint8_t *end, const uint8_t *base,
                              unsigned *id)
{
    const uint8_t *stop;

    if (__builtin_expect(end - p >= WIDTH, 1)) {
        __m128i bytes = load(p);
        uint32_t mask = strangers(bytes, HTTP1_TOKEN);
        unsigned length, found;

        if (__builtin_expect(mask != 0, 1)) {
            length = (unsigned)__builtin_ctz(mask);
            if (length == 0)
                return p;
            found = http_name_slots[http_name_hash(p, length)];
            mask = likeness(bytes, http_name_rows[found]);
            if (http_name_lengths[found] == length && (~mask & ((1u << length) - 1)) == 0)
                *id = found;
            return p + length;
        }
    }
    stop = skip_set(p, end, base, HTTP1_TOKEN);
    if (stop != p)
        *id = http_name_find(p, (size_t)(stop - p));
    return stop;
}

#include "proto/http1_lines.h"

#endif
