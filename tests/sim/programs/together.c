/* Coroutines that work together: on one to three loops of a process they send, receive, select,
 * lock and open scopes in any order, with deadlines that pass and cancellations at any moment. Each
 * item that was sent arrives once, all that was taken comes back, and all ends, also in the middle.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "sim/check/co.h"
#include "sim/sim.h"

enum { LOOPS = 3, WORKERS = 6, ITEMS = 1 << 14, PERMITS = 3, CHANS = 2, DELAY_MOST_NS = 30000000 };

struct place { /* one loop with its thread */
    struct check_cos cos;
    struct check_chan chans[CHANS];
    struct check_permits mutex, semaphore;
    pthread_t thread;
    weir_loop *loop;
    bool started, ends_early;
    unsigned index, inside;
    int result;
    weir_timer timer;
};

/* Shared by the loops of one process: exactly one thread runs at a time. */
static struct together {
    struct place places[LOOPS];
    weir_chan *shared[CHANS];
    unsigned count, writers, readers;
    bool closed;
    uint32_t sent, sent_shared[CHANS], got_shared[CHANS];
    uint64_t sum_sent, sum_got;
    uint8_t states[ITEMS]; /* how often each was sent, and 16 for each time that it arrived */
} all;

struct worker {
    struct place *place;
    struct check_scope *scope; /* it was spawned into */
    unsigned depth, steps;
    unsigned *out;
};

static weir_time some_deadline(void)
{
    switch (sim_random(4)) {
    case 0:
        return 0;
    case 1:
        return weir_after(5 * WEIR_S);
    default:
        return weir_after(sim_size(DELAY_MOST_NS));
    }
}

static bool goes_on(int result)
{
    sim_check(result >= 0 || result == WEIR_ETIMEDOUT || result == WEIR_ECANCELED ||
                  result == -EPIPE || (result == WEIR_ENOMEM && !sim_quiet()),
              "a wait ended with %s", weir_error_name(result));
    return result != WEIR_ECANCELED;
}

/* --- items -------------------------------------------------------------------------------------
 */

static uint64_t item_new(void)
{
    return all.sent++ % ITEMS;
}

static void item_sent(uint64_t item)
{
    sim_check((all.states[item] & 15) == 0, "C1.once: item %u was sent twice", (unsigned)item);
    all.states[item] = (uint8_t)(all.states[item] + 1);
}

static void item_arrived(uint64_t item)
{
    sim_check(item < ITEMS && all.states[item] < 16, "C1.once: item %u arrived twice",
              (unsigned)item);
    all.states[item] = (uint8_t)(all.states[item] + 16);
}

static bool step_send(struct check_co *co, struct place *place)
{
    uint64_t item = item_new();
    const struct check_chan *chan = &place->chans[sim_random(CHANS)];
    int result = check_chan_send(co, chan, item, some_deadline());
    if (result == 0)
        item_sent(item);
    sim_check(result != -EPIPE || chan->closed, "an open channel says that it is closed");
    return goes_on(result);
}

static bool step_receive(struct check_co *co, struct place *place)
{
    uint64_t item = ITEMS;
    const struct check_chan *chan = &place->chans[sim_random(CHANS)];
    int result = check_chan_recv(co, chan, &item, some_deadline());
    if (result == 1)
        item_arrived(item);
    sim_check(result != 0 || chan->closed, "an open channel says that it is closed");
    return goes_on(result);
}

static bool step_select(struct check_co *co, struct place *place)
{
    uint64_t items[CHECK_CASES];
    const struct check_chan *chans[CHECK_CASES];
    weir_case cases[CHECK_CASES];
    unsigned count = (unsigned)sim_between(1, CHECK_CASES);
    for (unsigned i = 0; i < count; i++) {
        chans[i] = sim_chance(1, 6) ? NULL : &place->chans[sim_random(CHANS)];
        cases[i] = (weir_case){.chan = chans[i] != NULL ? chans[i]->chan : NULL,
                               .verb = (int)sim_random(2),
                               .item = &items[i]};
        items[i] = cases[i].verb == WEIR_CHAN_SEND ? item_new() : ITEMS;
    }
    int chosen = check_select(co, cases, chans, count, some_deadline());
    if (chosen < 0)
        return goes_on(chosen);
    sim_check((unsigned)chosen < count && chans[chosen] != NULL, "case %d was chosen", chosen);
    if (cases[chosen].verb == WEIR_CHAN_SEND && cases[chosen].result == 0)
        item_sent(items[chosen]);
    else if (cases[chosen].verb == WEIR_CHAN_RECV && cases[chosen].result == 1)
        item_arrived(items[chosen]);
    else
        sim_check(chans[chosen]->closed, "a case of an open channel ended with %d",
                  cases[chosen].result);
    return true;
}

