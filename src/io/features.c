#include "io/features.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define SWITCH_ROW(name, on, text) {#name, on, text},
const struct io_switch weir__io_switches[IO_SWITCH_COUNT] = {IO_SWITCHES(SWITCH_ROW)};
#undef SWITCH_ROW

#define SIZE_ROW(name, text) #name,
static const char *const sizes[IO_SIZE_COUNT] = {IO_SIZES(SIZE_ROW)};
#undef SIZE_ROW

static bool same(const char *name, const char *word, size_t length)
{
    return strlen(name) == length && memcmp(name, word, length) == 0;
}

static bool read_number(const char *digits, size_t length, uint32_t *number)
{
    uint64_t value = 0;

    if (length == 0)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(digits[i] - '0');
        if (value >= IO_SIZE_SMALL)
            return false;
    }
    *number = (uint32_t)value;
    return true;
}

static int read_size(struct io_features *features, const char *word, size_t name_length,
                     size_t length, const char **why)
{
    const char *value = word + name_length + 1;
    size_t value_length = length - name_length - 1;

    for (int i = 0; i < IO_SIZE_COUNT; i++) {
        if (!same(sizes[i], word, name_length))
            continue;
        if (same("small", value, value_length)) {
            features->size[i] = IO_SIZE_SMALL;
            return 0;
        }
        if (read_number(value, value_length, &features->size[i]))
            return 0;
        *why = "WEIR_FEATURES: a size is a number or \"small\"";
        return -EINVAL;
    }
    *why = "WEIR_FEATURES names an unknown size; known are sq, cq, blocks, block";
    return -EINVAL;
}

static int read_word(struct io_features *features, const char *word, size_t length,
                     const char **why)
{
    bool on = *word != '-';
    const char *equals = memchr(word, '=', length);

    if (equals)
        return read_size(features, word, (size_t)(equals - word), length, why);
    if (*word == '-' || *word == '+') {
        word++;
        length--;
    }
    for (int i = 0; i < IO_SWITCH_COUNT; i++) {
        if (same(weir__io_switches[i].name, word, length)) {
            features->on[i] = on;
            features->named[i] = true;
            return 0;
        }
    }
    *why = "WEIR_FEATURES names an unknown feature; `weir backends --features` lists them";
    return -EINVAL;
}

int weir__io_features(struct io_features *features, const char *text, const char **why)
{
    memset(features, 0, sizeof(*features));
    for (int i = 0; i < IO_SWITCH_COUNT; i++)
        features->on[i] = weir__io_switches[i].on;
    while (text && *text) {
        size_t length = strcspn(text, ", \t");
        int error = length ? read_word(features, text, length, why) : 0;

        if (error)
            return error;
        text += length;
        text += strspn(text, ", \t");
    }
    return 0;
}
