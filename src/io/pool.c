#include "io/pool.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/signals.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <weir/error.h>

enum {
    THREADS_DEFAULT = 4,
    THREADS_MOST = 256,
    QUEUE_DEFAULT = 4096,
    IDLE_MS = 10000,
    STACK_BYTES = 1024 * 1024, /* blocking calls of others run here: resolvers need much */
};

enum worker_state { WORKER_NONE, WORKER_RUNS, WORKER_ENDED };

struct worker {
    pthread_t thread;
    enum worker_state state; /* ended: to be joined before the place is used again */
    struct io_pool *pool;
};

struct io_pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct io_file *first, **last; /* jobs that nobody has begun, oldest first */
    unsigned queued, queue_limit;
    unsigned running, idle, threads; /* threads: at most; idle: waiting for a job */
    unsigned promised;               /* idle workers that were told of a job and are not up yet */
    unsigned idle_ms;
    bool stopping;
    struct worker worker[];
};

/* Whose job it is stands in the job's own spare room. */
static struct pool_client *client_of(const struct io_file *file)
{
    return (struct pool_client *)(uintptr_t)file->how[0];
}

static void pool_init(struct io_pool *pool)
{
    pthread_condattr_t attributes;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->more, &attributes);
    pthread_condattr_destroy(&attributes);
    pool->first = NULL;
    pool->last = &pool->first;
    pool->queued = pool->running = pool->idle = pool->promised = 0;
    pool->stopping = false;
    for (unsigned i = 0; i < pool->threads; i++)
        pool->worker[i] = (struct worker){.pool = pool};
}

struct io_pool *weir__pool_new(unsigned threads, unsigned queue_limit)
{
    struct io_pool *pool;
    if (threads == 0)
        threads = THREADS_DEFAULT;
    if (threads > THREADS_MOST)
        threads = THREADS_MOST;
    pool = weir__zalloc(sizeof(*pool) + threads * sizeof(pool->worker[0]));
    if (pool == NULL)
        return NULL;
    pool->threads = threads;
    pool->idle_ms = IDLE_MS;
    pool->queue_limit = queue_limit != 0 ? queue_limit : QUEUE_DEFAULT;
    pool_init(pool);
    return pool;
}

/* --- workers ---------------------------------------------------------------------------------- */

/* The result goes onto the io's own list; whoever makes that list non-empty wakes the io. The io
 * may be closed as soon as it has harvested its last job, which can be before the wake: `telling`
 * holds it up until we are through. */
static void tell(struct io_file *file)
{
    struct pool_client *client = client_of(file);
    struct io_file *newest;
    atomic_fetch_add(&client->telling, 1);
    newest = atomic_load_explicit(&client->done, memory_order_relaxed);
    do
        file->next = newest;
    while (!atomic_compare_exchange_weak(&client->done, &newest, file));
    if (newest == NULL)
        client->io->ops->wake(client->io);
    atomic_fetch_sub(&client->telling, 1);
}

/* The oldest job, or NULL when this worker is to end. Called and returns with the lock. */
static struct io_file *next_job(struct io_pool *pool)
{
    struct io_file *file;
    while (pool->first == NULL) {
        struct timespec until;
        int error;
        uint64_t end = weir__clock_now_ns() + (uint64_t)pool->idle_ms * 1000000u;
        if (pool->stopping)
            return NULL;
        until.tv_sec = (time_t)(end / 1000000000u);
        until.tv_nsec = (long)(end % 1000000000u);
        pool->idle++;
        error = pthread_cond_timedwait(&pool->more, &pool->lock, &until);
        pool->idle--;
        if (pool->promised != 0)
            pool->promised--;
        if (error == ETIMEDOUT && pool->first == NULL)
            return NULL;
    }
    file = pool->first;
    pool->first = file->next;
    if (pool->first == NULL)
        pool->last = &pool->first;
    pool->queued--;
    return file;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct io_pool *pool = worker->pool;
    struct io_file *file;
    pthread_mutex_lock(&pool->lock);
    while ((file = next_job(pool)) != NULL) {
        pthread_mutex_unlock(&pool->lock);
        file->result = weir__pool_perform(file);
        tell(file);
        pthread_mutex_lock(&pool->lock);
    }
    pool->running--;
    worker->state = WORKER_ENDED;
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals are blocked in a worker: the application's handlers run on threads of its own. */
static int start_thread(struct worker *worker)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int error;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    weir__signals_of_others(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&worker->thread, &attributes, work, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error == 0)
        pthread_setname_np(worker->thread, "weir-pool");
    return error;
}

