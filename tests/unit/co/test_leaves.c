/* The cancellation of a scope reaches every wait that there is, and refuses every further one.
 * ctest: backends */
#include "unit/co/co_support.h"

#include <stdatomic.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAIRS = 5, LARGE = 32 << 20 };

static weir_conn near_ends[PAIRS], far_ends[PAIRS];
static weir_listener listener;
static char url[WEIR_ADDRESS_TEXT_MAX];
static int pipe_ends[2], worked;
static weir_mutex mutex, free_mutex;
static weir_rwlock rwlock;
static weir_semaphore semaphore;
static weir_cond cond;
static weir_waitgroup group;
static weir_once once;
static weir_chan *chan, *shared;

/* What a wait is to end with when its scope is canceled; and what the next call says. */
struct leaf {
    const char *name;
    int (*wait)(void);
    int first, second; /* 0: WEIR_ECANCELED */
    int first_got, second_got;
};

static int leaf_sleep(void)
{
    return weir_sleep(WEIR_NEVER);
}

static int leaf_yield(void)
{
    int result;
    while ((result = weir_yield()) == 0)
        ;
    return result;
}

static int leaf_wait_fd(void)
{
    return weir_wait_fd(pipe_ends[0], POLLIN, WEIR_NEVER);
}

static atomic_bool work_begun;

static void work(void *arg)
{
    atomic_store(&work_begun, true);
    usleep(300000);
    worked++;
}

static int leaf_offload(void)
{
    return weir_offload(work, NULL, WEIR_NEVER);
}

static int leaf_recv(void)
{
    weir_view in;
    return weir_recv(near_ends[0], &in, WEIR_NEVER);
}

static int leaf_recv_exact(void)
{
    weir_view in;
    return weir_recv_exact(near_ends[1], &in, 10, WEIR_NEVER);
}

static int leaf_recv_until(void)
{
    weir_view in;
    return weir_recv_until(near_ends[2], &in, "\n", 100, WEIR_NEVER);
}

static int leaf_recv_frame(void)
{
    weir_view in;
    return weir_recv_frame(near_ends[3], &in, WEIR_NEVER);
}

static int leaf_send_all(void)
{
    static char large[LARGE];
    return weir_send_all(far_ends[4], weir_bytes(large, sizeof large), WEIR_NEVER);
}

static int leaf_accept(void)
{
    weir_conn c;
    return weir_accept(listener, &c, WEIR_NEVER);
}

/* Connecting and opening end at once here: only that they are refused can be seen. */
static int leaf_connect(void)
{
    static int times;
    weir_conn c;
    return times++ == 0 ? weir_sleep(WEIR_NEVER) : weir_connect_wait(&c, url, NULL, WEIR_NEVER);
}

static int leaf_file(void)
{
    static int times;
    return times++ == 0 ? weir_sleep(WEIR_NEVER)
                        : weir_file_open("/dev/null", O_RDONLY, 0, WEIR_NEVER);
}

static int leaf_mutex(void)
{
    return weir_mutex_lock(&mutex, WEIR_NEVER);
}

static int leaf_read(void)
{
    return weir_rwlock_read(&rwlock, WEIR_NEVER);
}

static int leaf_write(void)
{
    return weir_rwlock_write(&rwlock, WEIR_NEVER);
}

static int leaf_semaphore(void)
{
    return weir_semaphore_take(&semaphore, 1, WEIR_NEVER);
}

static int leaf_cond(void)
{
    int result = weir_mutex_lock(&free_mutex, WEIR_NEVER);
    if (result < 0)
        return result;
    result = weir_cond_wait(&cond, &free_mutex, WEIR_NEVER);
    CHECK(weir_mutex_unlock(&free_mutex) == 0);
    return result;
}

static int leaf_waitgroup(void)
{
    return weir_waitgroup_wait(&group, WEIR_NEVER);
}

static int once_sleeps(void *arg)
{
    return weir_sleep(WEIR_NEVER);
}

static int leaf_once(void)
{
    return weir_once_run(&once, once_sleeps, NULL, WEIR_NEVER);
}

