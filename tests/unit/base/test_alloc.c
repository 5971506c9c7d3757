#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>

#include "base/alloc.h"

static struct {
    unsigned allocs, reallocs, frees;
} calls;

static void *counted_alloc(size_t size, void *arg)
{
    assert_ptr_equal(arg, &calls);
    calls.allocs++;
    void *memory = malloc(size);
    if (memory != NULL)
        memset(memory, 0xee, size); /* a hook need not clear */
    return memory;
}

static void *counted_realloc(void *memory, size_t size, void *arg)
{
    assert_ptr_equal(arg, &calls);
    calls.reallocs++;
    return realloc(memory, size);
}

static void counted_free(void *memory, void *arg)
{
    assert_ptr_equal(arg, &calls);
    calls.frees++;
    free(memory);
}

/* Runs first: later it would be too late. */
static void the_hook_gets_everything_and_is_set_once(void **state)
{
    weir_allocator hook = {counted_alloc, counted_realloc, counted_free, &calls};
    weir_allocator half = {counted_alloc, NULL, counted_free, &calls};
    assert_int_equal(weir_set_allocator(&half), WEIR_EINVALID);
    assert_int_equal(weir_set_allocator(NULL), 0);
    assert_int_equal(weir_set_allocator(&hook), 0);

    void *a = weir__alloc(10);
    unsigned char *b = weir__zalloc(100);
    char *c = weir__strdup("text");
    assert_int_equal(calls.allocs, 3);
    for (int i = 0; i < 100; i++)
        assert_int_equal(b[i], 0);
    assert_string_equal(c, "text");
    a = weir__realloc(a, 1000);
    assert_int_equal(calls.reallocs, 1);
    assert_int_equal(weir__alloc_live(), 3);
    weir__free(a);
    weir__free(b);
    weir__free(c);
    weir__free(NULL);
    assert_int_equal(calls.frees, 3);
    assert_int_equal(weir__alloc_live(), 0);
    assert_int_equal(weir_set_allocator(NULL), WEIR_EMISUSE);
    assert_int_equal(weir_set_allocator(&hook), WEIR_EMISUSE);
}

static void nothing_is_one_byte(void **state)
{
    void *a = weir__alloc(0), *b = weir__zalloc(0), *c = weir__realloc(NULL, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_int_equal(weir__alloc_live(), 3);
    c = weir__realloc(c, 0); /* not a free */
    assert_non_null(c);
    assert_int_equal(weir__alloc_live(), 3);
    weir__free(a);
    weir__free(b);
    weir__free(c);
    assert_int_equal(weir__alloc_live(), 0);
}

static void pages_are_whole_and_zeroed(void **state)
{
    unsigned char *pages = weir__pages_alloc(5000);
    assert_non_null(pages);
    assert_int_equal((uintptr_t)pages % 4096, 0);
    assert_int_equal(weir__pages_live_bytes(), 8192);
    for (int i = 0; i < 8192; i++)
        assert_int_equal(pages[i], 0);
    memset(pages, 1, 8192);
    weir__pages_free(pages, 5000);
    weir__pages_free(NULL, 5000);
    assert_int_equal(weir__pages_live_bytes(), 0);
    assert_int_equal(weir__alloc_live(), 0);
    assert_null(weir__pages_alloc(0));
    assert_null(weir__pages_alloc(SIZE_MAX));
    assert_null(weir__pages_alloc(SIZE_MAX / 2));
}

static void aligned_memory_is_aligned_and_zeroed(void **state)
{
    uint64_t before = weir__alloc_live();
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2)
        for (size_t size = 0; size < 200; size += 67) {
            unsigned char *memory = weir__aligned_zalloc(size, alignment);
            assert_non_null(memory);
            assert_int_equal((uintptr_t)memory % alignment, 0);
            for (size_t i = 0; i < size; i++)
                assert_int_equal(memory[i], 0);
            memset(memory, 0xff, size);
            weir__aligned_free(memory);
        }
    assert_null(weir__aligned_zalloc(SIZE_MAX - 10, 64));
    weir__aligned_free(NULL);
    assert_int_equal(weir__alloc_live(), before);
}

static void the_nth_allocation_fails_once(void **state)
{
    weir__alloc_fail_at(3);
    void *a = weir__alloc(1), *b = weir__zalloc(1), *c = weir__alloc(1), *d = weir__alloc(1);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    assert_non_null(d);
    assert_int_equal(weir__alloc_fail_at(1), 0); /* it happened */
    assert_null(weir__realloc(a, 100));          /* a still lives */
    weir__alloc_fail_at(1);
    assert_null(weir__pages_alloc(1));
    weir__alloc_fail_at(1);
    assert_null(weir__strdup("a"));
    weir__alloc_fail_at(5);
    weir__free(a);
    weir__free(b);
    weir__free(d);
    assert_int_equal(weir__alloc_fail_at(0), 5); /* it was not reached */
    assert_int_equal(weir__alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hook_gets_everything_and_is_set_once),
        cmocka_unit_test(nothing_is_one_byte),
        cmocka_unit_test(pages_are_whole_and_zeroed),
        cmocka_unit_test(aligned_memory_is_aligned_and_zeroed),
        cmocka_unit_test(the_nth_allocation_fails_once),
    };
    return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}