/* With the lock. A worker that has ended is joined first: it holds the lock no more. */
static void start_worker(struct io_pool *pool)
{
    for (unsigned i = 0; i < pool->threads; i++) {
        struct worker *worker = &pool->worker[i];
        if (worker->state == WORKER_RUNS)
            continue;
        if (worker->state == WORKER_ENDED)
            pthread_join(worker->thread, NULL);
        worker->state = WORKER_NONE;
        if (start_thread(worker) == 0) {
            worker->state = WORKER_RUNS;
            pool->running++;
        }
        return;
    }
}

/* --- jobs ------------------------------------------------------------------------------------- */

int weir__pool_submit(struct io_pool *pool, struct pool_client *client, struct io_file *file)
{
    int error = 0;
    file->how[0] = (uintptr_t)client;
    file->next = NULL;
    pthread_mutex_lock(&pool->lock);
    if (pool->idle <= pool->promised && pool->running < pool->threads && !pool->stopping)
        start_worker(pool);
    if (pool->stopping)
        error = WEIR_ESTOPPED;
    else if (pool->running == 0)
        error = -EAGAIN;
    else if (pool->queued >= pool->queue_limit)
        error = WEIR_EFULL;
    if (error == 0) {
        *pool->last = file;
        pool->last = &file->next;
        pool->queued++;
        if (pool->idle > pool->promised) {
            pool->promised++;
            pthread_cond_signal(&pool->more);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return error;
}

struct io_file *weir__pool_harvest(struct pool_client *client)
{
    struct io_file *newest, *oldest = NULL;
    if (atomic_load_explicit(&client->done, memory_order_relaxed) == NULL)
        return NULL;
    newest = atomic_exchange(&client->done, NULL);
    while (newest != NULL) {
        struct io_file *older = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = older;
    }
    return oldest;
}

struct io_file *weir__pool_cancel(struct io_pool *pool, struct pool_client *client, uint64_t token)
{
    struct io_file **link, *file;
    pthread_mutex_lock(&pool->lock);
    for (link = &pool->first; (file = *link) != NULL; link = &file->next) {
        if (file->token != token || client_of(file) != client)
            continue;
        *link = file->next;
        if (*link == NULL)
            pool->last = link;
        pool->queued--;
        break;
    }
    pthread_mutex_unlock(&pool->lock);
    return file;
}

void weir__pool_quiet(struct pool_client *client)
{
    while (atomic_load(&client->telling) != 0)
        sched_yield();
}

/* --- ends ------------------------------------------------------------------------------------- */

void weir__pool_free(struct io_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true; /* nobody is started from here on */
    pthread_cond_broadcast(&pool->more);
    for (unsigned i = 0; i < pool->threads; i++) {
        enum worker_state state = pool->worker[i].state;
        pthread_mutex_unlock(&pool->lock);
        if (state != WORKER_NONE)
            pthread_join(pool->worker[i].thread, NULL);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    WEIR_ASSERT(pool->first == NULL);
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->lock);
    weir__free(pool);
}

/* The lock may have been held by a thread that is not here: it is made anew, not unlocked. */
void weir__pool_forked(struct io_pool *pool)
{
    pool_init(pool);
}

/* --- for the plan and tests ------------------------------------------------------------------- */

unsigned weir__pool_running(struct io_pool *pool)
{
    unsigned running;
    pthread_mutex_lock(&pool->lock);
    running = pool->running;
    pthread_mutex_unlock(&pool->lock);
    return running;
}

void weir__pool_set_idle_ms(struct io_pool *pool, unsigned idle_ms)
{
    pthread_mutex_lock(&pool->lock);
    pool->idle_ms = idle_ms;
    pthread_mutex_unlock(&pool->lock);
}
