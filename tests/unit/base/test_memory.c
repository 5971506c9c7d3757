#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/asan.h"
#include "base/memory.h"
#include "base/random.h"

static struct memory memory;

static void rooms_are_the_classes_and_whole_pages_beyond(void **state)
{
    static const struct {
        size_t size, room;
    } cases[] = {{0, 1024},      {1, 1024},      {1024, 1024},   {1025, 4096},  {4097, 16384},
                 {16385, 65536}, {65536, 65536}, {65537, 69632}, {69632, 69632}};
    memory_init(&memory, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t room = 0;
        char *chunk = memory_take(&memory, cases[i].size, false, &room);
        assert_non_null(chunk);
        assert_int_equal(room, cases[i].room);
        memset(chunk, 0xab, room);
        assert_int_equal(memory.used_bytes, room);
        memory_give(&memory, chunk, room);
        assert_int_equal(memory.used_bytes, 0);
    }
    size_t room;
    assert_null(memory_take(&memory, SIZE_MAX, false, &room));
    assert_null(memory_take(&memory, SIZE_MAX - 4095, false, &room));
    memory_end(&memory);
    assert_int_equal(weir__alloc_live(), 0);
}

static void the_last_given_is_the_first_taken(void **state)
{
    size_t room;
    memory_init(&memory, 0);
    void *a = memory_take(&memory, 4000, false, &room);
    void *b = memory_take(&memory, 4000, false, &room);
    memory_give(&memory, a, room);
    memory_give(&memory, b, room);
    assert_int_equal(weir__alloc_live(), 2);
    assert_ptr_equal(memory_take(&memory, 4000, false, &room), b);
    assert_ptr_equal(memory_take(&memory, 4000, false, &room), a);
    memory_give(&memory, a, room);
    memory_give(&memory, b, room);
    memory_end(&memory);
}

static void the_limit_refuses_but_not_what_is_forced(void **state)
{
    size_t room;
    memory_init(&memory, 10000);
    void *a = memory_take(&memory, 4096, false, &room);
    void *b = memory_take(&memory, 4096, false, &room);
    assert_non_null(b);
    assert_null(memory_take(&memory, 4096, false, &room));
    assert_int_equal(memory.refused, 1);
    void *c = memory_take(&memory, 4096, true, &room);
    assert_non_null(c);
    assert_int_equal(memory.used_bytes, 12288);
    assert_null(memory_take(&memory, 1, false, &room)); /* beyond the limit already */
    assert_null(memory_take(&memory, 1 << 20, false, &room));
    memory_give(&memory, a, 4096);
    void *d = memory_take(&memory, 1, false, &room); /* 8192 + 1024 */
    assert_non_null(d);
    memory_give(&memory, b, 4096);
    memory_give(&memory, c, 4096);
    memory_give(&memory, d, 1024);
    memory_end(&memory);
}

static void trimming_returns_half_of_what_was_not_needed(void **state)
{
    enum { N = 100 };
    void *chunks[N];
    size_t room;
    memory_init(&memory, 0);
    for (int i = 0; i < N; i++)
        chunks[i] = memory_take(&memory, 1024, false, &room);
    assert_false(memory_trim(&memory)); /* nothing is free */
    for (int i = 0; i < N; i++)
        memory_give(&memory, chunks[i], room);
    assert_true(memory_trim(&memory)); /* all were needed since the last one */
    assert_int_equal(memory.held_bytes, N * 1024);
    for (int i = 0; i < 40; i++)
        chunks[i] = memory_take(&memory, 1024, false, &room);
    for (int i = 0; i < 40; i++)
        memory_give(&memory, chunks[i], room);
    assert_true(memory_trim(&memory)); /* 60 of 100 were not needed */
    assert_int_equal(memory.held_bytes, 70 * 1024);
    int calls = 0;
    while (memory_trim(&memory))
        calls++;
    assert_in_range(calls, 5, 8); /* it ends, after the logarithm of 70 */
    assert_int_equal(memory.held_bytes, 0);
    assert_int_equal(weir__alloc_live(), 0);
    memory_end(&memory);
}

static void failing_allocations_are_told_and_not_counted(void **state)
{
    size_t room;
    memory_init(&memory, 0);
    weir__alloc_fail_at(1);
    assert_null(memory_take(&memory, 1000, false, &room));
    weir__alloc_fail_at(1);
    assert_null(memory_take(&memory, 100000, false, &room));
    assert_int_equal(memory.used_bytes, 0);
    assert_int_equal(memory.held_bytes, 0);
    memory_end(&memory);
    struct object_pool pool;
    object_pool_init(&pool, 200);
    weir__alloc_fail_at(1);
    assert_null(object_take(&pool));
    assert_int_equal(pool.used, 0);
    object_pool_end(&pool);
}

