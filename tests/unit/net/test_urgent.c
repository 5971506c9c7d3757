/* Urgent data, as docs/decisions/0003-urgent-data.md has it: a reader that knows nothing of it sees
 * every byte that was sent, in order. */
#include "unit/net/net_support.h"

#include <sys/epoll.h>

/* Returns when so many bytes have arrived. */
static void wait_for(int fd, int bytes)
{
    int waiting = 0;

    for (int i = 0; i < 1000 && waiting < bytes; i++) {
        assert_int_equal(ioctl(fd, FIONREAD, &waiting), 0);
        if (waiting < bytes)
            usleep(2000);
    }
    assert_int_equal(waiting, bytes);
}

/* Sends "abc", then '!' as urgent, then "rest"; returns when all of it has arrived. */
static void send_with_urgent(const struct ends *ends)
{
    assert_int_equal(send(ends->client, "abc", 3, 0), 3);
    assert_int_equal(send(ends->client, "!", 1, MSG_OOB), 1);
    assert_int_equal(send(ends->client, "rest", 4, 0), 4);
    wait_for(ends->server, 8);
}

/* Reads until nothing more is there, as a loop does; returns what came. */
static const char *read_all(int fd)
{
    static char all[64];
    size_t used = 0;

    for (;;) {
        ssize_t got = recv(fd, all + used, sizeof all - 1 - used, MSG_DONTWAIT);

        if (got <= 0)
            break;
        used += (size_t)got;
    }
    all[used] = '\0';
    return all;
}

static struct ends ends_of(const char *text)
{
    struct ends ends = connected(text, NULL);
    weir_address address = local_of(ends.listener);
    struct weir__socket_error error;

    if (!weir__socket_inherits(&address))
        assert_int_equal(weir__socket_apply(ends.server, NULL, &error), 0);
    return ends;
}

static const char *const transports[] = {"tcp://127.0.0.1:0", "tcp://[::1]:0",
                                         "unix:@weir-test-urgent"};

/* Not every kernel has urgent data on unix sockets (5.15, and an option of its build). */
static bool has_urgent(const char *text)
{
    struct ends ends;
    bool has;

    if (!reachable(text))
        return false;
    ends = ends_of(text);
    has = send(ends.client, "!", 1, MSG_OOB) == 1;
    assert_true(has || strncmp(text, "unix:", 5) == 0);
    close_ends(&ends);
    return has;
}

static void test_nothing_is_lost(void **state)
{
    for (size_t i = 0; i < COUNT(transports); i++) {
        struct ends ends;

        if (!has_urgent(transports[i]))
            continue;
        ends = ends_of(transports[i]);
        send_with_urgent(&ends);
        assert_string_equal(read_all(ends.server), "abc!rest");

        /* Several marks, and one before anything else. */
        assert_int_equal(send(ends.client, "1", 1, MSG_OOB), 1);
        must_poll(ends.server, POLLIN);
        assert_string_equal(read_all(ends.server), "1");
        assert_int_equal(send(ends.client, "xy2", 3, MSG_OOB), 3);
        assert_int_equal(send(ends.client, "z3", 2, MSG_OOB), 2);
        wait_for(ends.server, 5);
        assert_string_equal(read_all(ends.server), "xy2z3");
        assert_int_equal(recv(ends.server, (char[1]){0}, 1, MSG_OOB | MSG_DONTWAIT), -1);

        /* The answer of a client is treated alike. */
        assert_int_equal(send(ends.server, "ok?", 3, MSG_OOB), 3);
        wait_for(ends.client, 3);
        assert_string_equal(read_all(ends.client), "ok?");
        close_ends(&ends);
    }
}

/* A read stops at the mark though more has arrived, so a short read is no proof that the socket is
 * empty: an edge-triggered reader that stops there hears of the rest never. EPOLLPRI tells. */
static void test_short_read_at_the_mark(void **state)
{
    for (size_t i = 0; i < COUNT(transports); i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | EPOLLPRI};
        struct ends ends;
        char buffer[64];
        int set;

        if (!has_urgent(transports[i]))
            continue;
        ends = ends_of(transports[i]);
        set = epoll_create1(EPOLL_CLOEXEC);
        send_with_urgent(&ends);
        assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, ends.server, &event), 0);
        assert_int_equal(epoll_wait(set, &event, 1, 1000), 1);
        assert_true(event.events & EPOLLPRI);
        assert_int_equal(recv(ends.server, buffer, sizeof buffer, 0), 3);
        assert_int_equal(epoll_wait(set, &event, 1, 20), 0);
        assert_string_equal(read_all(ends.server), "!rest");
        close(set);
        close_ends(&ends);
    }
}

/* What would happen without the option: the byte is gone. If this fails the kernel has changed, and
 * the decision may be looked at again. */
static void test_why(void **state)
{
    struct ends ends = connected("tcp://127.0.0.1:0", NULL);
    int off = 0;

    assert_int_equal(setsockopt(ends.server, SOL_SOCKET, SO_OOBINLINE, &off, sizeof off), 0);
    assert_int_equal(send(ends.client, "abc", 3, 0), 3);
    assert_int_equal(send(ends.client, "!", 1, MSG_OOB), 1);
    assert_int_equal(send(ends.client, "rest", 4, 0), 4);
    usleep(20000);
    assert_string_equal(read_all(ends.server), "abcrest");
    close_ends(&ends);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_lost),
        cmocka_unit_test(test_short_read_at_the_mark),
        cmocka_unit_test(test_why),
    };

    return cmocka_run_group_tests_name("urgent", tests, NULL, NULL);
}
