/* What becomes of connections when a verb of the back end fails, when events come for what is gone,
 * and what is counted of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <weir/error.h>
#include <weir/log.h>
#include <weir/weir.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "net/conn.h"
#include "net/listener.h"

/* A loop whose back end fails as it is told, with a service and connections of it to itself. */
static struct {
    weir_loop *loop;
    struct io_ops shim;
    const struct io_ops *real;
    int recv_errors, recv_error, shutdown_error, released;
    weir_conn near, far;
    int opens, closes, received, failed; /* failed: with EIO */
    weir_end end;                        /* of the near one */
    weir_service service;
    char url[128];
} it;

static int recv_failing(struct io *io, struct io_fd *fd, uint64_t token)
{
    if (it.recv_errors == 0)
        return it.real->recv(io, fd, token);
    it.recv_errors--;
    return it.recv_error;
}

static int shutdown_failing(struct io *io, struct io_fd *fd, int how)
{
    return it.shutdown_error != 0 ? it.shutdown_error : it.real->shutdown(io, fd, how);
}

static void release_counted(struct io *io, unsigned block)
{
    it.released++;
}

static void on_open(weir_conn conn, void *session)
{
    it.opens++;
    if (!weir_conn_is(conn, it.near))
        it.far = conn;
}

static void on_data(weir_conn conn, weir_view data, void *session)
{
    it.received += (int)data.size;
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    it.closes++;
    it.failed += end.why == WEIR_WHY_ERROR && end.error == -EIO;
    if (weir_conn_is(conn, it.near))
        it.end = end;
}

static int set_up(void **state)
{
    memset(&it, 0, sizeof it);
    it.service = (weir_service){.listen = "tcp://127.0.0.1:0",
                                .on_open = on_open,
                                .on_data = on_data,
                                .on_close = on_close};
    weir_log_set(NULL, NULL, WEIR_LOG_OFF);
    if (weir_loop_new(&it.loop, &(weir_loop_options){.backend = "epoll"}) < 0)
        return -1;
    it.real = it.loop->io->ops;
    it.shim = *it.real;
    it.shim.recv = recv_failing;
    it.shim.shutdown = shutdown_failing;
    it.shim.release = release_counted;
    it.loop->io->ops = &it.shim;
    weir_loop_enter(it.loop);
    return 0;
}

static int tear_down(void **state)
{
    it.recv_errors = it.shutdown_error = 0;
    weir_loop_enter(NULL);
    weir_loop_free(it.loop);
    weir_log_set(NULL, NULL, WEIR_LOG_INFO);
    return 0;
}

static void turn(void)
{
    assert_int_equal(weir_loop_turn(it.loop, weir_after(WEIR_MS)), 0);
}

#define UNTIL(condition)                                                     \
    for (uint64_t end_ = weir__clock_now_ns() + 5 * WEIR_S; !(condition);) { \
        assert_true(weir__clock_now_ns() < end_);                            \
        turn();                                                              \
    }

static void listen_here(void)
{
    weir_listener listener;
    weir_address address;
    assert_int_equal(weir_listen(&listener, &it.service), 0);
    assert_int_equal(weir_listener_address(listener, &address), 0);
    assert_true(weir_address_format(&address, it.url, sizeof it.url) > 0);
}

static void pair(void)
{
    listen_here();
    assert_int_equal(weir_connect(&it.near, it.url, &it.service, NULL), 0);
    UNTIL(it.opens == 2);
}

static const struct net_counters *counters(void)
{
    return &it.loop->net->counters;
}

static int dial(void)
{
    weir_address address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(weir_address_parse(it.url, &address, NULL), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address.socket, address.socket_size), 0);
    return fd;
}

static void a_receive_that_cannot_begin(void **state)
{
    it.recv_errors = 1000;
    it.recv_error = -EIO;
    listen_here();
    assert_int_equal(weir_connect(&it.near, it.url, &it.service, NULL), 0);
    UNTIL(it.closes == 2);
    assert_true(it.failed >= 1); /* what the other one sees first is that end */
}

