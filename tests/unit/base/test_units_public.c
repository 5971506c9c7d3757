#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <weir/error.h>
#include <weir/loop.h>
#include <weir/units.h>

static void readers_fill_value_or_reason(void **state)
{
    char why[WEIR_UNITS_WHY_MAX];
    uint64_t value = 0;
    assert_int_equal(weir_number_parse("8080", 1, 65535, &value, why, sizeof why), 0);
    assert_int_equal(value, 8080);
    assert_int_equal(weir_size_parse("1.5K", &value, why, sizeof why), 0);
    assert_int_equal(value, 1536);
    assert_int_equal(weir_duration_parse("1h30m", &value, why, sizeof why), 0);
    assert_int_equal(value, 5400 * WEIR_S);
    assert_int_equal(weir_duration_parse("never", &value, why, sizeof why), 0);
    assert_true(value == WEIR_NEVER);
    value = 7;
    assert_int_equal(weir_number_parse("70000", 1, 65535, &value, why, sizeof why), WEIR_EINVALID);
    assert_non_null(strstr(why, "\"70000\": out of range: from 1 to 65535"));
    assert_int_equal(weir_size_parse("64KB", &value, why, sizeof why), WEIR_EINVALID);
    assert_non_null(strstr(why, "KiB"));
    assert_int_equal(weir_duration_parse("10", &value, why, sizeof why), WEIR_EINVALID);
    assert_non_null(strstr(why, "a unit is missing"));
    assert_int_equal(value, 7);
}

static void a_reason_is_cut_or_left_out(void **state)
{
    char why[8] = "1234567";
    uint64_t value;
    assert_int_equal(weir_size_parse("nonsense", &value, why, 5), WEIR_EINVALID);
    assert_int_equal(strlen(why), 4);
    assert_memory_equal(why + 5, "67", 3); /* what is behind is left alone */
    assert_int_equal(weir_size_parse("nonsense", &value, NULL, 0), WEIR_EINVALID);
    assert_int_equal(weir_size_parse(NULL, &value, NULL, 0), WEIR_EINVALID);
    assert_int_equal(weir_size_parse("1", NULL, NULL, 0), WEIR_EINVALID);
}

static void formats(void **state)
{
    char text[WEIR_UNITS_TEXT_MAX];
    assert_int_equal(weir_size_format(65536, text, sizeof text), 5);
    assert_string_equal(text, "64KiB");
    assert_int_equal(weir_duration_format(250 * WEIR_MS, text, sizeof text), 5);
    assert_string_equal(text, "250ms");
    assert_true(weir_duration_format(WEIR_NEVER, text, sizeof text) > 0);
    assert_string_equal(text, "never");
    assert_true(weir_size_format(UINT64_MAX, text, sizeof text) > 0);
    assert_true(weir_duration_format(UINT64_MAX - 1, text, sizeof text) > 0);
    assert_int_equal(weir_size_format(65536, text, 5), WEIR_ETOOBIG);
    assert_int_equal(weir_size_format(65536, text, 6), 5);
    assert_int_equal(weir_size_format(65536, NULL, 0), WEIR_ETOOBIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_fill_value_or_reason),
        cmocka_unit_test(a_reason_is_cut_or_left_out),
        cmocka_unit_test(formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
