/*
 * What the engines with vectors share: everything but how 64 bytes are looked at for line ends.
 * Each engine's file defines CODE as http1_lines.h wants it, includes this, and defines
 * block_marks.
 */
#include "proto/httpchar.h"
#include "proto/http1_engine.h"

#include <immintrin.h>
#include <string.h>

CODE __m128i load_16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/*
 * Gives a bit for each of the 16 bytes that is not in the set. A byte 0xHL is in a set when bit H
 * of the set's entry L is set; the first shuffle gives 0 for bytes from 0x80 on, which are in none
 * of these sets, and the second gives bit H.
 */
CODE uint32_t strangers(__m128i bytes, enum http1_set set)
{
    const __m128i bits = _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0);
    __m128i low, high;

    if (set == HTTP1_TEXT) {
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        __m128i tab = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
        __m128i rubout = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));

        return (uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, control), rubout));
    }
    low = _mm_shuffle_epi8(load_16(http1_set_rows[set]), bytes);
    high = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
    high = _mm_shuffle_epi8(bits, high);
    return (uint32_t)_mm_movemask_epi8(
        _mm_cmpeq_epi8(_mm_and_si128(low, high), _mm_setzero_si128()));
}

/*
 * The last bytes before end are looked at with a load that ends there, so that nothing behind end
 * is touched: it may be another page.
 */
CODE const uint8_t *skip_set(const uint8_t *p, const uint8_t *end, const uint8_t *base,
                             enum http1_set set)
{
    uint32_t mask;

    while (end - p >= 16) {
        mask = strangers(load_16(p), set);
        if (mask)
            return p + __builtin_ctz(mask);
        p += 16;
    }
    if (p == end)
        return end;
    if (end - base >= 16) {
        mask = strangers(load_16(end - 16), set) >> (16 - (end - p));
        return mask ? p + __builtin_ctz(mask) : end;
    }
    return http1_engine_plain.skip[set](p, end, base);
}

/* Gives a bit for each of the 16 bytes that is the row's, case put aside. */
CODE uint32_t likeness(__m128i bytes, const uint8_t *row)
{
    __m128i lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));

    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(lower, load_16(row)));
}

/* Finds a name of which all 16 bytes were loaded; see http_name_find for why this is exact. */
CODE unsigned find_name(const uint8_t *p, unsigned length, __m128i bytes)
{
    unsigned found = http_name_slots[http_name_hash(p, length)];
    uint32_t wrong = ~likeness(bytes, http_name_rows[found]) & ((1u << length) - 1);

    return http_name_lengths[found] == length && wrong == 0 ? found : HTTP_NAME_OTHER;
}

CODE const uint8_t *read_name(const uint8_t *p, const uint8_t *end, const uint8_t *base,
                              unsigned *id)
{
    const uint8_t *stop;

    if (__builtin_expect(end - p >= 16, 1)) {
        __m128i bytes = load_16(p);
        uint32_t mask = strangers(bytes, HTTP1_TOKEN);

        if (__builtin_expect(mask != 0, 1)) {
            unsigned length = (unsigned)__builtin_ctz(mask);

            if (__builtin_expect(length != 0, 1))
                *id = find_name(p, length, bytes);
            return p + length;
        }
    }
    stop = skip_set(p, end, base, HTTP1_TOKEN);
    if (stop != p)
        *id = http_name_find(p, (size_t)(stop - p));
    return stop;
}

/* What block_marks finds in 64 bytes. */
struct marks {
    uint64_t stops;   /* bytes that are not text */
    uint64_t returns; /* CRs */
};

/* Gives the marks of the `length` bytes (1 to 64) at block, bit 0 for the first. Reads nothing
 * behind end, and LEAST_BYTES before end at the lowest. */
CODE struct marks block_marks(const uint8_t *block, size_t length, const uint8_t *end);

/*
 * The stops of a head, found for 64 bytes at once. Where a line begins then follows from the bits
 * alone and does not wait for the line before it to be taken apart, so that the CPU works on
 * several lines at a time.
 */
struct stops {
    const uint8_t *block;
    const uint8_t *end;
    uint64_t left;  /* stops of the block not given yet */
    uint64_t carry; /* 1 when the block ends with a CR */
};

/* An LF right behind a CR is no stop of its own: whoever finds the CR looks at it. */
CODE void mark_block(struct stops *stops)
{
    size_t length = (size_t)(stops->end - stops->block);
    struct marks marks = block_marks(stops->block, length < 64 ? length : 64, stops->end);

    stops->left = marks.stops & ~(marks.returns << 1 | stops->carry);
    stops->carry = marks.returns >> 63;
}

CODE void begin_stops(struct stops *stops, const uint8_t *c, const uint8_t *end)
{
    *stops = (struct stops){.block = c, .end = end};
    if (c < end)
        mark_block(stops);
}

/* Gives the next stop, or end. No byte between the last one's line end and `from` is a stop. */
CODE const uint8_t *next_stop(struct stops *stops, const uint8_t *from)
{
    const uint8_t *stop;

    (void)from;
    while (__builtin_expect(stops->left == 0, 0)) {
        if (stops->end - stops->block <= 64)
            return stops->end;
        stops->block += 64;
        mark_block(stops);
    }
    stop = stops->block + __builtin_ctzll(stops->left);
    stops->left &= stops->left - 1;
    return stop;
}
