#include "loop/stall.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/altstack.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "loop/loop.h"

enum {
    FRAMES_MAX = 64,
    ANSWER_MS = 100, /* for the thread to take the signal */
    PERIOD_MIN_MS = 5,
    /* Ignored by those who do not know it, and so harmless to a thread that is not asked. */
    STALL_SIGNAL = SIGURG,
};

enum { ASK_NOTHING, ASK_WANTED, ASK_TAKEN, ASK_DONE };

/* Held while the watcher is started and ended, which it waits for. */
static pthread_mutex_t beginnings = PTHREAD_MUTEX_INITIALIZER;

static struct {
    pthread_mutex_t lock; /* of all that follows but for what the signal's handler touches */
    pthread_cond_t changed;
    pthread_t thread;
    bool running;
    struct list loops;
    uint32_t held; /* stalls that were not shown, to keep to one a second */
    uint64_t shown_ns;
    bool taken_told;         /* that the signal is the program's now */
    struct sigaction former; /* never our own */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* One thread is asked at a time. */
static struct {
    _Atomic int state;
    _Atomic pid_t thread;
    void *frames[FRAMES_MAX];
    int count;
    const void *place; /* where the signal came */
} ask;

/* -- in the thread that is asked -- */

static const void *place_of(const void *context)
{
    const ucontext_t *user = context;
#if defined(__x86_64__)
    return (const void *)(uintptr_t)user->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (const void *)(uintptr_t)user->uc_mcontext.pc;
#else
    (void)user;
    return NULL;
#endif
}

/* backtrace() neither allocates nor locks once it has been called (the unwinder of gcc 12 with
 * glibc 2.35), and goes through the switch of coroutines. */
static void asked(int number, siginfo_t *info, void *context)
{
    int error = errno, wanted = ASK_WANTED;
    if (atomic_load(&ask.thread) == (pid_t)syscall(SYS_gettid) &&
        atomic_compare_exchange_strong(&ask.state, &wanted, ASK_TAKEN)) {
        ask.count = backtrace(ask.frames, FRAMES_MAX);
        ask.place = place_of(context);
        atomic_store(&ask.state, ASK_DONE);
    } else if ((watch.former.sa_flags & SA_SIGINFO) != 0) {
        watch.former.sa_sigaction(number, info, context);
    } else if (watch.former.sa_handler != SIG_DFL && watch.former.sa_handler != SIG_IGN) {
        watch.former.sa_handler(number);
    }
    errno = error;
}

/* -- in the watcher, with the lock -- */

static bool answer_wait(void)
{
    for (int i = 0; i < ANSWER_MS && atomic_load(&ask.state) != ASK_DONE; i++)
        weir__clock_sleep_ns(WEIR_MS);
    int wanted = ASK_WANTED;
    if (atomic_compare_exchange_strong(&ask.state, &wanted, ASK_NOTHING))
        return false; /* it blocks the signal, or does not run at all */
    while (atomic_load(&ask.state) != ASK_DONE)
        weir__clock_sleep_ns(WEIR_MS);
    return true;
}

/* How many frames are the handler's own. */
static int frames_skip(void)
{
    for (int i = 0; i < ask.count; i++)
        if (ask.frames[i] == ask.place)
            return i;
    return 0;
}

static void frame_tell(int number, const void *address, bool exact)
{
    Dl_info info;
    /* A return address may be the next function's first; that of the signal is where it was. */
    const char *at = (const char *)address - !exact;
    if (dladdr(at, &info) == 0)
        weir__log(WEIR_LOG_WARN, 0, 0, "    #%d %p", number, address);
    else if (info.dli_sname != NULL)
        weir__log(WEIR_LOG_WARN, 0, 0, "    #%d %s+0x%zx (%s+0x%zx)", number, info.dli_sname,
                  (size_t)(at - (const char *)info.dli_saddr), info.dli_fname,
                  (size_t)(at - (const char *)info.dli_fbase));
    else
        weir__log(WEIR_LOG_WARN, 0, 0, "    #%d %s+0x%zx", number, info.dli_fname,
                  (size_t)(at - (const char *)info.dli_fbase));
}

static void trace_tell(const weir_loop *loop, uint64_t held_ns)
{
    weir__log(
        WEIR_LOG_WARN, 0, 0,
        "loop %u has been held for %llu ms by a handler that goes on; %u more not shown; it is "
        "at:",
        loop->id, (unsigned long long)(held_ns / WEIR_MS), watch.held);
    watch.held = 0;
    int skip = frames_skip();
    for (int i = skip; i < ask.count; i++)
        frame_tell(i - skip, ask.frames[i], i == skip && ask.frames[i] == ask.place);
}

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == asked;
}

/* Whether the signal is still ours: another handler would not answer, and is not to be bothered. */
static bool can_ask(void)
{
    struct sigaction now;
    if (sigaction(STALL_SIGNAL, NULL, &now) == 0 && is_ours(&now))
        return true;
    if (!watch.taken_told)
        weir__log(WEIR_LOG_WARN, 0, 0,
                  "stalls cannot be traced any more: the program has taken SIGURG");
    watch.taken_told = true;
    return false;
}