/* The kernel's want passes: the receive is asked for again. */
static void a_receive_without_room_or_memory(void **state)
{
    static const int errors[] = {-ENOBUFS, -ENOMEM};
    pair();
    for (int i = 0; i < 2; i++) {
        it.recv_error = errors[i];
        it.recv_errors = 3;
        assert_int_equal(weir_pause(it.near), 0); /* so that it is begun anew */
        assert_int_equal(weir_send(it.far, weir_str("x")), 0);
        for (int turns = 0; turns < 5; turns++)
            turn();
        assert_int_equal(weir_resume(it.near), 0);
        UNTIL(it.received == i + 1);
        assert_int_equal(it.closes, 0);
    }
}

/* The peer has reset meanwhile: nobody waits for its end. */
static void an_end_that_cannot_be_sent(void **state)
{
    pair();
    int fd = dial(); /* one that never ends by itself */
    UNTIL(it.opens == 3);
    it.near = it.far;
    it.shutdown_error = -ENOTCONN;
    uint64_t from_ns = weir__clock_now_ns();
    assert_int_equal(weir_close(it.near), 0);
    UNTIL(it.end.why != WEIR_WHY_NONE);
    assert_int_equal(it.end.why, WEIR_WHY_CLOSED);
    assert_true(weir__clock_now_ns() - from_ns < WEIR_S);
    close(fd);
}

static void events_for_nobody(void **state)
{
    pair();
    struct io_event event = {
        .token = IO_TOKEN(IO_OP_RECV, LOOP_OWNER_CONN, 5, 77), .result = 1, .flags = IO_BUFFER};
    conn_event(it.loop, &event);
    assert_int_equal(it.released, 1); /* the block, in any case */
    event.flags = 0;
    conn_event(it.loop, &event);
    assert_int_equal(it.released, 1);
    int fd = dup(0);
    event = (struct io_event){.token = IO_TOKEN(IO_OP_ACCEPT, LOOP_OWNER_LISTENER, 5, 77),
                              .result = -ECANCELED};
    listener_event(it.loop, &event);
    event.result = fd;
    listener_event(it.loop, &event);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* whoever was accepted is not left open */
    assert_int_equal(it.closes, 0);
}

/* Whoever is accepted while everything ends is reset: those it would be handed to may be gone. */
static void an_accept_while_all_ends(void **state)
{
    listen_here();
    int peer = dial(), own, pair_fds[2];
    UNTIL(it.opens == 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair_fds), 0);
    own = pair_fds[0];
    struct listener *l = slab_at(&it.loop->net->listeners, 0);
    struct io_event event = {
        .token = IO_TOKEN(IO_OP_ACCEPT, LOOP_OWNER_LISTENER, l->head.generation, l->slot),
        .result = own,
        .flags = IO_MORE};
    it.loop->net->stopping = true;
    listener_event(it.loop, &event);
    it.loop->net->stopping = false;
    assert_int_equal(fcntl(own, F_GETFD), -1);
    turn();
    assert_int_equal(it.opens, 1);
    close(pair_fds[1]);
    close(peer);
    UNTIL(it.closes == 1);
}

static void resets_and_limits_are_counted(void **state)
{
    pair();
    assert_int_equal(weir_abort(it.far), 0);
    UNTIL(it.closes == 2);
    assert_int_equal(it.end.why, WEIR_WHY_PEER_RESET);
    assert_int_equal(counters()->resets, 1);
    assert_int_equal(counters()->limits, 0);
    assert_int_equal(counters()->accepted, 1);
    assert_int_equal(counters()->connected, 1);
    assert_int_equal(counters()->closed, 2);
    static const char large[2 << 20]; /* the hard cap is 1 MiB */
    it.opens = 0;
    pair();
    assert_int_equal(weir_send(it.near, weir_bytes(large, sizeof large)), WEIR_EFULL);
    UNTIL(it.closes == 4);
    assert_int_equal(it.end.why, WEIR_WHY_LIMIT);
    assert_int_equal(counters()->limits, 1);
    assert_int_equal(counters()->refused_full, 1);
}

