/* What the tests of coroutines use of cmocka, for another processor, for which Debian has no
 * cmocka: a case that fails says where and ends the program. */
#ifndef TESTS_CROSS_CMOCKA_H
#define TESTS_CROSS_CMOCKA_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

static jmp_buf cross_skip;

/* clang-format off */
#define cmocka_unit_test(fn) {#fn, fn}
/* clang-format on */
#define cmocka_run_group_tests(tests, setup, teardown) \
    cross_run(tests, sizeof(tests) / sizeof *(tests))
#define skip()                          longjmp(cross_skip, 1)
#define print_message(...)              printf(__VA_ARGS__)
#define assert_true(c)                  cross_check((c) ? 1 : 0, #c, __FILE__, __LINE__)
#define assert_false(condition)         assert_true(!(condition))
#define assert_null(pointer)            assert_true((pointer) == NULL)
#define assert_non_null(pointer)        assert_true((pointer) != NULL)
#define assert_ptr_equal(a, b)          assert_true((const void *)(a) == (const void *)(b))
#define assert_int_equal(a, b)          assert_true((intptr_t)(a) == (intptr_t)(b))
#define assert_memory_equal(a, b, size) assert_true(memcmp(a, b, size) == 0)
#define assert_in_range(value, low, high) \
    assert_true((uintptr_t)(value) >= (uintptr_t)(low) && (uintptr_t)(value) <= (uintptr_t)(high))

static inline void cross_check(bool holds, const char *what, const char *file, int line)
{
    if (holds)
        return;
    printf("%s:%d: %s does not hold\n", file, line, what);
    exit(1);
}

static inline int cross_run(const struct CMUnitTest *tests, size_t count)
{
    const char *without = getenv("CROSS_WITHOUT"); /* one that the emulator cannot do */
    void *state = NULL;

    for (size_t i = 0; i < count; i++) {
        if (without != NULL && strcmp(without, tests[i].name) == 0)
            continue;
        printf("%s: ", tests[i].name);
        fflush(stdout);
        if (setjmp(cross_skip) == 0) {
            tests[i].run(&state);
            printf("ok\n");
        } else {
            printf("skipped\n");
        }
    }
    return 0;
}

#endif
