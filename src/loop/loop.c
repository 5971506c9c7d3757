/* The loop: its birth, its turn, its end. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/env.h"
#include "base/log.h"
#include "loop/limits.h"
#include "loop/loop.h"

__thread weir_loop *weir__current __attribute__((tls_model("initial-exec")));

static struct io_fd *find_descriptor(void *owner, uint64_t token)
{
    weir_loop *loop = owner;
    unsigned kind = IO_TOKEN_OWNER(token);
    if (kind >= LOOP_OWNERS || loop->hooks[kind].find == NULL)
        return NULL;
    return loop->hooks[kind].find(loop, token);
}

/* A close whose record is gone already: its completion is awaited, but nobody is told. */
static void nobodys_event(weir_loop *loop, const struct io_event *event)
{
}

static void loop_clock(weir_loop *loop)
{
    uint64_t now_ns = weir__clock_now_ns();
    if (now_ns > loop->now_ns)
        loop->now_ns = now_ns;
    loop->now_ms = (uint32_t)((loop->now_ns - loop->epoch_ns) / WEIR_MS);
}

static void options_fill(weir_loop *loop, const weir_loop_options *options, size_t size)
{
    if (options != NULL)
        memcpy(&loop->options, options, size < sizeof loop->options ? size : sizeof loop->options);
    weir_loop_options *o = &loop->options;
    if (weir__getenv("WEIR_BACKEND") != NULL)
        o->backend = weir__getenv("WEIR_BACKEND");
    if (weir__getenv("WEIR_FEATURES") != NULL)
        o->features = weir__getenv("WEIR_FEATURES");
    if (weir__getenv("WEIR_STALL_TRACE") != NULL)
        o->stall_trace = true;
    limit_default(&o->conns_max, LIMIT_CONNS_MAX);
    limit_default(&o->posts_max, LIMIT_POSTS_MAX);
    limit_default(&o->stall_ms, LIMIT_STALL_MS);
    if (o->posts_max_bytes == 0)
        o->posts_max_bytes = LIMIT_POSTS_MAX_BYTES;
    if (o->memory_max_bytes == 0)
        o->memory_max_bytes = limits_memory_bytes() / 4;
}

enum { STACK_BYTES_MIN = 16384 };

static int options_check(const weir_loop_options *o)
{
    if (o->stack_bytes != 0 && (o->stack_bytes < STACK_BYTES_MIN || o->stack_bytes > 1u << 30)) {
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                  "stack_bytes of a loop is %u; 16384 to 1073741824 are possible", o->stack_bytes);
        return WEIR_EINVALID;
    }
    if (o->conns_max <= 1u << SLAB_SLOT_BITS)
        return 0;
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
              "conns_max of a loop is %u; at most %u is possible, on each of several loops",
              o->conns_max, 1u << SLAB_SLOT_BITS);
    return WEIR_EINVALID;
}

int loop_io_open(weir_loop *loop)
{
    const weir_loop_options *o = &loop->options;
    loop->pool = weir__pool_new(LIMIT_POOL_THREADS, LIMIT_POOL_QUEUE);
    if (loop->pool == NULL)
        return WEIR_ENOMEM;
    struct io_config config = {
        .owner = loop,
        .find = find_descriptor,
        .block_size = o->receive_block_bytes,
        .blocks = o->receive_blocks,
        .sharers = o->sharers,
        .direct_slots = o->direct_slots,
        .pool = loop->pool,
        .features = o->features,
    };
    const char *why = NULL;
    int result = weir__io_open(&loop->io, o->backend, &config, &why);
    if (result < 0) {
        weir__log(WEIR_LOG_ERROR, result, 0, "back end %s cannot start: %s (%s)",
                  o->backend != NULL ? o->backend : "auto", why != NULL ? why : "no reason given",
                  weir_error_text(result));
        weir__pool_free(loop->pool);
        loop->pool = NULL;
        return result;
    }
    if (weir__getenv("WEIR_BACKEND") != NULL)
        loop->backend_why = "WEIR_BACKEND names it";
    else if (o->backend != NULL && strcmp(o->backend, "auto") != 0)
        loop->backend_why = "as asked";
    else /* what kept a better one from starting, if something did */
        loop->backend_why = why != NULL ? why : "the first choice, and it works here";
    return 0;
}

void loop_io_close(weir_loop *loop)
{
    loop->io->ops->close(loop->io);
    weir__pool_free(loop->pool);
    loop->io = NULL;
    loop->pool = NULL;
}

