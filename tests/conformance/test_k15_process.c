/* K15: fork, signals, and SIGPIPE, which never kills. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance/harness.h"

/* --- fork ------------------------------------------------------------------------------------- */

/* In the child an assertion would run on into the parent's tests: each check has a number. */
#define CHECK(number, condition) \
    do {                         \
        if (!(condition))        \
            _exit(number);       \
    } while (0)

static void expect_exit(pid_t child)
{
    int status = -1;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the child: %s %d", WIFEXITED(status) ? "check" : "signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static void no_task(weir_task *task, void *arg)
{
}

static void no_timer(weir_timer *timer, void *arg)
{
}

static void k15_a_childs_loop_refuses(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = do_echo;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    weir_conn conn = p->rec->conn;
    pid_t child = fork();
    if (child == 0) {
        weir_task task = {0};
        weir_timer timer = {0};
        CHECK(1, weir_loop_turn(w->loop, 0) == -EOWNERDEAD);
        CHECK(2, weir_loop_run(w->loop) == -EOWNERDEAD);
        CHECK(3, weir_post(w->loop, &task, no_task, NULL) == -EOWNERDEAD);
        CHECK(4, weir_mail(conn, "x", 1, NULL, NULL) == -EOWNERDEAD);
        weir_loop_enter(w->loop);
        CHECK(5, weir_send(conn, weir_str("x")) == -EOWNERDEAD);
        CHECK(6, weir_abort(conn) == -EOWNERDEAD);
        CHECK(7, weir_timer_start(&timer, 1, no_timer, NULL) == -EOWNERDEAD);
        weir_loop_stop(w->loop);
        _exit(0);
    }
    expect_exit(child);
    /* The parent is as it was. */
    peer_say(p, "parent", 6);
    UNTIL(w, p->received == 6);
    assert_true(peer_heard(p, "parent"));
    world_end(w);
}

static void k15_a_childs_loop_can_be_freed(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = do_echo;
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->reads = false;
    p->to_send = 300000;
    world_run_ms(w, 10); /* memory in use, a send in flight */
    uint64_t received = p->rec->received;
    pid_t child = fork();
    if (child == 0) {
        weir_loop_free(w->loop);
        _exit(0);
    }
    expect_exit(child);
    assert_int_equal(p->rec->closes, 0);
    assert_int_equal(p->rec->received, received);
    p->reads = true;
    UNTIL(w, p->received == 300000);
    assert_true(p->in_pattern);
    world_end(w);
}

static void never_polled(weir_watch *watch, int events, void *arg)
{
    abort();
}

static void k15_after_fork_it_works_again(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    static weir_timer timer;
    static weir_watch watch;
    s->data = do_echo;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    weir_conn old = p->rec->conn;
    verb_begin(w);
    memset(&timer, 0, sizeof timer);
    memset(&watch, 0, sizeof watch);
    assert_int_equal(weir_timer_start(&timer, weir_after(3600 * WEIR_S), no_timer, NULL), 0);
    assert_int_equal(weir_poll(&watch, p->fd, POLLPRI, never_polled, NULL), 0);
    verb_end(w, 0);
    world_turn(w);
    pid_t child = fork();
    if (child == 0) {
        CHECK(1, weir_loop_after_fork(w->loop) == 0);
        CHECK(2, weir_loop_after_fork(w->loop) == WEIR_EMISUSE);
        weir_loop_enter(w->loop);
        CHECK(3, weir_send(old, weir_str("x")) == WEIR_EGONE);
        CHECK(4, weir_timer_start(&timer, weir_after(1000), no_timer, NULL) == 0);
        CHECK(5, weir_timer_cancel(&timer));
        weir_watch_cancel(&watch);
        struct side *c = side_new(w);
        c->data = do_echo;
        c->service.listen = "tcp://127.0.0.1:0";
        CHECK(6, weir_listen(&c->listener, &c->service) == 0);
        CHECK(7, weir_listener_address(c->listener, &c->address) == 0);
        weir_loop_enter(NULL);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(8, connect(fd, (struct sockaddr *)&c->address.socket, c->address.socket_size) == 0);
        CHECK(9, send(fd, "child", 5, MSG_NOSIGNAL) == 5);
        char buffer[8];
        ssize_t got = -1;
        for (int i = 0; i < 500 && got < 0; i++) {
            weir_loop_turn(w->loop, now_ns() + 2 * WEIR_MS);
            got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        }
        CHECK(10, got == 5 && memcmp(buffer, "child", 5) == 0);
        CHECK(11, !weir_conn_is(c->recs[0]->conn, old));
        CHECK(12, w->broken[0] == 0);
        weir_loop_free(w->loop);
        _exit(0);
    }
    expect_exit(child);
    peer_say(p, "parent", 6);
    UNTIL(w, p->received == 6);
    verb_begin(w);
    weir_timer_cancel(&timer);
    weir_watch_cancel(&watch);
    verb_end(w, 0);
    world_end(w);
}

static pid_t forked_child;

/* A handler forks, and the child comes back from it: nothing goes out twice, no handler runs there.
 */
static void fork_in_handler(struct rec *r, weir_view data)
{
    if (H(r, weir_send(r->conn, weir_str("before "))) < 0)
        world_broke(r->side->world, "the send was refused");
    forked_child = fork();
    if (forked_child == 0) {
        CHECK(1, weir_send(r->conn, weir_str("child ")) == -EOWNERDEAD);
        return;
    }
    if (H(r, weir_send(r->conn, weir_str("after"))) < 0)
        world_broke(r->side->world, "the send was refused");
}

static void k15_a_handler_that_forks(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = fork_in_handler;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s), *q = peer_connect(s);
    peer_say(p, "x", 1);
    forked_child = -1;
    while (forked_child < 0) {
        int result = weir_loop_turn(w->loop, now_ns() + 2 * WEIR_MS);
        if (forked_child == 0) {
            CHECK(2, result == -EOWNERDEAD);
            CHECK(3, w->broken[0] == 0);
            _exit(0);
        }
    }
    expect_exit(forked_child);
    UNTIL(w, p->received == 12);
    world_run_ms(w, 5);
    assert_true(peer_heard(p, "before after"));
    s->data = do_echo;
    peer_say(q, "well?", 5);
    UNTIL(w, q->received == 5);
    world_end(w);
}

