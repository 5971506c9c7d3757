#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <weir/error.h>

#include "base/random.h"
#include "base/units.h"

#define MS 1000000ull
#define S  1000000000ull

static char memory[256];
static struct text why;

static int start(void **state)
{
    text_init(&why, memory, sizeof(memory));
    return 0;
}

static void sizes_that_are_read(void **state)
{
    static const struct {
        const char *written;
        uint64_t bytes;
    } cases[] = {
        {"0", 0},
        {"512", 512},
        {"512B", 512},
        {"512b", 512},
        {"64K", 65536},
        {"64k", 65536},
        {"64KiB", 65536},
        {"64kib", 65536},
        {"1MiB", 1 << 20},
        {"1.5M", 3 << 19},
        {"0.5K", 512},
        {"2G", 2ull << 30},
        {"3T", 3ull << 40},
        {"1P", 1ull << 50},
        {"15E", 15ull << 60},
        {"15.9375E", 255ull << 56},
        {"18446744073709551615", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t bytes = 1;
        assert_int_equal(units_size(cases[i].written, &bytes, &why), 0);
        assert_int_equal(bytes, cases[i].bytes);
    }
    assert_int_equal(why.size, 0);
}

static void durations_that_are_read(void **state)
{
    static const struct {
        const char *written;
        uint64_t ns;
    } cases[] = {
        {"0", 0},
        {"0s", 0},
        {"250ms", 250 * MS},
        {"1us", 1000},
        {"15ns", 15},
        {"30s", 30 * S},
        {"1.5s", 1500 * MS},
        {"0.000000001s", 1},
        {"2m", 120 * S},
        {"2h", 7200 * S},
        {"1h30m", 5400 * S},
        {"1d2h3m4s5ms6us7ns", 93784 * S + 5006007},
        {"213503d", 213503ull * 86400 * S},
        {"never", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ns = 1;
        assert_int_equal(units_duration(cases[i].written, &ns, &why), 0);
        assert_int_equal(ns, cases[i].ns);
    }
    assert_int_equal(why.size, 0);
}

typedef int reader(const char *written, uint64_t *value, struct text *why);

static void refused(reader *read, const char *written, const char *reason)
{
    uint64_t value = 4711;
    text_clear(&why);
    assert_int_equal(read(written, &value, &why), WEIR_EINVALID);
    assert_int_equal(value, 4711); /* untouched */
    if (strstr(why.data, reason) == NULL)
        fail_msg("%s: no \"%s\" in: %s", written, reason, why.data);
    assert_int_equal(read(written, &value, NULL), WEIR_EINVALID);
}

static void sizes_that_are_refused(void **state)
{
    refused(units_size, "", "a number was expected");
    refused(units_size, "K", "a number was expected");
    refused(units_size, "-1", "a number was expected");
    refused(units_size, "+1", "a number was expected");
    refused(units_size, " 1", "a number was expected");
    refused(units_size, "1 K", "unknown unit");
    refused(units_size, "1X", "unknown unit");
    refused(units_size, "1KK", "unknown unit");
    refused(units_size, "1ib", "unknown unit");
    refused(units_size, "1KiBs", "unknown unit");
    refused(units_size, "64KB", "write KiB");
    refused(units_size, "64mb", "write MiB");
    refused(units_size, "1.K", "after the point");
    refused(units_size, "1.0000000001K", "after the point");
    refused(units_size, "1.3K", "not a whole number of bytes");
    refused(units_size, "0.5", "not a whole number of bytes");
    refused(units_size, "16E", "too large");
    refused(units_size, "18446744073709551616", "too large");
    refused(units_size, "99999999999999999999999999", "too large");
    refused(units_size, "1\n\x1b", "\"1\\n\\u001b\": unknown unit");
}

static void durations_that_are_refused(void **state)
{
    refused(units_duration, "", "a number was expected");
    refused(units_duration, "s", "a number was expected");
    refused(units_duration, "-1s", "a number was expected");
    refused(units_duration, "30", "a unit is missing");
    refused(units_duration, "1m30", "a unit is missing");
    refused(units_duration, "00", "a unit is missing");
    refused(units_duration, "30 s", "unknown unit");
    refused(units_duration, "30S", "unknown unit");
    refused(units_duration, "1mon", "a number was expected");
    refused(units_duration, "30m1h", "larger units come first");
    refused(units_duration, "1s1s", "larger units come first");
    refused(units_duration, "0.5ns", "not a whole number of nanoseconds");
    refused(units_duration, "213504d", "too large");
    refused(units_duration, "18446744073709551615ns", "too large");
    refused(units_duration, "18446744073s709551616ns", "too large");
    refused(units_duration, "Never", "a number was expected");
    refused(units_duration, "forever", "a number was expected");
}

static void numbers(void **state)
{
    uint64_t number = 0;
    assert_int_equal(units_number("8080", 1, 65535, &number, &why), 0);
    assert_int_equal(number, 8080);
    assert_int_equal(units_number("65535", 1, 65535, &number, &why), 0);
    assert_int_equal(units_number("18446744073709551615", 0, UINT64_MAX, &number, &why), 0);
    assert_int_equal(number, UINT64_MAX);
    assert_int_equal(units_number("0", 1, 65535, &number, &why), WEIR_EINVALID);
    assert_string_equal(why.data, "\"0\": out of range: from 1 to 65535");
    assert_int_equal(units_number("65536", 1, 65535, &number, NULL), WEIR_EINVALID);
    assert_int_equal(units_number("99999999999999999999", 1, 65535, &number, NULL), WEIR_EINVALID);
    static const char *const bad[] = {"", "x", "1x", "-1", "+1", " 1", "1 ", "0x10", "1.0"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        text_clear(&why);
        assert_int_equal(units_number(bad[i], 0, 9, &number, &why), WEIR_EINVALID);
        assert_non_null(strstr(why.data, "not a whole number from 0 to 9"));
    }
    assert_int_equal(number, UINT64_MAX);
}

static void a_reason_quotes_no_more_than_the_beginning(void **state)
{
    char longer[2000];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    uint64_t value;
    assert_int_equal(units_size(longer, &value, &why), WEIR_EINVALID);
    assert_false(why.cut);
    assert_non_null(strstr(why.data, "xxx\"...: a number was expected"));
}

static void what_is_written_is_read_again(void **state)
{
    struct random random;
    random_seed(&random, 8);
    for (int i = 0; i < 20000; i++) {
        uint64_t value = random_next(&random) >> random_below(&random, 64), back = 0;
        if (i % 2 != 0)
            value = value / 1000000 * 1000000;
        text_clear(&why);
        text_add_size(&why, value);
        assert_int_equal(units_size(why.data, &back, NULL), 0);
        assert_int_equal(back, value);
        text_clear(&why);
        text_add_duration(&why, value);
        assert_int_equal(units_duration(why.data, &back, NULL), 0);
        assert_int_equal(back, value);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sizes_that_are_read),
        TEST(durations_that_are_read),
        TEST(sizes_that_are_refused),
        TEST(durations_that_are_refused),
        TEST(numbers),
        TEST(a_reason_quotes_no_more_than_the_beginning),
        TEST(what_is_written_is_read_again),
    };
    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
