#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "proto/httpfield.h"

static struct http_text text(const char *string)
{
    return (struct http_text){string, strlen(string)};
}

static void assert_text(struct http_text got, const char *want)
{
    if (got.length != strlen(want) || memcmp(got.at, want, got.length) != 0)
        fail_msg("'%.*s', not '%s'", (int)got.length, got.at, want);
}

static void texts_are_compared_without_case(void **state)
{
    assert_true(http_text_is(text("Close"), "close"));
    assert_true(http_text_is(text("X-[^_"), "x-[^_"));
    assert_false(http_text_is(text("clos"), "close"));
    assert_false(http_text_is(text("closed"), "close"));
    assert_false(http_text_is(text("@"), "`"));
    assert_false(http_text_is(text("["), "{"));
    assert_true(http_text_same((struct http_text){NULL, 0}, "", 0));
}

static void trimming_takes_spaces_and_tabs(void **state)
{
    assert_text(http_text_trim(text(" \t a b\t ")), "a b");
    assert_text(http_text_trim(text(" \t ")), "");
    assert_text(http_text_trim(text("\x0b")), "\x0b");
}

static void numbers(void **state)
{
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "0x1",
                                      "1.0",
                                      "1e3",
                                      "a",
                                      "1,2",
                                      "\xb2",
                                      "9223372036854775808",
                                      "99999999999999999999"};
    uint64_t number = 7;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(http_text_number(text(bad[i]), &number));
    assert_int_equal(number, 7);
    assert_true(http_text_number(text("0"), &number));
    assert_int_equal(number, 0);
    assert_true(http_text_number(text("000012"), &number));
    assert_int_equal(number, 12);
    assert_true(http_text_number(text("9223372036854775807"), &number));
    assert_true(number == INT64_MAX);
}

static void lists_are_parted_at_commas(void **state)
{
    struct http_text list = text(" a ,, b;x=\"1,2\\\",\" ,\t,c d,"), element;

    assert_int_equal(http_list_next(&list, &element), 1);
    assert_text(element, "a");
    assert_int_equal(http_list_next(&list, &element), 1);
    assert_text(element, "b;x=\"1,2\\\",\"");
    assert_int_equal(http_list_next(&list, &element), 1);
    assert_text(element, "c d");
    assert_int_equal(http_list_next(&list, &element), 0);
    assert_int_equal(http_list_next(&list, &element), 0);
    list = text("a, \"b");
    assert_int_equal(http_list_next(&list, &element), 1);
    assert_int_equal(http_list_next(&list, &element), -1);
    list = text("\"b\\");
    assert_int_equal(http_list_next(&list, &element), -1);
    list = text("");
    assert_int_equal(http_list_next(&list, &element), 0);
}

static void token_lists_take_tokens_only(void **state)
{
    struct http_text list = text("close, X-Own"), token;

    assert_int_equal(http_token_list_next(&list, &token), 1);
    assert_text(token, "close");
    assert_int_equal(http_token_list_next(&list, &token), 1);
    assert_text(token, "X-Own");
    assert_int_equal(http_token_list_next(&list, &token), 0);
    list = text("a b");
    assert_int_equal(http_token_list_next(&list, &token), -1);
    list = text("a/b");
    assert_int_equal(http_token_list_next(&list, &token), -1);
}

static void parameters(void **state)
{
    struct http_text rest = text(" ; a=b;;c ;d=\"e;\\\"f\" ; g=\"\""), name, value;
    bool quoted;

    assert_int_equal(http_parameter_next(&rest, &name, &value, &quoted), 1);
    assert_text(name, "a");
    assert_text(value, "b");
    assert_false(quoted);
    assert_int_equal(http_parameter_next(&rest, &name, &value, &quoted), 1);
    assert_text(name, "c");
    assert_text(value, "");
    assert_int_equal(http_parameter_next(&rest, &name, &value, &quoted), 1);
    assert_text(name, "d");
    assert_text(value, "e;\\\"f");
    assert_true(quoted);
    assert_int_equal(http_parameter_next(&rest, &name, &value, &quoted), 1);
    assert_text(name, "g");
    assert_text(value, "");
    assert_true(quoted);
    assert_int_equal(http_parameter_next(&rest, &name, &value, &quoted), 0);

    static const char *const bad[] = {"a=b",    ";=b",    ";a=",       ";a=\"b", ";a b",
                                      ";a = b", ";a=b c", ";a=\"b\"c", ";\x01"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        int rc;

        rest = text(bad[i]);
        while ((rc = http_parameter_next(&rest, &name, &value, &quoted)) == 1)
            ;
        if (rc != -1)
            fail_msg("taken: %s", bad[i]);
    }
}

static int quality(const char *list, const char *name)
{
    return http_quality_of(text(list), name, strlen(name));
}

static void qualities(void **state)
{
    assert_int_equal(quality("gzip", "gzip"), 1000);
    assert_int_equal(quality("gzip, br", "BR"), 1000);
    assert_int_equal(quality("gzip;q=0.5, br;q=0.25", "br"), 250);
    assert_int_equal(quality("gzip ; q=0.5", "gzip"), 500);
    assert_int_equal(quality("gzip;Q=0.125", "gzip"), 125);
    assert_int_equal(quality("gzip;q=0", "gzip"), 0);
    assert_int_equal(quality("gzip;q=0.", "gzip"), 0);
    assert_int_equal(quality("gzip;q=1.000", "gzip"), 1000);
    assert_int_equal(quality("*;q=0.3", "gzip"), 300);
    assert_int_equal(quality("*;q=0, gzip;q=0.7", "gzip"), 700);
    assert_int_equal(quality("gzip;q=0.7, *;q=0", "br"), 0);
    assert_int_equal(quality("gzip", "br"), -1);
    assert_int_equal(quality("", "br"), -1);
    assert_int_equal(quality("br;q=0.1, br;q=0.9", "br"), 100);
    assert_int_equal(quality("x;a=\"q=0.1,\";q=0.2", "x"), 200);

    static const char *const bad[] = {"br;q=1.001", "br;q=2", "br;q=-1", "br;q=0.1234",
                                      "br;q=",      "br;q",   "br;q=.5", "br;q=\"1\"",
                                      "br;q=1.1",   ";q=1",   "br;q=a",  "br;q=0x1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        if (quality(bad[i], "br") != -1)
            fail_msg("taken: %s", bad[i]);
    }
}

static void preferences_keep_their_parameters(void **state)
{
    struct http_text list = text("text/html;level=1;q=0.4;ext=2, */*");
    struct http_preference preference;

    assert_int_equal(http_preference_next(&list, &preference), 1);
    assert_text(preference.value, "text/html");
    assert_text(preference.parameters, ";level=1");
    assert_int_equal(preference.quality, 400);
    assert_int_equal(http_preference_next(&list, &preference), 1);
    assert_text(preference.value, "*/*");
    assert_int_equal(preference.parameters.length, 0);
    assert_int_equal(preference.quality, 1000);
    assert_int_equal(http_preference_next(&list, &preference), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_compared_without_case),
        cmocka_unit_test(trimming_takes_spaces_and_tabs),
        cmocka_unit_test(numbers),
        cmocka_unit_test(lists_are_parted_at_commas),
        cmocka_unit_test(token_lists_take_tokens_only),
        cmocka_unit_test(parameters),
        cmocka_unit_test(qualities),
        cmocka_unit_test(preferences_keep_their_parameters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
