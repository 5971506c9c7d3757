/* Timers of programs: on the wheel for time-outs, in a pairing heap for pacing. Both are intrusive:
 * weir_timer holds the node of either. */
#include <sys/prctl.h>

#include <weir/error.h>

#include "base/clock.h"
#include "loop/loop.h"

struct loop_pending { /* a heap node; root has the smallest due_ns */
    struct loop_pending *child, *sibling;
    struct loop_pending **link; /* what points at this node */
};

struct timer { /* lies in weir_timer */
    union {
        struct wheel_node node;
        struct loop_pending pending;
    };
    weir_time due_ns;
    weir_timer_fn *fn;
    void *arg;
    weir_loop *loop; /* NULL: not started */
    uint32_t precise;
};
_Static_assert(sizeof(struct timer) <= sizeof(weir_timer), "weir_timer is too small");

static struct timer *timer_of(weir_timer *timer)
{
    return (struct timer *)timer;
}

static uint64_t due_of(const struct loop_pending *node)
{
    return weir_container((uintptr_t)node, const struct timer, pending)->due_ns;
}

/* Joins two heaps; each may be NULL. */
static struct loop_pending *heap_join(struct loop_pending *a, struct loop_pending *b)
{
    if (a == NULL || b == NULL)
        return a != NULL ? a : b;
    if (due_of(b) < due_of(a)) {
        struct loop_pending *swap = a;
        a = b;
        b = swap;
    }
    b->sibling = a->child;
    if (b->sibling != NULL)
        b->sibling->link = &b->sibling;
    b->link = &a->child;
    a->child = b;
    a->sibling = NULL;
    return a;
}

/* Joins a list of siblings in pairs, then the pairs from last to first: amortised O(log n). */
static struct loop_pending *heap_collect(struct loop_pending *list)
{
    struct loop_pending *pairs = NULL;
    while (list != NULL) {
        struct loop_pending *a = list, *b = list->sibling;
        list = b != NULL ? b->sibling : NULL;
        a->sibling = NULL;
        if (b != NULL)
            b->sibling = NULL;
        a = heap_join(a, b);
        a->sibling = pairs;
        pairs = a;
    }
    struct loop_pending *root = NULL;
    while (pairs != NULL) {
        struct loop_pending *next = pairs->sibling;
        pairs->sibling = NULL;
        root = heap_join(root, pairs);
        pairs = next;
    }
    return root;
}

static void heap_set_root(weir_loop *loop, struct loop_pending *root)
{
    loop->timers_root = root;
    if (root != NULL)
        root->link = &loop->timers_root;
}

static void heap_remove(weir_loop *loop, struct loop_pending *node)
{
    *node->link = node->sibling;
    if (node->sibling != NULL)
        node->sibling->link = node->link;
    struct loop_pending *rest = heap_collect(node->child);
    node->child = node->sibling = NULL;
    node->link = NULL;
    heap_set_root(loop, heap_join(loop->timers_root, rest));
}

uint32_t loop_due_ms(const weir_loop *loop, weir_time due)
{
    if (due <= loop->epoch_ns)
        return loop->now_ms;
    uint64_t due_ms = (due - loop->epoch_ns + WEIR_MS - 1) / WEIR_MS;
    uint64_t now_ms = (loop->now_ns - loop->epoch_ns) / WEIR_MS;
    if (due_ms <= now_ms)
        return loop->now_ms;
    uint64_t ahead = due_ms - now_ms;
    return loop->now_ms + (uint32_t)(ahead < INT32_MAX ? ahead : INT32_MAX);
}

/* The kernel rounds a thread's sleeps to its slack, 50 us unless asked: prctl(2). */
static void slack_small(void)
{
    static __thread bool asked;
    if (!asked)
        prctl(PR_SET_TIMERSLACK, 1000ul);
    asked = true;
}

static int timer_start(weir_timer *memory, weir_time due, weir_timer_fn *fn, void *arg,
                       bool precise)
{
    weir_loop *loop = loop_current();
    struct timer *timer = timer_of(memory);
    if (loop == NULL)
        return loop_none();
    if (timer == NULL || fn == NULL)
        return WEIR_EINVALID;
    if (timer->loop != NULL && timer->loop != loop)
        return WEIR_EMISUSE;
    weir_timer_cancel(memory);
    timer->fn = fn;
    timer->arg = arg;
    timer->loop = loop;
    timer->due_ns = due;
    timer->precise = precise;
    if (precise) {
        slack_small();
        timer->pending = (struct loop_pending){0};
        heap_set_root(loop, heap_join(loop->timers_root, &timer->pending));
    } else {
        timer->node = (struct wheel_node){.tag = LOOP_OWNER_OP};
        wheel_start(&loop->wheel, &timer->node, loop_due_ms(loop, due));
    }
    return 0;
}

