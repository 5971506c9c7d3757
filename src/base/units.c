#include "base/units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include <weir/error.h>

enum { FRACTION_DIGITS = 9, QUOTED_BYTES = 64, EXPECTED_BYTES = 16 };

/* A decimal number as it is written: whole + fraction / scale. */
struct decimal {
    uint64_t whole, fraction, scale;
};

static __attribute__((format(printf, 3, 4))) int refuse(struct text *why, const char *written,
                                                        const char *format, ...)
{
    if (why != NULL) {
        /* Quoted as JSON does it: what was written may hold anything. */
        size_t size = strlen(written);
        text_add_json_bytes(why, written, size < QUOTED_BYTES ? size : QUOTED_BYTES);
        text_add(why, size <= QUOTED_BYTES ? ": " : "...: ");
        va_list args;
        va_start(args, format);
        text_addv(why, format, args);
        va_end(args);
    }
    return WEIR_EINVALID;
}

/* Reads digits; returns how many, or -1 when the number needs more than 64 bits. */
static int read_digits(const char *at, uint64_t *number)
{
    *number = 0;
    int count = 0;
    for (; at[count] >= '0' && at[count] <= '9'; count++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(at[count] - '0'), number))
            return -1;
    return count;
}

int units_number(const char *written, uint64_t least, uint64_t most, uint64_t *number,
                 struct text *why)
{
    uint64_t value;
    int digits = read_digits(written, &value);
    if (digits == 0 || (digits > 0 && written[digits] != '\0'))
        return refuse(why, written, "not a whole number from %" PRIu64 " to %" PRIu64, least, most);
    if (digits < 0 || value < least || value > most)
        return refuse(why, written, "out of range: from %" PRIu64 " to %" PRIu64, least, most);
    *number = value;
    return 0;
}

/* Reads "12" or "12.5" and moves *at behind it. */
static int read_decimal(const char **at, struct decimal *decimal, const char *written,
                        struct text *why)
{
    int digits = read_digits(*at, &decimal->whole);
    if (digits == 0) {
        int result = refuse(why, written, "a number was expected at ");
        if (why != NULL)
            text_add_json_bytes(why, *at, strnlen(*at, EXPECTED_BYTES));
        return result;
    }
    if (digits < 0)
        return refuse(why, written, "the number is too large");
    *at += digits;
    decimal->fraction = 0;
    decimal->scale = 1;
    if (**at != '.')
        return 0;
    digits = read_digits(*at + 1, &decimal->fraction);
    if (digits == 0 || digits < 0 || digits > FRACTION_DIGITS)
        return refuse(why, written, "1 to %d digits were expected after the point",
                      FRACTION_DIGITS);
    for (int i = 0; i < digits; i++)
        decimal->scale *= 10;
    *at += 1 + digits;
    return 0;
}

/* decimal * unit, exactly. */
static int multiply(const struct decimal *decimal, uint64_t unit, uint64_t *product,
                    const char *written, const char *smallest, struct text *why)
{
    uint64_t part, below;
    if (__builtin_mul_overflow(decimal->whole, unit, product))
        return refuse(why, written, "too large");
    /* fraction < scale, so that fraction * unit / scale < unit fits. */
    __extension__ unsigned __int128 parts = (unsigned __int128)decimal->fraction * unit;
    part = (uint64_t)(parts / decimal->scale);
    below = (uint64_t)(parts % decimal->scale);
    if (below != 0)
        return refuse(why, written, "not a whole number of %s", smallest);
    if (__builtin_add_overflow(*product, part, product))
        return refuse(why, written, "too large");
    return 0;
}

int units_size(const char *written, uint64_t *bytes, struct text *why)
{
    static const char letters[] = "KMGTPE";
    const char *at = written;
    struct decimal decimal = {0, 0, 1};
    int result = read_decimal(&at, &decimal, written, why);
    if (result < 0)
        return result;
    uint64_t unit = 1;
    const char *letter = NULL;
    if (*at >= 'a' && *at <= 'z')
        letter = strchr(letters, *at - 'a' + 'A');
    else if (*at != '\0')
        letter = strchr(letters, *at);
    if (letter != NULL) {
        unit = 1ull << (10 * (letter - letters + 1));
        at++;
        if (strcasecmp(at, "b") == 0)
            return refuse(why, written,
                          "%cB means 1000s to some and 1024s to others; write %ciB for 1024s",
                          *letter, *letter);
        if (strcasecmp(at, "ib") == 0)
            at += 2;
    } else if (*at == 'B' || *at == 'b') {
        at++;
    }
    if (*at != '\0')
        return refuse(why, written, "unknown unit; sizes are written 512, 64K, 64KiB, 1.5M, 2G");
    uint64_t value;
    result = multiply(&decimal, unit, &value, written, "bytes", why);
    if (result == 0)
        *bytes = value;
    return result;
}

struct duration_unit {
    const char *name;
    uint64_t ns;
};

/* The unit at the beginning of a text; NULL: none. "ms" comes before "m". */
static const struct duration_unit *duration_unit(const char *at)
{
    static const struct duration_unit units[] = {
        {"ms", 1000000},      {"us", 1000},       {"ns", 1},         {"d", 86400000000000},
        {"h", 3600000000000}, {"m", 60000000000}, {"s", 1000000000},
    };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strncmp(at, units[i].name, strlen(units[i].name)) == 0)
            return &units[i];
    return NULL;
}

int units_duration(const char *written, uint64_t *ns, struct text *why)
{
    if (strcmp(written, "never") == 0 || strcmp(written, "0") == 0) {
        *ns = written[0] == '0' ? 0 : UINT64_MAX;
        return 0;
    }
    uint64_t sum = 0, last_ns = UINT64_MAX;
    const char *at = written;
    do {
        struct decimal decimal = {0, 0, 1};
        int result = read_decimal(&at, &decimal, written, why);
        if (result < 0)
            return result;
        const struct duration_unit *unit = duration_unit(at);
        if (unit == NULL)
            return refuse(why, written,
                          *at == '\0' ? "a unit is missing (d h m s ms us ns), as in 30s"
                                      : "unknown unit; durations are written 250ms, 30s, 1h30m, "
                                        "never");
        if (unit->ns >= last_ns)
            return refuse(why, written, "larger units come first, each once, as in 1h30m");
        last_ns = unit->ns;
        at += strlen(unit->name);
        uint64_t part;
        result = multiply(&decimal, unit->ns, &part, written, "nanoseconds", why);
        if (result < 0)
            return result;
        if (__builtin_add_overflow(sum, part, &sum) || sum == UINT64_MAX)
            return refuse(why, written, "too large; \"never\" has no end");
    } while (*at != '\0');
    *ns = sum;
    return 0;
}