/* --- between loops -----------------------------------------------------------------------------
 */

/* The last of one side has gone: nobody may wait for ever for it. */
static void gone(unsigned *side)
{
    if (--*side != 0 || all.closed)
        return;
    all.closed = true;
    for (unsigned i = 0; i < CHANS; i++)
        sim_check(weir_chan_close(all.shared[i]) == 0, "a channel is closed once");
}

/* Numbers from 1 on, a part of them given up and sent again. */
static int writes(void *arg)
{
    struct worker *worker = arg;
    struct check_co co;
    unsigned lane = worker->depth;
    uint64_t item = 1, last = sim_size(60);
    int result = 0;
    check_co_begin(&co, &worker->place->cos, worker->scope);
    while (item <= last && result != WEIR_ECANCELED && result != -EPIPE) {
        weir_time deadline = sim_chance(1, 4) ? weir_after(sim_size(DELAY_MOST_NS)) : WEIR_NEVER;
        check_wait_begin(&co, "send to a loop", deadline);
        result = check_wait_end(&co, weir_chan_send(all.shared[lane], &item, deadline));
        if (result == 0) {
            all.sum_sent += item++;
            all.sent_shared[lane]++;
        } else if (result == WEIR_ENOMEM) {
            sim_check(!sim_quiet(), "no memory in a quiet run");
            result = check_co_sleep(&co, weir_after(WEIR_MS));
        } else {
            goes_on(result);
        }
    }
    gone(&all.writers);
    return check_co_end(&co, result == WEIR_ECANCELED ? result : 0);
}

static int reads(void *arg)
{
    struct worker *worker = arg;
    struct check_co co;
    uint64_t item;
    int result = 1;
    check_co_begin(&co, &worker->place->cos, worker->scope);
    for (unsigned open = CHANS; result != WEIR_ECANCELED && open != 0;) {
        weir_case cases[] = {{.chan = all.shared[0], .verb = WEIR_CHAN_RECV, .item = &item},
                             {.chan = all.shared[1], .verb = WEIR_CHAN_RECV, .item = &item}};
        weir_time deadline = sim_chance(1, 4) ? weir_after(sim_size(DELAY_MOST_NS)) : WEIR_NEVER;
        check_wait_begin(&co, "receive from a loop", deadline);
        result = check_wait_end(&co, weir_select(cases, CHANS, deadline));
        if (result >= 0 && cases[result].result == 1) {
            all.sum_got += item;
            all.got_shared[result]++;
        } else if (result >= 0) {
            open = 0; /* both are closed at once, and what is left is looked at in the end */
        } else if (result == WEIR_ENOMEM) {
            sim_check(!sim_quiet(), "no memory in a quiet run");
            result = check_co_sleep(&co, weir_after(WEIR_MS));
        } else {
            goes_on(result);
        }
    }
    gone(&all.readers);
    return check_co_end(&co, result == WEIR_ECANCELED ? result : 0);
}

/* --- locks, scopes -----------------------------------------------------------------------------
 */

static bool step_permits(struct check_co *co, struct place *place)
{
    struct check_permits *permits = sim_chance(1, 2) ? &place->mutex : &place->semaphore;
    uint32_t amount = permits->is_mutex ? 1 : (uint32_t)sim_between(1, PERMITS);
    int result = check_take(co, permits, amount, some_deadline());
    if (result < 0)
        return goes_on(result);
    place->inside += permits->is_mutex;
    sim_check(place->inside <= 1, "C2.alone: two hold a mutex");
    result = sim_chance(1, 2) ? check_co_yield(co)
                              : check_co_sleep(co, weir_after(sim_size(DELAY_MOST_NS)));
    place->inside -= permits->is_mutex;
    check_give(co, permits, amount);
    return goes_on(result);
}

static int works(void *arg);

