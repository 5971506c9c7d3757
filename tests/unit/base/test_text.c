#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "base/text.h"
#include "base/utf8.h"

static char memory[64];
static struct text text;

static int start(void **state)
{
    memset(memory, 0x5a, sizeof(memory));
    text_init(&text, memory, 32); /* the rest must stay as it is */
    return 0;
}

static int check_the_rest(void **state)
{
    for (size_t i = 32; i < sizeof(memory); i++)
        assert_int_equal(memory[i], 0x5a);
    assert_int_equal(strlen(memory), text.size);
    return 0;
}

static void adding_and_cutting(void **state)
{
    assert_string_equal(text.data, "");
    text_add(&text, "one ");
    text_addf(&text, "%d ", 2);
    text_add_bytes(&text, "threeee", 5);
    text_add_char(&text, '!');
    assert_string_equal(text.data, "one 2 three!");
    assert_false(text.cut);
    text_add(&text, "0123456789012345678"); /* exactly full */
    assert_int_equal(text.size, 31);
    assert_false(text.cut);
    text_add(&text, "");
    assert_false(text.cut);
    text_add_char(&text, 'x');
    assert_true(text.cut);
    text_clear(&text);
    assert_false(text.cut);
    text_add(&text, "012345678901234567890123456789+++");
    assert_true(text.cut);
    assert_string_equal(text.data, "012345678901234567890123456789+");
    text_add(&text, "more"); /* what is cut stays a beginning */
    text_addf(&text, "%s", "more");
    assert_int_equal(text.size, 31);
}

static void formats_are_cut_too(void **state)
{
    text_addf(&text, "%s", "0123456789012345678901234567890");
    assert_false(text.cut);
    text_clear(&text);
    text_addf(&text, "%s", "01234567890123456789012345678901");
    assert_true(text.cut);
    assert_string_equal(text.data, "0123456789012345678901234567890");
}

static void characters_are_not_halved(void **state)
{
    static const char *const characters[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t c = 0; c < 3; c++) {
        for (size_t before = 24; before < 31; before++) {
            for (int formatted = 0; formatted < 2; formatted++) {
                char input[64] = "";
                memset(input, 'a', before);
                for (int i = 0; i < 4; i++)
                    strcat(input, characters[c]);
                text_clear(&text);
                if (formatted)
                    text_addf(&text, "%s", input);
                else
                    text_add(&text, input);
                size_t length = strlen(characters[c]), fits = (31 - before) / length;
                size_t expected = before + (fits < 4 ? fits : 4) * length;
                assert_int_equal(text.size, expected);
                assert_int_equal(text.cut, fits < 4);
            }
        }
    }
}

static void json_strings_are_escaped(void **state)
{
    char big[512];
    static const struct {
        const char *input, *output;
    } cases[] = {
        {"", "\"\""},
        {"a/b", "\"a/b\""},
        {"\"\\", "\"\\\"\\\\\""},
        {"\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\""},
        {"\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\""},
        {"\xc3\xa4\xf0\x9f\x98\x80", "\"\xc3\xa4\xf0\x9f\x98\x80\""},
        {"a\xff\xc3", "\"a\\ufffd\\ufffd\""},
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct text json;
        text_init(&json, big, sizeof(big));
        text_add_json_string(&json, cases[i].input);
        assert_string_equal(json.data, cases[i].output);
        assert_false(json.cut);
    }
    struct text json;
    text_init(&json, big, sizeof(big));
    text_add_json_string(&json, NULL);
    text_add_json_bytes(&json, "a\0b", 3);
    assert_string_equal(json.data, "null\"a\\u0000b\"");
    text_add_json_string(&text, "01234567890123456789012345678901234567890");
    assert_true(text.cut);
}

/* Whatever the bytes: the output is UTF-8 without control characters, and within its room. */
static void any_bytes_make_valid_json(void **state)
{
    struct random random;
    random_seed(&random, 2);
    for (int round = 0; round < 2000; round++) {
        char input[16], output[200];
        size_t size = random_below(&random, sizeof(input) + 1);
        for (size_t i = 0; i < size; i++)
            input[i] = (char)random_next(&random);
        struct text json;
        text_init(&json, output, 1 + random_below(&random, sizeof(output)));
        text_add_json_bytes(&json, input, size);
        for (size_t i = 0; i < json.size;) {
            uint32_t code = 0;
            unsigned length = utf8_next(output + i, json.size - i, &code);
            assert_true(length > 0 && code >= 0x20 && code != 0x7f);
            i += length;
        }
        assert_true(json.size < json.room && output[json.size] == '\0');
    }
}

static void sizes_and_durations_in_the_largest_exact_unit(void **state)
{
    static const struct {
        uint64_t value;
        const char *size, *duration;
    } cases[] = {
        {0, "0B", "0s"},
        {1, "1B", "1ns"},
        {1000, "1000B", "1us"},
        {65536, "64KiB", "65536ns"},
        {1536, "1536B", "1536ns"},
        {1ull << 30, "1GiB", "1073741824ns"},
        {1ull << 60, "1EiB", "1152921504606846976ns"},
        {250000000, "250000000B", "250ms"},
        {30000000000, "29296875KiB", "30s"},
        {90000000000, "87890625KiB", "90s"},
        {7200000000000, "7031250000KiB", "2h"},
        {86400000000000 * 3, "253125000000KiB", "3d"},
        {UINT64_MAX, "18446744073709551615B", "never"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        text_clear(&text);
        text_add_size(&text, cases[i].value);
        assert_string_equal(text.data, cases[i].size);
        text_clear(&text);
        text_add_duration(&text, cases[i].value);
        assert_string_equal(text.data, cases[i].duration);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, check_the_rest)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(adding_and_cutting),        TEST(formats_are_cut_too),
        TEST(characters_are_not_halved), TEST(json_strings_are_escaped),
        TEST(any_bytes_make_valid_json), TEST(sizes_and_durations_in_the_largest_exact_unit),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