static void loop_look(weir_loop *loop, uint64_t now_ns)
{
    struct stall *stall = &loop->stall;
    uint64_t since_ns = atomic_load(&stall->since_ns);
    pid_t thread = atomic_load(&stall->thread);
    if (since_ns == 0 || since_ns == stall->told_ns || thread == 0 ||
        now_ns < since_ns + loop->options.stall_ms * WEIR_MS)
        return;
    stall->told_ns = since_ns;
    if (watch.shown_ns != 0 && now_ns - watch.shown_ns < WEIR_S) {
        watch.held++;
        return;
    }
    if (!can_ask())
        return;
    atomic_store(&ask.thread, thread);
    atomic_store(&ask.state, ASK_WANTED);
    bool answered = syscall(SYS_tgkill, getpid(), thread, STALL_SIGNAL) == 0 && answer_wait();
    /* When it has left its handlers meanwhile, this is where it was afterwards. */
    if (answered && atomic_load(&stall->since_ns) == since_ns) {
        watch.shown_ns = now_ns;
        trace_tell(loop, now_ns - since_ns);
    }
    atomic_store(&ask.state, ASK_NOTHING);
}

/* Looks twice in the shortest limit. */
static uint64_t look_around(uint64_t now_ns)
{
    uint64_t period_ms = WEIR_S / WEIR_MS;
    for (struct list *link = watch.loops.next; link != &watch.loops; link = link->next) {
        weir_loop *loop = weir_container(link, struct weir_loop, stall.link);
        if (loop->options.stall_ms / 2 < period_ms)
            period_ms = loop->options.stall_ms / 2;
        loop_look(loop, now_ns);
    }
    return (period_ms > PERIOD_MIN_MS ? period_ms : PERIOD_MIN_MS) * WEIR_MS;
}

static void *look(void *arg)
{
    pthread_mutex_lock(&watch.lock);
    while (watch.running) {
        uint64_t now_ns = weir__clock_now_ns();
        uint64_t until_ns = look_around(now_ns) + weir__clock_now_ns();
        struct timespec until = {.tv_sec = (time_t)(until_ns / WEIR_S),
                                 .tv_nsec = (long)(until_ns % WEIR_S)};
        if (watch.running)
            pthread_cond_timedwait(&watch.changed, &watch.lock, &until);
    }
    pthread_mutex_unlock(&watch.lock);
    return NULL;
}

/* -- beginning and ending -- */

/* The handler of before comes back, unless the program has set another one meanwhile. */
static void signal_give_back(void)
{
    struct sigaction now;
    if (sigaction(STALL_SIGNAL, NULL, &now) == 0 && is_ours(&now))
        sigaction(STALL_SIGNAL, &watch.former, NULL);
}

/* What was ours may have stayed, or come back, when there was no watcher: whoever saved it as its
 * own former one put it back then. The one before it is kept. */
static int signal_take(void)
{
    const struct sigaction action = {.sa_sigaction = asked,
                                     .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    struct sigaction now;
    if (sigaction(STALL_SIGNAL, NULL, &now) < 0)
        return -errno;
    if (is_ours(&now))
        return 0;
    watch.former = now;
    return sigaction(STALL_SIGNAL, &action, NULL) == 0 ? 0 : -errno;
}

/* A child has no watcher, and none of its parent's loops. */
static void forked_child(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    watch.lock = beginnings = fresh;
    watch.running = false;
    list_init(&watch.loops);
    atomic_store(&ask.state, ASK_NOTHING);
    signal_give_back();
    weir__altstack_forked();
}

static void prepare(void)
{
    list_init(&watch.loops);
    pthread_atfork(NULL, NULL, forked_child);
}

static int watcher_start(void)
{
    pthread_condattr_t monotonic;
    sigset_t all, before;
    void *frame;
    backtrace(&frame, 1); /* loads what it needs, which is not for signal handlers */
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&watch.changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int error = -signal_take();
    if (error != 0)
        return -error;
    watch.running = true;
    weir__signals_of_others(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&watch.thread, NULL, look, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        return 0;
    watch.running = false;
    signal_give_back();
    return -error;
}

void stall_watch(weir_loop *loop)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int result = 0;
    if (!loop->options.stall_trace)
        return;
    pthread_once(&once, prepare);
    loop->stall = (struct stall){.told_ns = 0};
    pthread_mutex_lock(&beginnings);
    pthread_mutex_lock(&watch.lock);
    if (!watch.running)
        result = watcher_start();
    if (result == 0)
        list_push(&watch.loops, &loop->stall.link);
    pthread_mutex_unlock(&watch.lock);
    pthread_mutex_unlock(&beginnings);
    if (result < 0)
        weir__log(WEIR_LOG_WARN, result, 0, "nobody looks for stalls of loop %u: %s", loop->id,
                  weir_error_text(result));
}

void stall_unwatch(weir_loop *loop)
{
    if (loop->stall.link.next == NULL)
        return;
    pthread_mutex_lock(&beginnings);
    pthread_mutex_lock(&watch.lock);
    list_remove(&loop->stall.link);
    loop->stall.link.next = NULL;
    bool last = watch.running && list_empty(&watch.loops);
    if (last) {
        watch.running = false;
        pthread_cond_signal(&watch.changed);
    }
    pthread_mutex_unlock(&watch.lock);
    if (last) {
        pthread_join(watch.thread, NULL);
        pthread_cond_destroy(&watch.changed);
        signal_give_back();
    }
    pthread_mutex_unlock(&beginnings);
    if (atomic_load(&loop->stall.thread) == (pid_t)syscall(SYS_gettid))
        weir__altstack_drop();
}

void stall_begin(weir_loop *loop)
{
    if (atomic_load_explicit(&loop->stall.thread, memory_order_relaxed) == 0) {
        sigset_t only;
        sigemptyset(&only);
        sigaddset(&only, STALL_SIGNAL);
        pthread_sigmask(SIG_UNBLOCK, &only, NULL);
        weir__altstack_need();
        atomic_store(&loop->stall.thread, (pid_t)syscall(SYS_gettid));
    }
    atomic_store_explicit(&loop->stall.since_ns, loop->now_ns, memory_order_relaxed);
}
