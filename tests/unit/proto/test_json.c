#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <weir/error.h>
#include <weir/json.h>

enum { VALUES = 64 };

/* Reads from memory that ends with the text, so that a sanitizer sees a byte too far. */
static int read_exactly(const char *text, weir_json_value *values, unsigned capacity)
{
    size_t size = strlen(text);
    char *copy = malloc(size + (size == 0));
    assert_non_null(copy);
    memcpy(copy, text, size);
    int result = weir_json_read(copy, size, values, capacity);
    free(copy);
    return result;
}

static void takes_what_is_json(void **state)
{
    static const struct {
        const char *text;
        int count;
    } good[] = {
        {"0", 1},
        {" -1.5e+10 ", 1},
        {"1E2", 1},
        {"true", 1},
        {"null\n", 1},
        {"\"\"", 1},
        {"[]", 1},
        {"[ ]", 1},
        {"{}", 1},
        {"[1,2 , 3]", 4},
        {"{\"a\":1}", 3},
        {"{ \"a\" : [ { } , [ ] ] , \"b\" : false }", 7},
        {"\"\\u00e9\\ud83d\\ude00\\n\\/\"", 1},
        {"\"\xc3\xa9\xf0\x9f\x98\x80\"", 1},
        {"[[[[]]],{}]", 5},
    };
    weir_json_value values[VALUES];
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        int count = read_exactly(good[i].text, values, VALUES);
        if (count != good[i].count)
            fail_msg("%s: %d, not %d", good[i].text, count, good[i].count);
        /* Its beginnings are not JSON, but for numbers and what differs by white space. */
        for (size_t size = 0; size < strlen(good[i].text) && i > 4; size++) {
            char cut[64];
            memcpy(cut, good[i].text, size);
            cut[size] = '\0';
            if (read_exactly(cut, values, VALUES) != WEIR_EPROTO)
                fail_msg("taken: %s", cut);
        }
    }
}

static void refuses_what_is_not(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "tru",
        "True",
        "nul",
        "'a'",
        "\"",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\\",
        "\"\n\"",
        "\"\x01\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:2}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "[}",
        "{]",
        "[1}",
        "1 2",
        "[] []",
        "nulll",
        "\"a\"b",
        "/**/1",
    };
    weir_json_value values[VALUES];
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        if (read_exactly(bad[i], values, VALUES) != WEIR_EPROTO)
            fail_msg("taken: %s", bad[i]);
    assert_int_equal(weir_json_read("1\0", 2, values, VALUES), WEIR_EPROTO);
}

static void is_bounded(void **state)
{
    weir_json_value values[VALUES];
    char deep[200];
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    assert_int_equal(weir_json_read(deep + 68, 64, values, VALUES), 32);
    assert_int_equal(weir_json_read(deep + 67, 66, values, VALUES), WEIR_ETOOBIG);
    assert_int_equal(weir_json_read(deep, 200, values, VALUES), WEIR_ETOOBIG);
    assert_int_equal(read_exactly("[1,2,3]", values, 4), 4);
    assert_int_equal(read_exactly("[1,2,3]", values, 3), WEIR_ETOOBIG);
    assert_int_equal(read_exactly("{\"a\":1}", values, 2), WEIR_ETOOBIG);
    assert_int_equal(read_exactly("1", values, 0), WEIR_ETOOBIG);
}

static void finds_and_walks(void **state)
{
    static const char text[] =
        "{\"a\":[1,[2,3],4],\"name\":\"x\",\"n\":18446744073709551615,\"o\":{\"name\":7}}";
    weir_json_value values[VALUES];
    char name[4];
    uint64_t number = 0, sum = 0;
    assert_true(weir_json_read(text, sizeof text - 1, values, VALUES) > 0);
    assert_int_equal(values[0].count, 4);
    const weir_json_value *array = weir_json_find(values, values, "a");
    assert_non_null(array);
    assert_int_equal(array->count, 3);
    for (const weir_json_value *v = weir_json_first(values, array); v != NULL;
         v = weir_json_next(values, array, v))
        sum += weir_json_to_number(v, &number) == 0 ? number : 100;
    assert_int_equal(sum, 105);
    assert_int_equal(weir_json_to_number(weir_json_find(values, values, "n"), &number), 0);
    assert_true(number == UINT64_MAX);
    assert_int_equal(weir_json_to_text(weir_json_find(values, values, "name"), name, 2), 1);
    assert_string_equal(name, "x");
    const weir_json_value *inner = weir_json_find(values, values, "o");
    assert_int_equal(weir_json_to_number(weir_json_find(values, inner, "name"), &number), 0);
    assert_int_equal(number, 7);
    assert_null(weir_json_find(values, values, "nam"));
    assert_null(weir_json_find(values, array, "a"));
    assert_null(weir_json_find(values, NULL, "a"));
    assert_int_equal(weir_json_to_number(NULL, &number), WEIR_EINVALID);
}

