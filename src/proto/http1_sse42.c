/* The engine that looks for line ends 16 bytes at once, for x86-64 CPUs with SSE4.2. */
#if defined(__x86_64__)

#define THIS_ENGINE http1_engine_sse42
#define ENGINE_NAME "sse42"
#define CODE        __attribute__((target("sse4.2"), always_inline)) static inline
#define ENTRY       __attribute__((target("sse4.2"))) static
#define LEAST_BYTES 16

#include "proto/http1_vector.h"

static bool engine_usable(void)
{
    return __builtin_cpu_supports("sse4.2");
}

CODE struct marks marks_of(const uint8_t *p)
{
    __m128i bytes = load_16(p);
    __m128i ret = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r'));

    return (struct marks){strangers(bytes, HTTP1_TEXT), (uint32_t)_mm_movemask_epi8(ret)};
}

CODE struct marks block_marks(const uint8_t *block, size_t length, const uint8_t *end)
{
    struct marks sum = {0, 0}, part;
    size_t at = 0;

    for (; at + 16 <= length; at += 16) {
        part = marks_of(block + at);
        sum.stops |= part.stops << at;
        sum.returns |= part.returns << at;
    }
    if (at < length) {
        unsigned shift = 16 - (unsigned)(length - at);

        part = marks_of(end - 16);
        sum.stops |= part.stops >> shift << at;
        sum.returns |= part.returns >> shift << at;
    }
    return sum;
}

#include "proto/http1_lines.h"

#endif
