/* The public face of units.h: the reason lands in the caller's bytes. */
#include <weir/units.h>

#include <weir/error.h>

#include "base/units.h"

/* A reason that nobody asked for is written into one byte. */
static struct text *reason(struct text *why, char *data, size_t size, char *nowhere)
{
    if (data == NULL || size == 0)
        text_init(why, nowhere, 1);
    else
        text_init(why, data, size);
    return why;
}

int weir_number_parse(const char *written, uint64_t least, uint64_t most, uint64_t *number,
                      char *why, size_t why_size)
{
    struct text text;
    char nowhere;
    if (written == NULL || number == NULL)
        return WEIR_EINVALID;
    return units_number(written, least, most, number, reason(&text, why, why_size, &nowhere));
}

int weir_size_parse(const char *written, uint64_t *bytes, char *why, size_t why_size)
{
    struct text text;
    char nowhere;
    if (written == NULL || bytes == NULL)
        return WEIR_EINVALID;
    return units_size(written, bytes, reason(&text, why, why_size, &nowhere));
}

int weir_duration_parse(const char *written, uint64_t *ns, char *why, size_t why_size)
{
    struct text text;
    char nowhere;
    if (written == NULL || ns == NULL)
        return WEIR_EINVALID;
    return units_duration(written, ns, reason(&text, why, why_size, &nowhere));
}

static int format(void (*add)(struct text *text, uint64_t value), uint64_t value, char *out,
                  size_t size)
{
    struct text text;
    if (out == NULL || size == 0)
        return WEIR_ETOOBIG;
    text_init(&text, out, size);
    add(&text, value);
    return text.cut ? WEIR_ETOOBIG : (int)text.size;
}

int weir_size_format(uint64_t bytes, char *out, size_t size)
{
    return format(text_add_size, bytes, out, size);
}

int weir_duration_format(uint64_t ns, char *out, size_t size)
{
    return format(text_add_duration, ns, out, size);
}
