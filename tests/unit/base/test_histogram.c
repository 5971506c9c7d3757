#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/histogram.h"
#include "base/random.h"

static struct histogram one, two;

static void empty_is_zero(void **state)
{
    histogram_init(&one);
    assert_int_equal(histogram_quantile(&one, 0.5), 0);
    assert_int_equal(histogram_quantile(&one, 1), 0);
    assert_int_equal(one.count, 0);
}

static void small_values_are_exact(void **state)
{
    histogram_init(&one);
    for (uint64_t value = 1; value <= 1000; value++)
        histogram_add(&one, value);
    assert_int_equal(histogram_quantile(&one, 0), 1);
    assert_int_equal(histogram_quantile(&one, 0.001), 1);
    assert_int_equal(histogram_quantile(&one, 0.0011), 2);
    assert_int_equal(histogram_quantile(&one, 0.5), 500);
    assert_int_equal(histogram_quantile(&one, 0.99), 990);
    assert_int_equal(histogram_quantile(&one, 0.999), 999);
    assert_int_equal(histogram_quantile(&one, 1), 1000);
    assert_int_equal(one.sum, 500500);
    assert_int_equal(one.min, 1);
    assert_int_equal(one.max, 1000);
}

/* Every value's cell: its end is not below the value, and at most 1/1024 above. */
static void the_error_is_small_everywhere(void **state)
{
    struct random random;
    random_seed(&random, 3);
    histogram_init(&one);
    for (int i = 0; i < 3000; i++) {
        uint64_t value = random_next(&random) >> (24 + random_below(&random, 40));
        if (i < 200) /* around the powers of two */
            value = (1ull << i / 5) + (uint64_t)(i % 5) - 2;
        if (value >= 1ull << 40)
            continue;
        histogram_add(&one, value);
        histogram_add(&one, UINT64_MAX); /* so that max does not hide the cell's end */
        uint64_t end = histogram_quantile(&one, 0.5);
        assert_true(end >= value && end - value <= value / 1024);
        memset(one.cells, 0, sizeof(one.cells));
        one.count = 0;
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void quantiles_agree_with_sorting(void **state)
{
    enum { N = 5000 };
    static uint64_t values[N];
    static const double quantiles[] = {0, 0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 1};
    struct random random;
    random_seed(&random, 9);
    histogram_init(&one);
    histogram_init(&two);
    for (int i = 0; i < N; i++) {
        values[i] = random_next(&random) >> (24 + random_below(&random, 38));
        histogram_add(i % 2 != 0 ? &one : &two, values[i]);
    }
    histogram_merge(&one, &two);
    assert_int_equal(one.count, N);
    qsort(values, N, sizeof(values[0]), compare);
    assert_int_equal(one.min, values[0]);
    assert_int_equal(one.max, values[N - 1]);
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        double exact = quantiles[i] * N;
        size_t rank = (size_t)exact + ((double)(size_t)exact < exact);
        uint64_t value = values[rank > 0 ? rank - 1 : 0];
        uint64_t told = histogram_quantile(&one, quantiles[i]);
        assert_true(told >= value && told - value <= value / 1024);
    }
}

static void huge_values_are_counted_and_the_largest_known(void **state)
{
    histogram_init(&one);
    histogram_add(&one, 5);
    histogram_add(&one, (1ull << 40) - 1);
    histogram_add(&one, 1ull << 40);
    histogram_add(&one, 1ull << 60);
    assert_int_equal(one.count, 4);
    assert_int_equal(histogram_quantile(&one, 0.25), 5);
    assert_int_equal(histogram_quantile(&one, 1), 1ull << 60);
    histogram_init(&one);
    histogram_add(&one, 1000000); /* a single value is told exactly, not as its cell's end */
    assert_int_equal(histogram_quantile(&one, 0.5), 1000000);
}

static void cleared_it_is_empty(void **state)
{
    static struct histogram histogram, fresh;
    static const uint64_t values[] = {0, 7, 2047, 2048, 123456789, UINT64_MAX};
    histogram_clear(&histogram);
    histogram_init(&fresh);
    assert_memory_equal(&histogram, &fresh, sizeof fresh);
    for (unsigned i = 0; i < sizeof values / sizeof *values; i++) {
        for (unsigned k = 0; k <= i; k++)
            histogram_add(&histogram, values[k]);
        histogram_clear(&histogram);
        assert_memory_equal(&histogram, &fresh, sizeof fresh);
    }
}

static void many_are_as_so_many_single_ones(void **state)
{
    static struct histogram single, many;
    histogram_clear(&single);
    histogram_clear(&many);
    histogram_add_many(&many, 99, 0);
    for (uint64_t value = 1; value < 1ull << 41; value *= 3) {
        for (unsigned i = 0; i < value % 7; i++)
            histogram_add(&single, value);
        histogram_add_many(&many, value, value % 7);
    }
    assert_memory_equal(&single, &many, sizeof single);
}

static void a_cell_ends_where_the_next_begins(void **state)
{
    static struct histogram histogram;
    for (uint32_t cell = 0; cell + 1 < HISTOGRAM_CELLS; cell++) {
        histogram_clear(&histogram);
        histogram_add(&histogram, histogram_cell_end(cell));
        histogram_add(&histogram, histogram_cell_end(cell) + 1);
        assert_int_equal(histogram.cells[cell], 1);
        assert_int_equal(histogram.cells[cell + 1], 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cleared_it_is_empty),
        cmocka_unit_test(many_are_as_so_many_single_ones),
        cmocka_unit_test(a_cell_ends_where_the_next_begins),
        cmocka_unit_test(empty_is_zero),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(the_error_is_small_everywhere),
        cmocka_unit_test(quantiles_agree_with_sorting),
        cmocka_unit_test(huge_values_are_counted_and_the_largest_known),
    };
    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