static bool step_scope(struct check_co *co, struct worker *worker)
{
    struct worker workers[2];
    struct check_scope scope;
    unsigned out = 0;
    if (worker->depth == 0)
        return true;
    check_scope_open(co, &scope, (uint32_t)sim_between(1, 40));
    for (unsigned i = 0; i < 2; i++) {
        workers[i] = (struct worker){.place = worker->place,
                                     .scope = &scope,
                                     .depth = worker->depth - 1,
                                     .steps = (unsigned)sim_size(8),
                                     .out = &out};
        if (check_scope_spawn(co, &scope, works, &workers[i]) == 0)
            out++;
    }
    if (sim_chance(1, 2))
        (void)check_co_yield(co);
    else if (sim_chance(1, 2))
        (void)check_co_sleep(co, weir_after(sim_size(DELAY_MOST_NS)));
    if (sim_chance(1, 3))
        check_scope_cancel(co, &scope);
    (void)check_scope_leave(co, &scope, some_deadline());
    sim_check(out == 0, "C4.leave: %u go on behind the end of their scope", out);
    return goes_on(check_co_yield(co));
}

static bool step_grace(struct check_co *co)
{
    (void)check_grace_begin(co);
    (void)check_co_sleep(co, weir_after(sim_size(2 * DELAY_MOST_NS)));
    check_grace_end(co);
    return goes_on(check_co_yield(co));
}

static bool step(struct check_co *co, struct worker *worker)
{
    struct place *place = worker->place;
    switch (sim_random(12)) {
    case 0:
    case 1:
        return step_send(co, place);
    case 2:
    case 3:
        return step_receive(co, place);
    case 4:
    case 5:
        return step_select(co, place);
    case 6:
    case 7:
        return step_permits(co, place);
    case 8:
    case 9:
        return step_scope(co, worker);
    case 10:
        return step_grace(co);
    default:
        return goes_on(check_co_sleep(co, weir_after(sim_size(DELAY_MOST_NS))));
    }
}

static int works(void *arg)
{
    struct worker *worker = arg;
    struct check_co co;
    bool on = true;
    check_co_begin(&co, &worker->place->cos, worker->scope);
    while (on && worker->steps-- > 0)
        on = step(&co, worker);
    if (worker->out != NULL)
        --*worker->out;
    return check_co_end(&co, !on ? WEIR_ECANCELED : sim_chance(1, 20) ? -EIO : 0);
}

/* --- a loop ------------------------------------------------------------------------------------
 */

static bool begin(struct check_co *co, struct check_scope *scope, weir_scope_fn *fn,
                  struct worker *worker)
{
    int result = check_scope_spawn(co, scope, fn, worker);
    sim_check(result == 0 || !sim_quiet(), "a quiet run refuses a coroutine: %s",
              weir_error_name(result));
    return result == 0;
}

/* All that a loop does, in one scope: its end is the loop's. */
static void root(void *arg)
{
    struct place *place = arg;
    struct worker workers[WORKERS + 2];
    struct check_scope scope;
    struct check_co co;
    check_co_begin(&co, &place->cos, NULL);
    check_scope_open(&co, &scope, (uint32_t)sim_between(1, 40));
    for (unsigned i = 0; i < WORKERS + 2; i++)
        workers[i] = (struct worker){.place = place,
                                     .scope = &scope,
                                     .depth = i < WORKERS ? 2 : place->index % CHANS,
                                     .steps = (unsigned)sim_size(30)};
    if (!begin(&co, &scope, reads, &workers[WORKERS + 1]))
        gone(&all.readers);
    if (!begin(&co, &scope, writes, &workers[WORKERS]))
        gone(&all.writers);
    for (unsigned i = 0; i < WORKERS && sim_chance(5, 6); i++)
        (void)begin(&co, &scope, works, &workers[i]);
    (void)check_scope_leave(&co, &scope, WEIR_NEVER);
    check_co_end(&co, 0);
    weir_loop_stop(place->loop);
}

static void stop_early(weir_timer *timer, void *arg)
{
    weir_loop_stop(((struct place *)arg)->loop);
}

static bool place_begin(struct place *place)
{
    weir_loop *former = weir_loop_enter(place->loop);
    bool begun = true;
    for (unsigned i = 0; i < CHANS; i++) {
        place->chans[i].capacity = (uint32_t)sim_random(3);
        if (weir_chan_new(&place->chans[i].chan, sizeof(uint64_t), place->chans[i].capacity) < 0)
            begun = false;
    }
    place->mutex = (struct check_permits){.is_mutex = true, .free = 1};
    place->semaphore = (struct check_permits){.free = PERMITS};
    sim_check(weir_semaphore_give(&place->semaphore.semaphore, PERMITS) == 0, "no permits");
    if (begun && weir_spawn(root, place) < 0)
        begun = false;
    if (begun && place->ends_early)
        weir_timer_start(&place->timer, weir_after(sim_size(DELAY_MOST_NS)), stop_early, place);
    weir_loop_enter(former);
    return begun;
}

