#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/random.h"

static void a_seed_always_gives_the_same(void **state)
{
    struct random a, b, c;
    random_seed(&a, 42);
    random_seed(&b, 42);
    random_seed(&c, 43);
    unsigned same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t value = random_next(&a);
        assert_int_equal(value, random_next(&b));
        same += value == random_next(&c);
    }
    assert_int_equal(same, 0);
}

/* xoshiro256** from the state 1, 2, 3, 4: these can be worked out by hand from its definition. */
static void it_is_the_generator_it_says(void **state)
{
    struct random random = {{1, 2, 3, 4}};
    assert_int_equal(random_next(&random), 11520);
    assert_int_equal(random_next(&random), 0);
    assert_int_equal(random_next(&random), 1509978240);
    assert_int_equal(random_next(&random), 1215971899390074240);
}

static void zero_is_a_good_seed(void **state)
{
    struct random random;
    random_seed(&random, 0);
    uint64_t ones = 0;
    for (int i = 0; i < 1000; i++)
        ones += (uint64_t)__builtin_popcountll(random_next(&random));
    assert_in_range(ones, 31500, 32500);
}

static void below_is_uniform_and_within(void **state)
{
    enum { BOUND = 10, N = 100000 };
    struct random random;
    unsigned seen[BOUND] = {0};
    random_seed(&random, 1);
    for (int i = 0; i < N; i++) {
        uint64_t value = random_below(&random, BOUND);
        assert_true(value < BOUND);
        seen[value]++;
    }
    for (int i = 0; i < BOUND; i++)
        assert_in_range(seen[i], N / BOUND - 500, N / BOUND + 500);
    assert_int_equal(random_below(&random, 0), 0);
    assert_int_equal(random_below(&random, 1), 0);
    /* A bound of 3/4 of all draws: a fourth of them is one too many, and would all give multiples
     * of 3. */
    uint64_t bound = 3ull << 62, multiples = 0;
    for (int i = 0; i < N; i++) {
        uint64_t value = random_below(&random, bound);
        assert_true(value < bound);
        multiples += value % 3 == 0;
    }
    assert_in_range(multiples, N / 3 - 900, N / 3 + 900);
}

static void bytes_come_from_the_kernel_or_a_simulation(void **state)
{
    unsigned char a[1000] = {0}, b[1000] = {0};
    weir__random_bytes(a, sizeof(a));
    weir__random_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    weir__random_bytes(a, 0);
    struct random source;
    random_seed(&source, 5);
    weir__random_set_source(&source);
    weir__random_bytes(a, sizeof(a));
    random_seed(&source, 5);
    weir__random_bytes(b, sizeof(b));
    weir__random_set_source(NULL);
    assert_memory_equal(a, b, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_always_gives_the_same),
        cmocka_unit_test(it_is_the_generator_it_says),
        cmocka_unit_test(zero_is_a_good_seed),
        cmocka_unit_test(below_is_uniform_and_within),
        cmocka_unit_test(bytes_come_from_the_kernel_or_a_simulation),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
