#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "io/ready_ring.h"

static void in_order_over_growth_and_wrap(void **state)
{
    struct ready_ring ring;
    uint64_t in = 0, out = 0;
    assert_true(weir__ready_ring_init(&ring));
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 37 * round; i++, in++)
            assert_true(weir__ready_ring_push(&ring, in, -(int64_t)in));
        for (int i = 0; i < 36 * round; i++, out++) {
            struct ready_entry entry = weir__ready_ring_pop(&ring);
            assert_int_equal(entry.token, out);
            assert_int_equal(entry.result, -(int64_t)out);
        }
        assert_int_equal(ring.count, in - out);
    }
    while (ring.count > 0)
        assert_int_equal(weir__ready_ring_pop(&ring).token, out++);
    assert_int_equal(in, out);
    weir__ready_ring_end(&ring);
}

static void gives_memory_back_after_a_burst(void **state)
{
    struct ready_ring ring;
    uint32_t large;
    assert_true(weir__ready_ring_init(&ring));
    for (uint64_t i = 0; i < 10000; i++)
        assert_true(weir__ready_ring_push(&ring, i, 0));
    while (ring.count > 0)
        weir__ready_ring_pop(&ring);
    large = ring.capacity;
    weir__ready_ring_trim(&ring); /* the burst itself */
    assert_int_equal(ring.capacity, large);
    for (int i = 0; i < 20; i++)
        weir__ready_ring_trim(&ring);
    assert_int_equal(ring.capacity, READY_RING_LEAST);
    weir__ready_ring_end(&ring);
}

static void without_memory_nothing_happens(void **state)
{
    struct ready_ring ring;
    assert_true(weir__ready_ring_init(&ring));
    for (uint64_t i = 0; i < READY_RING_LEAST; i++)
        assert_true(weir__ready_ring_push(&ring, i, 0));
    weir__alloc_fail_at(1);
    assert_false(weir__ready_ring_push(&ring, 1000, 0));
    assert_int_equal(ring.count, READY_RING_LEAST);
    for (uint64_t i = 0; i < READY_RING_LEAST; i++) {
        weir__alloc_fail_at(1); /* right after a pop there is room */
        assert_int_equal(weir__ready_ring_pop(&ring).token, i);
        assert_true(weir__ready_ring_push(&ring, i, 0));
    }
    weir__alloc_fail_at(0);
    weir__ready_ring_end(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order_over_growth_and_wrap),
        cmocka_unit_test(gives_memory_back_after_a_burst),
        cmocka_unit_test(without_memory_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
