/* Every order in which the steps of few producers and the consumer can interleave, on the queue's
 * own code: it is compiled here a second time, with its atomic operations replaced by steps that
 * hand the processor back to a scheduler. The scheduler tries each actor at each step, and starts
 * again from the beginning for each way that it has not gone yet. A state is where all memory and
 * all that each actor has seen are the same; one that was visited is not entered again.
 *
 * The model is sequentially consistent: it proves the algorithm, not the memory orders, for which
 * mpsc.c argues and which test_mpsc.c puts under load. Stacks switched by hand are nothing for the
 * thread sanitizer; ctest: notsan */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <cmocka.h>

static void step_before(const volatile void *place);
static void step_before_store(const volatile void *place, uintptr_t value);
static void step_saw(uint64_t value);

#undef atomic_init
#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_init(place, value) ((void)(*(place) = (value)))
#define atomic_load_explicit(place, order)              \
    __extension__({                                     \
        step_before(place);                             \
        __typeof__((void)0, *(place)) seen_ = *(place); \
        step_saw((uint64_t)seen_);                      \
        seen_;                                          \
    })
#define atomic_store_explicit(place, value, order) \
    (step_before_store(place, (uintptr_t)(value)), (void)(*(place) = (value)))
#define atomic_exchange_explicit(place, value, order)   \
    __extension__({                                     \
        step_before(place);                             \
        __typeof__((void)0, *(place)) seen_ = *(place); \
        *(place) = (value);                             \
        step_saw((uint64_t)seen_);                      \
        seen_;                                          \
    })
#define atomic_fetch_add_explicit(place, value, order) \
    atomic_exchange_explicit(place, *(place) + (value), order)
#define atomic_fetch_sub_explicit(place, value, order) \
    atomic_exchange_explicit(place, *(place) - (value), order)
#define atomic_compare_exchange_weak_explicit(place, expected, value, order, order_failed) \
    __extension__({                                                                        \
        step_before(place);                                                                \
        bool same_ = *(place) == *(expected);                                              \
        if (same_)                                                                         \
            *(place) = (value);                                                            \
        else                                                                               \
            *(expected) = *(place);                                                        \
        step_saw((uint64_t) * (expected));                                                 \
        same_;                                                                             \
    })

#define mpsc_init  model_mpsc_init
#define mpsc_push  model_mpsc_push
#define mpsc_pop   model_mpsc_pop
#define mpsc_done  model_mpsc_done
#define mpsc_sleep model_mpsc_sleep
#define mpsc_awake model_mpsc_awake

#include "base/mpsc.c"

enum {
    ACTORS_MAX = 4,
    CONSUMER = 0,
    MESSAGES_MAX = 4,
    STEPS_MAX = 400,
    ANY = 1000,
    STACK_BYTES = 128 * 1024
};

struct actor {
    ucontext_t context;
    char *stack;
    uint64_t history; /* a hash of what it has seen and done: so, of where it stands */
    bool done, asleep;
};

static struct {
    struct actor actor[ACTORS_MAX];
    unsigned actors, messages_each, current;
    ucontext_t scheduler;
    struct mpsc queue;
    struct mpsc_node node[ACTORS_MAX][MESSAGES_MAX];
    unsigned popped, wakes, tries;
    bool bell; /* rang, and the consumer has not come to hear it */
} model;

/* The way taken: at each step the actor chosen and those still to be tried there. */
static struct choice {
    unsigned char actor, untried;
} way[STEPS_MAX];
static unsigned way_length;

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = ((hash ^ value) + 0x632be59bd9b4e019ull) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}

static void yield_to_scheduler(void)
{
    struct actor *actor = &model.actor[model.current];
    actor->history = mix(actor->history, 0); /* one step further */
    swapcontext(&actor->context, &model.scheduler);
}

static void step_before(const volatile void *place)
{
    /* The counters take no part in the algorithm; leaving them out leaves far fewer orders. */
    if (place != &model.queue.count && place != &model.queue.bytes)
        yield_to_scheduler();
}

