/* The engine in plain C, for every CPU. */
#include "proto/httpchar.h"
#include "proto/http1_engine.h"

#include <string.h>

#define THIS_ENGINE http1_engine_plain
#define ENGINE_NAME "plain"
#define CODE        static inline __attribute__((always_inline))
#define ENTRY       static
#define LEAST_BYTES 0

#define ONES 0x0101010101010101u
#define HIGH 0x8080808080808080u

static bool engine_usable(void)
{
    return true;
}

/*
 * Whether all eight bytes are 0x20 to 0x7e: then bit 7 is clear everywhere, adding 0x60 sets it
 * in every byte of at least 0x20 (no carry can leave a byte below 0x80), adding 1 only in 0x7f.
 * Other text (HTAB and the upper half) is rare in a head and goes byte by byte.
 */
CODE bool is_printable_8(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    if (word & HIGH)
        return false;
    return ((word + ONES * 0x60) & HIGH) == HIGH && ((word + ONES) & HIGH) == 0;
}

CODE const uint8_t *skip_set(const uint8_t *p, const uint8_t *end, const uint8_t *base,
                             enum http1_set set)
{
    static const enum http_class classes[HTTP1_SETS] = {
        [HTTP1_TOKEN] = HTTP_CLASS_TOKEN,
        [HTTP1_PATH] = HTTP_CLASS_PATH,
        [HTTP1_QUERY] = HTTP_CLASS_QUERY,
        [HTTP1_TEXT] = HTTP_CLASS_TEXT,
    };

    (void)base;
    if (set == HTTP1_TEXT) {
        while (end - p >= 8 && is_printable_8(p))
            p += 8;
    }
    while (p < end && http_char_is(*p, classes[set]))
        p++;
    return p;
}

CODE const uint8_t *read_name(const uint8_t *p, const uint8_t *end, const uint8_t *base,
                              unsigned *id)
{
    const uint8_t *stop = skip_set(p, end, base, HTTP1_TOKEN);

    if (stop != p)
        *id = http_name_find(p, (size_t)(stop - p));
    return stop;
}

/* Bytes are looked at where they are needed, so there is nothing to remember. */
struct stops {
    const uint8_t *end;
};

CODE void begin_stops(struct stops *stops, const uint8_t *c, const uint8_t *end)
{
    stops->end = end;
}

CODE const uint8_t *next_stop(struct stops *stops, const uint8_t *from)
{
    return skip_set(from, stops->end, from, HTTP1_TEXT);
}

#include "proto/http1_lines.h"
