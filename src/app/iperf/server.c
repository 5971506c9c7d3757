/* The server: leads each test through its states. */
#include "app/iperf/iperf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>

#include "app/iperf/run.h"
#include "base/alloc.h"
#include "base/clock.h"

#define LEAVE_NS (300 * WEIR_MS) /* for clients, once the server is stopped */

enum {
    TESTS_MAX = 64,
    CONNS_MAX = 4096,
    DRAIN_TICK_MS = 20,
    DRAIN_TICKS = 25,
    GRACE_S = 10, /* beyond the test's own time */
    STUCK_S = 60  /* a test without a time may stand still so long */
};

struct iperf_server {
    const weir_iperf_options *options;
    weir_loop *loop;
    weir_service service;
    weir_listener listener;
    struct iperf_test *tests[TESTS_MAX];
    struct iperf_test *udp_turn; /* its streams are being opened: they are told apart by time */
    unsigned test_count, served;
    uint64_t accepted;
    struct iperf_later later;
    bool live, stopping; /* live: a test prints as it goes on, and others wait for its end */
};

/* A connection: first the cookie, then it is a test's control connection or a stream of it. */
struct peer {
    struct iperf_server *server;
    struct iperf_test *test;
    struct iperf_stream *stream;
    weir_conn conn;
    uint64_t number;
    weir_timer deadline; /* of the cookie */
    char cookie[IPERF_COOKIE_BYTES];
    uint8_t got;
    bool control;
};

/* ---- the end of a test ---- */

static void streams_close(struct iperf_test *test, bool abort)
{
    for (unsigned i = 0; i < test->stream_count; i++) {
        struct iperf_stream *stream = &test->streams[i];
        if (test->params.udp)
            iperf_udp_close(stream);
        else if (abort && stream->open)
            weir_abort(stream->conn);
        else
            iperf_tcp_close(stream);
    }
    for (unsigned i = 0; test->stream_count == 0 && i < test->arrival_count; i++)
        weir_abort(test->arrivals[i].conn);
    iperf_udp_unlisten(test);
}

static void udp_next(struct iperf_server *server);

static void tell(struct iperf_test *test)
{
    if (test->options->json) {
        weir_json_writer out = {.indent = true, .limit = 256 << 20};
        iperf_report_write(test, &out);
        if (weir_json_done(&out) == 0)
            iperf_print(test, out.data, out.size);
        weir_json_free(&out);
        return;
    }
    if (test->error != 0)
        iperf_text(test, "weir: bench iperf3: %s\n", test->why);
    if (test->live) {
        test->server->live = false;
        iperf_later_print(test, &test->server->later);
    } else if (!test->server->live || !iperf_later_add(&test->server->later, test)) {
        iperf_print(test, test->text, test->text_size);
    }
}

/* Takes the test out of the server; what still refers to it goes by itself. */
static void test_leave(struct iperf_test *test)
{
    struct iperf_server *server = test->server;
    if (test->done)
        return;
    test->done = true;
    iperf_test_end(test);
    weir_timer_cancel(&test->deadline);
    weir_timer_cancel(&test->drain);
    streams_close(test, true);
    iperf_control_close(test);
    tell(test);
    for (unsigned i = 0; i < server->test_count; i++)
        if (server->tests[i] == test)
            server->tests[i--] = server->tests[--server->test_count];
    if (server->udp_turn == test)
        server->udp_turn = NULL;
    server->served++;
    udp_next(server);
    if ((server->options->one_off || server->stopping) && server->test_count == 0)
        weir_loop_stop(server->loop);
    iperf_test_release(test);
}

static void send_error(struct iperf_test *test, int number)
{
    int error = test->error < 0 && test->error > -4096 ? -test->error : 0;
    uint8_t told[8] = {0, 0, (uint8_t)(number >> 8), (uint8_t)number,
                       0, 0, (uint8_t)(error >> 8),  (uint8_t)error};
    iperf_control_send_state(test, IPERF_SERVER_ERROR);
    if (test->control.open && weir_send(test->control.conn, weir_bytes(told, sizeof told)) < 0)
        weir_abort(test->control.conn);
}

