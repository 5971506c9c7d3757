#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <weir/error.h>

#include "base/alloc.h"
#include "base/random.h"
#include "base/slab.h"

enum { RECORD_BYTES = 128, PER_CHUNK = 65536 / RECORD_BYTES, GENERATION_LAST = (1 << 30) - 1 };

struct record {
    struct slab_head head;
    unsigned char body[RECORD_BYTES - sizeof(struct slab_head)];
};

static struct slab slab;

static int starts_without_memory(void **state)
{
    assert_int_equal(slab_init(&slab, RECORD_BYTES, 1 << 24), 0);
    assert_int_equal(weir__alloc_live(), 0);
    return 0;
}

static int ends_without_memory(void **state)
{
    slab_free(&slab);
    assert_int_equal(weir__alloc_live(), 0);
    assert_int_equal(weir__pages_live_bytes(), 0);
    return 0;
}

static uint32_t take(void)
{
    uint32_t slot = UINT32_MAX;
    struct record *record = slab_take(&slab, &slot);
    assert_non_null(record);
    assert_ptr_equal(record, slab_at(&slab, slot));
    return slot;
}

static uint32_t generation(uint32_t slot)
{
    struct slab_head *head = slab_at(&slab, slot);
    return head->generation & ~SLAB_FREE;
}

static void records_are_aligned_zeroed_and_their_own(void **state)
{
    enum { N = 3 * PER_CHUNK };
    for (int round = 0; round < 2; round++) { /* the second time from used records */
        for (uint32_t i = 0; i < N; i++) {
            uint32_t slot;
            struct record *record = slab_take(&slab, &slot);
            assert_int_equal(slot, i);
            assert_int_equal((uintptr_t)record % RECORD_BYTES, 0);
            assert_int_equal(record->head.next_free, 0);
            assert_int_not_equal(record->head.generation, 0);
            for (size_t b = 0; b < sizeof(record->body); b++)
                assert_int_equal(record->body[b], 0);
            memset(record->body, 0xff, sizeof(record->body));
            record->head.next_free = UINT32_MAX; /* the owner may use it while it lives */
        }
        assert_int_equal(slab.used, N);
        for (uint32_t i = N; i-- > 0;)
            slab_give(&slab, i);
        assert_int_equal(slab.used, 0);
    }
}

static void addresses_never_move(void **state)
{
    enum { N = 100 * PER_CHUNK };
    uint32_t first = take();
    struct record *record = slab_at(&slab, first);
    for (int i = 1; i < N; i++)
        take();
    assert_ptr_equal(slab_at(&slab, first), record);
    assert_null(slab_at(&slab, N));
    assert_null(slab_at(&slab, UINT32_MAX));
}

static void a_generation_is_new_for_each_life(void **state)
{
    uint32_t slot = take();
    assert_int_equal(generation(slot), 1);
    slab_give(&slab, slot);
    assert_int_equal(generation(slot), 2); /* a stale handle says 1 */
    assert_int_equal(take(), slot);
    assert_int_equal(generation(slot), 2);
}

static void low_chunks_are_preferred_and_high_ones_returned(void **state)
{
    enum { CHUNKS = 10 };
    for (int i = 0; i < CHUNKS * PER_CHUNK; i++)
        take();
    assert_int_equal(weir__pages_live_bytes(), CHUNKS * 65536);
    slab_give(&slab, 3 * PER_CHUNK + 5);
    slab_give(&slab, 7);
    slab_give(&slab, 8 * PER_CHUNK);
    assert_int_equal(take(), 7);
    assert_int_equal(take(), 3 * PER_CHUNK + 5);
    assert_int_equal(take(), 8 * PER_CHUNK);
    for (uint32_t slot = PER_CHUNK; slot < CHUNKS * PER_CHUNK; slot++)
        slab_give(&slab, slot);
    assert_int_equal(weir__pages_live_bytes(), 2 * 65536); /* the full one and the spare */
    assert_non_null(slab_at(&slab, PER_CHUNK));            /* the lowest one was kept */
    assert_null(slab_at(&slab, 2 * PER_CHUNK));
    for (int i = 0; i < 1000; i++) /* back and forth at a chunk's edge maps nothing */
        slab_give(&slab, take());
    assert_int_equal(weir__pages_live_bytes(), 2 * 65536);
}

