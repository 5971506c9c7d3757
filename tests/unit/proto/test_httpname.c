#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "proto/httpchar.h"
#include "proto/httpname.h"

static void names_are_found_in_any_case(void **state)
{
    for (int id = 1; id < HTTP_NAMES; id++) {
        const char *text = http_name_text((enum http_name)id);
        size_t length = strlen(text);
        char copy[HTTP_NAME_MAX + 1];

        assert_true(length < HTTP_NAME_MAX);
        assert_int_equal(http_name_find(text, length), id);
        for (size_t i = 0; i <= length; i++)
            copy[i] = (char)toupper((unsigned char)text[i]);
        assert_int_equal(http_name_find(copy, length), id);
        copy[length / 2] = (char)tolower((unsigned char)copy[length / 2]);
        assert_int_equal(http_name_find(copy, length), id);
    }
}

static void slots_are_the_hashes(void **state)
{
#define X(identifier, name, slot) \
    assert_int_equal(http_name_hash((const uint8_t *)name, sizeof(name) - 1), slot);
    HTTP_NAME_TABLE(X)
#undef X
}

static void near_misses_are_not_found(void **state)
{
    for (int id = 1; id < HTTP_NAMES; id++) {
        const char *text = http_name_text((enum http_name)id);
        size_t length = strlen(text);

        for (size_t at = 0; at < length; at++) {
            for (int c = 0; c < 256; c++) {
                char copy[HTTP_NAME_MAX + 1];
                int found;

                if (!http_char_is((uint8_t)c, HTTP_CLASS_TOKEN) || tolower(c) == text[at])
                    continue;
                memcpy(copy, text, length + 1);
                copy[at] = (char)c;
                found = (int)http_name_find(copy, length);
                if (found != HTTP_NAME_OTHER)
                    assert_int_equal(
                        strncasecmp(http_name_text((enum http_name)found), copy, length), 0);
                assert_int_not_equal(found, id);
            }
        }
        if (length > 2)
            assert_int_equal(http_name_find(text, length - 1), HTTP_NAME_OTHER);
    }
    assert_int_equal(http_name_find("", 0), HTTP_NAME_OTHER);
    assert_int_equal(http_name_find("x-unheard-of", 12), HTTP_NAME_OTHER);
    assert_null(http_name_text(HTTP_NAME_OTHER));
}

static void methods_mind_case(void **state)
{
    for (int id = 1; id < HTTP_METHODS; id++) {
        const char *text = http_method_text((enum http_method)id);

        assert_int_equal(http_method_find(text, strlen(text)), id);
    }
    assert_int_equal(http_method_find("get", 3), HTTP_METHOD_OTHER);
    assert_int_equal(http_method_find("GETS", 4), HTTP_METHOD_OTHER);
    assert_int_equal(http_method_find("GE", 2), HTTP_METHOD_OTHER);
    assert_null(http_method_text(HTTP_METHOD_OTHER));
}

static bool is_one_of(int c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

/* The classes once more, in words, against the table. */
static void classes_are_as_the_grammar_has_them(void **state)
{
    for (int c = 0; c < 256; c++) {
        bool alnum = c < 128 && isalnum(c);
        bool visible = c > 0x20 && c < 0x7f;
        unsigned want = 0;

        want |= alnum || is_one_of(c, "!#$%&'*+-.^_`|~") ? HTTP_CLASS_TOKEN : 0;
        want |= visible && !is_one_of(c, "\"<>#?\\") ? HTTP_CLASS_PATH : 0;
        want |= visible && !is_one_of(c, "\"<>#") ? HTTP_CLASS_QUERY : 0;
        want |= c == '\t' || (c >= 0x20 && c != 0x7f) ? HTTP_CLASS_TEXT : 0;
        want |= alnum || is_one_of(c, "-._~") ? HTTP_CLASS_HOST : 0;
        want |= alnum || is_one_of(c, "+-.") ? HTTP_CLASS_SCHEME : 0;
        want |= c < 128 && isdigit(c) ? HTTP_CLASS_DIGIT : 0;
        want |= c < 128 && isxdigit(c) ? HTTP_CLASS_HEX : 0;
        assert_int_equal(http_char[c], want);
        if (want & HTTP_CLASS_HEX) {
            char text[2] = {(char)c, 0};
            unsigned value;

            assert_int_equal(sscanf(text, "%x", &value), 1);
            assert_int_equal(http_char_hex((uint8_t)c), value);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found_in_any_case),
        cmocka_unit_test(slots_are_the_hashes),
        cmocka_unit_test(near_misses_are_not_found),
        cmocka_unit_test(methods_mind_case),
        cmocka_unit_test(classes_are_as_the_grammar_has_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