/* What was sent and did not arrive is in the channels still. */
static void place_look(struct place *place)
{
    weir_loop *former = weir_loop_enter(place->loop);
    for (unsigned i = 0; i < CHANS; i++) {
        uint64_t item;
        while (place->chans[i].chan != NULL && weir_chan_recv(place->chans[i].chan, &item, 0) == 1)
            item_arrived(item);
    }
    weir_loop_enter(former);
}

static void *place_live(void *arg)
{
    struct place *place = arg;
    place->result = weir_loop_new(&place->loop, NULL);
    if (place->result < 0) {
        gone(&all.readers);
        gone(&all.writers);
        return NULL;
    }
    if (place_begin(place)) {
        place->result = weir_loop_run(place->loop);
    } else {
        place->result = WEIR_ENOMEM;
        gone(&all.readers);
        gone(&all.writers);
    }
    if (!place->ends_early)
        place_look(place);
    place->cos.ending = true;
    weir_loop_free(place->loop);
    check_cos_end(&place->cos);
    for (unsigned i = 0; i < CHANS; i++)
        sim_check(weir_chan_free(place->chans[i].chan) == 0, "C2.left: somebody is in a channel");
    return NULL;
}

static void each_turn(weir_loop *loop, void *arg)
{
    for (unsigned i = 0; i < all.count; i++)
        if (all.places[i].loop == loop)
            check_cos_turn(&all.places[i].cos);
}

/* --- the process -------------------------------------------------------------------------------
 */

static bool shared_make(void)
{
    for (unsigned i = 0; i < CHANS; i++)
        if (weir_chan_new_shared(&all.shared[i], sizeof(uint64_t), (uint32_t)sim_random(3)) < 0)
            return false;
    return true;
}

static void judge(bool whole)
{
    uint64_t item;
    for (unsigned i = 0; i < CHANS; i++) {
        while (all.shared[i] != NULL && weir_chan_recv(all.shared[i], &item, 0) == 1) {
            all.sum_got += item;
            all.got_shared[i]++;
        }
        sim_check(all.got_shared[i] == all.sent_shared[i],
                  "C1.once: %u of %u arrived between loops", all.got_shared[i], all.sent_shared[i]);
        sim_check(weir_chan_free(all.shared[i]) == 0, "C2.left: somebody is in a shared channel");
    }
    sim_check(all.sum_got == all.sum_sent, "C1.once: other items arrived between loops");
    for (unsigned i = 0; whole && i < ITEMS; i++)
        sim_check(all.states[i] == 0 || all.states[i] == 17, "C1.once: item %u: %u", i,
                  all.states[i]);
}

static int live(void *arg)
{
    bool whole = true;
    memset(&all, 0, sizeof(all));
    all.count = all.readers = all.writers = (unsigned)sim_between(1, LOOPS);
    bool ends_early = sim_chance(1, 4), made = shared_make();
    for (unsigned i = 0; made && i < all.count; i++) {
        struct place *place = &all.places[i];
        place->index = i;
        place->ends_early = ends_early;
        place->started = pthread_create(&place->thread, NULL, place_live, place) == 0;
        if (!place->started) {
            gone(&all.readers);
            gone(&all.writers);
        }
    }
    for (unsigned i = 0; i < all.count; i++) {
        if (all.places[i].started)
            pthread_join(all.places[i].thread, NULL);
        whole = whole && all.places[i].started && all.places[i].result == 0;
    }
    judge(whole && !ends_early);
    return made && whole ? 0 : 1;
}

static void run(void)
{
    sim_host *host = sim_host_new("house", "10.0.0.1", live, NULL);
    sim_host_each_turn(host, each_turn, NULL);
    sim_host_start(host);
    sim_check(sim_host_wait(host, 3000 * WEIR_S), "the coroutines have not ended");
    sim_check(!sim_quiet() || sim_host_result(host) == 0, "the loops did not begin");
}

SIM_PROGRAM(together, .what = "scopes, channels and locks, on loops and between them", .run = run);