static void generations_survive_the_return_of_memory(void **state)
{
    /* Chunk 1 lives through many lives and comes back: all its records start beyond the highest. */
    for (int i = 0; i < 3 * PER_CHUNK; i++)
        take();
    for (int i = 0; i < 49; i++) {
        slab_give(&slab, PER_CHUNK + 3);
        assert_int_equal(take(), PER_CHUNK + 3);
    }
    assert_int_equal(generation(PER_CHUNK + 3), 50);
    for (uint32_t slot = 0; slot < PER_CHUNK; slot++)
        slab_give(&slab, slot); /* the spare */
    for (uint32_t slot = PER_CHUNK; slot < 2 * PER_CHUNK; slot++)
        slab_give(&slab, slot);
    assert_null(slab_at(&slab, PER_CHUNK));
    for (int i = 0; i < 2 * PER_CHUNK; i++)
        take();
    for (uint32_t slot = PER_CHUNK; slot < 2 * PER_CHUNK; slot++)
        assert_int_equal(generation(slot), 51);
}

static void a_record_without_generations_left_is_retired(void **state)
{
    uint32_t slot = take();
    struct slab_head *head = slab_at(&slab, slot);
    head->generation = GENERATION_LAST - 1; /* as after a billion lives */
    slab_give(&slab, slot);
    assert_int_equal(take(), slot);
    assert_int_equal(generation(slot), GENERATION_LAST);
    slab_give(&slab, slot);
    assert_int_equal(slab.used, 0);
    assert_int_equal(generation(slot), 0); /* no handle finds it */
    for (int i = 0; i < 2 * PER_CHUNK; i++)
        assert_int_not_equal(take(), slot);
}

static void an_empty_chunk_with_a_retired_record_remembers_it(void **state)
{
    for (int i = 0; i < 2 * PER_CHUNK; i++)
        take();
    struct slab_head *head = slab_at(&slab, 5);
    head->generation = GENERATION_LAST;
    for (uint32_t i = 2 * PER_CHUNK; i-- > 0;)
        slab_give(&slab, i);
    assert_non_null(slab_at(&slab, 0));
    assert_non_null(slab_at(&slab, PER_CHUNK)); /* the spare one is another */
    for (int i = 0; i < PER_CHUNK - 1; i++)
        assert_int_equal(generation(take()), 2);
    assert_int_equal(take(), PER_CHUNK);
}

static void a_chunk_of_retired_records_is_gone_for_good(void **state)
{
    for (uint32_t i = 0; i < PER_CHUNK; i++) {
        struct slab_head *head = slab_at(&slab, take());
        head->generation = GENERATION_LAST;
    }
    for (uint32_t i = 0; i < PER_CHUNK; i++)
        slab_give(&slab, i);
    assert_int_equal(weir__pages_live_bytes(), 0);
    assert_int_equal(take(), PER_CHUNK);
    assert_int_equal(generation(PER_CHUNK), 1);
}

static void a_returned_chunk_at_the_last_generation_is_used_once_more(void **state)
{
    for (int i = 0; i < 2 * PER_CHUNK; i++)
        take();
    struct slab_head *head = slab_at(&slab, PER_CHUNK);
    head->generation = GENERATION_LAST - 1;
    for (uint32_t i = 0; i < 2 * PER_CHUNK; i++)
        slab_give(&slab, i);
    assert_null(slab_at(&slab, PER_CHUNK));
    for (int i = 0; i < 2 * PER_CHUNK; i++)
        take();
    for (uint32_t i = PER_CHUNK; i < 2 * PER_CHUNK; i++) {
        assert_int_equal(generation(i), GENERATION_LAST);
        slab_give(&slab, i);
    }
    assert_null(slab_at(&slab, PER_CHUNK));
    assert_int_equal(take(), 2 * PER_CHUNK);
}

static void the_limit_holds_and_bad_sizes_are_refused(void **state)
{
    slab_free(&slab);
    assert_int_equal(slab_init(&slab, 4, 10), WEIR_EINVALID);
    assert_int_equal(slab_init(&slab, 12, 10), WEIR_EINVALID);
    assert_int_equal(slab_init(&slab, 65544, 10), WEIR_EINVALID);
    assert_int_equal(slab_init(&slab, 128, 0), WEIR_EINVALID);
    assert_int_equal(slab_init(&slab, 128, (1 << 24) + 1), WEIR_EINVALID);
    assert_int_equal(slab_init(&slab, 128, 3), 0);
    uint32_t slot;
    for (int i = 0; i < 3; i++)
        take();
    assert_null(slab_take(&slab, &slot));
    slab_give(&slab, 1);
    assert_int_equal(take(), 1);
}

