/* weir_run: what a program's services become when they are served until a signal. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/signals.h"
#include "net/run.h"

_Atomic(struct run *) run_running;
/* Who looks at it from elsewhere counts himself here first; the end waits until nobody does. */
static _Atomic uint32_t users;

static unsigned cpus(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? (unsigned)count : 1;
}

static int options_check(const weir_run_options *o, unsigned services)
{
    unsigned most = RUN_LOOPS_MAX - (o->shape == WEIR_SHAPE_ACCEPTOR); /* that one is ours */
    if (services == 0 || services > RUN_SERVICES_MAX)
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                  "cannot serve %u services: 1 to %u are possible", services,
                  (unsigned)RUN_SERVICES_MAX);
    else if ((unsigned)o->shape > WEIR_SHAPE_PROCESSES)
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "there is no shape %u", (unsigned)o->shape);
    else if ((unsigned)o->spread > WEIR_SPREAD_SOURCE_HASH)
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "there is no spread %u", (unsigned)o->spread);
    else if (o->loops > most)
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                  "%u loops are too many: at most %u, and one a CPU is what helps", o->loops, most);
    else if (o->shape != WEIR_SHAPE_PROCESSES &&
             (o->worker_user != NULL || o->worker_group != NULL))
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                  "a user of the workers is for shape processes, which alone has workers");
    else
        return 0;
    return WEIR_EINVALID;
}

static void shape_fill(struct run *run)
{
    weir_run_options *o = &run->options;
    unsigned loops = o->loops != 0 ? o->loops : cpus();
    run->loop_count = run->listening_loops = 1;
    if (o->shape == WEIR_SHAPE_PROCESSES) {
        run->workers = run->listening_loops = loops < RUN_LOOPS_MAX ? loops : RUN_LOOPS_MAX;
    } else if (o->shape == WEIR_SHAPE_THREADS) {
        run->loop_count = run->listening_loops = loops < RUN_LOOPS_MAX ? loops : RUN_LOOPS_MAX;
    } else if (o->shape == WEIR_SHAPE_ACCEPTOR) { /* one accepts, the others serve */
        if (o->loops == 0 && loops > 1)
            loops--;
        run->loop_count = 1 + (loops < RUN_LOOPS_MAX ? loops : RUN_LOOPS_MAX - 1);
    }
    o->loop.overflow_report |= !o->keep_signals;
    /* What is the loop's alone is shared out among them. */
    unsigned sharers = run->workers != 0 ? run->workers : run->loop_count;
    if (o->loop.memory_max_bytes == 0)
        o->loop.memory_max_bytes = limits_memory_bytes() / 4 / sharers;
    limit_default(&o->loop.sharers, (sharers + cpus() - 1) / cpus());
    limit_default(&o->drain_ms, RUN_DRAIN_MS);
}

static int fill(struct run *run, const weir_service *services, size_t service_size, unsigned count,
                const weir_run_options *options, size_t options_size)
{
    if (options != NULL)
        memcpy(&run->options, options,
               options_size < sizeof run->options ? options_size : sizeof run->options);
    int result = options_check(&run->options, services != NULL ? count : 0);
    if (result < 0)
        return result;
    size_t part = service_size < sizeof(weir_service) ? service_size : sizeof(weir_service);
    for (unsigned i = 0; i < count; i++)
        memcpy(&run->services[i], (const char *)services + i * service_size, part);
    run->service_count = count;
    shape_fill(run);
    run->loops = weir__zalloc(run->loop_count * sizeof *run->loops);
    if (run->loops == NULL)
        return WEIR_ENOMEM;
    for (unsigned i = 0; i < run->loop_count; i++) {
        run->loops[i].run = run;
        run->loops[i].index = run->loops[i].place = i;
    }
    return 0;
}

/* A signal that comes when the sockets are open, and nobody hears it yet, would end the process and
 * leave the files of unix sockets behind. */
static void signals_hold(struct run *run)
{
    sigset_t stopping;
    if (run->options.keep_signals)
        return;
    sigemptyset(&stopping);
    sigaddset(&stopping, SIGTERM);
    sigaddset(&stopping, SIGQUIT);
    sigaddset(&stopping, SIGINT);
    if (run->options.shape == WEIR_SHAPE_PROCESSES) { /* the master reads them all */
        sigaddset(&stopping, SIGHUP);
        sigaddset(&stopping, SIGUSR1);
        sigaddset(&stopping, SIGUSR2);
        sigaddset(&stopping, SIGWINCH);
    }
    run->signals_held = pthread_sigmask(SIG_BLOCK, &stopping, &run->mask) == 0;
}

void run_signals_hear(struct run *run)
{
    if (run->signals_held)
        pthread_sigmask(SIG_SETMASK, &run->mask, NULL);
    run->signals_held = false;
}

