/* Actors and events: who runs next, and when. An actor is a thread of a host, on a stack of its
 * own; it runs until it waits. Among those that can run the seed draws one; when none can, virtual
 * time jumps to the next event. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/asan.h"
#include "core.h"
#include "loop/loop.h"

/* All actors share one real thread: state.ld tells where weir's variables of a thread lie in it. */
extern _Thread_local char weir_locals_begin[] __attribute__((tls_model("local-exec")));
extern _Thread_local char weir_locals_end[] __attribute__((tls_model("local-exec")));

enum { STACK_BYTES = 512 * 1024, GUARD_BYTES = 4096, SPIN_MOST = 20000000 };

struct world world;
struct sim_actor *actor_now;

static struct {
    struct sim_event **heap; /* from 1 */
    uint32_t count, room;
    uint64_t order;
    struct sim_actor **ready;
    uint32_t ready_count, ready_room;
    uint32_t ids;
    switch_context context;
    struct sanitize_flow flow;
    char *free_stack; /* of the last actor that ended */
    char *locals;     /* weir's thread-local variables as a thread begins */
} state;

void *world_alloc(size_t size)
{
    static char *at;
    static size_t left;
    enum { PIECE = 256 * 1024 };
    size = (size + 15) & ~(size_t)15;
    if (size > left) {
        left = size > PIECE ? size : PIECE;
        at = mmap(NULL, left, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED)
            abort();
    }
    void *memory = at;
    at += size;
    left -= size;
    return memory;
}

/* --- events ----------------------------------------------------------------------------------- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void heap_set(uint32_t place, struct sim_event *event)
{
    state.heap[place] = event;
    event->place = place;
}

static void heap_up(struct sim_event *event)
{
    uint32_t place = event->place;
    while (place > 1 && before(event, state.heap[place / 2])) {
        heap_set(place, state.heap[place / 2]);
        place /= 2;
    }
    heap_set(place, event);
}

static void heap_down(struct sim_event *event)
{
    uint32_t place = event->place;
    for (;;) {
        uint32_t child = place * 2;
        if (child < state.count && before(state.heap[child + 1], state.heap[child]))
            child++;
        if (child > state.count || !before(state.heap[child], event))
            break;
        heap_set(place, state.heap[child]);
        place = child;
    }
    heap_set(place, event);
}

void event_cancel(struct sim_event *event)
{
    uint32_t place = event->place;
    struct sim_event *last;
    if (place == 0)
        return;
    event->place = 0;
    last = state.heap[state.count--];
    if (last == event)
        return;
    heap_set(place, last);
    heap_up(last);
    heap_down(last);
}

void event_plan(struct sim_event *event, uint64_t at_ns, void (*fn)(struct sim_event *event))
{
    event_cancel(event);
    if (state.count + 1 >= state.room) {
        state.room = state.room != 0 ? state.room * 2 : 256;
        state.heap = realloc(state.heap, state.room * sizeof(struct sim_event *));
        if (state.heap == NULL)
            abort();
    }
    event->at_ns = at_ns > world.now_ns ? at_ns : world.now_ns;
    event->order = ++state.order;
    event->fn = fn;
    heap_set(++state.count, event);
    heap_up(event);
}

/* --- actors ----------------------------------------------------------------------------------- */

static void ready_add(struct sim_actor *actor)
{
    if (state.ready_count == state.ready_room) {
        state.ready_room = state.ready_room != 0 ? state.ready_room * 2 : 32;
        state.ready = realloc(state.ready, state.ready_room * sizeof(struct sim_actor *));
        if (state.ready == NULL)
            abort();
    }
    actor->state = ACTOR_READY;
    actor->place = state.ready_count;
    state.ready[state.ready_count++] = actor;
}

static void ready_remove(struct sim_actor *actor)
{
    struct sim_actor *last = state.ready[--state.ready_count];
    last->place = actor->place;
    state.ready[actor->place] = last;
}

static char *stack_new(void)
{
    char *stack = state.free_stack;
    state.free_stack = NULL;
    if (stack != NULL)
        return stack;
    stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, GUARD_BYTES, PROT_NONE) != 0)
        abort();
    return stack;
}

static void stack_drop(struct sim_actor *actor)
{
    /* The frames of one that was killed never return and take their marks away. */
    asan_unpoison(actor->stack, STACK_BYTES);
    if (state.free_stack == NULL)
        state.free_stack = actor->stack;
    else
        munmap(actor->stack, STACK_BYTES);
    actor->stack = NULL;
}

static size_t locals_size(void)
{
    return (size_t)((uintptr_t)weir_locals_end - (uintptr_t)weir_locals_begin);
}

/* As they are between actors, which is as a thread begins: nothing of weir has run then. */
static char *locals_new(void)
{
    if (state.locals == NULL) {
        uintptr_t one = (uintptr_t)&weir__current;
        sim_check(one - (uintptr_t)weir_locals_begin < locals_size(),
                  "state.ld does not find weir's thread-local variables");
        state.locals = world_alloc(locals_size());
        memcpy(state.locals, weir_locals_begin, locals_size());
    }
    char *locals = world_alloc(locals_size());
    memcpy(locals, state.locals, locals_size());
    return locals;
}

struct sim_actor *actor_new(sim_host *host, void *(*fn)(void *arg), void *arg)
{
    struct sim_actor *actor = world_alloc(sizeof(*actor));
    actor->host = host;
    actor->id = ++state.ids;
    actor->fn = fn;
    actor->arg = arg;
    actor->stack = stack_new();
    actor->locals = locals_new();
    actor->host_next = host->actors;
    host->actors = actor;
    ready_add(actor);
    return actor;
}

