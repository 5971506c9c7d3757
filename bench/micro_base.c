/* What the parts of base/ cost, in nanoseconds a step: the best of several rounds, since the
 * machine is shared.
 *
 *   cmake -B build/bench -DWEIR_BENCH=ON && ninja -C build/bench bench.micro_base
 *   build/bench/bin/bench/micro_base
 */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/histogram.h"
#include "base/memory.h"
#include "base/mpsc.h"
#include "base/random.h"
#include "base/slab.h"
#include "base/wheel.h"

enum { ROUNDS = 7, STEPS = 1000000, MANY = 100000, RECORD_BYTES = 128 };

static struct random random_state;

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

static void report(const char *what, void (*round)(uint64_t), uint64_t steps)
{
    double best_ns = 1e18;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start_ns = weir__clock_now_ns();
        round(steps);
        double ns = (double)(weir__clock_now_ns() - start_ns) / (double)steps;
        if (ns < best_ns)
            best_ns = ns;
    }
    printf("%-64s %8.2f ns\n", what, best_ns);
}

/* ---- the wheel ---- */

static struct wheel wheel;
static struct wheel_node *nodes;
static uint32_t dues[MANY];

static void start_and_cancel_one(uint64_t steps)
{
    wheel_init(&wheel, 0);
    for (uint64_t i = 0; i < steps; i++) {
        wheel_start(&wheel, &nodes[0], dues[i % MANY]);
        wheel_cancel(&wheel, &nodes[0]);
    }
}

/* As connections do it: many are started, any one of them is started anew. */
static void restart_any_of_many(uint64_t steps)
{
    wheel_init(&wheel, 0);
    for (int i = 0; i < MANY; i++)
        wheel_start(&wheel, &nodes[i], dues[i]);
    for (uint64_t i = 0; i < steps; i++) {
        struct wheel_node *node = &nodes[dues[i % MANY] % MANY];
        wheel_cancel(&wheel, node);
        wheel_start(&wheel, node, dues[(i + 7) % MANY]);
    }
    for (int i = 0; i < MANY; i++)
        wheel_cancel(&wheel, &nodes[i]);
}

/* Whole lives: start, all cascades on the way, expiry; within 60 s, a millisecond at a time. */
static void live_to_the_end(uint64_t steps)
{
    wheel_init(&wheel, 0);
    uint64_t fired = 0;
    uint32_t now_ms = 0;
    for (int i = 0; i < MANY; i++)
        wheel_start(&wheel, &nodes[i], dues[i]);
    while (fired < steps) {
        wheel_advance(&wheel, ++now_ms, UINT32_MAX);
        struct wheel_node *node;
        while ((node = wheel_expire(&wheel)) != NULL) {
            fired++;
            wheel_start(&wheel, node, now_ms + dues[fired % MANY]);
        }
    }
    for (int i = 0; i < MANY; i++)
        wheel_cancel(&wheel, &nodes[i]);
}

static void ask_for_the_wait(uint64_t steps)
{
    uint64_t sum = 0;
    wheel_init(&wheel, 0);
    wheel_start(&wheel, &nodes[0], 30000);
    for (uint64_t i = 0; i < steps; i++) {
        sum += wheel_wait_ms(&wheel);
        __asm__ volatile("" ::: "memory");
    }
    must(sum != 0, "wait");
    wheel_cancel(&wheel, &nodes[0]);
}

/* ---- the slab ---- */

static struct slab slab;
static uint32_t slots[MANY];

static void take_and_give_a_record(uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++) {
        uint32_t slot;
        must(slab_take(&slab, &slot) != NULL, "slab_take");
        slab_give(&slab, slot);
    }
}

static void exchange_any_record_of_many(uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++) {
        uint32_t *slot = &slots[dues[i % MANY] % MANY];
        slab_give(&slab, *slot);
        must(slab_take(&slab, slot) != NULL, "slab_take");
    }
}

static void find_any_record(uint64_t steps)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < steps; i++) {
        const struct slab_head *head = slab_at(&slab, dues[i % MANY] % MANY);
        sum += head->generation;
    }
    must(sum != 0, "slab_at");
}

static void find_the_same_record(uint64_t steps)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < steps; i++) {
        const struct slab_head *head = slab_at(&slab, (uint32_t)i % 8);
        sum += head->generation;
    }
    must(sum != 0, "slab_at");
}

/* ---- chunks and objects ---- */

static struct memory memory;
static struct object_pool pool;

static void take_and_give_a_chunk(uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++) {
        size_t room;
        void *chunk = memory_take(&memory, 4000, false, &room);
        must(chunk != NULL, "memory_take");
        memory_give(&memory, chunk, room);
    }
}

static void take_and_give_an_object(uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++) {
        void *object = object_take(&pool);
        must(object != NULL, "object_take");
        object_give(&pool, object);
    }
}

