/* The engine that looks at 32 bytes at once, for x86-64 CPUs with AVX2. */
#include "proto/httpchar.h"
#include "proto/http1_engine.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define THIS_ENGINE http1_engine_avx2
#define ENGINE_NAME "avx2"
#define CODE        __attribute__((target("avx2"), always_inline)) static inline
#define ENTRY       __attribute__((target("avx2"))) static
#define WIDTH       32

static bool engine_usable(void)
{
    return __builtin_cpu_supports("avx2");
}

CODE __m256i twice(__m128i half)
{
    return _mm256_broadcastsi128_si256(half);
}

/* Gives a bit for each of the 32 bytes that is not in the set. */
CODE uint32_t strangers(__m256i bytes, enum http1_set set)
{
    const __m256i high_bits =
        twice(_mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0));
    __m256i low, high;

    if (set == HTTP1_TEXT) {
        __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
        __m256i tab = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\t'));
        __m256i rubout = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x7f));

        return (uint32_t)_mm256_movemask_epi8(
            _mm256_or_si256(_mm256_andnot_si256(tab, control), rubout));
    }
    low = twice(_mm_loadu_si128((const __m128i *)(const void *)http1_set_rows[set]));
    low = _mm256_shuffle_epi8(low, bytes);
    high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(15));
    high = _mm256_shuffle_epi8(high_bits, high);
    return (uint32_t)_mm256_movemask_epi8(
        _mm256_cmpeq_epi8(_mm256_and_si256(low, high), _mm256_setzero_si256()));
}

CODE __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
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

CODE const uint8_t *read_name(const uint8_t *p, const uint8_t *end, const uint8_t *base,
                              unsigned *id)
{
    const uint8_t *stop;

    if (__builtin_expect(end - p >= WIDTH, 1)) {
        __m256i bytes = load(p);
        uint32_t mask = strangers(bytes, HTTP1_TOKEN);
        unsigned length, found;
        __m256i lower, row;

        if (mask == 0) /* longer than any that we know */
            return skip_set(p + WIDTH, end, base, HTTP1_TOKEN);
        length = (unsigned)__builtin_ctz(mask);
        if (length == 0)
            return p;
        found = http_name_slots[http_name_hash(p, length)];
        lower = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
        row = load(http_name_rows[found]);
        mask = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(lower, row));
        if (http_name_lengths[found] == length && (~mask & ((1u << length) - 1)) == 0)
            *id = found;
        return p + length;
    }
    stop = skip_set(p, end, base, HTTP1_TOKEN);
    if (stop != p)
        *id = http_name_find(p, (size_t)(stop - p));
    return stop;
}

#include "proto/http1_lines.h"

#endif