static int leaf_chan_send(void)
{
    char item = 0;
    return weir_chan_send(chan, &item, WEIR_NEVER);
}

static int leaf_chan_shared(void)
{
    return weir_chan_recv(shared, NULL, WEIR_NEVER);
}

static int leaf_select(void)
{
    char item = 0;
    weir_case cases[] = {{.chan = chan, .verb = WEIR_CHAN_SEND, .item = &item},
                         {.chan = shared, .verb = WEIR_CHAN_RECV}};
    return weir_select(cases, 2, WEIR_NEVER);
}

static int sleeps_within(void *arg)
{
    return weir_sleep(WEIR_NEVER);
}

static int leaf_leave(void)
{
    weir_scope scope;
    CHECK(weir_scope_open(&scope, NULL) == 0);
    int result = weir_scope_spawn(&scope, sleeps_within, NULL);
    CHECK(result == 0 || result == WEIR_ECANCELED);
    return weir_scope_leave(&scope, WEIR_NEVER);
}

static struct leaf leaves[] = {
    {.name = "sleep", .wait = leaf_sleep},
    {.name = "yield", .wait = leaf_yield},
    {.name = "wait_fd", .wait = leaf_wait_fd},
    {.name = "offload", .wait = leaf_offload, .first = 1}, /* it is waited for */
    {.name = "recv", .wait = leaf_recv},
    {.name = "recv_exact", .wait = leaf_recv_exact},
    {.name = "recv_until", .wait = leaf_recv_until},
    {.name = "recv_frame", .wait = leaf_recv_frame},
    {.name = "send_all", .wait = leaf_send_all, .first = WEIR_ETORN, .second = WEIR_ETORN},
    {.name = "accept", .wait = leaf_accept},
    {.name = "connect", .wait = leaf_connect},
    {.name = "file", .wait = leaf_file},
    {.name = "mutex", .wait = leaf_mutex},
    {.name = "read", .wait = leaf_read},
    {.name = "write", .wait = leaf_write},
    {.name = "semaphore", .wait = leaf_semaphore},
    {.name = "cond", .wait = leaf_cond},
    {.name = "waitgroup", .wait = leaf_waitgroup},
    {.name = "once", .wait = leaf_once},
    {.name = "once again", .wait = leaf_once}, /* waits for the other one */
    {.name = "chan_send", .wait = leaf_chan_send},
    {.name = "chan_shared", .wait = leaf_chan_shared},
    {.name = "select", .wait = leaf_select},
    {.name = "leave", .wait = leaf_leave},
};
enum { LEAVES = sizeof leaves / sizeof *leaves };

static int leaf_main(void *arg)
{
    struct leaf *leaf = arg;
    leaf->first_got = leaf->second_got = -1;
    leaf->first_got = leaf->wait();
    leaf->second_got = leaf->wait();
    return WEIR_ECANCELED;
}

static void pairs_open(void)
{
    static const weir_service lines = {.straight = true, .frame = weir_frame_line(4096)};
    for (int i = 0; i < PAIRS; i++) {
        CHECK(weir_connect_wait(&near_ends[i], url, &lines, soon(5000)) == 0);
        CHECK(weir_accept(listener, &far_ends[i], soon(5000)) == 0);
    }
}

static void cancels_all(void *arg)
{
    weir_scope scope;
    pairs_open();
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    CHECK(weir_rwlock_write(&rwlock, WEIR_NEVER) == 0);
    CHECK(weir_waitgroup_add(&group, 1) == 0);
    CHECK(weir_scope_open(&scope, NULL) == 0);
    for (unsigned i = 0; i < LEAVES; i++)
        CHECK(weir_scope_spawn(&scope, leaf_main, &leaves[i]) == 0);
    while (!atomic_load(&work_begun)) /* a job that nobody has begun could be withdrawn */
        CHECK(weir_sleep(soon(1)) == 0);
    CHECK(weir_sleep(soon(10)) == 0); /* bytes are on their way */
    for (unsigned i = 0; i < LEAVES; i++)
        CHECK(leaves[i].first_got == -1);
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
    CHECK(weir_rwlock_unlock(&rwlock) == 0);
    CHECK(weir_mutex_unlock(&mutex) == 0);
    for (int i = 0; i < PAIRS; i++) {
        weir_close(near_ends[i]);
        weir_close(far_ends[i]);
    }
}