static void refused_connections_are_counted(void **state)
{
    static const enum weir_overload how[] = {WEIR_OVERLOAD_RESET, WEIR_OVERLOAD_ANSWER};
    for (int i = 0; i < 2; i++) {
        char byte = 0;
        it.service.conns_max = 1;
        it.service.overload = how[i];
        it.service.overload_answer = weir_static("!", 1);
        it.opens = 0;
        listen_here();
        struct service *service = weir_container(it.loop->net->services.prev, struct service, link);
        int first = dial();
        UNTIL(it.opens == 1);
        uint64_t accepted = counters()->accepted, limits = counters()->limits;
        int second = dial();
        UNTIL(counters()->refused_limit == (uint64_t)i + 1);
        for (int turns = 0; turns < 5; turns++)
            turn();
        assert_int_equal(service->counts.refused_limit, 1);
        assert_int_equal(counters()->refused_limit, i + 1);
        assert_int_equal(counters()->accepted - accepted, i); /* to be answered */
        assert_int_equal(counters()->limits - limits, i);
        assert_int_equal(recv(second, &byte, 1, 0), i == 0 ? -1 : 1);
        assert_true(i == 0 ? errno == ECONNRESET : byte == '!');
        assert_int_equal(it.opens, 1);
        close(first);
        close(second);
        UNTIL(service->conns == 0);
    }
}

static void from_an_address_of_ours(void **state)
{
    weir_address source, peer;
    char url[64];
    listen_here();
    assert_int_equal(weir_address_parse(it.url, &source, NULL), 0);
    snprintf(url, sizeof url, "tcp://localhost:%d", weir_address_port(&source));
    assert_int_equal(weir_address_parse("tcp://127.0.0.9:0", &source, NULL), 0);
    errno = EADDRINUSE; /* what was before says nothing */
    assert_int_equal(weir_connect_from(&it.near, url, &source, &it.service, NULL), 0);
    UNTIL(it.opens + it.closes == 2);
    assert_int_equal(it.closes, 0);
    assert_int_equal(weir_conn_peer(it.far, &peer), 0);
    weir_address_set_port(&peer, 0);
    assert_true(weir_address_equal(&peer, &source));
}

/* The second address of localhost is forgotten once the first has answered. */
static void the_other_address_is_forgotten(void **state)
{
    weir_address address;
    char url[64];
    weir_loop *loop;
    struct conn *c;
    weir_listener listener;
    it.service.listen = "tcp://[::1]:0";
    if (weir_listen(&listener, &it.service) < 0)
        skip(); /* no IPv6 here */
    assert_int_equal(weir_listener_address(listener, &address), 0);
    snprintf(url, sizeof url, "tcp://localhost:%d", weir_address_port(&address));
    assert_int_equal(weir_connect(&it.near, url, &it.service, NULL), 0);
    UNTIL(it.opens == 2);
    turn();
    assert_int_equal(conn_get(it.near, &loop, &c), 0);
    assert_null(c->busy); /* idle: nothing but its record */
}

/* A unix listener whose queue is full, at a name of its own. */
static int full_listener(const char *name, int *filler)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memcpy(address.sun_path + 1, name, strlen(name));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 0), 0);
    *filler = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(*filler, (struct sockaddr *)&address, size), 0);
    return fd;
}

static void a_queue_that_stays_full(void **state)
{
    int filler, fd = full_listener("weir-faults", &filler);
    assert_int_equal(weir_connect(&it.near, "unix:@weir-faults", &it.service, NULL), 0);
    for (int turns = 0; turns < 20; turns++)
        turn();
    assert_int_equal(it.opens + it.closes, 0);
    assert_int_equal(weir_close(it.near), 0); /* while it waits */
    UNTIL(it.closes == 1);
    assert_false(list_empty(&it.loop->net->connect_waits));
    UNTIL(list_empty(&it.loop->net->connect_waits));
    /* Nobody listens any more: that is told at the next try, not at the deadline. */
    assert_int_equal(weir_connect(&it.near, "unix:@weir-faults", &it.service, NULL), 0);
    for (int turns = 0; turns < 5; turns++)
        turn();
    close(fd);
    close(filler);
    UNTIL(it.closes == 2);
    assert_int_equal(it.end.why, WEIR_WHY_ERROR);
    assert_int_equal(it.end.error, -ECONNREFUSED);
    UNTIL(list_empty(&it.loop->net->connect_waits));
    /* And one that gets room goes on, once. */
    fd = full_listener("weir-faults", &filler);
    assert_int_equal(weir_connect(&it.near, "unix:@weir-faults", &it.service, NULL), 0);
    for (int turns = 0; turns < 5; turns++)
        turn();
    close(accept(fd, NULL, NULL));
    UNTIL(it.opens == 1);
    assert_true(list_empty(&it.loop->net->connect_waits));
    close(fd);
    close(filler);
    UNTIL(it.closes == 3);
}