/* --- SIGPIPE ---------------------------------------------------------------------------------- */

static void k15_sending_to_one_who_left(void **state)
{
    int file = memfd_create("pipe", MFD_CLOEXEC);
    assert_int_equal(ftruncate(file, 1 << 20), 0);
    signal(SIGPIPE, SIG_DFL); /* it would kill this process */
    for (int kind = 0; kind < 3; kind++)
        for (int how = 0; how < 2; how++) {
            struct world *w = world_open(NULL);
            struct side *s = side_new(w);
            s->end = do_nothing;
            side_listen(s, NULL);
            struct peer *p = peer_connect(s);
            assert_int_equal(V(w, weir_pause(p->rec->conn)), 0);
            if (how == 0)
                peer_reset(p);
            else
                peer_close(p);
            int result = 0;
            for (int i = 0; i < 100 && p->rec->closes == 0 && result >= 0; i++) {
                if (kind == 0)
                    result = V(w, rec_send_pattern(p->rec, 100000));
                else if (kind == 1)
                    result = V(w, weir_send_file(p->rec->conn, file, 0, 1 << 20, false));
                else
                    result = V(w, weir_sendv(p->rec->conn,
                                             (weir_view[]){weir_str("a"), weir_str("b")}, 2));
                world_run_ms(w, 3);
            }
            UNTIL(w, p->rec->closes == 1);
            assert_true(p->rec->end.why == WEIR_WHY_PEER_RESET ||
                        p->rec->end.why == WEIR_WHY_LIMIT);
            world_end(w);
        }
    close(file);
}

/* --- signals ---------------------------------------------------------------------------------- */

static int caught, caught_number;
static weir_watch watches[3];

static void on_caught(weir_watch *watch, int number, void *arg)
{
    caught++;
    caught_number = number;
}

static void k15_signals_are_events(void **state)
{
    struct world *w = world_open(NULL);
    weir_watch watch = {0};
    struct sigaction before, after;
    sigaction(SIGUSR1, NULL, &before);
    caught = 0;
    assert_int_equal(V(w, weir_signal(&watch, SIGUSR1, on_caught, NULL)), 0);
    assert_int_equal(V(w, weir_signal(&watch, SIGUSR1, on_caught, NULL)), WEIR_EMISUSE);
    raise(SIGUSR1);
    raise(SIGUSR1); /* several between two turns are one */
    assert_int_equal(caught, 0);
    world_turn(w);
    UNTIL(w, caught == 1);
    assert_int_equal(caught_number, SIGUSR1);
    world_run_ms(w, 5);
    assert_int_equal(caught, 1);
    raise(SIGUSR1);
    UNTIL(w, caught == 2);
    verb_begin(w);
    weir_watch_cancel(&watch);
    weir_watch_cancel(&watch);
    verb_end(w, 0);
    sigaction(SIGUSR1, NULL, &after);
    assert_true(before.sa_handler == after.sa_handler);
    world_end(w);
}

/* A signal ends the sleep of the loop. */
static void k15_a_signal_wakes_the_loop(void **state)
{
    struct world *w = world_open(NULL);
    weir_watch watch = {0};
    caught = 0;
    assert_int_equal(V(w, weir_signal(&watch, SIGUSR2, on_caught, NULL)), 0);
    for (int i = 1; i <= 3; i++) {
        pid_t child = fork();
        if (child == 0) {
            usleep(15000);
            kill(getppid(), SIGUSR2);
            _exit(0);
        }
        uint64_t begin_ns = now_ns();
        while (caught < i)
            assert_int_equal(weir_loop_turn(w->loop, begin_ns + 4 * WEIR_S), 0);
        assert_true(now_ns() - begin_ns < 3 * WEIR_S);
        expect_exit(child);
    }
    verb_begin(w);
    weir_watch_cancel(&watch);
    verb_end(w, 0);
    world_end(w);
}