static void a_cancellation_reaches_every_wait(void **state)
{
    static const weir_service service = {.listen = "tcp://127.0.0.1:0", .straight = true};
    weir_address address;
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    assert_int_equal(weir_chan_new(&chan, 1, 0), 0);
    assert_int_equal(weir_chan_new_shared(&shared, 1, 0), 0);
    assert_int_equal(weir_listen(&listener, &service), 0);
    assert_int_equal(weir_listener_address(listener, &address), 0);
    assert_true(weir_address_format(&address, url, sizeof url) >= 0);
    go(cancels_all, NULL);
    finish();
    for (unsigned i = 0; i < LEAVES; i++) {
        int first = leaves[i].first != 0 ? leaves[i].first : WEIR_ECANCELED;
        int second = leaves[i].second != 0 ? leaves[i].second : WEIR_ECANCELED;
        int got = leaves[i].first == 1 ? leaves[i].first_got + 1 : leaves[i].first_got;
        if (got != first || leaves[i].second_got != second)
            fail_msg("%s: %s, then %s", leaves[i].name, weir_error_name(leaves[i].first_got),
                     weir_error_name(leaves[i].second_got));
    }
    assert_int_equal(worked, 1);
    assert_int_equal(weir_chan_free(chan), 0);
    assert_int_equal(weir_chan_free(shared), 0);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

/* --- the end of the loop, while those of connections wait for others -------------------------- */

static int cleans_up(void *arg)
{
    CHECK(weir_grace_begin() == 0);
    CHECK(weir_sleep(WEIR_NEVER) == WEIR_ECANCELED);
    note('c');
    return 0;
}

static void serves_in_scope(weir_conn c, void *session)
{
    weir_scope_options options = {.grace_ms = 3600000};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, &options) == 0);
    CHECK(weir_scope_spawn(&scope, cleans_up, NULL) == 0);
    CHECK(weir_yield() == 0);
    note('s');
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
    note('e');
}

static void holds_it(void *arg)
{
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    note('s');
    CHECK(weir_sleep(WEIR_NEVER) == WEIR_ECANCELED);
    note('c');
    CHECK(weir_mutex_unlock(&mutex) == 0);
}

/* Has to have the mutex back before it goes on. */
static void serves_with_mutex(weir_conn c, void *session)
{
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    CHECK(weir_spawn(holds_it, NULL) == 0);
    CHECK(weir_cond_wait(&cond, &mutex, soon(1)) == WEIR_ETIMEDOUT);
    note('e');
    CHECK(weir_mutex_unlock(&mutex) == 0);
}

static void ends_with(void (*serves)(weir_conn c, void *session))
{
    weir_service service = {.listen = "tcp://127.0.0.1:0", .on_conn = serves};
    weir_address address;
    memset(&mutex, 0, sizeof mutex);
    memset(&cond, 0, sizeof cond);
    assert_int_equal(weir_listen(&listener, &service), 0);
    assert_int_equal(weir_listener_address(listener, &address), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address.socket, address.socket_size), 0);
    for (int i = 0; i < 1000 && trace[0] == 0; i++)
        turn_ms(5);
    for (int i = 0; i < 5; i++)
        turn_ms(2);
    assert_string_equal(trace, "s");
    weir_time began = weir_now();
    loop_enter(former);
    weir_loop_free(loop);
    loop = NULL;
    assert_true(weir_now() - began < 5 * WEIR_S);
    assert_string_equal(trace, "sce");
    assert_int_equal(broke, 0);
    close(fd);
}

static void the_end_of_the_loop_ends_a_grace(void **state)
{
    ends_with(serves_in_scope);
}

static void the_end_of_the_loop_finds_who_holds_a_mutex(void **state)
{
    ends_with(serves_with_mutex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_cancellation_reaches_every_wait),
        CASE(the_end_of_the_loop_ends_a_grace),
        CASE(the_end_of_the_loop_finds_who_holds_a_mutex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