void actor_wake(struct sim_actor *actor)
{
    if (actor->state != ACTOR_WAITS)
        return;
    event_cancel(&actor->timer);
    ready_add(actor);
}

static void timer_fires(struct sim_event *event)
{
    struct sim_actor *actor = weir_container(event, struct sim_actor, timer);
    actor->timed_out = true;
    if (actor->state == ACTOR_WAITS)
        ready_add(actor);
}

static void leave(void)
{
    struct sim_actor *actor = actor_now;
    switch_swap(&actor->context, &state.context, NULL);
}

bool actor_wait(uint64_t until_ns, const char *what)
{
    struct sim_actor *actor = actor_now;
    if (until_ns <= world.now_ns)
        return false;
    actor->state = ACTOR_WAITS;
    actor->timed_out = false;
    actor->waits_for = what;
    if (until_ns != SIM_FOREVER)
        event_plan(&actor->timer, until_ns, timer_fires);
    leave();
    return !actor->timed_out;
}

void actor_yield(void)
{
    ready_add(actor_now);
    leave();
}

void actor_point(void)
{
    if (actor_now != NULL && state.ready_count != 0 && fault(SIM_FAULT_SWITCH, OP_THREAD))
        actor_yield();
}

void actor_spend(uint64_t ns)
{
    world.now_ns += ns;
}

void actor_end(struct sim_actor *actor)
{
    if (actor->state == ACTOR_ENDED)
        return;
    if (actor->state == ACTOR_READY && actor != actor_now)
        ready_remove(actor);
    event_cancel(&actor->timer);
    actor->state = ACTOR_ENDED;
    if (actor != actor_now && actor->stack != NULL)
        stack_drop(actor);
}

static void actor_main(void *arg)
{
    struct sim_actor *actor = arg;
    actor->result = actor->fn(actor->arg);
    if (sim_openssl_thread_ends != NULL)
        sim_openssl_thread_ends();
    actor->state = ACTOR_ENDED;
    if (actor->joiner != NULL)
        actor_wake(actor->joiner);
    if (actor == actor->host->main_actor)
        host_main_ended(actor->host);
}

static void actor_run(struct sim_actor *actor)
{
    ready_remove(actor);
    host_enter(actor->host);
    world.outcome->switches++;
    memcpy(weir_locals_begin, actor->locals, locals_size());
    if (sim_openssl_switch != NULL)
        sim_openssl_switch(&actor->openssl_errors, true);
    errno = actor->saved_errno;
    actor_now = actor;
    sanitize_enter(&state.flow, &actor->flow);
    if (!actor->begun) {
        actor->begun = true;
        sanitize_flow_init(&actor->flow, actor->stack + GUARD_BYTES, actor->stack + STACK_BYTES);
        switch_run(&state.context, &actor->context, actor->stack + GUARD_BYTES,
                   actor->stack + STACK_BYTES, actor_main, actor);
    } else {
        switch_swap(&state.context, &actor->context, NULL);
    }
    sanitize_leave(&state.flow, &actor->flow, actor->state == ACTOR_ENDED);
    actor_now = NULL;
    actor->saved_errno = errno;
    if (sim_openssl_switch != NULL)
        sim_openssl_switch(&actor->openssl_errors, false);
    memcpy(actor->locals, weir_locals_begin, locals_size());
    memcpy(weir_locals_begin, state.locals, locals_size());
    if (actor->state == ACTOR_ENDED)
        stack_drop(actor);
}

/* --- the world -------------------------------------------------------------------------------- */

void actors_describe(void (*line)(const char *text))
{
    char text[256];
    for (sim_host *host = world.hosts; host != NULL; host = host->next)
        for (struct sim_actor *actor = host->actors; actor != NULL; actor = actor->host_next)
            if (actor->state != ACTOR_ENDED) {
                snprintf(text, sizeof(text), "  %s, thread %u: %s%s", host->name, actor->id,
                         actor->state == ACTOR_WAITS ? "waits for " : "could run",
                         actor->state == ACTOR_WAITS ? actor->waits_for : "");
                line(text);
            }
}

static bool happen_next(void)
{
    struct sim_event *event;
    if (state.count == 0)
        return false;
    event = state.heap[1];
    if (event->at_ns > world.now_ns) {
        if (state.ready_count != 0)
            return false;
        world.now_ns = event->at_ns;
    }
    event_cancel(event);
    event->fn(event);
    return true;
}

static void *director_main(void *arg)
{
    void (**director)(void) = arg;
    (*director)();
    world.ended = true;
    return NULL;
}

void world_run(void (*director)(void))
{
    world.director = actor_new(world.director_host, director_main, &director);
    world.director_host->main_actor = NULL;
    for (uint64_t steps = 0; !world.ended; steps++) {
        if (world.now_ns > world.limit_ns)
            sim_fail("a hang: the run did not end within %llu s of virtual time",
                     (unsigned long long)(world.limit_ns / 1000000000));
        if (steps == SPIN_MOST)
            sim_fail("a spin: %u steps, and the run has not ended", (unsigned)SPIN_MOST);
        while (happen_next())
            ;
        if (state.ready_count != 0)
            actor_run(state.ready[state.ready_count > 1 ? chance(state.ready_count) : 0]);
        else if (state.count == 0)
            sim_fail("a hang: every thread waits, and nothing will ever happen");
    }
}
