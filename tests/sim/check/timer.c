/* Timers, which are never early, never lost and fire once; tasks, which run once and in order. */
#include <stdlib.h>

#include "sim/check/check_in.h"

enum { LATE_MS = 4 };

struct check_timer {
    weir_timer timer; /* first: weir gives its address back */
    struct check_loop *cl;
    weir_time due, since; /* since: when it was to fire, or was started if that is later */
    bool precise;
    check_timer_fn *fn;
    void *arg;
    struct check_timer *next, *prev;
};

static void timer_unlink(struct check_timer *t)
{
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        t->cl->timers = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
}

static void timer_fired(weir_timer *timer, void *arg)
{
    struct check_timer *t = arg;
    struct check_loop *cl = t->cl;
    handler_begin(cl, "a timer");
    check_that(timer == &t->timer, "K14.timer", "a timer with its own address; another");
    check_that(weir_now() >= t->due, "K14.early", "a timer not before its time; %llu ns early",
               (unsigned long long)(t->due - weir_now()));
    timer_unlink(t);
    t->fn(cl, t->arg);
    free(t);
    handler_end(cl);
}

static void timer_begin(struct check_timer *t)
{
    struct check_loop *cl = t->cl;
    t->since = t->due > weir_now() ? t->due : weir_now();
    verb_begin(cl);
    int result = t->precise ? weir_timer_start_precise(&t->timer, t->due, timer_fired, t)
                            : weir_timer_start(&t->timer, t->due, timer_fired, t);
    verb_end(cl);
    check_that(result == 0, "K14.start", "a timer starts; %s", weir_error_name(result));
}

struct check_timer *check_timer(struct check_loop *cl, weir_time due, bool precise,
                                check_timer_fn *fn, void *arg)
{
    struct check_timer *t = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    t->cl = cl;
    t->due = due;
    t->precise = precise;
    t->fn = fn;
    t->arg = arg;
    t->next = cl->timers;
    if (t->next != NULL)
        t->next->prev = t;
    cl->timers = t;
    timer_begin(t);
    return t;
}

void check_timer_move(struct check_timer *t, weir_time due)
{
    t->due = due;
    timer_begin(t);
}

void check_timer_cancel(struct check_timer *t)
{
    verb_begin(t->cl);
    bool was = weir_timer_cancel(&t->timer);
    check_that(was, "K14.cancel", "a started timer is canceled; it had not been started");
    check_that(!weir_timer_cancel(&t->timer), "K14.cancel", "a timer is canceled once; twice");
    verb_end(t->cl);
    timer_unlink(t);
    free(t);
}

void timers_check(struct check_loop *cl, weir_time now)
{
    weir_time then = cl->turned_ns;
    for (struct check_timer *t = cl->timers; t != NULL; t = t->next)
        check_that(t->since + LATE_MS * WEIR_MS + cl->slack_ns > then || then >= now, "K14.lost",
                   "a timer fires when it is due; it is %llu ms late and has not",
                   (unsigned long long)((then - t->since) / WEIR_MS));
}

void timers_forget(struct check_loop *cl)
{
    struct check_timer *next;
    for (struct check_timer *t = cl->timers; t != NULL; t = next) {
        next = t->next;
        free(t);
    }
    cl->timers = NULL;
}

/* --- tasks ------------------------------------------------------------------------------------ */

struct check_task {
    weir_task task;
    struct check_loop *from, *to;
    uint64_t number; /* among those from its sender to its target */
    check_timer_fn *fn;
    void *arg;
    bool ran;
};

static void task_run(weir_task *task, void *arg)
{
    struct check_task *t = arg;
    struct check_loop *cl = t->to;
    handler_begin(cl, "a task");
    check_that(task == &t->task, "K1.task", "a task with its own address; another");
    check_that(!t->ran, "K1.task_once", "a task runs once; twice");
    unsigned from = t->from->number;
    check_that(t->number == cl->ran_from[from] + 1, "K1.task_order",
               "tasks of one thread in their order: %llu; %llu",
               (unsigned long long)cl->ran_from[from] + 1, (unsigned long long)t->number);
    cl->ran_from[from] = t->number;
    t->ran = true;
    t->fn(cl, t->arg);
    free(t);
    handler_end(cl);
}

int check_post(struct check_loop *from, struct check_loop *to, check_timer_fn *fn, void *arg)
{
    struct check_task *t = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    *t = (struct check_task){.from = from, .to = to, .fn = fn, .arg = arg};
    t->number = ++from->posted_to[to->number];
    verb_begin(from);
    int result = weir_post(to->loop, &t->task, task_run, t);
    verb_end(from);
    if (result < 0) {
        from->posted_to[to->number]--;
        free(t);
    }
    return result;
}