void iperf_server_failed(struct iperf_test *test, int number)
{
    if (test->done)
        return;
    send_error(test, number);
    test_leave(test);
}

static void on_deadline(weir_timer *timer, void *arg)
{
    struct iperf_test *test = arg;
    iperf_fail(test, WEIR_ETIMEDOUT, "the client did not go on in time");
    iperf_server_failed(test, IPERF_ERROR_STREAMS);
}

static void patience(struct iperf_test *test, uint64_t seconds)
{
    weir_timer_start(&test->deadline, weir_after(seconds * WEIR_S), on_deadline, test);
}

static void step(struct iperf_test *test)
{
    weir_timer_start(&test->deadline, weir_after(test->options->connect_ms * WEIR_MS), on_deadline,
                     test);
}

static uint64_t moved_bytes(const struct iperf_test *test)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < test->stream_count; i++)
        sum += test->streams[i].now.bytes;
    return sum;
}

/* A test that ends with so many bytes has no time: it goes on while something moves. */
static void on_stuck(weir_timer *timer, void *arg)
{
    struct iperf_test *test = arg;
    uint64_t bytes = moved_bytes(test);
    if (bytes == test->stuck_bytes) {
        on_deadline(timer, arg);
        return;
    }
    test->stuck_bytes = bytes;
    weir_timer_start(&test->deadline, weir_after(STUCK_S * WEIR_S), on_stuck, test);
}

/* ---- the states ---- */

static void running(struct iperf_test *test)
{
    const struct iperf_params *params = &test->params;
    iperf_control_send_state(test, IPERF_TEST_START);
    iperf_text_connected(test);
    iperf_test_start(test);
    iperf_control_send_state(test, IPERF_TEST_RUNNING);
    if (params->time_s != 0)
        patience(test, (uint64_t)params->time_s + params->omit_s + GRACE_S);
    else
        weir_timer_start(&test->deadline, weir_after(STUCK_S * WEIR_S), on_stuck, test);
}

static void create_streams(struct iperf_test *test)
{
    iperf_control_send_state(test, IPERF_CREATE_STREAMS);
    step(test);
}

/* UDP streams of several tests cannot be told apart, so one test opens its streams at a time. */
static void udp_next(struct iperf_server *server)
{
    for (unsigned i = 0; server->udp_turn == NULL && i < server->test_count; i++) {
        struct iperf_test *test = server->tests[i];
        if (!test->params.udp || test->state != IPERF_PARAM_EXCHANGE || test->streams == NULL)
            continue;
        server->udp_turn = test;
        int result = iperf_udp_listen(test);
        if (result == 0) {
            create_streams(test);
            return;
        }
        iperf_fail(test, result, "no socket for the streams: %s", weir_error_text(result));
        iperf_server_failed(test, IPERF_ERROR_LISTEN); /* which looks for the next one */
        return;
    }
}

void iperf_server_stream_ready(struct iperf_test *test)
{
    struct iperf_server *server = test->server;
    if (test->stream_count < test->stream_room || test->running)
        return;
    if (server->udp_turn == test)
        server->udp_turn = NULL;
    running(test);
    udp_next(server);
}

static void take_params(struct iperf_test *test, const char *body, uint32_t size)
{
    char address[WEIR_ADDRESS_TEXT_MAX];
    int result = iperf_params_read(body, size, &test->params);
    if (result == 0)
        result = iperf_test_prepare(test);
    if (result < 0) {
        iperf_fail(test, result, "the client's parameters make no sense");
        iperf_server_failed(test, IPERF_ERROR_PARAMS);
        return;
    }
    iperf_socket_facts(test);
    test->live = test->server->test_count == 1;
    test->server->live |= test->live;
    if (!test->options->json &&
        weir_address_format(&test->peer_address, address, sizeof address) > 0)
        iperf_text(test, "Accepted connection from %s\n",
                   strchr(address, '/') != NULL ? strchr(address, '/') + 2 : address);
    if (test->params.udp) {
        step(test);
        udp_next(test->server);
    } else {
        create_streams(test);
    }
}