static void all_sizes_work(void **state)
{
    static const size_t sizes[] = {8, 16, 64, 136, 4096, 40000, 65536};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        slab_free(&slab);
        assert_int_equal(slab_init(&slab, sizes[s], 1 << 24), 0);
        for (uint32_t i = 0; i < 700; i++) {
            assert_int_equal(take(), i);
            memset((char *)slab_at(&slab, i) + 8, (int)i, sizes[s] - 8);
        }
        for (uint32_t i = 0; i < 700; i++)
            slab_give(&slab, i);
        assert_true(weir__alloc_live() <= 3); /* the spare chunk and the two tables */
    }
    slab_free(&slab); /* ten slots of 64 KiB each must not take 32 MiB chunks */
    assert_int_equal(slab_init(&slab, 65536, 10), 0);
    take();
    assert_int_equal(weir__pages_live_bytes(), 65536);
}

static void failing_allocations_leave_it_whole(void **state)
{
    uint32_t slot;
    for (uint64_t n = 1;; n++) {
        slab_free(&slab);
        assert_int_equal(slab_init(&slab, RECORD_BYTES, 1 << 24), 0);
        weir__alloc_fail_at(n);
        unsigned refused = 0;
        for (int i = 0; i < 70 * PER_CHUNK; i++)
            if (slab_take(&slab, &slot) == NULL)
                refused++;
        assert_int_equal(slab.used, 70 * PER_CHUNK - refused);
        assert_true(refused <= 1);
        if (weir__alloc_fail_at(0) != 0)
            break;
        assert_int_equal(refused, 1);
    }
}

/* Against a naive model: what was ever handed out is remembered, and no pair may come twice. */
enum { MODEL_SLOTS = 16 * PER_CHUNK };
struct model {
    uint32_t last[MODEL_SLOTS]; /* the highest generation that a slot ever had */
    uint32_t living[MODEL_SLOTS], count;
};

static void model_take(struct model *model, struct random *random)
{
    uint32_t slot;
    struct record *record = slab_take(&slab, &slot);
    if (record == NULL) {
        assert_int_equal(model->count, MODEL_SLOTS);
        return;
    }
    assert_true(slot < MODEL_SLOTS);
    assert_true(record->head.generation > model->last[slot]);
    assert_true(record->head.generation <= GENERATION_LAST);
    for (size_t i = 0; i < sizeof(record->body); i++)
        assert_int_equal(record->body[i], 0);
    memset(record->body, 1 + (int)random_below(random, 255), sizeof(record->body));
    model->last[slot] = record->head.generation;
    model->living[model->count++] = slot;
}

static void never_the_same_slot_and_generation_twice(void **state)
{
    static struct model model;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct random random;
        random_seed(&random, seed);
        memset(&model, 0, sizeof(model));
        slab_free(&slab);
        assert_int_equal(slab_init(&slab, RECORD_BYTES, MODEL_SLOTS), 0);
        for (int wave = 0; wave < 60; wave++) {
            uint64_t steps = random_below(&random, 4000);
            uint64_t bias = random_below(&random, 11); /* waves that fill, waves that empty */
            while (steps-- > 0) {
                if (random_below(&random, 10) < bias) {
                    model_take(&model, &random);
                } else if (model.count > 0) {
                    uint32_t i = (uint32_t)random_below(&random, model.count);
                    slab_give(&slab, model.living[i]);
                    model.living[i] = model.living[--model.count];
                }
                assert_int_equal(slab.used, model.count);
            }
        }
        uint64_t needed = (uint64_t)slab.chunk_count * 65536;
        assert_true(weir__pages_live_bytes() <= needed);
        while (model.count > 0)
            slab_give(&slab, model.living[--model.count]);
        assert_int_equal(weir__pages_live_bytes(), 65536);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, starts_without_memory, ends_without_memory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_are_aligned_zeroed_and_their_own),
        TEST(addresses_never_move),
        TEST(a_generation_is_new_for_each_life),
        TEST(low_chunks_are_preferred_and_high_ones_returned),
        TEST(generations_survive_the_return_of_memory),
        TEST(a_record_without_generations_left_is_retired),
        TEST(an_empty_chunk_with_a_retired_record_remembers_it),
        TEST(a_chunk_of_retired_records_is_gone_for_good),
        TEST(a_returned_chunk_at_the_last_generation_is_used_once_more),
        TEST(the_limit_holds_and_bad_sizes_are_refused),
        TEST(all_sizes_work),
        TEST(failing_allocations_leave_it_whole),
        TEST(never_the_same_slot_and_generation_twice),
    };
    return cmocka_run_group_tests_name("slab", tests, NULL, NULL);
}
