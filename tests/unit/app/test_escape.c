#include "app_test.h"

#include "app/http/escape.h"

static const char *escaped(weir__escape_fn *escape, struct http_text text)
{
    static char out[4096];
    const unsigned char *at = (const unsigned char *)text.at;
    size_t left = text.length, size = 0;

    while (left > 0) {
        size_t made = SIZE_MAX;
        char piece[ESCAPE_STEP_MAX];
        size_t taken = escape(at, left, piece, &made);
        assert_in_range(taken, 1, left < 4 ? left : 4);
        assert_in_range(made, 1, ESCAPE_STEP_MAX);
        memcpy(out + size, piece, made);
        size += made;
        at += taken;
        left -= taken;
    }
    out[size] = '\0';
    return out;
}

static void html(void **state)
{
    static const struct {
        struct http_text text;
        const char *out;
    } cases[] = {
        {{"plain", 5}, "plain"},
        {{"<a href=\"x\" b='y'>&", 19}, "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;"},
        {{"\xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x98\x80", 11},
         "\xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x98\x80"},
        {{"a\0b\n\x1b[31m\x7f", 10},
         "a\xEF\xBF\xBD"
         "b\xEF\xBF\xBD\xEF\xBF\xBD[31m\xEF\xBF\xBD"},
        {{"\xC2\x9B", 2}, "\xEF\xBF\xBD"},           /* a C1 control */
        {{"\xE2\x80\xAEgpj", 6}, "\xEF\xBF\xBDgpj"}, /* right-to-left override */
        {{"\xE2\x80\x8D", 3}, "\xE2\x80\x8D"},       /* joins emoji: stays */
        {{"\xFF\xFE", 2}, "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {{"\xC0\xAF", 2}, "\xEF\xBF\xBD\xEF\xBF\xBD"},                 /* too long */
        {{"\xED\xA0\x80", 3}, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* surrogate */
        {{"\xE4\xB8<", 3}, "\xEF\xBF\xBD\xEF\xBF\xBD&lt;"}, /* cut: '<' is not swallowed */
        {{"\xF0\x9F", 2}, "\xEF\xBF\xBD\xEF\xBF\xBD"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(escaped(weir__escape_html, cases[i].text), cases[i].out);
}

static void json(void **state)
{
    static const struct {
        struct http_text text;
        const char *out, *ascii;
    } cases[] = {
        {{"a/b", 3}, "a/b", "a/b"},
        {{"\"\\", 2}, "\\\"\\\\", "\\\"\\\\"},
        {{"\0\n\x7f", 3}, "\\u0000\\u000a\\u007f", "\\u0000\\u000a\\u007f"},
        {{"\xC3\xA9", 2}, "\xC3\xA9", "\\u00e9"},
        {{"\xF0\x9F\x98\x80", 4}, "\xF0\x9F\x98\x80", "\\ud83d\\ude00"},
        {{"\xF4\x8F\xBF\xBF", 4}, "\xF4\x8F\xBF\xBF", "\\udbff\\udfff"},
        {{"\xE2\x80\xA8\xE2\x80\xA9", 6}, "\\u2028\\u2029", "\\u2028\\u2029"},
        {{"\xC2\x9B", 2}, "\\u009b", "\\u009b"},
        {{"\xFF"
          "a",
          2},
         "\xEF\xBF\xBD"
         "a",
         "\\ufffda"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_string_equal(escaped(weir__escape_json, cases[i].text), cases[i].out);
        assert_string_equal(escaped(weir__escape_json_ascii, cases[i].text), cases[i].ascii);
    }
}

/* Each byte alone, by what may stand in the result. */
static void every_byte(void **state)
{
    for (int byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        struct http_text one = {&text, 1};
        const char *out = escaped(weir__escape_segment, one);
        assert_int_equal(strspn(out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789-._~%"),
                         strlen(out));
        if (out[0] == '%')
            assert_int_equal(strtol(out + 1, NULL, 16), byte);
        else
            assert_int_equal((unsigned char)out[0], byte);
        assert_string_equal(escaped(weir__escape_path, T("/")), "/");

        out = escaped(weir__escape_log, one);
        for (const char *at = out; *at; at++)
            assert_in_range(*at, 0x20, 0x7E);
        assert_true(strlen(out) == 1 ? out[0] != '"' && out[0] != '\\' : out[0] == '\\');
        if (strlen(out) == 4)
            assert_int_equal(strtol(out + 2, NULL, 16), byte);
        assert_null(strchr(escaped(weir__escape_log_word, one), ' '));
    }
    assert_string_equal(escaped(weir__escape_path, T("a b/c%/\xC3")), "a%20b/c%25/%C3");
    assert_string_equal(escaped(weir__escape_log, T("a \"b\" \\\n\xFF")),
                        "a \\\"b\\\" \\\\\\x0A\\xFF");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(html),
        cmocka_unit_test(json),
        cmocka_unit_test(every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