static void without_memory_to_wait_for_a_queue(void **state)
{
    int filler, fd = full_listener("weir-faults", &filler);
    it.near.id = 0;
    assert_int_equal(weir_connect(&it.near, "unix:@weir-faults", &it.service, NULL), 0);
    assert_int_equal(weir_abort(it.near), 0);
    UNTIL(list_empty(&it.loop->net->connect_waits) && it.closes == 1);
    int hits = 0;
    for (uint64_t n = 1, left = 0; left == 0; n++) {
        int closes = it.closes;
        it.near.id = 0;
        weir__alloc_fail_at(n);
        int result = weir_connect(&it.near, "unix:@weir-faults", &it.service, NULL);
        left = weir__alloc_fail_at(0);
        hits += left == 0;
        assert_true(result == 0 || result == WEIR_ENOMEM || result == WEIR_EFULL);
        if (result == 0 && left != 0) /* it had all that it needs, and waits */
            assert_int_equal(weir_abort(it.near), 0);
        if (result == 0)
            UNTIL(it.closes == closes + 1);
        UNTIL(list_empty(&it.loop->net->connect_waits));
    }
    assert_true(hits >= 1);
    assert_true(list_empty(&it.loop->net->connect_waits));
    close(fd);
    close(filler);
}

static int ready_at_once(weir_filter_at *at, void *state, void *config, bool client)
{
    weir_filter_ready(at);
    return 0;
}

static int pass_up(weir_filter_at *at, void *state, weir_view data)
{
    return weir_filter_up(at, data);
}

static int64_t pass_down(weir_filter_at *at, void *state, weir_view data, bool flush)
{
    int result = weir_filter_down(at, data);
    return result < 0 ? result : (int64_t)data.size;
}

static int end_refused(weir_filter_at *at, void *state)
{
    return -EPROTO;
}

static int64_t output_refused(weir_filter_at *at, void *state, weir_view data, bool flush)
{
    return -EPROTO;
}

static int64_t too_much_taken(weir_filter_at *at, void *state, weir_view data, bool flush)
{
    return (int64_t)data.size + 1;
}

static int input_refused(weir_filter_at *at, void *state, weir_view data)
{
    return -EPROTO;
}

/* A filter that refuses something ends its connection with that error, whatever it is. */
static void filters_that_refuse(void **state)
{
    static const weir_filter filters[] = {
        {.name = "end",
         .open = ready_at_once,
         .input = pass_up,
         .output = pass_down,
         .output_end = end_refused},
        {.name = "output", .open = ready_at_once, .input = pass_up, .output = output_refused},
        {.name = "size", .open = ready_at_once, .input = pass_up, .output = too_much_taken},
        {.name = "input", .open = ready_at_once, .input = input_refused, .output = pass_down},
        {.name = "input end",
         .open = ready_at_once,
         .input = pass_up,
         .output = pass_down,
         .input_end = end_refused},
    };
    static const int errors[] = {-EPROTO, -EPROTO, WEIR_EMISUSE, -EPROTO, -EPROTO};
    for (int i = 0; i < 5; i++) {
        for (int above = 0; above < 2; above++) { /* alone, and above one that passes all on */
            static const weir_filter passing = {
                .name = "passing", .open = ready_at_once, .input = pass_up, .output = pass_down};
            const weir_filter *const stack[] = {above ? &passing : &filters[i],
                                                above ? &filters[i] : NULL, NULL};
            weir_service filtered = it.service;
            filtered.filters = stack;
            if (it.url[0] == 0)
                listen_here();
            it.opens = it.closes = 0;
            it.end = (weir_end){WEIR_WHY_NONE, WEIR_DEADLINE_NONE, 0};
            assert_int_equal(weir_connect(&it.near, it.url, &filtered, NULL), 0);
            UNTIL(it.opens == 2);
            switch (i) {
            case 0:
                assert_int_equal(weir_finish(it.near), 0);
                break;
            case 1:
            case 2:
                assert_int_equal(weir_send(it.near, weir_str("x")), 0);
                break;
            case 3:
                assert_int_equal(weir_send(it.far, weir_str("x")), 0);
                break;
            default:
                assert_int_equal(weir_finish(it.far), 0);
                break;
            }
            UNTIL(it.closes == 2);
            assert_int_equal(it.end.why, WEIR_WHY_ERROR);
            assert_int_equal(it.end.error, errors[i]);
        }
    }
}

