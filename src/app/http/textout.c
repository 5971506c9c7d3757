#include "app/http/textout.h"

#include <string.h>

void textout_init(struct textout *out, textout_write_fn *write, void *arg)
{
    out->write = write;
    out->arg = arg;
    out->made_bytes = 0;
    out->error = 0;
    out->held_size = 0;
}

static void hand_over(struct textout *out)
{
    if (out->held_size > 0 && out->error == 0)
        out->error = out->write(out->arg, out->held, out->held_size);
    out->held_size = 0;
}

void textout_put(struct textout *out, const char *data, size_t size)
{
    out->made_bytes += size;
    while (size > 0) {
        size_t part = TEXTOUT_HELD_MAX - out->held_size;
        if (part > size)
            part = size;
        memcpy(out->held + out->held_size, data, part);
        out->held_size += (uint32_t)part;
        data += part;
        size -= part;
        if (out->held_size == TEXTOUT_HELD_MAX)
            hand_over(out);
    }
}

void textout_str(struct textout *out, const char *text)
{
    textout_put(out, text, strlen(text));
}

void textout_number(struct textout *out, uint64_t number)
{
    char digits[20];
    size_t start = sizeof(digits);

    do {
        digits[--start] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    textout_put(out, digits + start, sizeof(digits) - start);
}

void textout_escaped(struct textout *out, weir__escape_fn *escape, struct http_text text)
{
    const unsigned char *at = (const unsigned char *)text.at;
    size_t left = text.length;

    while (left > 0) {
        char made[ESCAPE_STEP_MAX];
        size_t made_size;
        size_t taken = escape(at, left, made, &made_size);
        textout_put(out, made, made_size);
        at += taken;
        left -= taken;
    }
}

int textout_end(struct textout *out)
{
    hand_over(out);
    return out->error;
}