static void cancel_all(weir_watch *watch, int number, void *arg)
{
    caught++;
    for (int i = 0; i < 3; i++)
        weir_watch_cancel(&watches[i]);
}

/* A handler may end any watch, the ones behind it in line too. */
static void k15_a_signal_handler_ends_all_watches(void **state)
{
    struct world *w = world_open(NULL);
    caught = 0;
    memset(watches, 0, sizeof watches);
    for (int i = 0; i < 3; i++)
        assert_int_equal(V(w, weir_signal(&watches[i], SIGUSR1, cancel_all, NULL)), 0);
    raise(SIGUSR1);
    UNTIL(w, caught == 1);
    world_run_ms(w, 5);
    assert_int_equal(caught, 1);
    world_end(w);
}

/* --- foreign descriptors ---------------------------------------------------------------------- */

static int polled, polled_events;

static void on_polled(weir_watch *watch, int events, void *arg)
{
    polled++;
    polled_events = events;
    int *again = arg;
    if (again != NULL)
        weir_poll(watch, *again, POLLIN, on_polled, NULL);
}

static void k15_foreign_descriptors_can_be_polled(void **state)
{
    struct world *w = world_open(NULL);
    weir_watch watch = {0}, other = {0};
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    polled = 0;
    assert_int_equal(V(w, weir_poll(&watch, ends[0], POLLIN, on_polled, &ends[0])), 0);
    assert_int_equal(V(w, weir_poll(&watch, ends[0], POLLIN, on_polled, NULL)), WEIR_EMISUSE);
    world_run_ms(w, 5);
    assert_int_equal(polled, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    UNTIL(w, polled == 2); /* once, and once more because nobody has read it */
    assert_true(polled_events & POLLIN);
    world_run_ms(w, 5);
    assert_int_equal(polled, 2); /* each asks once */
    assert_int_equal(V(w, weir_poll(&other, ends[1], POLLOUT, on_polled, NULL)), 0);
    UNTIL(w, polled == 3);
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(V(w, weir_poll(&watch, ends[0], POLLIN, on_polled, NULL)), 0);
    verb_begin(w);
    weir_watch_cancel(&watch);
    verb_end(w, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    world_run_ms(w, 5);
    assert_int_equal(polled, 3);
    assert_int_equal(V(w, weir_poll(&watch, ends[0], POLLIN, on_polled, NULL)), 0);
    close(ends[1]);
    UNTIL(w, polled == 4);
    assert_true(polled_events & (POLLIN | POLLHUP));
    close(ends[0]);
    /* One that is still being polled when the loop ends. */
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(V(w, weir_poll(&other, ends[0], POLLIN, on_polled, NULL)), 0);
    world_turn(w);
    w->fds_before += 2;
    world_end(w);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(polled, 4);
}

/* Sixteen loops may watch a signal at a time, not in all: one that has ended leaves its place. */
static void k15_a_loop_that_ends_leaves_its_signals(void **state)
{
    struct world *w = world_open(NULL);
    weir_watch own = {0};
    assert_int_equal(V(w, weir_signal(&own, SIGUSR1, on_caught, NULL)), 0);
    for (int i = 0; i < 40; i++) {
        weir_loop *loop = NULL;
        weir_watch other[2] = {0};
        assert_int_equal(weir_loop_new(&loop, NULL), 0);
        weir_loop *former = weir_loop_enter(loop);
        assert_int_equal(weir_signal(&other[0], SIGUSR1, on_caught, NULL), 0);
        assert_int_equal(weir_signal(&other[1], SIGUSR1, on_caught, NULL), 0);
        assert_int_equal(weir_signal(&(weir_watch){0}, SIGKILL, on_caught, NULL), -EINVAL);
        weir_watch_cancel(&other[i % 2]);
        caught = 0;
        raise(SIGUSR1);
        weir_loop_enter(former);
        assert_int_equal(weir_loop_turn(loop, 0), 0);
        assert_int_equal(caught, 1);
        weir_loop_free(loop);
        world_turn(w);
        assert_int_equal(caught, 2);
    }
    weir_watch_cancel(&own);
    world_end(w);
}

K_MAIN(T(k15_a_childs_loop_refuses), T(k15_a_childs_loop_can_be_freed),
       T(k15_after_fork_it_works_again), T(k15_a_handler_that_forks),
       T(k15_sending_to_one_who_left), T(k15_signals_are_events), T(k15_a_signal_wakes_the_loop),
       T(k15_a_signal_handler_ends_all_watches), T(k15_a_loop_that_ends_leaves_its_signals),
       T(k15_foreign_descriptors_can_be_polled))