static void send_results(struct iperf_test *test)
{
    weir_json_writer out = {0}, report = {0};
    struct iperf_results *own = &test->own;
    iperf_test_fill_results(test);
    if (test->params.server_output && test->options->json) {
        report.limit = IPERF_OUTPUT_BYTES_MAX / 2;
        iperf_report_write(test, &report);
        own->output = weir_json_done(&report) == 0 ? report.data : NULL;
        own->output_json = true;
    } else if (test->params.server_output) {
        own->output = test->text;
    }
    iperf_results_write(own, &out);
    own->output = NULL;
    weir_json_free(&report);
    iperf_control_send_json(test, &out);
    iperf_control_send_state(test, IPERF_DISPLAY_RESULTS);
    step(test);
}

void iperf_server_body(struct iperf_test *test, char *body, uint32_t size)
{
    if (test->state == IPERF_PARAM_EXCHANGE && test->streams == NULL) {
        take_params(test, body, size);
    } else if (test->state == IPERF_EXCHANGE_RESULTS) {
        int result = iperf_results_read(body, size, &test->peer, &test->report);
        weir__free((void *)(uintptr_t)test->report.values); /* a client has no report for us */
        test->report = (struct iperf_report){0};
        iperf_test_take_results(test);
        if (result < 0) {
            iperf_fail(test, result, "the client's results make no sense");
            iperf_server_failed(test, IPERF_ERROR_PARAMS);
        } else {
            send_results(test);
        }
    }
    weir__free(body);
}

static void exchange(struct iperf_test *test)
{
    iperf_test_end(test);
    weir_timer_cancel(&test->drain);
    streams_close(test, false);
    if (!test->options->json)
        iperf_text_end(test);
    iperf_control_send_state(test, IPERF_EXCHANGE_RESULTS);
    iperf_control_expect(test, EXPECT_SIZE);
    step(test);
}

/* What the client has sent may still be on its way: with a number of bytes it all counts. */
static void on_drain(weir_timer *timer, void *arg)
{
    struct iperf_test *test = arg;
    if (iperf_enough(test, false) || ++test->drained >= DRAIN_TICKS)
        exchange(test);
    else
        weir_timer_start(timer, weir_after(DRAIN_TICK_MS * WEIR_MS), on_drain, test);
}

static void test_end(struct iperf_test *test)
{
    const struct iperf_params *params = &test->params;
    bool counted = params->bytes != 0 || params->blocks != 0;
    test->state = IPERF_TEST_END;
    if (counted && !params->both && !params->reverse && params->omit_s == 0)
        on_drain(&test->drain, test);
    else
        exchange(test);
}

void iperf_server_state(struct iperf_test *test, int8_t state)
{
    switch (state) {
    case IPERF_TEST_END:
        if (test->state == IPERF_TEST_RUNNING) {
            test_end(test);
            return;
        }
        break;
    case IPERF_DONE:
        if (test->state == IPERF_DISPLAY_RESULTS) {
            test_leave(test);
            return;
        }
        break;
    case IPERF_CLIENT_TERMINATE:
        if (test->running && !test->options->json) {
            iperf_test_end(test);
            iperf_text_end(test);
        }
        iperf_fail(test, -ECONNABORTED, "the client has ended the test");
        test_leave(test);
        return;
    default:
        break;
    }
    iperf_fail(test, WEIR_EPROTO, "the client sent state %d, which has no place here", state);
    iperf_server_failed(test, IPERF_ERROR_PARAMS);
}

/* ---- connections ---- */

static void deny(weir_conn conn)
{
    int8_t byte = IPERF_ACCESS_DENIED;
    if (weir_send(conn, weir_bytes(&byte, 1)) < 0)
        weir_abort(conn);
    weir_close(conn);
}