/* Threads of loops take no signals but those of their own faults: the first one's does. */
static int threads_start(struct run *run)
{
    sigset_t all, former;
    weir__signals_of_others(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    int result = 0;
    for (unsigned i = 1; i < run->loop_count && result == 0; i++) {
        result = -pthread_create(&run->loops[i].thread, NULL, run_loop_main, &run->loops[i]);
        run->loops[i].started = result == 0;
        if (result != 0)
            weir__log(WEIR_LOG_ERROR, result, 0, "cannot start thread %u of %u: %s", i,
                      run->loop_count, weir_error_text(result));
    }
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    return result;
}

static int serve(struct run *run)
{
    int result = threads_start(run);
    if (result < 0) {
        pthread_mutex_lock(&run->lock);
        run->given_up = true;
        pthread_cond_broadcast(&run->changed);
        pthread_mutex_unlock(&run->lock);
    } else {
        run_loop_main(&run->loops[0]);
        result = run->loops[0].result;
        if (result == -EOWNERDEAD) /* a child of the process that started the threads */
            return result;
    }
    for (unsigned i = 1; i < run->loop_count; i++) {
        if (!run->loops[i].started)
            continue;
        pthread_join(run->loops[i].thread, NULL);
        if (result == 0)
            result = run->loops[i].result;
    }
    return result;
}

int weir__run(const weir_service *services, size_t service_size, unsigned count,
              const weir_run_options *options, size_t options_size)
{
    struct run *run = weir__zalloc(sizeof *run), *nobody = NULL;
    if (run == NULL)
        return WEIR_ENOMEM;
    if (!atomic_compare_exchange_strong(&run_running, &nobody, run)) {
        weir__free(run);
        return WEIR_EMISUSE; /* one at a time in a process */
    }
    bool quiet = options != NULL && options_size >= sizeof *options && options->quiet;
    if (!quiet && !weir__log_has_sink())
        weir_log_set(weir_log_to_fd, (void *)(intptr_t)STDERR_FILENO, WEIR_LOG_WARN);
    run->told_fd = -1;
    pthread_mutex_init(&run->lock, NULL);
    pthread_cond_init(&run->changed, NULL);
    int result = fill(run, services, service_size, count, options, options_size);
    if (result == 0) {
        signals_hold(run);
        result = run_sockets_open(run);
    }
    if (result == 0 && run->options.on_opened != NULL)
        result = run->options.on_opened(run->options.user);
    if (result == 0)
        result = run_sockets_open_late(run, services, service_size);
    if (result == 0)
        result = run->workers != 0 ? run_master(run) : serve(run);
    bool orphan = result == -EOWNERDEAD; /* sockets' files, lock and threads are the parent's */
    atomic_store(&run_running, NULL);
    while (!orphan && atomic_load(&users) != 0)
        sched_yield();
    shared_free(run->shared, run->workers);
    run_sockets_close(run, !orphan);
    run_signals_hear(run);
    if (!orphan) {
        pthread_mutex_destroy(&run->lock);
        pthread_cond_destroy(&run->changed);
    }
    weir__free(run->loops);
    weir__free(run);
    return result;
}

/* Counts, and wakes the first loop, which looks at the count between its turns. */
static void stop(struct run *run)
{
    if (run->workers != 0) { /* also in a worker, of which the master would start another */
        struct shared *shared = run->shared;
        atomic_fetch_add(shared != NULL ? &shared->stops : &run->early_stops, 1);
        if (run->told_fd >= 0)
            run_master_wake(run);
        return;
    }
    atomic_fetch_add(&run->stops, 1);
    uint32_t id = atomic_load(&run->first_id);
    weir_loop *first = loop_pin(id);
    if (first == NULL)
        return;
    first->io->ops->wake(first->io);
    loop_unpin(id);
}

void weir_stop(void)
{
    atomic_fetch_add(&users, 1);
    struct run *run = atomic_load(&run_running);
    if (run != NULL)
        stop(run);
    atomic_fetch_sub(&users, 1);
}

int run_as_workers(int (*fn)(const char *name), const char *name)
{
    atomic_fetch_add(&users, 1);
    const struct run *run = atomic_load(&run_running);
    bool master = run != NULL && run->master != NULL && run->seat == NULL;
    int result = master ? privileges_lend(&run->privileges, fn, name) : fn(name);
    atomic_fetch_sub(&users, 1);
    return result;
}

int weir_run_address(unsigned index, weir_address *out)
{
    atomic_fetch_add(&users, 1);
    struct run *run = atomic_load(&run_running);
    int result = run != NULL && index < run->socket_count && out != NULL ? 0 : WEIR_EGONE;
    if (result == 0)
        *out = run->sockets[index].address;
    atomic_fetch_sub(&users, 1);
    return result;
}