int weir__loop_new(weir_loop **out, const weir_loop_options *options, size_t size)
{
    if (out == NULL)
        return WEIR_EINVALID;
    *out = NULL;
    weir_loop *loop = weir__aligned_zalloc(sizeof *loop, _Alignof(weir_loop));
    if (loop == NULL)
        return WEIR_ENOMEM;
    options_fill(loop, options, size);
    int result = options_check(&loop->options);
    if (result < 0) {
        weir__aligned_free(loop);
        return result;
    }
    loop->fork_mark = loop_fork_mark();
    loop->epoch_ns = weir__clock_now_ns();
    loop_clock(loop);
    loop->hooks[0].event = nobodys_event;
    list_init(&loop->ready);
    list_init(&loop->later);
    memory_init(&loop->memory, loop->options.memory_max_bytes);
    mpsc_init(&loop->posts, loop->options.posts_max, loop->options.posts_max_bytes);
    loop_timers_init(loop);
    result = loop_ops_init(loop);
    if (result == 0)
        result = loop_io_open(loop);
    if (result == 0) {
        result = loop_table_add(loop);
        if (result < 0)
            loop_io_close(loop);
    }
    if (result < 0) {
        loop_ops_end(loop);
        memory_end(&loop->memory);
        weir__aligned_free(loop);
        return result;
    }
    stall_watch(loop);
    *out = loop;
    return 0;
}

/* The first thread that turns a loop owns it from then on. */
static bool loop_mine(weir_loop *loop)
{
    uintptr_t self = (uintptr_t)pthread_self();
    uintptr_t owner = atomic_load_explicit(&loop->owner, memory_order_relaxed);
    return owner == self ||
           (owner == 0 && atomic_compare_exchange_strong(&loop->owner, &owner, self));
}

void loop_ready_run(weir_loop *loop)
{
    /* Coroutines that wake each other have no end: what is left waits for the next turn. */
    enum { AT_MOST = 4096 };
    struct list *link;
    for (int i = 0; i < AT_MOST && (link = list_pop(&loop->ready)) != NULL; i++) {
        struct loop_ready *ready = weir_container(link, struct loop_ready, link);
        ready->run(loop, ready);
    }
}

/* When the loop has something to do of which the kernel will not tell. */
static weir_time due_next(const weir_loop *loop)
{
    weir_time due = loop_timers_due(loop), again = loop->now_ns + WEIR_MS;
    return loop->cancels_owed && again < due ? again : due;
}

static int64_t sleep_ns(weir_loop *loop, weir_time deadline)
{
    weir_time due = due_next(loop);
    if (deadline < due)
        due = deadline;
    if (due <= loop->now_ns || (loop->net_busy != NULL && loop->net_busy(loop)) ||
        !list_empty(&loop->ready) || !list_empty(&loop->later) ||
        atomic_load_explicit(&loop->signals_pending, memory_order_relaxed) != 0)
        return 0;
    if (due == WEIR_NEVER)
        return -1;
    /* The loop's time is that of its last turn: since then handlers have run, or a host has slept.
     */
    uint64_t now_ns = weir__clock_now_ns();
    return due > now_ns ? (int64_t)(due - now_ns) : 0;
}

/* Whether there is more to do than can be done, window by window. */
static void busy_check(weir_loop *loop, uint64_t now_ns)
{
    uint64_t window_ns = now_ns - loop->busy_from_ns;
    if (window_ns < LIMIT_BUSY_MS * WEIR_MS)
        return;
    uint64_t waited_ns = loop->counters.waited_ns - loop->busy_from_waited_ns;
    loop->busy = loop->busy_from_ns != 0 && waited_ns * 10 < window_ns;
    loop->busy_from_ns = now_ns;
    loop->busy_from_waited_ns = loop->counters.waited_ns;
}

/* A handler that held the loop too long is named by its turn: the log says how long. */
static void stall_check(weir_loop *loop)
{
    static struct log_site site;
    uint64_t now_ns = weir__clock_now_ns(), held_ns = now_ns - loop->turn_handled_from_ns;
    if (loop->options.stall_trace)
        atomic_store_explicit(&loop->stall.since_ns, 0, memory_order_relaxed);
    loop->counters.handled_ns += held_ns;
    loop->turn_ended_ns = now_ns;
    busy_check(loop, now_ns);
    if (held_ns > loop->options.stall_ms * WEIR_MS) {
        loop->counters.stalls++;
        weir__log_limited(&site, WEIR_LOG_WARN, 0, 0,
                          "loop %u was held for %llu ms by its handlers: nothing else ran there",
                          loop->id, (unsigned long long)(held_ns / WEIR_MS));
    }
}