static void random_use_balances(void **state)
{
    enum { N = 500 };
    static struct {
        unsigned char *chunk, mark;
        size_t room;
    } held[N];
    struct random random;
    random_seed(&random, 7);
    uint64_t used = 0;
    memory_init(&memory, 4 << 20);
    for (int step = 0; step < 100000; step++) {
        size_t i = random_below(&random, N);
        if (held[i].chunk != NULL) {
            assert_int_equal(held[i].chunk[0], held[i].mark);
            assert_int_equal(held[i].chunk[held[i].room - 1], held[i].mark);
            used -= held[i].room;
            memory_give(&memory, held[i].chunk, held[i].room);
            held[i].chunk = NULL;
        } else {
            size_t size = random_below(&random, 1u << random_below(&random, 19));
            held[i].chunk = memory_take(&memory, size, false, &held[i].room);
            if (held[i].chunk != NULL) {
                assert_true(held[i].room >= size);
                held[i].mark = (unsigned char)random_next(&random);
                held[i].chunk[0] = held[i].chunk[held[i].room - 1] = held[i].mark;
                used += held[i].room;
            } else {
                assert_true(used + size > (4 << 20) - 65536);
            }
        }
        assert_int_equal(memory.used_bytes, used);
        assert_true(memory.held_bytes >= used);
        if (step % 1000 == 0)
            memory_trim(&memory);
    }
    assert_true(memory.refused > 0);
    for (int i = 0; i < N; i++)
        if (held[i].chunk != NULL)
            memory_give(&memory, held[i].chunk, held[i].room);
    memory_end(&memory);
    assert_int_equal(weir__alloc_live(), 0);
}

static void objects_come_and_go(void **state)
{
    struct object_pool pool;
    object_pool_init(&pool, 1); /* smaller than what a free one has to hold */
    void *a = object_take(&pool), *b = object_take(&pool);
    assert_int_equal(pool.used, 2);
    object_give(&pool, a);
    object_give(&pool, b);
    assert_ptr_equal(object_take(&pool), b);
    object_give(&pool, b);
    assert_true(object_pool_trim(&pool));
    assert_true(object_pool_trim(&pool));
    assert_false(object_pool_trim(&pool));
    assert_int_equal(weir__alloc_live(), 0);
    object_pool_end(&pool);
}

/* Runs a crime in a child, whose complaint goes nowhere; returns whether it was stopped. */
static bool is_stopped(void (*crime)(void))
{
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        if (close(STDERR_FILENO) == 0)
            crime();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void give_chunk_twice(void)
{
    size_t room;
    memory_init(&memory, 0);
    void *a = memory_take(&memory, 10, false, &room), *b = memory_take(&memory, 10, false, &room);
    memory_take(&memory, 10, false, &room);
    memory_give(&memory, a, room);
    memory_give(&memory, b, room);
    memory_give(&memory, a, room);
}

static void give_object_twice(void)
{
    struct object_pool pool;
    object_pool_init(&pool, 100);
    void *a = object_take(&pool), *b = object_take(&pool);
    object_take(&pool);
    object_give(&pool, a);
    object_give(&pool, b);
    object_give(&pool, a);
}

static void give_with_a_wrong_room(void)
{
    size_t room;
    memory_init(&memory, 0);
    void *a = memory_take(&memory, 4096, false, &room);
    memory_give(&memory, a, 4000);
}

static void forget_to_give(void)
{
    size_t room;
    memory_init(&memory, 0);
    if (memory_take(&memory, 4096, false, &room) != NULL)
        memory_end(&memory);
}

static void mistakes_are_noticed(void **state)
{
    assert_true(is_stopped(forget_to_give));
#ifndef NDEBUG
    assert_true(is_stopped(give_chunk_twice));
    assert_true(is_stopped(give_object_twice));
    assert_true(is_stopped(give_with_a_wrong_room));
#else
    (void)give_chunk_twice, (void)give_object_twice, (void)give_with_a_wrong_room;
#endif
}

#if WEIR_ASAN
static void use_after_give(void)
{
    size_t room;
    memory_init(&memory, 0);
    volatile char *chunk = memory_take(&memory, 4096, false, &room);
    memory_give(&memory, (void *)(uintptr_t)chunk, room);
    chunk[3000] = 1;
}

static void use_of_an_object_after_give(void)
{
    struct object_pool pool;
    object_pool_init(&pool, 100);
    volatile char *object = object_take(&pool);
    object_give(&pool, (void *)(uintptr_t)object);
    object[99] = 1;
}

static void use_after_give_is_noticed(void **state)
{
    assert_true(is_stopped(use_after_give));
    assert_true(is_stopped(use_of_an_object_after_give));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rooms_are_the_classes_and_whole_pages_beyond),
        cmocka_unit_test(the_last_given_is_the_first_taken),
        cmocka_unit_test(the_limit_refuses_but_not_what_is_forced),
        cmocka_unit_test(trimming_returns_half_of_what_was_not_needed),
        cmocka_unit_test(failing_allocations_are_told_and_not_counted),
        cmocka_unit_test(random_use_balances),
        cmocka_unit_test(objects_come_and_go),
        cmocka_unit_test(mistakes_are_noticed),
#if WEIR_ASAN
        cmocka_unit_test(use_after_give_is_noticed),
#endif
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
