/* What loops do beside connections: posts and mail between threads, timers, polls of descriptors
 * that are not weir's, begun and given up at any moment. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sim/sim.h"

enum { LOOPS = 3, TASKS = 24, WATCHES = 6, TIMERS = 8 };

struct place;

struct errand { /* a post that goes from loop to loop */
    weir_task task;
    struct place *at;
    unsigned hops;
};

struct watched {
    weir_watch watch;
    weir_timer timer;
    struct place *place;
    int fd;
    bool watching;
};

struct clock {
    weir_timer timer;
    struct place *place;
    weir_time due;
    bool started;
};

struct place { /* one loop with its thread */
    struct house *house;
    unsigned index;
    pthread_t thread;
    bool started, made;
    weir_loop *loop;
    int result;
    struct watched watches[WATCHES];
    struct clock clocks[TIMERS];
    unsigned polls_told;
};

struct house {
    struct place places[LOOPS];
    unsigned count, errands_out, finished;
    struct errand errands[TASKS];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned ready;
    bool given_up;
};

static struct house house;

/* --- posts ------------------------------------------------------------------------------------ */

static void all_stop(void)
{
    for (unsigned i = 0; i < house.count; i++)
        weir_loop_stop(house.places[i].loop);
}

static void errand_run(weir_task *task, void *arg)
{
    struct errand *errand = arg;
    sim_check(weir_loop_current() == errand->at->loop, "a post ran on another loop");
    if (errand->hops-- == 0) {
        if (--house.errands_out == 0)
            all_stop();
        return;
    }
    errand->at = &house.places[sim_random(house.count)];
    memset(&errand->task, 0, sizeof(errand->task));
    sim_check(weir_post(errand->at->loop, &errand->task, errand_run, errand) == 0,
              "a post was refused");
}

/* --- polls ------------------------------------------------------------------------------------ */

static void poll_begin(struct watched *watched);

static void poll_told(weir_watch *watch, int events, void *arg)
{
    struct watched *watched = arg;
    sim_check(watched->watching, "a poll was told after it was given up");
    sim_check(events < 0 || (events & (POLLIN | POLLOUT | POLLERR | POLLHUP)) != 0,
              "a poll told of nothing: %d", events);
    watched->watching = false;
    watched->place->polls_told++;
}

/* Now it watches, now it gives up. */
static void poll_turn(weir_timer *timer, void *arg)
{
    struct watched *watched = arg;
    if (watched->watching) {
        weir_watch_cancel(&watched->watch);
        watched->watching = false;
    }
    poll_begin(watched);
}

static void poll_begin(struct watched *watched)
{
    enum { GAP_NS = 20000000 };
    int events = sim_chance(1, 2) ? POLLIN : POLLIN | POLLOUT;
    memset(&watched->watch, 0, sizeof(watched->watch));
    if (weir_poll(&watched->watch, watched->fd, events, poll_told, watched) == 0)
        watched->watching = true;
    weir_timer_start(&watched->timer, weir_after(sim_size(GAP_NS)), poll_turn, watched);
}

/* --- timers ----------------------------------------------------------------------------------- */

static void clock_start(struct clock *clock);

static void clock_told(weir_timer *timer, void *arg)
{
    struct clock *clock = arg;
    sim_check(clock->started, "a timer fired after it was canceled");
    sim_check(weir_now() >= clock->due, "a timer fired %llu ns early",
              (unsigned long long)(clock->due - weir_now()));
    clock->started = false;
    if (sim_chance(1, 3)) {
        struct clock *other = &clock->place->clocks[sim_random(TIMERS)];
        sim_check(weir_timer_cancel(&other->timer) == other->started, "a cancel told wrong");
        other->started = false;
    }
    clock_start(clock);
}

static void clock_start(struct clock *clock)
{
    enum { NEAR_NS = 400000000 };
    bool precise = sim_chance(1, 3);
    clock->due = weir_after(sim_size(NEAR_NS));
    clock->started = true;
    if (precise)
        weir_timer_start_precise(&clock->timer, clock->due, clock_told, clock);
    else
        weir_timer_start(&clock->timer, clock->due, clock_told, clock);
}

/* A timer of days: further than the wheel reaches at once. */
static void far_told(weir_timer *timer, void *arg)
{
    struct clock *clock = arg;
    sim_check(weir_now() >= clock->due, "a far timer fired early");
    sim_check(weir_now() - clock->due < WEIR_S || !sim_quiet(), "a far timer fired late");
    clock->started = false;
    weir_loop_stop(clock->place->loop);
}