static void turn_wait(weir_loop *loop, weir_time deadline)
{
    int64_t timeout_ns = sleep_ns(loop, deadline);
    bool sleeps = timeout_ns != 0 && mpsc_sleep(&loop->posts);
    if (!sleeps || atomic_load(&loop->signals_pending) != 0) /* arrived since sleep_ns looked */
        timeout_ns = 0;
    int result = loop->io->ops->wait(loop->io, timeout_ns);
    if (sleeps)
        mpsc_awake(&loop->posts);
    if (result < 0) {
        static struct log_site site;
        weir__log_limited(&site, WEIR_LOG_ERROR, result, 0, "waiting failed on back end %s: %s",
                          loop->io->ops->name, weir_error_text(result));
    }
    loop_clock(loop);
}

/* A host may sleep from now on: whoever posts has to tell it. */
static void host_may_sleep(weir_loop *loop)
{
    if (!mpsc_sleep(&loop->posts))
        loop->io->ops->wake(loop->io);
}

int weir_loop_turn(weir_loop *loop, weir_time deadline)
{
    if (loop == NULL || !loop_mine(loop) || loop->in_turn)
        return WEIR_EMISUSE;
    if (loop->fork_mark != loop_fork_mark())
        return -EOWNERDEAD;
    weir_loop *former = loop_enter(loop);
    loop->in_turn = true;
    turn_wait(loop, deadline);
    if (loop->cancels_owed)
        loop_cancels_run(loop);
    loop->turn_handled_from_ns = loop->now_ns;
    if (loop->options.stall_trace)
        stall_begin(loop);
    if (loop->turn_ended_ns != 0 && loop->now_ns > loop->turn_ended_ns)
        loop->counters.waited_ns += loop->now_ns - loop->turn_ended_ns;

    struct io_event event;
    while (loop->io->ops->next(loop->io, &event) != 0)
        loop->hooks[IO_TOKEN_OWNER(event.token) % LOOP_OWNERS].event(loop, &event);
    if (loop_is_orphan(loop)) { /* a handler has forked, and this is the child: it stops here */
        loop->in_turn = false;
        loop_enter(former);
        return -EOWNERDEAD;
    }
    if (atomic_load_explicit(&loop->signals_pending, memory_order_relaxed) != 0)
        loop_signals_run(loop);
    if (atomic_load_explicit(&loop->posts.count, memory_order_relaxed) != 0)
        loop_mail_run(loop);
    loop_timers_run(loop);
    list_splice(&loop->ready, &loop->later);
    loop_ready_run(loop);
    if (loop->net_turn != NULL)
        loop->net_turn(loop);
    loop->counters.turns++;
    stall_check(loop);
    if (loop->embedded)
        host_may_sleep(loop);
    loop->in_turn = false;
    loop_enter(former);
    return atomic_load_explicit(&loop->stopping, memory_order_relaxed) ? WEIR_ESTOPPED : 0;
}

int weir_loop_run(weir_loop *loop)
{
    if (loop == NULL)
        return WEIR_EINVALID;
    int result = 0;
    while (result == 0)
        result = weir_loop_turn(loop, WEIR_NEVER);
    atomic_store(&loop->stopping, false);
    return result == WEIR_ESTOPPED ? 0 : result;
}

void weir_loop_stop(weir_loop *loop)
{
    if (loop == NULL)
        return;
    /* Whoever sees it stop may free it: it is held until it has been woken. */
    uint32_t id = loop->id;
    if (loop_pin(id) == NULL)
        return;
    atomic_store(&loop->stopping, true);
    loop->io->ops->wake(loop->io);
    loop_unpin(id);
}

/* Waits for what is still in flight: nothing may complete into memory that is gone. Files get some
 * time to be written and are canceled then. Bounded: false when something does not end at all, be
 * it a fault of the kernel, or a worker thread in a call that does not return. */
static bool drain_operations(weir_loop *loop)
{
    uint64_t began_ns = weir__clock_now_ns(), waited_ns = 0;
    bool canceled = false;
    while (loop->io->ops->in_flight(loop->io) != 0 && waited_ns < LIMIT_END_MS * WEIR_MS) {
        struct io_event event;
        if (!canceled && waited_ns >= LIMIT_END_FILES_MS * WEIR_MS) {
            canceled = true;
            loop_files_cancel(loop);
        }
        loop->io->ops->wait(loop->io, (int64_t)WEIR_MS * 5);
        loop_clock(loop);
        while (loop->io->ops->next(loop->io, &event) != 0)
            loop->hooks[IO_TOKEN_OWNER(event.token) % LOOP_OWNERS].event(loop, &event);
        /* No timers: a program's own must not fire into what it has given up, nor begin new
         * operations for ever. */
        if (loop->net_turn != NULL)
            loop->net_turn(loop);
        if (loop->cancels_owed)
            loop_cancels_run(loop);
        waited_ns = weir__clock_now_ns() - began_ns;
    }
    return loop->io->ops->in_flight(loop->io) == 0;
}