int weir_timer_start(weir_timer *timer, weir_time due, weir_timer_fn *fn, void *arg)
{
    return timer_start(timer, due, fn, arg, false);
}

int weir_timer_start_precise(weir_timer *timer, weir_time due, weir_timer_fn *fn, void *arg)
{
    return timer_start(timer, due, fn, arg, true);
}

bool weir_timer_cancel(weir_timer *memory)
{
    struct timer *timer = timer_of(memory);
    if (timer == NULL || timer->loop == NULL)
        return false;
    if (timer->precise)
        heap_remove(timer->loop, &timer->pending);
    else
        wheel_cancel(&timer->loop->wheel, &timer->node);
    timer->loop = NULL;
    return true;
}

static void timer_fire(weir_loop *loop, struct timer *timer)
{
    uint64_t slip = loop->now_ns - timer->due_ns;
    if (loop->now_ns > timer->due_ns && slip > loop->counters.timer_slip_max_ns)
        loop->counters.timer_slip_max_ns = slip;
    loop->counters.timers_fired++;
    timer->loop = NULL;
    timer->fn((weir_timer *)timer, timer->arg);
    loop_ready_run(loop);
}

/* A node of a weir_timer left the wheel: one that lies further ahead than the wheel reaches goes
 * back. */
static void timer_expired(weir_loop *loop, struct wheel_node *node)
{
    struct timer *timer = weir_container(node, struct timer, node);
    if (timer->due_ns > loop->now_ns) {
        wheel_start(&loop->wheel, node, loop_due_ms(loop, timer->due_ns));
        return;
    }
    timer_fire(loop, timer);
}

void loop_timers_init(weir_loop *loop)
{
    wheel_init(&loop->wheel, loop->now_ms);
    loop->timers_root = NULL;
    loop->hooks[LOOP_OWNER_OP].timer = timer_expired;
}

static void forget_list(struct wheel_node *node)
{
    while (node != NULL) {
        struct wheel_node *next = node->next;
        node->next = NULL;
        node->link = NULL;
        if ((node->tag & 15) == LOOP_OWNER_OP)
            weir_container(node, struct timer, node)->loop = NULL;
        node = next;
    }
}

void loop_timers_forget(weir_loop *loop)
{
    while (loop->timers_root != NULL) {
        struct timer *timer = weir_container(loop->timers_root, struct timer, pending);
        heap_remove(loop, &timer->pending);
        timer->loop = NULL;
    }
    for (unsigned level = 0; level < WHEEL_LEVELS; level++)
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++)
            forget_list(loop->wheel.slot[level][slot]);
    forget_list(loop->wheel.expired);
}

void loop_timers_run(weir_loop *loop)
{
    enum { CASCADE_BUDGET = 4096, PRECISE_BUDGET = 4096 };
    /* Bounded: one that starts itself again in the past must not hold the turn for ever. */
    for (int fired = 0; loop->timers_root != NULL && fired < PRECISE_BUDGET; fired++) {
        struct timer *timer = weir_container(loop->timers_root, struct timer, pending);
        if (timer->due_ns > loop->now_ns || loop_is_orphan(loop))
            break;
        heap_remove(loop, &timer->pending);
        timer_fire(loop, timer);
    }
    wheel_advance(&loop->wheel, loop->now_ms, CASCADE_BUDGET);
    struct wheel_node *node;
    while (!loop_is_orphan(loop) && (node = wheel_expire(&loop->wheel)) != NULL)
        loop->hooks[node->tag & 15].timer(loop, node);
}

weir_time loop_timers_due(const weir_loop *loop)
{
    weir_time due = WEIR_NEVER;
    if (loop->timers_root != NULL)
        due = due_of(loop->timers_root);
    uint32_t wait_ms = wheel_wait_ms(&loop->wheel);
    if (wait_ms == UINT32_MAX)
        return due;
    /* The wheel's millisecond begins at a whole number of them since the epoch. */
    uint64_t base_ms = (loop->now_ns - loop->epoch_ns) / WEIR_MS;
    uint32_t behind_ms = loop->now_ms - loop->wheel.now_ms;
    if (wait_ms <= behind_ms)
        return due < loop->now_ns ? due : loop->now_ns;
    weir_time wheel_due = loop->epoch_ns + (base_ms + wait_ms - behind_ms) * WEIR_MS;
    return wheel_due < due ? wheel_due : due;
}