static void numbers_must_be_whole(void **state)
{
    static const char *const bad[] = {"-1", "1.5", "1e3", "18446744073709551616", "\"1\"", "true"};
    weir_json_value values[1];
    uint64_t number;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(weir_json_read(bad[i], strlen(bad[i]), values, 1), 1);
        assert_int_equal(weir_json_to_number(values, &number), WEIR_EINVALID);
    }
}

static void decodes_texts(void **state)
{
    static const char text[] = "\"a\\u00e9\\u20ac\\ud83d\\ude00\\\"\\\\\\b\\f\\n\\r\\t\\/\"";
    static const char want[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"\\\b\f\n\r\t/";
    weir_json_value values[1];
    char out[sizeof want];
    assert_int_equal(weir_json_read(text, sizeof text - 1, values, 1), 1);
    assert_int_equal(weir_json_to_text(values, out, sizeof out), sizeof want - 1);
    assert_string_equal(out, want);
    for (size_t size = 0; size < sizeof want; size++)
        assert_int_equal(weir_json_to_text(values, out, size), WEIR_ETOOBIG);
    assert_int_equal(weir_json_read("\"\\u0000\"", 8, values, 1), 1);
    assert_int_equal(weir_json_to_text(values, out, sizeof out), WEIR_EINVALID);
}

static void write_sample(weir_json_writer *out)
{
    weir_json_object(out, NULL);
    weir_json_text(out, "text", "a\"\\\n\x01\x7f\xff\xc3\xa9");
    weir_json_text(out, "none", NULL);
    weir_json_array(out, "list");
    weir_json_number(out, NULL, UINT64_MAX);
    weir_json_signed(out, NULL, INT64_MIN);
    weir_json_object(out, NULL);
    weir_json_end(out);
    weir_json_array(out, NULL);
    weir_json_end(out);
    weir_json_end(out);
    weir_json_bool(out, "yes", true);
    weir_json_end(out);
}

static void writes_what_it_reads(void **state)
{
    weir_json_writer out = {0};
    weir_json_value values[VALUES];
    write_sample(&out);
    assert_int_equal(weir_json_done(&out), 0);
    assert_string_equal(out.data,
                        "{\"text\":\"a\\\"\\\\\\n\\u0001\\u007f\\ufffd\xc3\xa9\",\"none\":null,"
                        "\"list\":[18446744073709551615,-9223372036854775808,{},[]],"
                        "\"yes\":true}\n");
    assert_int_equal(weir_json_read(out.data, out.size, values, VALUES), 13);
    weir_json_free(&out);
    out = (weir_json_writer){.indent = true};
    write_sample(&out);
    assert_int_equal(weir_json_done(&out), 0);
    assert_non_null(strstr(out.data, "{\n  \"text\": \"a"));
    assert_non_null(strstr(out.data, "\n    {},\n    []\n  ],\n  \"yes\": true\n}\n"));
    assert_int_equal(weir_json_read(out.data, out.size, values, VALUES), 13);
    weir_json_free(&out);
}

static void writer_notices_misuse(void **state)
{
    weir_json_writer out = {0};
    assert_int_equal(weir_json_done(&out), WEIR_EMISUSE); /* nothing */
    weir_json_free(&out);
    out = (weir_json_writer){0};
    weir_json_object(&out, NULL);
    assert_int_equal(weir_json_done(&out), WEIR_EMISUSE); /* open */
    weir_json_free(&out);
    out = (weir_json_writer){0};
    weir_json_object(&out, NULL);
    weir_json_number(&out, NULL, 1); /* no name */
    weir_json_end(&out);
    assert_int_equal(weir_json_done(&out), WEIR_EMISUSE);
    weir_json_free(&out);
    out = (weir_json_writer){0};
    weir_json_array(&out, NULL);
    weir_json_number(&out, "a", 1); /* a name */
    weir_json_end(&out);
    assert_int_equal(weir_json_done(&out), WEIR_EMISUSE);
    weir_json_free(&out);
    out = (weir_json_writer){0};
    weir_json_end(&out);
    assert_int_equal(weir_json_done(&out), WEIR_EMISUSE);
    weir_json_free(&out);
    out = (weir_json_writer){.limit = 100};
    weir_json_array(&out, NULL);
    for (int i = 0; i < 200; i++)
        weir_json_number(&out, NULL, 1);
    weir_json_end(&out);
    assert_int_equal(weir_json_done(&out), WEIR_ETOOBIG);
    assert_true(out.size < 100);
    weir_json_free(&out);
    out = (weir_json_writer){0};
    for (int i = 0; i < 40; i++)
        weir_json_array(&out, NULL);
    assert_int_equal(weir_json_done(&out), WEIR_ETOOBIG);
    weir_json_free(&out);
}

static void writer_goes_as_deep_as_the_reader(void **state)
{
    weir_json_writer out = {0};
    weir_json_value values[VALUES];
    for (int i = 0; i < WEIR_JSON_DEPTH_MAX; i++) {
        if (i % 2 == 0)
            weir_json_array(&out, i > 0 ? "a" : NULL);
        else
            weir_json_object(&out, NULL);
    }
    weir_json_number(&out, "last", 1);
    for (int i = 0; i < WEIR_JSON_DEPTH_MAX; i++)
        weir_json_end(&out);
    assert_int_equal(weir_json_done(&out), 0);
    assert_int_equal(weir_json_read(out.data, out.size, values, VALUES),
                     WEIR_JSON_DEPTH_MAX + WEIR_JSON_DEPTH_MAX / 2 + 1);
    weir_json_free(&out);
}

static void real_numbers_go_there_and_back(void **state)
{
    static const double numbers[] = {0, -0.5, 1.0 / 3, 12345678901, 1e300, -2.5e-12, 1e15};
    enum { COUNT = sizeof numbers / sizeof *numbers };
    weir_json_writer out = {0};
    weir_json_value values[VALUES];
    double number = 0;
    weir_json_array(&out, NULL);
    for (int i = 0; i < COUNT; i++)
        weir_json_real(&out, NULL, numbers[i]);
    weir_json_real(&out, NULL, __builtin_inf());
    weir_json_real(&out, NULL, __builtin_nan(""));
    weir_json_end(&out);
    assert_int_equal(weir_json_done(&out), 0);
    assert_int_equal(weir_json_read(out.data, out.size, values, VALUES), COUNT + 3);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(weir_json_to_real(&values[i + 1], &number), 0);
        double apart = number - numbers[i], size = numbers[i] < 0 ? -numbers[i] : numbers[i];
        assert_true((apart < 0 ? -apart : apart) <= size * 1e-14);
    }
    assert_int_equal(values[COUNT + 1].kind, WEIR_JSON_NULL);
    assert_int_equal(values[COUNT + 2].kind, WEIR_JSON_NULL);
    assert_int_equal(weir_json_to_real(&values[COUNT + 1], &number), WEIR_EINVALID);
    assert_int_equal(weir_json_to_real(NULL, &number), WEIR_EINVALID);
    weir_json_free(&out);
    assert_int_equal(weir_json_read("[1e999]", 7, values, VALUES), 2);
    assert_int_equal(weir_json_to_real(&values[1], &number), WEIR_EINVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_is_json),
        cmocka_unit_test(refuses_what_is_not),
        cmocka_unit_test(is_bounded),
        cmocka_unit_test(finds_and_walks),
        cmocka_unit_test(numbers_must_be_whole),
        cmocka_unit_test(decodes_texts),
        cmocka_unit_test(real_numbers_go_there_and_back),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(writer_notices_misuse),
        cmocka_unit_test(writer_goes_as_deep_as_the_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
