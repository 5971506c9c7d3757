/* The engine that looks for line ends 32 bytes at once, for x86-64 CPUs with AVX2. */
#if defined(__x86_64__)

#define THIS_ENGINE http1_engine_avx2
#define ENGINE_NAME "avx2"
#define CODE        __attribute__((target("avx2"), always_inline)) static inline
#define ENTRY       __attribute__((target("avx2"))) static
#define LEAST_BYTES 32

#include "proto/http1_vector.h"

static bool engine_usable(void)
{
    return __builtin_cpu_supports("avx2");
}

CODE struct marks marks_of(const uint8_t *p)
{
    __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
    __m256i tab = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\t'));
    __m256i rubout = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x7f));
    __m256i stop = _mm256_or_si256(_mm256_andnot_si256(tab, control), rubout);
    __m256i ret = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\r'));

    return (struct marks){(uint32_t)_mm256_movemask_epi8(stop),
                          (uint32_t)_mm256_movemask_epi8(ret)};
}

CODE struct marks block_marks(const uint8_t *block, size_t length, const uint8_t *end)
{
    struct marks first, second;
    unsigned shift;

    if (length < 32) {
        first = marks_of(end - 32);
        shift = 32 - (unsigned)length;
        return (struct marks){first.stops >> shift, first.returns >> shift};
    }
    /* The second half overlaps the first where there are less than 64 bytes. */
    shift = (unsigned)length - 32;
    first = marks_of(block);
    second = marks_of(block + shift);
    return (struct marks){first.stops | second.stops << shift,
                          first.returns | second.returns << shift};
}

#include "proto/http1_lines.h"

#endif