static void step_before_store(const volatile void *place, uintptr_t value)
{
    /* A link is made NULL only in a node that nobody else sees yet: no step either. */
    if (value != 0 || place == &model.queue.sleeping)
        step_before(place);
}

static void step_saw(uint64_t value)
{
    struct actor *actor = &model.actor[model.current];
    actor->history = mix(actor->history, value + 1);
}

/* The actor stands at the top of its loop: what it saw before matters no more, only `known` does.
 */
static void forget(uint64_t known)
{
    model.actor[model.current].history = mix(model.current, known);
}

static void producer(void)
{
    unsigned self = model.current;
    for (unsigned i = 0; i < model.messages_each; i++) {
        forget(i);
        bool wake;
        assert_true(mpsc_push(&model.queue, &model.node[self][i], 0, false, &wake));
        if (wake) {
            yield_to_scheduler(); /* before it gets to ringing */
            model.wakes++;
            model.bell = true;
            model.actor[CONSUMER].asleep = false;
        }
    }
    forget(model.messages_each);
    model.actor[self].done = true;
    yield_to_scheduler();
}

static void consumer(void)
{
    unsigned all = (model.actors - 1) * model.messages_each, next[ACTORS_MAX] = {0};
    while (model.popped < all) {
        uint64_t got = 0;
        for (unsigned i = 0; i < model.actors; i++)
            got = got << 8 | next[i];
        forget(got);
        struct mpsc_node *node = mpsc_pop(&model.queue);
        if (node != NULL) {
            unsigned number = (unsigned)(node - &model.node[0][0]);
            unsigned from = number / MESSAGES_MAX;
            assert_int_equal(number % MESSAGES_MAX, next[from]); /* in order, none twice */
            next[from]++;
            model.popped++;
            continue;
        }
        model.tries++;
        forget(~got);
        if (mpsc_sleep(&model.queue)) {
            /* As with an eventfd, a bell that rang before ends the sleep at once. */
            yield_to_scheduler();
            model.actor[CONSUMER].asleep = !model.bell;
            yield_to_scheduler();
            model.bell = false;
            mpsc_awake(&model.queue);
        }
    }
    assert_null(mpsc_pop(&model.queue));
    assert_int_equal(model.queue.count, 0);
    forget(0);
    model.actor[CONSUMER].done = true;
    yield_to_scheduler();
}

static void begin(unsigned producers, unsigned messages_each)
{
    model.actors = producers + 1;
    model.messages_each = messages_each;
    model.popped = model.wakes = model.tries = 0;
    model.bell = false;
    mpsc_init(&model.queue, 100, 0);
    for (unsigned i = 0; i < model.actors; i++) {
        struct actor *actor = &model.actor[i];
        actor->history = i;
        actor->done = actor->asleep = false;
        getcontext(&actor->context);
        actor->context.uc_stack.ss_sp = actor->stack;
        actor->context.uc_stack.ss_size = STACK_BYTES;
        actor->context.uc_link = NULL;
        makecontext(&actor->context, i == CONSUMER ? consumer : producer, 0);
    }
}

static uint64_t state_hash(void)
{
    uint64_t hash = model.popped;
    for (unsigned i = 0; i < model.actors; i++) {
        hash = mix(hash, model.actor[i].history);
        hash = mix(hash, (uint64_t)model.actor[i].done << 1 | model.actor[i].asleep);
        for (unsigned m = 0; m < model.messages_each; m++)
            hash = mix(hash, (uintptr_t)model.node[i][m].next);
    }
    hash = mix(hash, (uintptr_t)model.queue.tail);
    hash = mix(hash, (uintptr_t)model.queue.head);
    hash = mix(hash, (uintptr_t)model.queue.stub.next);
    hash = mix(hash, model.bell);
    return mix(hash, model.queue.sleeping) | 1;
}