static int live_long(void *arg)
{
    enum { DAYS = 40, DAY_S = 86400 };
    struct place place = {0};
    struct clock clock = {.place = &place};
    int result = weir_loop_new(&place.loop, NULL);
    if (result < 0)
        return 1;
    weir_loop *former = weir_loop_enter(place.loop);
    clock.due = weir_after(sim_size(DAYS * DAY_S) * WEIR_S + sim_random(WEIR_S));
    clock.started = true;
    weir_timer_start(&clock.timer, clock.due, far_told, &clock);
    weir_loop_enter(former);
    result = weir_loop_run(place.loop);
    sim_check(!clock.started, "the loop ended before its timer");
    weir_loop_free(place.loop);
    return result;
}

/* --- life ------------------------------------------------------------------------------------- */

/* A listener of plain calls: readable when somebody comes, which nobody does. */
static int listener_make(unsigned port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    if (bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0 && listen(fd, 8) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool all_ready(struct place *place)
{
    bool go;
    pthread_mutex_lock(&house.lock);
    if (place->made)
        house.ready++;
    else
        house.given_up = true;
    pthread_cond_broadcast(&house.changed);
    while (!house.given_up && house.ready < house.count)
        pthread_cond_wait(&house.changed, &house.lock);
    go = !house.given_up;
    pthread_mutex_unlock(&house.lock);
    return go;
}

static void place_begin(struct place *place)
{
    weir_loop *former = weir_loop_enter(place->loop);
    for (unsigned i = 0; i < WATCHES; i++) {
        struct watched *watched = &place->watches[i];
        *watched = (struct watched){.place = place,
                                    .fd = listener_make(9000 + i + place->index * WATCHES)};
        if (watched->fd >= 0)
            poll_begin(watched);
    }
    for (unsigned i = 0; i < TIMERS; i++) {
        place->clocks[i] = (struct clock){.place = place};
        clock_start(&place->clocks[i]);
    }
    weir_loop_enter(former);
}

static void *place_live(void *arg)
{
    struct place *place = arg;
    place->result = weir_loop_new(&place->loop, NULL);
    place->made = place->result == 0;
    if (all_ready(place)) {
        place_begin(place);
        place->result = weir_loop_run(place->loop);
        /* Nobody's loop goes while another may still post to it. */
        pthread_mutex_lock(&house.lock);
        house.finished++;
        pthread_cond_broadcast(&house.changed);
        while (house.finished < house.count)
            pthread_cond_wait(&house.changed, &house.lock);
        pthread_mutex_unlock(&house.lock);
    }
    if (place->made)
        weir_loop_free(place->loop);
    for (unsigned i = 0; i < WATCHES; i++)
        if (place->watches[i].fd > 0)
            close(place->watches[i].fd);
    return NULL;
}

static void errands_send(void)
{
    house.errands_out = TASKS;
    for (unsigned i = 0; i < TASKS; i++) {
        struct errand *errand = &house.errands[i];
        *errand = (struct errand){.at = &house.places[sim_random(house.count)],
                                  .hops = (unsigned)sim_size(40)};
        sim_check(weir_post(errand->at->loop, &errand->task, errand_run, errand) == 0,
                  "a post was refused");
    }
}

static int live(void *arg)
{
    unsigned started = 0;
    bool go;
    memset(&house, 0, sizeof(house));
    pthread_mutex_init(&house.lock, NULL);
    pthread_cond_init(&house.changed, NULL);
    house.count = (unsigned)sim_between(1, LOOPS);
    for (unsigned i = 0; i < house.count; i++) {
        struct place *place = &house.places[i];
        *place = (struct place){.index = i, .house = &house};
        place->started = pthread_create(&place->thread, NULL, place_live, place) == 0;
        started += place->started;
    }
    pthread_mutex_lock(&house.lock);
    if (started < house.count)
        house.given_up = true;
    pthread_cond_broadcast(&house.changed);
    while (!house.given_up && house.ready < house.count)
        pthread_cond_wait(&house.changed, &house.lock);
    go = !house.given_up;
    pthread_mutex_unlock(&house.lock);
    if (go)
        errands_send();
    for (unsigned i = 0; i < house.count; i++)
        if (house.places[i].started)
            pthread_join(house.places[i].thread, NULL);
    pthread_mutex_destroy(&house.lock);
    pthread_cond_destroy(&house.changed);
    sim_check(!go || house.errands_out == 0, "%u posts were lost", house.errands_out);
    return go ? 0 : 1;
}

static void run(void)
{
    bool longs = sim_chance(1, 8);
    sim_host *host = sim_host_new("house", "10.0.0.1", longs ? live_long : live, NULL);
    sim_host_start(host);
    sim_check(sim_host_wait(host, longs ? WEIR_NEVER : 900 * WEIR_S), "the loops have not ended");
    sim_check(!sim_quiet() || sim_host_result(host) == 0, "the loops did not begin");
}

SIM_PROGRAM(loops, .what = "posts, timers and polls on several loops of a process", .run = run,
            .limit_ns = 100ull * 86400 * WEIR_S);