/* What did not end keeps all that it may still touch: better leaked than used by two. The list is
 * there so that whoever looks for leaks finds who holds them. */
static void loop_abandon(weir_loop *loop)
{
    static _Atomic(weir_loop *) abandoned;
    weir__log(WEIR_LOG_ERROR, WEIR_ETIMEDOUT, 0,
              "loop %u (%s) ended with %u operations in flight, %u of them its own%s: their memory "
              "is not given back",
              loop->id, loop->io->ops->name, loop->io->ops->in_flight(loop->io), loop->ops.used,
              loop->net != NULL ? ", and with connections" : "");
    loop->next_abandoned = atomic_load(&abandoned);
    while (!atomic_compare_exchange_weak(&abandoned, &loop->next_abandoned, loop))
        ;
}

static bool loop_end(weir_loop *loop)
{
    loop_mail_run(loop);
    loop_signals_end(loop);
    if (loop->net_stop != NULL)
        loop->net_stop(loop);
    if (loop->coroutines_stop != NULL)
        loop->coroutines_stop(loop);
    loop_ops_abandon(loop);
    bool ended = drain_operations(loop) && loop->net == NULL;
    loop_mail_run(loop);
    if (!ended) {
        loop_abandon(loop);
        return false;
    }
    loop_io_close(loop);
    loop_ops_end(loop);
    return true;
}

int loop_free(weir_loop *loop)
{
    WEIR_ASSERT(!loop->in_turn);
    stall_unwatch(loop);
    loop_table_remove(loop); /* from here on no other thread reaches it */
    weir_loop *former = loop_enter(loop);
    bool ended = true;
    loop->in_turn = true;
    if (loop->fork_mark == loop_fork_mark())
        ended = loop_end(loop);
    else
        loop_forget(loop);
    loop_table_release(loop);
    loop_enter(former == loop ? NULL : former);
    if (!ended)
        return WEIR_ETIMEDOUT;
    memory_end(&loop->memory);
    weir__aligned_free(loop);
    return 0;
}

void weir_loop_free(weir_loop *loop)
{
    if (loop != NULL)
        (void)loop_free(loop); /* it was logged */
}

int weir_loop_after_fork(weir_loop *loop)
{
    if (loop == NULL || loop->fork_mark == loop_fork_mark())
        return WEIR_EMISUSE;
    loop_forget(loop);
    loop->in_turn = false;
    atomic_store(&loop->owner, 0);
    atomic_store(&loop->signals_pending, 0);
    atomic_store(&loop->stopping, false);
    loop->embedded = loop->cancels_owed = false;
    mpsc_init(&loop->posts, loop->options.posts_max, loop->options.posts_max_bytes);
    loop_clock(loop);
    loop_timers_init(loop);
    int result = loop_ops_init(loop);
    if (result == 0)
        result = loop_io_open(loop);
    if (result == 0) {
        loop->fork_mark = loop_fork_mark();
        stall_watch(loop);
    }
    return result;
}

int weir_loop_fd(weir_loop *loop)
{
    if (loop == NULL)
        return WEIR_EINVALID;
    int fd = loop->io->ops->poll_fd(loop->io);
    if (fd >= 0 && !loop->embedded) {
        loop->embedded = true;
        host_may_sleep(loop);
    }
    return fd;
}

weir_time weir_loop_due(const weir_loop *loop)
{
    if (loop == NULL)
        return WEIR_NEVER;
    if ((loop->net_busy != NULL && loop->net_busy((weir_loop *)(uintptr_t)loop)) ||
        !list_empty(&loop->ready) || !list_empty(&loop->later))
        return 0;
    return due_next(loop);
}

weir_loop *weir_loop_enter(weir_loop *loop)
{
    if (loop != NULL && loop->fork_mark != loop_fork_mark())
        return loop_enter(NULL); /* the parent's: verbs say -EOWNERDEAD */
    if (loop != NULL && loop_mine(loop) && !loop->in_turn)
        loop_clock(loop);
    return loop_enter(loop);
}

weir_loop *weir_loop_current(void)
{
    return weir__current;
}

unsigned weir_loop_id(const weir_loop *loop)
{
    return loop != NULL ? loop->id : 0;
}

const char *weir_loop_backend(const weir_loop *loop)
{
    return loop != NULL ? loop->io->ops->name : "none";
}

weir_time weir_now(void)
{
    return weir__current != NULL ? weir__current->now_ns : weir__clock_now_ns();
}

weir_time weir_after(uint64_t ns)
{
    weir_time now = weir_now();
    return ns > WEIR_NEVER - now ? WEIR_NEVER : now + ns;
}
