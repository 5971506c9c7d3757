/* Sleeping, waking, foreign descriptors. */
#include "io_suite.h"
#include "support/skip.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* How much longer than asked for it slept. */
static uint64_t oversleep(struct rig *rig, int64_t time_ns)
{
    struct io_event event;
    uint64_t begin = rig_now_ns(), took;
    assert_int_equal(rig->io->ops->wait(rig->io, time_ns), 0);
    took = rig_now_ns() - begin;
    assert_int_equal(rig->io->ops->next(rig->io, &event), 0);
    assert_true(took >= (uint64_t)time_ns);
    return took - (uint64_t)time_ns;
}

static void never_early(void **state)
{
    static const int64_t times_ns[] = {1000, 50000, 300000, 1000000, 7300000, 20000000, 700000000};
    for (unsigned i = 0; i < sizeof(times_ns) / sizeof(times_ns[0]); i++) {
        /* The machine is shared: late once in a while is not its fault, late always is. */
        for (int tries = 5; oversleep(rig_of(state), times_ns[i]) > 20000000u; tries--)
            if (tries == 0)
                fail_msg("slept too long for %lld", (long long)times_ns[i]);
    }
}

static void no_wait_does_not_sleep(void **state)
{
    struct rig *rig = rig_of(state);
    uint64_t begin = rig_now_ns(), sleeps = rig->io->stats.sleeps;
    for (int i = 0; i < 100; i++)
        rig_turn(rig, 0);
    assert_true(rig_now_ns() - begin < 100000000u);
    assert_int_equal(rig->io->stats.sleeps, sleeps);
}

struct waker {
    struct rig *rig;
    int delay_ms;
    int times;
};

static void *wake_thread(void *arg)
{
    struct waker *waker = arg;
    rig_sleep_ms(waker->delay_ms);
    for (int i = 0; i < waker->times; i++)
        waker->rig->io->ops->wake(waker->rig->io);
    return NULL;
}

static void wake_from_a_thread(void **state)
{
    struct rig *rig = rig_of(state);
    struct waker waker = {rig, 20, 1};
    for (int i = 0; i < 3; i++) {
        uint64_t begin = rig_now_ns(), took;
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wake_thread, &waker), 0);
        assert_int_equal(rig_turn(rig, -1), 0); /* it yields no event */
        took = rig_now_ns() - begin;
        pthread_join(thread, NULL);
        assert_in_range(took, 15000000u, 1000000000u);
    }
}

static void wake_before_wait(void **state)
{
    struct rig *rig = rig_of(state);
    uint64_t begin = rig_now_ns();
    rig->io->ops->wake(rig->io);
    rig_turn(rig, -1);
    assert_true(rig_now_ns() - begin < 1000000000u);
    /* It was used up by that: the next wait sleeps. */
    begin = rig_now_ns();
    rig_turn(rig, 20);
    assert_true(rig_now_ns() - begin >= 20000000u);
}

static void wakes_are_coalesced(void **state)
{
    struct rig *rig = rig_of(state);
    uint64_t waits = rig->io->stats.waits;
    struct waker waker = {rig, 0, 100000};
    pthread_t thread;
    for (int i = 0; i < 1000; i++)
        rig->io->ops->wake(rig->io);
    rig_turn(rig, -1);
    rig_turn(rig, 5);
    assert_true(rig->io->stats.waits - waits <= 3);
    /* Under fire from another thread none is lost: the last of them ends a sleep. */
    assert_int_equal(pthread_create(&thread, NULL, wake_thread, &waker), 0);
    rig_turn(rig, 2000);
    pthread_join(thread, NULL);
    rig_turn(rig, 0);
}

/* A handler that wakes and a post that is seen: the flag must be clear before the caller looks. */
struct post {
    struct rig *rig;
    _Atomic int posted;
};

static void *post_thread(void *arg)
{
    struct post *post = arg;
    for (int i = 1; i <= 20000; i++) {
        atomic_store(&post->posted, i);
        post->rig->io->ops->wake(post->rig->io);
        if (i % 64 == 0)
            sched_yield();
    }
    return NULL;
}

static void no_wake_is_lost(void **state)
{
    struct rig *rig = rig_of(state);
    struct post post = {.rig = rig};
    uint64_t begin = rig_now_ns();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, post_thread, &post), 0);
    while (atomic_load(&post.posted) < 20000)
        rig_turn(rig, 3000);
    pthread_join(thread, NULL);
    assert_true(rig_now_ns() - begin < 2900000000u); /* a lost one sleeps for 3 s */
}

static void on_alarm(int number)
{
}

static void a_signal_ends_the_sleep(void **state)
{
    struct rig *rig = rig_of(state);
    struct sigaction action = {.sa_handler = on_alarm}, before;
    struct itimerval soon = {.it_value = {0, 20000}};
    uint64_t begin = rig_now_ns();
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    rig_turn(rig, 2000); /* asserts 0, not -EINTR */
    assert_true(rig_now_ns() - begin < 1500000000u);
    sigaction(SIGALRM, &before, NULL);
}

/* --- poll of foreign descriptors -------------------------------------------------------------- */

static uint64_t watch(struct rig *rig, unsigned slot, unsigned mask)
{
    uint64_t token = rig_token(rig, slot, IO_OP_POLL);
    assert_int_equal(rig->io->ops->poll(rig->io, rig_fd(rig, slot), mask, token), IO_PENDING);
    return token;
}

