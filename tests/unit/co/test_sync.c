/* What coroutines of one loop share: who comes first is served first, nothing is lost to deadlines
 * and cancellations, and misuse is told.
 * ctest: backends */
#include "unit/co/co_support.h"

/* --- mutex ------------------------------------------------------------------------------------ */

static weir_mutex mutex;
static int inside;

struct locker {
    weir_time deadline;
    int result;
    char name;
};

/* Holds the mutex over a wait. */
static void locks(void *arg)
{
    struct locker *locker = arg;
    locker->result = weir_mutex_lock(&mutex, locker->deadline);
    if (locker->result < 0) {
        note('-');
        return;
    }
    CHECK(++inside == 1);
    note(locker->name);
    CHECK(weir_yield() == 0);
    CHECK(weir_yield() == 0);
    CHECK(--inside == 0);
    CHECK(weir_mutex_unlock(&mutex) == 0);
}

static void one_at_a_time_in_order(void **state)
{
    struct locker lockers[5];
    memset(&mutex, 0, sizeof mutex);
    for (unsigned i = 0; i < 5; i++) {
        lockers[i] = (struct locker){.deadline = WEIR_NEVER, .name = (char)('a' + i)};
        go(locks, &lockers[i]);
    }
    finish();
    assert_string_equal(trace, "abcde");
}

static void relocks(void *arg)
{
    weir_mutex fresh = {{0}};
    CHECK(weir_mutex_unlock(&fresh) == WEIR_EMISUSE);
    CHECK(weir_mutex_lock(&fresh, 0) == 0);
    CHECK(weir_mutex_lock(&fresh, WEIR_NEVER) == -EDEADLK);
    CHECK(weir_mutex_unlock(&fresh) == 0);
    CHECK(weir_mutex_unlock(&fresh) == WEIR_EMISUSE);
    CHECK(weir_mutex_lock(NULL, 0) == WEIR_EINVALID);
}

static void tries(void *arg)
{
    CHECK(weir_mutex_lock(&mutex, 0) == WEIR_ETIMEDOUT);
    CHECK(weir_mutex_lock(&mutex, soon(1)) == WEIR_ETIMEDOUT);
    CHECK(weir_mutex_unlock(&mutex) == WEIR_EMISUSE); /* it is another's */
}

static void holds_for_a_while(void *arg)
{
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    CHECK(weir_sleep(soon(10)) == 0);
    CHECK(weir_mutex_unlock(&mutex) == 0);
}

static void a_mutex_that_is_held(void **state)
{
    memset(&mutex, 0, sizeof mutex);
    go(relocks, NULL);
    go(holds_for_a_while, NULL);
    go(tries, NULL);
    finish();
    assert_int_equal(weir_mutex_lock(&mutex, WEIR_NEVER), WEIR_EMISUSE); /* no coroutine */
    assert_int_equal(weir_mutex_unlock(&mutex), WEIR_EMISUSE);
}

static int locks_in_scope(void *arg)
{
    struct locker *locker = arg;
    locks(locker);
    return locker->result;
}

/* Given to one that is canceled in the same turn: it has it, and gives it on. */
static void cancels_lockers(void *arg)
{
    struct locker first = {.deadline = WEIR_NEVER}, second = {.deadline = WEIR_NEVER};
    weir_scope scope;
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    CHECK(weir_scope_open(&scope, NULL) == 0);
    CHECK(weir_scope_spawn(&scope, locks_in_scope, &first) == 0);
    CHECK(weir_scope_spawn(&scope, locks_in_scope, &second) == 0);
    CHECK(weir_yield() == 0);
    CHECK(weir_scope_cancel(&scope) == 0);
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == WEIR_ECANCELED);
    CHECK(first.result == WEIR_ECANCELED && second.result == WEIR_ECANCELED);
    CHECK(weir_mutex_unlock(&mutex) == 0);
    CHECK(weir_mutex_lock(&mutex, 0) == 0); /* nobody else has it */
    CHECK(weir_mutex_unlock(&mutex) == 0);
}