static void malloc_and_free(uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++) {
        void *memory_of_4000 = weir__alloc(4000);
        must(memory_of_4000 != NULL, "weir__alloc");
        __asm__ volatile("" ::"r"(memory_of_4000) : "memory");
        weir__free(memory_of_4000);
    }
}

/* ---- the queue ---- */

static struct mpsc queue;
static struct mpsc_node queue_nodes[MANY];

static void push_and_pop_one(uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++) {
        bool wake;
        must(mpsc_push(&queue, &queue_nodes[0], 0, false, &wake), "mpsc_push");
        must(mpsc_pop(&queue) != NULL, "mpsc_pop");
        mpsc_done(&queue, 0);
    }
}

static void push_and_pop_with_bytes(uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++) {
        bool wake;
        must(mpsc_push(&queue, &queue_nodes[0], 100, false, &wake), "mpsc_push");
        must(mpsc_pop(&queue) != NULL, "mpsc_pop");
        mpsc_done(&queue, 100);
    }
}

static void push_a_burst_then_pop_it(uint64_t steps)
{
    enum { BURST = 64 };
    for (uint64_t i = 0; i < steps; i += BURST) {
        bool wake;
        for (int n = 0; n < BURST; n++)
            must(mpsc_push(&queue, &queue_nodes[n], 0, false, &wake), "mpsc_push");
        for (int n = 0; n < BURST; n++)
            must(mpsc_pop(&queue) != NULL, "mpsc_pop");
    }
}

static _Atomic uint64_t pushed_max;

static void *push_all(void *arg)
{
    uint64_t steps = atomic_load(&pushed_max);
    for (uint64_t i = 0; i < steps; i++) {
        bool wake;
        /* At most MANY / 2 are in the queue, so a node has left before it is used again. */
        while (!mpsc_push(&queue, &queue_nodes[i % MANY], 0, false, &wake))
            sched_yield();
    }
    return NULL;
}

static void push_here_and_pop_there(uint64_t steps)
{
    pthread_t thread;
    atomic_store(&pushed_max, steps);
    must(pthread_create(&thread, NULL, push_all, NULL) == 0, "pthread_create");
    for (uint64_t i = 0; i < steps;) {
        if (mpsc_pop(&queue) != NULL)
            i++;
        else
            sched_yield();
    }
    pthread_join(thread, NULL);
}

/* ---- the rest ---- */

static struct histogram histogram;

static void add_to_a_histogram(uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++)
        histogram_add(&histogram, dues[i % MANY]);
}

static void draw_a_number(uint64_t steps)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < steps; i++)
        sum += random_next(&random_state);
    must(sum != 0, "random_next");
}

static void ask_the_clock(uint64_t steps)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < steps; i++)
        sum += weir__clock_now_ns();
    must(sum != 0, "weir__clock_now_ns");
}

static void prepare(void)
{
    random_seed(&random_state, 1);
    nodes = weir__zalloc(MANY * sizeof(*nodes));
    must(nodes != NULL, "weir__zalloc");
    for (int i = 0; i < MANY; i++)
        dues[i] = 1 + (uint32_t)random_below(&random_state, 60000);
    must(slab_init(&slab, RECORD_BYTES, 1 << 24) == 0, "slab_init");
    memory_init(&memory, 0);
    object_pool_init(&pool, 256);
    mpsc_init(&queue, MANY / 2, 1 << 20);
    histogram_init(&histogram);
}

int main(void)
{
    prepare();
    report("wheel: start and cancel, the only node", start_and_cancel_one, STEPS);
    report("wheel: cancel and start, any of 100000", restart_any_of_many, STEPS);
    report("wheel: start, cascade and expire within 60 s, 100000 nodes", live_to_the_end, STEPS);
    report("wheel: wait", ask_for_the_wait, STEPS);
    report("slab: take and give a record of 128 bytes", take_and_give_a_record, STEPS);
    for (int i = 0; i < MANY; i++)
        must(slab_take(&slab, &slots[i]) != NULL, "slab_take");
    report("slab: give and take, any of 100000", exchange_any_record_of_many, STEPS);
    report("slab: find, any of 100000", find_any_record, STEPS);
    report("slab: find, in cache", find_the_same_record, STEPS);
    report("memory: take and give 4000 bytes", take_and_give_a_chunk, STEPS);
    report("objects: take and give 256 bytes", take_and_give_an_object, STEPS);
    report("allocator: the same 4000 bytes", malloc_and_free, STEPS);
    report("queue: push and pop", push_and_pop_one, STEPS);
    report("queue: push and pop, bytes counted", push_and_pop_with_bytes, STEPS);
    report("queue: push and pop, bursts of 64", push_a_burst_then_pop_it, STEPS / 64 * 64);
    report("queue: from thread to thread", push_here_and_pop_there, STEPS);
    report("histogram: add", add_to_a_histogram, STEPS);
    report("random: next", draw_a_number, STEPS);
    report("clock: now", ask_the_clock, STEPS);
    return 0;
}
