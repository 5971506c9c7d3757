/* What the verbs of coroutines cost, for ./dev bench co: a line of JSON, in nanoseconds the best of
 * many short rounds, since the machine is shared.
 *
 *     micro_verbs [ROUNDS [COUNT]]      COUNT: of coroutines that wait at once */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <weir/weir.h>

#include "co/co.h"

enum { STEPS = 25600, BATCH = 64, CAPACITY = 64, CROWD = 100000, CROWD_STEP = 1000 };

struct measured {
    uint64_t began_ns, ended_ns;
    unsigned left; /* coroutines that have not ended */
    uint32_t capacity;
};

static weir_loop *loop;
static weir_chan *there, *back;
static unsigned waiting, wanted;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void must(int result, const char *what)
{
    if (result >= 0)
        return;
    fprintf(stderr, "micro_verbs: %s: %s\n", what, weir_error_text(result));
    exit(1);
}

static void stay(void *arg)
{
    *(struct co **)arg = co_current();
    while (co_suspend() == 0)
        ;
}

/* There and back: two switches a step. */
static double switches(void)
{
    struct co_pool *pool;
    struct co *co;
    must(co_pool_new(NULL, &pool), "a pool");
    must(co_run(pool, stay, &co), "a coroutine");
    uint64_t began_ns = now_ns();
    for (int i = 0; i < STEPS; i++)
        co_resume(co, 0);
    double ns = (double)(now_ns() - began_ns) / STEPS / 2;
    co_resume(co, 1);
    must(co_pool_free(pool), "the end of a pool");
    return ns;
}

static void begin(weir_co_fn *fn, void *arg)
{
    weir_loop *former = weir_loop_enter(loop);
    must(weir_spawn(fn, arg), "weir_spawn");
    weir_loop_enter(former);
}

static void ended(struct measured *m)
{
    if (--m->left != 0)
        return;
    m->ended_ns = now_ns();
    weir_loop_stop(loop);
}

static void nothing(void *arg)
{
}

static void done(void *arg)
{
    must(weir_waitgroup_done(arg), "weir_waitgroup_done");
}

/* The last of each batch says that all have run. */
static void spawns(void *arg)
{
    struct measured *m = arg;
    weir_waitgroup group = {{0}};
    m->began_ns = now_ns();
    for (int i = 0; i < STEPS / BATCH; i++) {
        must(weir_waitgroup_add(&group, 1), "weir_waitgroup_add");
        for (int each = 1; each < BATCH; each++)
            must(weir_spawn(nothing, NULL), "weir_spawn");
        must(weir_spawn(done, &group), "weir_spawn");
        must(weir_waitgroup_wait(&group, WEIR_NEVER), "weir_waitgroup_wait");
    }
    ended(m);
}

static void sends(void *arg)
{
    struct measured *m = arg;
    m->began_ns = now_ns();
    for (uint64_t i = 0; i < STEPS; i++)
        must(weir_chan_send(there, &i, WEIR_NEVER), "weir_chan_send");
    ended(m);
}

static void receives(void *arg)
{
    uint64_t item;
    for (uint64_t i = 0; i < STEPS; i++) {
        must(weir_chan_recv(there, &item, WEIR_NEVER), "weir_chan_recv");
        if (item != i)
            must(WEIR_EPROTO, "another item");
    }
    ended(arg);
}

static void asks(void *arg)
{
    struct measured *m = arg;
    m->began_ns = now_ns();
    for (uint64_t i = 0; i < STEPS; i++) {
        must(weir_chan_send(there, &i, WEIR_NEVER), "weir_chan_send");
        must(weir_chan_recv(back, &i, WEIR_NEVER), "weir_chan_recv");
    }
    ended(m);
}

static void answers(void *arg)
{
    uint64_t item;
    for (uint64_t i = 0; i < STEPS; i++) {
        must(weir_chan_recv(there, &item, WEIR_NEVER), "weir_chan_recv");
        must(weir_chan_send(back, &item, WEIR_NEVER), "weir_chan_send");
    }
    ended(arg);
}

/* Nanoseconds a step of one or two coroutines. */
static double steps(weir_co_fn *one, weir_co_fn *other, uint32_t capacity)
{
    struct measured m = {.left = other != NULL ? 2 : 1};
    weir_loop *former;
    must(weir_loop_new(&loop, NULL), "a loop");
    former = weir_loop_enter(loop);
    must(weir_chan_new(&there, sizeof(uint64_t), capacity), "a channel");
    must(weir_chan_new(&back, sizeof(uint64_t), capacity), "a channel");
    weir_loop_enter(former);
    begin(one, &m);
    if (other != NULL)
        begin(other, &m);
    must(weir_loop_run(loop), "the loop");
    weir_loop_free(loop);
    must(weir_chan_free(there), "a channel's end");
    must(weir_chan_free(back), "a channel's end");
    return (double)(m.ended_ns - m.began_ns) / STEPS;
}

static uint64_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*u %lu", &pages) != 1)
        must(-1, "/proc/self/statm");
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void waits(void *arg)
{
    if (++waiting == wanted)
        weir_loop_stop(loop);
    (void)weir_sleep(WEIR_NEVER);
}

static double crowd(unsigned count)
{
    must(weir_loop_new(&loop, NULL), "a loop");
    waiting = 0;
    wanted = 1;
    begin(waits, NULL);
    must(weir_loop_run(loop), "the loop");
    uint64_t before = resident_bytes();
    while (wanted < count) {
        unsigned more = count - wanted < CROWD_STEP ? count - wanted : CROWD_STEP;
        wanted += more;
        for (unsigned i = 0; i < more; i++)
            begin(waits, NULL);
        must(weir_loop_run(loop), "the loop");
    }
    if (waiting != wanted)
        must(WEIR_EPROTO, "not all of them wait");
    double bytes = (double)(resident_bytes() - before) / (count - 1);
    weir_loop_free(loop);
    return bytes;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 100, count = argc > 2 ? atoi(argv[2]) : CROWD;
    double change = 1e9, run = 1e9, pass = 1e9, turn = 1e9;
    if (rounds < 1 || count < 2) {
        fprintf(stderr, "usage: micro_verbs [ROUNDS [COUNT]]\n");
        return 64;
    }
    double bytes = crowd((unsigned)count);
    for (int i = 0; i < rounds; i++) {
        change = least(change, switches());
        run = least(run, steps(spawns, NULL, 0));
        pass = least(pass, steps(sends, receives, CAPACITY));
        turn = least(turn, steps(asks, answers, 0) / 2);
    }
    printf("{\"switch_ns\": %.2f, \"spawn_ns\": %.2f, \"chan_ns\": %.2f, \"chan_switch_ns\": %.2f, "
           "\"resident_bytes\": %.0f, \"alive\": %d}\n",
           change, run, pass, turn, bytes, count);
    return 0;
}