static int takes_and_gives(void *arg)
{
    int *result = arg;
    *result = weir_mutex_lock(&mutex, WEIR_NEVER);
    return *result == 0 ? weir_mutex_unlock(&mutex) : *result;
}

static void gives_and_cancels(void *arg)
{
    int result = -1;
    weir_scope scope;
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    CHECK(weir_scope_open(&scope, NULL) == 0);
    CHECK(weir_scope_spawn(&scope, takes_and_gives, &result) == 0);
    CHECK(weir_yield() == 0);
    CHECK(weir_mutex_unlock(&mutex) == 0); /* to the one that waits */
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
    CHECK(result == 0);
    CHECK(weir_mutex_lock(&mutex, 0) == 0);
    CHECK(weir_mutex_unlock(&mutex) == 0);
}

static void canceled_lockers_leave_it_to_others(void **state)
{
    memset(&mutex, 0, sizeof mutex);
    go(cancels_lockers, NULL);
    finish();
    assert_string_equal(trace, "--");
    go(gives_and_cancels, NULL);
    finish();
}

static void another_loop_is_refused(void **state)
{
    weir_semaphore semaphore = {{0}};
    weir_loop *second;
    assert_int_equal(weir_semaphore_give(&semaphore, 1), 0);
    assert_int_equal(weir_loop_new(&second, NULL), 0);
    loop_enter(second);
    assert_int_equal(weir_semaphore_give(&semaphore, 1), WEIR_EMISUSE);
    loop_enter(NULL);
    assert_int_equal(weir_semaphore_give(&semaphore, 1), WEIR_EMISUSE);
    weir_loop_free(second);
    loop_enter(loop);
    assert_int_equal(weir_semaphore_give(&semaphore, 1), 0);
}

#ifdef NDEBUG
static int lines;

static void count_line(const weir_log_line *line, void *arg)
{
    lines += strstr(line->text, "mutex held") != NULL;
    lines += 10 * (strstr(line->text, "held for writing") != NULL);
}

static void forgets(void *arg)
{
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    CHECK(weir_yield() == 0);
}

static void a_mutex_that_is_held_at_the_end(void **state)
{
    struct locker next = {.deadline = WEIR_NEVER, .name = 'n'};
    memset(&mutex, 0, sizeof mutex);
    lines = 0;
    weir_log_set(count_line, NULL, WEIR_LOG_ERROR);
    go(forgets, NULL);
    go(locks, &next);
    finish();
    weir_log_set(NULL, NULL, WEIR_LOG_OFF);
    assert_string_equal(trace, "n");
    assert_int_equal(lines, 1);
}
#endif

/* --- lock for readers and writers --------------------------------------------------------------
 */

static weir_rwlock rwlock;
static int readers, writers;

static void reads(void *arg)
{
    struct locker *locker = arg;
    locker->result = weir_rwlock_read(&rwlock, locker->deadline);
    if (locker->result < 0)
        return;
    readers++;
    CHECK(writers == 0);
    note(locker->name);
    CHECK(weir_sleep(soon(2)) == 0);
    CHECK(writers == 0);
    readers--;
    CHECK(weir_rwlock_unlock(&rwlock) == 0);
}

static void writes(void *arg)
{
    struct locker *locker = arg;
    locker->result = weir_rwlock_write(&rwlock, locker->deadline);
    if (locker->result < 0) {
        note('-');
        return;
    }
    CHECK(++writers == 1 && readers == 0);
    note(locker->name);
    CHECK(weir_rwlock_write(&rwlock, 0) == -EDEADLK);
    CHECK(weir_rwlock_read(&rwlock, 0) == -EDEADLK);
    CHECK(weir_sleep(soon(2)) == 0);
    CHECK(--writers == 0 && readers == 0);
    CHECK(weir_rwlock_unlock(&rwlock) == 0);
}