static void poll_of_a_pipe(void **state)
{
    struct rig *rig = rig_of(state);
    int ends[2], result;
    unsigned slot;
    uint64_t token;
    char byte;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    slot = rig_add(rig, ends[0], false);
    for (int i = 0; i < 3; i++) {
        token = watch(rig, slot, POLLIN);
        rig_idle(rig, 5);
        assert_false(rig_take(rig, token, &result));
        assert_int_equal(write(ends[1], "x", 1), 1);
        assert_int_equal(rig_final(rig, token) & POLLIN, POLLIN);
        /* One shot: silent, although it is still readable. */
        rig_idle(rig, 5);
        assert_false(rig_take(rig, token, &result));
        assert_int_equal(read(ends[0], &byte, 1), 1);
    }
    token = watch(rig, slot, POLLIN);
    close(ends[1]);
    assert_int_equal(rig_final(rig, token) & POLLHUP, POLLHUP);
    assert_int_equal(rig->io->ops->in_flight(rig->io), 0);
}

static void poll_of_an_eventfd(void **state)
{
    struct rig *rig = rig_of(state);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    unsigned slot = rig_add(rig, fd, false);
    uint64_t one = 1, token = watch(rig, slot, POLLIN | POLLOUT);
    assert_int_equal(rig_final(rig, token), POLLOUT);
    token = watch(rig, slot, POLLIN);
    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
    assert_int_equal(rig_final(rig, token), POLLIN);
}

static void poll_of_a_regular_file(void **state)
{
    struct rig *rig = rig_of(state);
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    unsigned slot = rig_add(rig, fd, false);
    assert_int_equal(rig_final(rig, watch(rig, slot, POLLIN)), POLLIN);
}

static void cancel_poll(void **state)
{
    struct rig *rig = rig_of(state);
    int ends[2], result;
    unsigned slot;
    uint64_t token;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    slot = rig_add(rig, ends[0], false);
    token = watch(rig, slot, POLLIN);
    rig_idle(rig, 2);
    assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, slot), token), 0);
    assert_int_equal(rig_final(rig, token), -ECANCELED);
    assert_int_equal(write(ends[1], "x", 1), 1);
    rig_idle(rig, 5);
    assert_false(rig_take(rig, token, &result));
    /* The same number, closed and opened by somebody else meanwhile. */
    close(ends[1]);
    token = watch(rig, slot, POLLIN);
    assert_int_equal(rig_final(rig, token) & POLLIN, POLLIN);
}

/* A host that sleeps on the descriptor itself. */
static void host_sleeps_on_the_descriptor(void **state)
{
    struct rig *rig = rig_of(state);
    int fd = rig->io->ops->poll_fd(rig->io), peer;
    struct pollfd host = {.fd = fd, .events = POLLIN};
    struct waker waker = {rig, 20, 1};
    pthread_t thread;
    unsigned slot;
    if (fd < 0)
        skip_because("this back end has no descriptor to wait for");
    slot = rig_tcp(rig, &peer);
    rig_turn(rig, 0);
    rig_recv(rig, slot);
    for (int i = 0; i < 3; i++) {
        while (poll(&host, 1, 20) == 1)
            rig_turn(rig, 0);
        assert_int_equal(pthread_create(&thread, NULL, wake_thread, &waker), 0);
        assert_int_equal(poll(&host, 1, 2000), 1);
        pthread_join(thread, NULL);
        rig_turn(rig, 0);
        while (poll(&host, 1, 20) == 1)
            rig_turn(rig, 0);
        assert_int_equal(send(peer, "x", 1, MSG_NOSIGNAL), 1);
        assert_int_equal(poll(&host, 1, 2000), 1);
        rig_turn(rig, 0);
        assert_int_equal(rig->slot[slot].bytes, i + 1);
    }
    /* Work that the kernel does not know of: an event of a cancel. */
    while (poll(&host, 1, 20) == 1)
        rig_turn(rig, 0);
    rig->io->ops->cancel(rig->io, rig_fd(rig, slot), rig_token(rig, slot, IO_OP_RECV));
    while (rig->slot[slot].recv_on) {
        assert_int_equal(poll(&host, 1, 2000), 1);
        rig_turn(rig, 0);
    }
    close(peer);
}

/* The child drops its copies; the parent's registrations are not disturbed. */
static void fork_leaves_the_parent_alone(void **state)
{
    struct rig *rig = rig_of(state);
    int peer, status;
    unsigned slot = rig_tcp(rig, &peer);
    pid_t child;
    rig_recv(rig, slot);
    rig_idle(rig, 5);
    child = fork();
    if (child == 0) {
        rig->io->ops->forked(rig->io);
        rig->io->ops->close(rig->io);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(send(peer, "still", 5, MSG_NOSIGNAL), 5);
    assert_true(rig_got(rig, slot, 5));
    rig->io->ops->wake(rig->io);
    rig_turn(rig, -1);
    close(peer);
}

const struct CMUnitTest io_cases_wake[] = {
    IO_CASE(never_early),
    IO_CASE(no_wait_does_not_sleep),
    IO_CASE(wake_from_a_thread),
    IO_CASE(wake_before_wait),
    IO_CASE(wakes_are_coalesced),
    IO_CASE(no_wake_is_lost),
    IO_CASE(a_signal_ends_the_sleep),
    IO_CASE(poll_of_a_pipe),
    IO_CASE(poll_of_an_eventfd),
    IO_CASE(poll_of_a_regular_file),
    IO_CASE(cancel_poll),
    IO_CASE(fork_leaves_the_parent_alone),
    IO_CASE(host_sleeps_on_the_descriptor),
    IO_CASES_END,
};