static void begin_test(struct peer *peer)
{
    struct iperf_server *server = peer->server;
    bool busy = server->test_count == TESTS_MAX || server->stopping ||
                (server->options->one_off && server->test_count + server->served != 0);
    struct iperf_test *test = busy ? NULL : iperf_test_new(server->options);
    if (test == NULL) {
        deny(peer->conn);
        return;
    }
    test->server = server;
    server->tests[server->test_count++] = test;
    memcpy(test->cookie, peer->cookie, IPERF_COOKIE_BYTES);
    test->control.conn = peer->conn;
    test->control.open = true;
    peer->control = true;
    peer->test = test;
    iperf_test_hold(test);
    if (weir_conn_peer(peer->conn, &test->peer_address) < 0)
        weir_abort(peer->conn);
    iperf_control_send_state(test, IPERF_PARAM_EXCHANGE);
    iperf_control_expect(test, EXPECT_SIZE);
    step(test);
}

static int by_number(const void *left, const void *right)
{
    const struct iperf_arrival *a = left, *b = right;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* All are there: in the order in which they were accepted they become the streams. */
static void streams_begin(struct iperf_test *test)
{
    const struct iperf_params *params = &test->params;
    qsort(test->arrivals, test->arrival_count, sizeof *test->arrivals, by_number);
    for (unsigned i = 0; i < test->arrival_count; i++) {
        struct peer *peer = weir_conn_session(test->arrivals[i].conn);
        struct iperf_stream *stream =
            iperf_stream_add(test, params->both ? i >= params->streams : params->reverse);
        stream->conn = test->arrivals[i].conn;
        if (peer == NULL)
            continue;
        peer->stream = stream;
        stream->open = true;
        weir_conn_local(stream->conn, &stream->local);
        weir_conn_peer(stream->conn, &stream->remote);
    }
    iperf_server_stream_ready(test);
}

static void begin_stream(struct peer *peer, struct iperf_test *test)
{
    if (test->params.udp || test->state != IPERF_CREATE_STREAMS ||
        test->arrival_count == test->stream_room) {
        deny(peer->conn);
        return;
    }
    test->arrivals[test->arrival_count++] = (struct iperf_arrival){peer->number, peer->conn};
    peer->test = test;
    iperf_test_hold(test);
    if (test->arrival_count == test->stream_room)
        streams_begin(test);
}

static void take_cookie(struct peer *peer)
{
    struct iperf_server *server = peer->server;
    for (unsigned i = 0; i < server->test_count; i++)
        if (memcmp(server->tests[i]->cookie, peer->cookie, IPERF_COOKIE_BYTES) == 0) {
            begin_stream(peer, server->tests[i]);
            return;
        }
    begin_test(peer);
}

static void on_no_cookie(weir_timer *timer, void *arg)
{
    weir_abort(((struct peer *)arg)->conn);
}

static void on_open(weir_conn conn, void *session)
{
    struct peer *peer = session;
    peer->server = weir_conn_user(conn);
    peer->conn = conn;
    peer->number = peer->server->accepted++;
    weir_timer_start(&peer->deadline, weir_after(peer->server->options->connect_ms * WEIR_MS),
                     on_no_cookie, peer);
}

static void on_data(weir_conn conn, weir_view view, void *session)
{
    struct peer *peer = session;
    if (peer->got < IPERF_COOKIE_BYTES) {
        uint32_t part = IPERF_COOKIE_BYTES - peer->got;
        part = part < view.size ? part : view.size;
        memcpy(peer->cookie + peer->got, view.data, part);
        peer->got += (uint8_t)part;
        view = weir_slice(view, part, view.size);
        if (peer->got == IPERF_COOKIE_BYTES) {
            weir_timer_cancel(&peer->deadline);
            take_cookie(peer);
        }
    }
    if (view.size == 0 || peer->test == NULL)
        return;
    if (peer->control)
        iperf_control_take(peer->test, view);
    else if (peer->stream != NULL)
        iperf_tcp_data(peer->stream, view.size);
}

static void control_closed(struct iperf_test *test)
{
    test->control.open = false;
    if (!test->done && test->state != IPERF_DISPLAY_RESULTS)
        iperf_fail(test, -ECONNRESET, "the client has left");
    test_leave(test);
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    struct peer *peer = session;
    struct iperf_test *test = peer->test;
    weir_timer_cancel(&peer->deadline);
    if (test == NULL)
        return;
    if (peer->control) {
        control_closed(test);
    } else if (peer->stream != NULL) {
        iperf_tcp_gone(peer->stream, end);
    } else if (!test->done) { /* it came and went before the others were there */
        iperf_fail(test, -ECONNRESET, "a stream was closed before it began");
        iperf_server_failed(test, IPERF_ERROR_STREAMS);
    }
    iperf_test_release(test);
}

/* ---- from the options to the end ---- */

static int listen_on(struct iperf_server *server, char *why, size_t why_size)
{
    const weir_iperf_options *options = server->options;
    char url[WEIR_ADDRESS_TEXT_MAX];
    weir_address address;
    int result = 0;
    if (options->bind != NULL) {
        result = iperf_bind_address(options->bind, options->port, &address);
        if (result == 0)
            result = weir_address_format(&address, url, sizeof url);
    } else {
        snprintf(url, sizeof url, "tcp://%s:%u",
                 options->family == 4   ? "0.0.0.0"
                 : options->family == 6 ? "[::]"
                                        : "*",
                 options->port);
    }
    if (result < 0) {
        snprintf(why, why_size, "%s is no address of this host", options->bind);
        return result;
    }
    server->service = (weir_service){.listen = url,
                                     .user = server,
                                     .conn_size = sizeof(struct peer),
                                     .on_open = on_open,
                                     .on_data = on_data,
                                     .on_close = on_close,
                                     .read_on = WEIR_READ_ALWAYS,
                                     .idle_ms = WEIR_OFF,
                                     .write_ms = STUCK_S * 1000,
                                     .hard_cap_bytes = 2 * IPERF_OUTPUT_BYTES_MAX,
                                     .conns_max = CONNS_MAX};
    if (options->family == 6)
        server->service.socket.v6only = WEIR_SWITCH_ON;
    weir_loop *before = weir_loop_enter(server->loop);
    result = weir_listen(&server->listener, &server->service);
    weir_loop_enter(before);
    if (result < 0)
        snprintf(why, why_size, "cannot listen on %s: %s", url, weir_error_text(result));
    return result;
}

/* Each client is told and gets a moment to leave by itself; its streams are read meanwhile. */
static void terminate(struct iperf_server *server)
{
    weir_loop *before = weir_loop_enter(server->loop);
    uint64_t until_ns = weir__clock_now_ns() + LEAVE_NS;
    server->stopping = true;
    weir_listener_close(server->listener);
    for (unsigned i = 0; i < server->test_count; i++) {
        iperf_fail(server->tests[i], -EINTR, "this server was stopped");
        iperf_test_end(server->tests[i]);
        iperf_control_expect(server->tests[i], EXPECT_NOTHING);
        iperf_control_send_state(server->tests[i], IPERF_SERVER_TERMINATE);
    }
    weir_loop_enter(before);
    do
        weir_loop_turn(server->loop, weir_after(5 * WEIR_MS));
    while (server->test_count != 0 && weir__clock_now_ns() < until_ns);
    before = weir_loop_enter(server->loop);
    while (server->test_count != 0)
        test_leave(server->tests[0]);
    weir_loop_enter(before);
}

int weir__iperf_serve(const weir_iperf_options *given, size_t size, char *why, size_t why_size)
{
    weir_iperf_options options = {0};
    struct iperf_server server = {.options = &options};
    char text[64];
    memcpy(&options, given, size < sizeof options ? size : sizeof options);
    int result = iperf_options_check(&options, why, why_size);
    if (result < 0)
        return result;
    result = weir_loop_new(&server.loop, &options.loop);
    if (result < 0) {
        snprintf(why, why_size, "no loop could be started: %s", weir_error_text(result));
        return result;
    }
    result = listen_on(&server, why, why_size);
    if (result == 0) {
        iperf_running_begin(server.loop);
        int length = snprintf(text, sizeof text, "Server listening on %u\n", options.port);
        if (!options.json && options.print != NULL)
            options.print(text, (size_t)length, options.user);
        while (weir_loop_run(server.loop) == 0 && !iperf_running_stopped() &&
               !(options.one_off && server.served != 0))
            continue;
        terminate(&server);
        iperf_running_end();
    }
    weir_loop_free(server.loop);
    return result;
}