static void readers_share_and_do_not_overtake(void **state)
{
    struct locker lockers[6];
    memset(&rwlock, 0, sizeof rwlock);
    readers = writers = 0;
    assert_int_equal(weir_rwlock_unlock(&rwlock), WEIR_EMISUSE);
    for (unsigned i = 0; i < 6; i++) {
        lockers[i] = (struct locker){.deadline = WEIR_NEVER, .name = "rrWrrW"[i]};
        go(i % 3 == 2 ? writes : reads, &lockers[i]);
    }
    turn();
    assert_int_equal(readers, 2); /* the others came behind a writer */
    finish();
    assert_string_equal(trace, "rrWrrW");
    assert_int_equal(weir_rwlock_unlock(&rwlock), WEIR_EMISUSE);
}

#ifdef NDEBUG
static void forgets_to_write(void *arg)
{
    CHECK(weir_rwlock_write(&rwlock, WEIR_NEVER) == 0);
    CHECK(weir_yield() == 0);
}

/* Perhaps in the record of the one that has forgotten it. */
static void comes_later(void *arg)
{
    CHECK(weir_rwlock_unlock(&rwlock) == WEIR_EMISUSE);
    CHECK(weir_rwlock_write(&rwlock, 0) == 0);
    CHECK(weir_rwlock_unlock(&rwlock) == 0);
}

static void a_lock_that_is_written_at_the_end(void **state)
{
    static struct locker next[] = {{.deadline = WEIR_NEVER, .name = 'r'},
                                   {.deadline = WEIR_NEVER, .name = 'W'}};
    memset(&rwlock, 0, sizeof rwlock);
    readers = writers = lines = 0;
    weir_log_set(count_line, NULL, WEIR_LOG_ERROR);
    go(forgets_to_write, NULL);
    go(reads, &next[0]);
    go(forgets_to_write, NULL);
    go(writes, &next[1]);
    finish();
    go(forgets_to_write, NULL);
    finish();
    go(comes_later, NULL);
    finish();
    weir_log_set(NULL, NULL, WEIR_LOG_OFF);
    assert_string_equal(trace, "rW");
    assert_int_equal(lines, 30);
}
#endif

static bool may_end;

static void reads_for_long(void *arg)
{
    CHECK(weir_rwlock_read(&rwlock, WEIR_NEVER) == 0);
    readers++;
    while (!may_end && weir_sleep(soon(1)) == 0)
        ;
    readers--;
    CHECK(weir_rwlock_unlock(&rwlock) == 0);
}

/* A writer that gives up lets those through that waited behind it. */
static void a_writer_that_gives_up(void **state)
{
    struct locker writer = {.deadline = soon(1), .name = 'W'};
    memset(&rwlock, 0, sizeof rwlock);
    readers = writers = 0;
    may_end = false;
    go(reads_for_long, NULL);
    go(writes, &writer);
    go(reads_for_long, NULL);
    for (int i = 0; i < 1000 && trace[0] == 0; i++)
        turn_ms(5);
    assert_int_equal(writer.result, WEIR_ETIMEDOUT);
    turn();
    assert_int_equal(readers, 2);
    may_end = true;
    finish();
}

/* --- semaphore -------------------------------------------------------------------------------- */

static weir_semaphore semaphore;

struct taker {
    uint32_t count;
    weir_time deadline;
    int result;
    char name;
};

static void takes(void *arg)
{
    struct taker *taker = arg;
    taker->result = weir_semaphore_take(&semaphore, taker->count, taker->deadline);
    note(taker->result == 0 ? taker->name : '-');
}

static void permits_go_out_in_order(void **state)
{
    struct taker takers[] = {{.count = 3, .deadline = WEIR_NEVER, .name = 'a'},
                             {.count = 1, .deadline = WEIR_NEVER, .name = 'b'},
                             {.count = 1, .deadline = WEIR_NEVER, .name = 'c'}};
    memset(&semaphore, 0, sizeof semaphore);
    for (unsigned i = 0; i < 3; i++)
        go(takes, &takers[i]);
    turn();
    assert_int_equal(weir_semaphore_give(&semaphore, 2), 0);
    turn();
    assert_string_equal(trace, ""); /* who asks for little does not overtake */
    assert_int_equal(weir_semaphore_give(&semaphore, 2), 0);
    turn();
    assert_string_equal(trace, "ab");
    assert_int_equal(weir_semaphore_give(&semaphore, 1), 0);
    finish();
    assert_string_equal(trace, "abc");
    assert_int_equal(weir_semaphore_give(&semaphore, UINT32_MAX), 0);
    assert_int_equal(weir_semaphore_give(&semaphore, 1), WEIR_EFULL);
}

