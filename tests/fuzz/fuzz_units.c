/* Numbers, sizes and durations as people write them: what is taken is written and read back as the
 * same value; what is refused is refused with a reason that is one line of plain text. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>
#include <weir/units.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds)
{
    if (!holds)
        abort();
}

/* A reason is shown on terminals and written to logs. */
static void check_why(const char *why, const char *written)
{
    expect(*why != '\0' && strlen(why) < WEIR_UNITS_WHY_MAX);
    for (; *why; why++)
        expect((unsigned char)*why >= ' ' && *why != 0x7F);
}

static void check_number(const char *written)
{
    char why[WEIR_UNITS_WHY_MAX] = "";
    uint64_t number, least = 10, most = 70000;
    int result = weir_number_parse(written, least, most, &number, why, sizeof why);

    expect(result == 0 || result == WEIR_EINVALID);
    if (result < 0) {
        check_why(why, written);
        return;
    }
    expect(number >= least && number <= most && number == strtoull(written, NULL, 10));
    expect(strspn(written, "0123456789") == strlen(written));
}

static void check_size(const char *written)
{
    char why[WEIR_UNITS_WHY_MAX] = "", text[WEIR_UNITS_TEXT_MAX];
    uint64_t bytes, again;
    int result = weir_size_parse(written, &bytes, why, sizeof why);

    expect(result == 0 || result == WEIR_EINVALID);
    if (result < 0) {
        check_why(why, written);
        return;
    }
    expect(weir_size_format(bytes, text, sizeof text) == (int)strlen(text));
    expect(weir_size_parse(text, &again, NULL, 0) == 0 && again == bytes);
}

static void check_duration(const char *written)
{
    char why[WEIR_UNITS_WHY_MAX] = "", text[WEIR_UNITS_TEXT_MAX];
    uint64_t ns, again;
    int result = weir_duration_parse(written, &ns, why, sizeof why);

    expect(result == 0 || result == WEIR_EINVALID);
    if (result < 0) {
        check_why(why, written);
        return;
    }
    if (weir_duration_format(ns, text, sizeof text) == WEIR_ETOOBIG)
        return;
    expect(weir_duration_parse(text, &again, NULL, 0) == 0 && again == ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    uint64_t number;

    expect(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    check_number(text);
    check_size(text);
    check_duration(text);
    free(text);
    if (size >= sizeof number) { /* any value is written and read back */
        char out[WEIR_UNITS_TEXT_MAX];
        uint64_t again;

        memcpy(&number, data, sizeof number);
        expect(weir_size_format(number, out, sizeof out) > 0);
        expect(weir_size_parse(out, &again, NULL, 0) == 0 && again == number);
        if (weir_duration_format(number, out, sizeof out) > 0)
            expect(weir_duration_parse(out, &again, NULL, 0) == 0 && again == number);
    }
    return 0;
}
