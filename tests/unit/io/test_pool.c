#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/alloc.h"
#include "co/sanitize.h"
#include "io/pool.h"
#include "support/skip.h"

static void sleep_ms(int ms)
{
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

/* An io that does nothing but count its wakes. */
struct fake {
    struct io io;
    struct pool_client client;
    _Atomic unsigned wakes;
};

static void fake_wake(struct io *io)
{
    atomic_fetch_add(&((struct fake *)io)->wakes, 1);
}

static const struct io_ops fake_ops = {.name = "fake", .wake = fake_wake};

static void fake_init(struct fake *fake)
{
    *fake = (struct fake){.io.ops = &fake_ops};
    fake->client.io = &fake->io;
}

static int add_one(void *arg)
{
    return atomic_fetch_add((_Atomic int *)arg, 1) + 1;
}

static int wait_for_go(void *arg)
{
    while (!atomic_load((_Atomic int *)arg))
        sleep_ms(1);
    return 0;
}

static struct io_file job(int (*call)(void *), void *arg, uint64_t token)
{
    return (struct io_file){.verb = IO_FILE_CALL, .call = call, .arg = arg, .token = token};
}

/* Takes what is done until `count` jobs came; their number in the order of coming. */
static void harvest(struct fake *fake, unsigned count)
{
    for (int tries = 0; count > 0 && tries < 5000; tries++) {
        struct io_file *file = weir__pool_harvest(&fake->client);
        for (; file != NULL; file = file->next)
            count--;
        if (count > 0)
            sleep_ms(1);
    }
    assert_int_equal(count, 0);
    weir__pool_quiet(&fake->client);
}

static void threads_start_when_needed_and_end_when_idle(void **state)
{
    uint64_t live = weir__alloc_live();
    struct io_pool *pool = weir__pool_new(3, 0);
    struct fake fake;
    struct io_file file[5];
    _Atomic int count = 0, go = 0;
    fake_init(&fake);
    weir__pool_set_idle_ms(pool, 50);
    assert_int_equal(weir__pool_running(pool), 0);
    /* One after the other needs one thread. */
    for (unsigned i = 0; i < 5; i++) {
        file[0] = job(add_one, &count, 1);
        assert_int_equal(weir__pool_submit(pool, &fake.client, &file[0]), 0);
        harvest(&fake, 1);
        sleep_ms(2);
    }
    assert_int_equal(weir__pool_running(pool), 1);
    /* Blocking ones take all three, and no more. */
    for (unsigned i = 0; i < 5; i++) {
        file[i] = job(wait_for_go, &go, i);
        assert_int_equal(weir__pool_submit(pool, &fake.client, &file[i]), 0);
    }
    assert_int_equal(weir__pool_running(pool), 3);
    atomic_store(&go, 1);
    harvest(&fake, 5);
    for (int tries = 0; weir__pool_running(pool) != 0 && tries < 1000; tries++)
        sleep_ms(5);
    assert_int_equal(weir__pool_running(pool), 0);
    /* And start again in the places of the ended. */
    file[0] = job(add_one, &count, 1);
    assert_int_equal(weir__pool_submit(pool, &fake.client, &file[0]), 0);
    harvest(&fake, 1);
    assert_int_equal(count, 6);
    weir__pool_free(pool);
    assert_int_equal(weir__alloc_live(), live);
}

static void the_queue_has_a_limit(void **state)
{
    struct io_pool *pool = weir__pool_new(1, 3);
    struct fake fake;
    struct io_file file[6];
    _Atomic int go = 0, begun = 0;
    fake_init(&fake);
    file[0] = job(wait_for_go, &go, 0);
    assert_int_equal(weir__pool_submit(pool, &fake.client, &file[0]), 0);
    sleep_ms(20); /* it is begun: no longer in the queue */
    for (unsigned i = 1; i < 4; i++) {
        file[i] = job(add_one, &begun, i);
        assert_int_equal(weir__pool_submit(pool, &fake.client, &file[i]), 0);
    }
    file[4] = job(add_one, &begun, 4);
    assert_int_equal(weir__pool_submit(pool, &fake.client, &file[4]), WEIR_EFULL);
    /* Taken back from the end, the middle and the front; nobody else's. */
    struct fake other;
    fake_init(&other);
    assert_null(weir__pool_cancel(pool, &other.client, 3));
    assert_ptr_equal(weir__pool_cancel(pool, &fake.client, 3), &file[3]);
    assert_null(weir__pool_cancel(pool, &fake.client, 3));
    assert_null(weir__pool_cancel(pool, &fake.client, 0)); /* begun */
    assert_int_equal(weir__pool_submit(pool, &fake.client, &file[4]), 0);
    assert_ptr_equal(weir__pool_cancel(pool, &fake.client, 1), &file[1]);
    atomic_store(&go, 1);
    harvest(&fake, 3);
    assert_int_equal(begun, 2);
    weir__pool_free(pool);
}

/* Several ios, many jobs: each comes back on its own, and wakes it. */
static void jobs_come_back_on_their_own_io(void **state)
{
    enum { IOS = 4, JOBS = 500 };
    struct io_pool *pool = weir__pool_new(3, IOS * JOBS);
    static struct fake fake[IOS];
    static struct io_file file[IOS][JOBS];
    _Atomic int count = 0;
    for (unsigned io = 0; io < IOS; io++) {
        fake_init(&fake[io]);
        for (unsigned i = 0; i < JOBS; i++) {
            file[io][i] = job(add_one, &count, io * JOBS + i);
            assert_int_equal(weir__pool_submit(pool, &fake[io].client, &file[io][i]), 0);
        }
    }
    for (unsigned io = 0; io < IOS; io++) {
        harvest(&fake[io], JOBS);
        assert_in_range(fake[io].wakes, 1, JOBS);
    }
    assert_int_equal(count, IOS * JOBS);
    weir__pool_free(pool);
}

/* Jobs that wait when the pool is freed are still done. */
static void freeing_finishes_the_queue(void **state)
{
    struct io_pool *pool = weir__pool_new(1, 100);
    struct fake fake;
    struct io_file file[50];
    _Atomic int count = 0;
    fake_init(&fake);
    for (unsigned i = 0; i < 50; i++) {
        file[i] = job(add_one, &count, i);
        assert_int_equal(weir__pool_submit(pool, &fake.client, &file[i]), 0);
    }
    weir__pool_free(pool);
    assert_int_equal(count, 50);
    harvest(&fake, 50);
    weir__pool_free(NULL);
}

static void a_child_has_a_pool_of_its_own(void **state)
{
    struct io_pool *pool = weir__pool_new(2, 8);
    struct fake fake;
    struct io_file file;
    _Atomic int count = 0;
    int status;
    pid_t child;
#if SANITIZE_THREAD
    skip_because("under the thread sanitizer a forked child can start no threads");
#endif
    fake_init(&fake);
    file = job(add_one, &count, 1);
    assert_int_equal(weir__pool_submit(pool, &fake.client, &file), 0);
    harvest(&fake, 1);
    child = fork();
    if (child == 0) {
        weir__pool_forked(pool);
        file = job(add_one, &count, 2);
        if (weir__pool_running(pool) != 0 || weir__pool_submit(pool, &fake.client, &file) != 0)
            _exit(1);
        harvest(&fake, 1);
        weir__pool_free(pool);
        _exit(count == 2 ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    weir__pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_start_when_needed_and_end_when_idle),
        cmocka_unit_test(the_queue_has_a_limit),
        cmocka_unit_test(jobs_come_back_on_their_own_io),
        cmocka_unit_test(freeing_finishes_the_queue),
        cmocka_unit_test(a_child_has_a_pool_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