static void who_gives_up_lets_others_through(void **state)
{
    struct taker takers[] = {{.count = 3, .deadline = soon(1), .name = 'a'},
                             {.count = 1, .deadline = WEIR_NEVER, .name = 'b'}};
    memset(&semaphore, 0, sizeof semaphore);
    assert_int_equal(weir_semaphore_give(&semaphore, 1), 0);
    go(takes, &takers[0]);
    go(takes, &takers[1]);
    finish();
    assert_int_equal(takers[0].result, WEIR_ETIMEDOUT);
    assert_string_equal(trace, "-b");
}

/* --- condition -------------------------------------------------------------------------------- */

static weir_cond cond;
static int stock;

static void consumes(void *arg)
{
    struct locker *locker = arg;
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    locker->result = 0;
    while (stock == 0 && locker->result == 0)
        locker->result = weir_cond_wait(&cond, &mutex, locker->deadline);
    CHECK(((struct mutex *)&mutex)->holder == co_current()); /* whatever it said */
    if (locker->result == 0) {
        stock--;
        note(locker->name);
    } else {
        note('-');
    }
    CHECK(weir_mutex_unlock(&mutex) == 0);
}

static void produces(void *arg)
{
    int count = *(int *)arg;
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    stock += count;
    CHECK((count == 1 ? weir_cond_signal(&cond) : weir_cond_broadcast(&cond)) == 0);
    CHECK(weir_yield() == 0); /* those who are woken have to wait for the mutex still */
    CHECK(weir_mutex_unlock(&mutex) == 0);
}

static void signals_wake_in_order(void **state)
{
    struct locker consumers[5];
    int one = 1, four = 4;
    memset(&mutex, 0, sizeof mutex);
    memset(&cond, 0, sizeof cond);
    stock = 0;
    assert_int_equal(weir_cond_signal(&cond), 0); /* to nobody */
    for (unsigned i = 0; i < 5; i++) {
        consumers[i] = (struct locker){.deadline = WEIR_NEVER, .name = (char)('a' + i)};
        go(consumes, &consumers[i]);
    }
    turn();
    go(produces, &one);
    for (int i = 0; i < 5; i++)
        turn();
    assert_string_equal(trace, "a");
    go(produces, &four);
    finish();
    assert_string_equal(trace, "abcde");
}

static void waits_without_mutex(void *arg)
{
    CHECK(weir_cond_wait(&cond, &mutex, WEIR_NEVER) == WEIR_EMISUSE);
    CHECK(weir_cond_wait(&cond, &mutex, 0) == WEIR_EMISUSE);
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    CHECK(weir_cond_wait(&cond, &mutex, 0) == WEIR_ETIMEDOUT);
    CHECK(weir_mutex_unlock(&mutex) == 0);
}

static void a_wait_that_ends_otherwise_holds_the_mutex(void **state)
{
    struct locker consumer = {.deadline = soon(2), .name = 'a'};
    memset(&mutex, 0, sizeof mutex);
    memset(&cond, 0, sizeof cond);
    stock = 0;
    go(consumes, &consumer);
    go(waits_without_mutex, NULL);
    finish();
    assert_int_equal(consumer.result, WEIR_ETIMEDOUT);
    assert_string_equal(trace, "-");
}

/* --- wait group ------------------------------------------------------------------------------- */

static weir_waitgroup group;

static void waits_for_group(void *arg)
{
    struct locker *locker = arg;
    locker->result = weir_waitgroup_wait(&group, locker->deadline);
    note(locker->result == 0 ? locker->name : '-');
}