/* The states visited: an open hash table of their hashes, 0 is empty. */
enum { VISITED_LOG2 = 22 };
static uint64_t *visited;
static unsigned visited_count;

static bool visit(uint64_t hash)
{
    size_t i = hash >> (64 - VISITED_LOG2);
    while (visited[i] != 0) {
        if (visited[i] == hash)
            return false;
        i = (i + 1) & ((1u << VISITED_LOG2) - 1);
    }
    visited[i] = hash;
    assert_true(++visited_count < 3u << (VISITED_LOG2 - 2));
    return true;
}

static unsigned runnable(void)
{
    unsigned mask = 0;
    for (unsigned i = 0; i < model.actors; i++)
        if (!model.actor[i].done && !model.actor[i].asleep)
            mask |= 1u << i;
    return mask;
}

/* One run: along the way as far as it is given, then always the first actor, until all is done or a
 * known state is met. At most `switches_max` times an actor is interrupted that could go on; what
 * goes wrong at all goes wrong after few of them, and the number of orders stays bearable. */
static void run(unsigned switches_max)
{
    unsigned former = CONSUMER, switches = 0;
    for (unsigned depth = 0;; depth++) {
        unsigned mask = runnable();
        if (mask == 0) {
            for (unsigned i = 0; i < model.actors; i++)
                assert_true(model.actor[i].done); /* or the consumer sleeps for ever */
            assert_true(model.wakes <= model.tries);
            return;
        }
        if (depth == way_length) {
            assert_true(depth < STEPS_MAX);
            uint64_t hash = state_hash();
            if (switches_max != ANY) /* then these too decide on where it can go from here */
                hash = mix(mix(hash, switches), former);
            if (!visit(hash | 1))
                return;
            if (switches == switches_max && (mask & 1u << former) != 0)
                mask = 1u << former;
            unsigned first = (unsigned)__builtin_ctz(mask);
            way[depth] =
                (struct choice){(unsigned char)first, (unsigned char)(mask & ~(1u << first))};
            way_length++;
        }
        model.current = way[depth].actor;
        switches += model.current != former && (runnable() & 1u << former) != 0;
        former = model.current;
        swapcontext(&model.scheduler, &model.actor[model.current].context);
    }
}

static bool next_way(void)
{
    while (way_length > 0) {
        struct choice *last = &way[way_length - 1];
        if (last->untried != 0) {
            last->actor = (unsigned char)__builtin_ctz(last->untried);
            last->untried &= (unsigned char)(last->untried - 1);
            return true;
        }
        way_length--;
    }
    return false;
}

static unsigned explore(unsigned producers, unsigned messages_each, unsigned switches_max)
{
    unsigned runs = 0;
    visited = calloc((size_t)1 << VISITED_LOG2, sizeof(*visited));
    for (int i = 0; i < ACTORS_MAX; i++)
        model.actor[i].stack = malloc(STACK_BYTES);
    visited_count = 0;
    way_length = 0;
    do {
        begin(producers, messages_each);
        run(switches_max);
        runs++;
    } while (next_way());
    for (int i = 0; i < ACTORS_MAX; i++)
        free(model.actor[i].stack);
    free(visited);
    print_message("%u producers x %u messages: %u states, %u runs\n", producers, messages_each,
                  visited_count, runs);
    return visited_count;
}

static void one_producer(void **state)
{
    assert_true(explore(1, 1, ANY) > 20);
    assert_true(explore(1, 3, ANY) > 100);
}

static void two_producers(void **state)
{
    assert_true(explore(2, 1, ANY) > 200);
    assert_true(explore(2, 2, 4) > 1000);
}

static void three_producers(void **state)
{
    assert_true(explore(3, 1, 4) > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_producer),
        cmocka_unit_test(two_producers),
        cmocka_unit_test(three_producers),
    };
    return cmocka_run_group_tests_name("mpsc_model", tests, NULL, NULL);
}
