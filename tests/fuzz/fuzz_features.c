/* WEIR_FEATURES and WEIR_BACKEND: what is taken is taken again when it is written out plainly, and
 * means the same; what is refused says why. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/features.h"
#include "io/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds)
{
    if (!holds)
        abort();
}

#define NAME(name, text) #name,
static const char *const size_names[] = {IO_SIZES(NAME)};
#undef NAME

static size_t write_plainly(const struct io_features *features, char *out)
{
    size_t size = 0;

    for (int i = 0; i < IO_SWITCH_COUNT; i++) {
        if (features->named[i])
            size += (size_t)sprintf(out + size, "%c%s,", features->on[i] ? '+' : '-',
                                    weir__io_switches[i].name);
    }
    for (int i = 0; i < IO_SIZE_COUNT; i++) {
        if (features->size[i] == IO_SIZE_SMALL)
            size += (size_t)sprintf(out + size, "%s=small ", size_names[i]);
        else if (features->size[i] != 0)
            size += (size_t)sprintf(out + size, "%s=%u ", size_names[i], features->size[i]);
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct io_features features, again;
    const char *why = NULL;
    char *text = malloc(size + 1), plain[2048];
    const struct io_ops *ops;

    expect(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (weir__io_features(&features, text, &why) < 0) {
        expect(why != NULL && *why != '\0');
    } else {
        for (int i = 0; i < IO_SWITCH_COUNT; i++)
            expect(features.named[i] || features.on[i] == weir__io_switches[i].on);
        expect(write_plainly(&features, plain) < sizeof plain);
        plain[write_plainly(&features, plain)] = '\0';
        expect(weir__io_features(&again, plain, &why) == 0);
        expect(memcmp(&features, &again, sizeof again) == 0);
    }
    ops = weir__io_named(text);
    expect(ops == NULL || strcmp(text, "auto") == 0 || strcmp(ops->name, text) == 0);
    free(text);
    return 0;
}