static void all_are_waited_for(void **state)
{
    struct locker waiting[] = {{.deadline = WEIR_NEVER, .name = 'a'},
                               {.deadline = WEIR_NEVER, .name = 'b'},
                               {.deadline = 0, .name = 'c'}};
    memset(&group, 0, sizeof group);
    assert_int_equal(weir_waitgroup_done(&group), WEIR_EMISUSE);
    assert_int_equal(weir_waitgroup_add(&group, 2), 0);
    assert_int_equal(weir_waitgroup_add(&group, UINT32_MAX), WEIR_EFULL);
    for (unsigned i = 0; i < 3; i++)
        go(waits_for_group, &waiting[i]);
    turn();
    assert_int_equal(weir_waitgroup_done(&group), 0);
    turn();
    assert_string_equal(trace, "-");
    assert_int_equal(weir_waitgroup_done(&group), 0);
    finish();
    assert_string_equal(trace, "-ab");
    go(waits_for_group, &waiting[2]); /* there is none: at once */
    finish();
    assert_string_equal(trace, "-abc");
}

/* --- once ------------------------------------------------------------------------------------- */

static weir_once once;
static int calls, call_result;

static int called(void *arg)
{
    calls++;
    CHECK(weir_once_run(&once, called, NULL, WEIR_NEVER) == -EDEADLK);
    CHECK(weir_sleep(soon(2)) == 0);
    return calls == 1 ? call_result : 0;
}

static void runs_once(void *arg)
{
    struct locker *locker = arg;
    locker->result = weir_once_run(&once, called, NULL, locker->deadline);
    note(locker->result == 0 ? locker->name : '-');
}

static void run_onces(int first_result)
{
    struct locker lockers[3];
    memset(&once, 0, sizeof once);
    memset(trace, 0, sizeof trace);
    start_count = calls = 0;
    call_result = first_result;
    assert_false(weir_once_done(&once));
    for (unsigned i = 0; i < 3; i++) {
        lockers[i] = (struct locker){.deadline = WEIR_NEVER, .name = (char)('a' + i)};
        go(runs_once, &lockers[i]);
    }
    finish();
    assert_true(weir_once_done(&once));
    assert_int_equal(lockers[0].result, first_result);
    go(runs_once, &lockers[0]);
    finish();
    assert_int_equal(lockers[0].result, 0);
}

static void runs_again(void *arg)
{
    CHECK(weir_once_run(&once, called, NULL, WEIR_NEVER) == -EIO);
    CHECK(weir_once_run(&once, called, NULL, WEIR_NEVER) == 0); /* behind the one that waited */
    note('r');
}

static void who_failed_does_not_overtake(void **state)
{
    struct locker next = {.deadline = WEIR_NEVER, .name = 'n'};
    memset(&once, 0, sizeof once);
    calls = 0;
    call_result = -EIO;
    go(runs_again, NULL);
    go(runs_once, &next);
    finish();
    assert_int_equal(calls, 2);
    assert_string_equal(trace, "nr");
}

static void once_is_once(void **state)
{
    run_onces(0);
    assert_int_equal(calls, 1);
    assert_string_equal(trace, "abca");
    run_onces(-EIO); /* the next one does it then */
    assert_int_equal(calls, 2);
    assert_string_equal(trace, "-bca");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(one_at_a_time_in_order),
        CASE(a_mutex_that_is_held),
        CASE(canceled_lockers_leave_it_to_others),
        CASE(another_loop_is_refused),
#ifdef NDEBUG /* a debug build stops there */
        CASE(a_mutex_that_is_held_at_the_end),
        CASE(a_lock_that_is_written_at_the_end),
#endif
        CASE(readers_share_and_do_not_overtake),
        CASE(a_writer_that_gives_up),
        CASE(permits_go_out_in_order),
        CASE(who_gives_up_lets_others_through),
        CASE(signals_wake_in_order),
        CASE(a_wait_that_ends_otherwise_holds_the_mutex),
        CASE(all_are_waited_for),
        CASE(once_is_once),
        CASE(who_failed_does_not_overtake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
