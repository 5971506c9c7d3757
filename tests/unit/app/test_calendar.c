#include "app_test.h"

#include <time.h>

#include "app/http/calendar.h"

static void same_as_the_c_library(void **state)
{
    /* A step that is prime to days and years, over every year there is. */
    for (int64_t s = -62167219200; s <= 253402300799; s += 9999991) {
        struct calendar date = calendar_from(s);
        time_t time = (time_t)s;
        struct tm tm;
        assert_non_null(gmtime_r(&time, &tm));
        assert_int_equal(date.year, tm.tm_year + 1900);
        assert_int_equal(date.month, tm.tm_mon + 1);
        assert_int_equal(date.day, tm.tm_mday);
        assert_int_equal(date.hour, tm.tm_hour);
        assert_int_equal(date.minute, tm.tm_min);
        assert_int_equal(date.second, tm.tm_sec);
    }
}

static void written(void **state)
{
    static const struct {
        int64_t seconds;
        const char *iso, *log;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z", "01/Jan/1970:00:00:00 +0000"},
        {-1, "1969-12-31T23:59:59Z", "31/Dec/1969:23:59:59 +0000"},
        {784111777, "1994-11-06T08:49:37Z", "06/Nov/1994:08:49:37 +0000"},
        {951782400, "2000-02-29T00:00:00Z", "29/Feb/2000:00:00:00 +0000"},
        {1772355907, "2026-03-01T09:05:07Z", "01/Mar/2026:09:05:07 +0000"},
        {4107542400, "2100-03-01T00:00:00Z", "01/Mar/2100:00:00:00 +0000"},
        {INT64_MAX, "9999-12-31T23:59:59Z", "31/Dec/9999:23:59:59 +0000"},
        {INT64_MIN, "0000-01-01T00:00:00Z", "01/Jan/0000:00:00:00 +0000"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[CALENDAR_LOG_SIZE + 1];
        memset(out, '!', sizeof(out));
        calendar_write_iso(calendar_from(cases[i].seconds), out);
        assert_memory_equal(out, cases[i].iso, CALENDAR_ISO_SIZE);
        assert_int_equal(out[CALENDAR_ISO_SIZE], '!');
        calendar_write_log(calendar_from(cases[i].seconds), out);
        assert_memory_equal(out, cases[i].log, CALENDAR_LOG_SIZE);
        assert_int_equal(out[CALENDAR_LOG_SIZE], '!');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_the_c_library),
        cmocka_unit_test(written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
