#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proto/httpdate.h"

#define NOW INT64_C(1780000000) /* May 2026 */

static void check(const char *text, int64_t want)
{
    int64_t got = -1;

    if (!http_date_parse(text, strlen(text), NOW, &got))
        fail_msg("refused: %s", text);
    if (got != want)
        fail_msg("%s: %lld, not %lld", text, (long long)got, (long long)want);
}

static void refused(const char *text)
{
    int64_t got;

    if (http_date_parse(text, strlen(text), NOW, &got))
        fail_msg("taken: %s", text);
}

static void three_forms_of_one_moment(void **state)
{
    check("Sun, 06 Nov 1994 08:49:37 GMT", 784111777);
    check("Sunday, 06-Nov-94 08:49:37 GMT", 784111777);
    check("Sun Nov  6 08:49:37 1994", 784111777);
    check("Wed Nov 16 08:49:37 1994", 784975777);
    check("Thu, 01 Jan 1970 00:00:00 GMT", 0);
    check("Wed, 31 Dec 1969 23:59:59 GMT", -1);
    check("Tue, 29 Feb 2000 12:00:00 GMT", 951825600);
    check("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799);
    check("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800);
}

static void century_of_two_digits(void **state)
{
    check("Monday, 01-Jan-76 00:00:00 GMT", INT64_C(3345062400)); /* 2076, fifty ahead */
    check("Monday, 01-Jan-77 00:00:00 GMT", INT64_C(220924800));  /* 1977 */
    check("Monday, 01-Jan-26 00:00:00 GMT", INT64_C(1767225600));
}

static void every_cut_and_every_other_byte_is_refused(void **state)
{
    static const char *const forms[] = {
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Saturday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        char copy[64];
        int64_t got;
        size_t length = strlen(forms[i]);

        for (size_t cut = 0; cut < length; cut++)
            assert_false(http_date_parse(forms[i], cut, NOW, &got));
        for (size_t at = 0; at < length; at++) {
            strcpy(copy, forms[i]);
            copy[at] = '!';
            refused(copy);
        }
        strcpy(copy, forms[i]);
        strcat(copy, " ");
        refused(copy);
    }
}

static void impossible_dates_are_refused(void **state)
{
    refused("Sun, 30 Feb 2000 12:00:00 GMT");
    refused("Sun, 29 Feb 1900 12:00:00 GMT");
    refused("Sun, 29 Feb 2023 12:00:00 GMT");
    refused("Sun, 00 Nov 1994 08:49:37 GMT");
    refused("Sun, 31 Nov 1994 08:49:37 GMT");
    refused("Sun, 06 Nov 1994 24:00:00 GMT");
    refused("Sun, 06 Nov 1994 08:60:37 GMT");
    refused("Sun, 06 Nov 1994 08:49:61 GMT");
    refused("Sun, 06 Nov 1994 08:49:37 UTC");
    refused("Sun, 06 Nov 1994 08:49:37 +0000");
    refused("Sun,  6 Nov 1994 08:49:37 GMT");
    refused("sun, 06 nov 1994 08:49:37 gmt");
    refused("Tuesnesday, 06-Nov-94 08:49:37 GMT");
    refused("784111777");
    refused("");
}

static void format_and_parse_agree_with_libc(void **state)
{
    uint64_t seed = 88172645463325252u;

    for (int i = 0; i < 200000; i++) {
        char ours[HTTP_DATE_BYTES + 1] = {0}, theirs[64];
        int64_t when, back;
        time_t t;
        struct tm tm;

        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        when = (int64_t)(seed % 253402300800u);
        if (i % 3 == 0)
            when = when % 4102444800; /* more often between 1970 and 2100 */
        t = (time_t)when;
        assert_non_null(gmtime_r(&t, &tm));
        strftime(theirs, sizeof(theirs), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        http_date_format(when, ours);
        assert_string_equal(ours, theirs);
        assert_true(http_date_parse(ours, HTTP_DATE_BYTES, NOW, &back));
        assert_int_equal(back, when);
    }
}

static void dates_out_of_range_are_clamped(void **state)
{
    char out[HTTP_DATE_BYTES + 1] = {0};

    http_date_format(INT64_MAX, out);
    assert_string_equal(out, "Fri, 31 Dec 9999 23:59:59 GMT");
    http_date_format(INT64_MIN, out);
    assert_string_equal(out, "Sat, 01 Jan 0000 00:00:00 GMT");
    http_date_format(-1, out);
    assert_string_equal(out, "Wed, 31 Dec 1969 23:59:59 GMT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_forms_of_one_moment),
        cmocka_unit_test(century_of_two_digits),
        cmocka_unit_test(every_cut_and_every_other_byte_is_refused),
        cmocka_unit_test(impossible_dates_are_refused),
        cmocka_unit_test(format_and_parse_agree_with_libc),
        cmocka_unit_test(dates_out_of_range_are_clamped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