static int second_result;

static void run_again(void *user)
{
    second_result = weir_run(&it.service, 1, &(weir_run_options){.quiet = true});
    weir_stop();
}

static void one_run_at_a_time(void **state)
{
    weir_loop_enter(NULL);
    second_result = 1;
    assert_int_equal(
        weir_run(&it.service, 1,
                 &(weir_run_options){.quiet = true, .keep_signals = true, .on_started = run_again}),
        0);
    assert_int_equal(second_result, WEIR_EMISUSE);
    weir_loop_enter(it.loop);
}

/* The load by which the acceptor chooses is the connections of a loop, each counted once. */
static uint32_t loads[8];
static unsigned heard;

static void note_load(weir_conn conn, weir_view data, void *session)
{
    if (heard < 8)
        loads[heard++] = weir_loop_current()->load;
    if (weir_send(conn, data) < 0)
        weir_abort(conn);
}

static void *ask_one_by_one(void *arg)
{
    weir_address address;
    int fds[3];
    char byte = 'x';
    if (weir_run_address(0, &address) == 0)
        for (int i = 0; i < 3; i++) {
            fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            if (connect(fds[i], (struct sockaddr *)&address.socket, address.socket_size) < 0 ||
                send(fds[i], &byte, 1, MSG_NOSIGNAL) != 1 || recv(fds[i], &byte, 1, 0) != 1)
                break;
        }
    weir_stop();
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    return NULL;
}

static pthread_t asker;

static void start_asking(void *user)
{
    pthread_create(&asker, NULL, ask_one_by_one, NULL);
}

static void what_is_handed_over_is_counted_once(void **state)
{
    weir_service service = {.listen = "tcp://127.0.0.1:0", .on_data = note_load};
    weir_run_options options = {.shape = WEIR_SHAPE_ACCEPTOR,
                                .loops = 2,
                                .spread = WEIR_SPREAD_LEAST_CONNS,
                                .quiet = true,
                                .keep_signals = true,
                                .drain_ms = 2000,
                                .on_started = start_asking};
    weir_loop_enter(NULL);
    heard = 0;
    options.loops = 1; /* one that serves, beside the one that accepts */
    assert_int_equal(weir_run(&service, 1, &options), 0);
    pthread_join(asker, NULL);
    assert_int_equal(heard, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(loads[i], i + 1);
    weir_loop_enter(it.loop);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_receive_that_cannot_begin),
        CASE(a_receive_without_room_or_memory),
        CASE(an_end_that_cannot_be_sent),
        CASE(events_for_nobody),
        CASE(resets_and_limits_are_counted),
        CASE(refused_connections_are_counted),
        CASE(from_an_address_of_ours),
        CASE(a_queue_that_stays_full),
        CASE(without_memory_to_wait_for_a_queue),
        CASE(one_run_at_a_time),
        CASE(an_accept_while_all_ends),
        CASE(the_other_address_is_forgotten),
        CASE(filters_that_refuse),
        CASE(what_is_handed_over_is_counted_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
