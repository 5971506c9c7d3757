/* The client: follows the states that the server sends, and ends the test. */
#include "app/iperf/iperf.h"

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <weir/error.h>

#include "app/iperf/run.h"
#include "base/alloc.h"
#include "base/random.h"

#define STREAM_UDP_FALLBACK 1460
#define STUCK_NS            (60 * WEIR_S)

struct iperf_client {
    struct iperf_test *test;
    weir_loop *loop;
    weir_service control, stream;
    weir_address server, source;
    bool has_source;
    char url[WEIR_ADDRESS_TEXT_MAX];
};

/* ---- the end ---- */

static void leave(struct iperf_test *test)
{
    struct iperf_client *client = test->client;
    if (test->done)
        return;
    test->done = true;
    weir_timer_cancel(&test->deadline);
    for (unsigned i = 0; i < test->stream_count; i++) {
        struct iperf_stream *stream = &test->streams[i];
        iperf_udp_close(stream);
        weir_timer_cancel(&stream->pace);
        if (stream->open)
            weir_abort(stream->conn);
    }
    iperf_control_close(test);
    if (!test->control.open)
        weir_loop_stop(client->loop);
}

void iperf_client_failed(struct iperf_test *test)
{
    iperf_test_end(test);
    leave(test);
}

static void on_deadline(weir_timer *timer, void *arg)
{
    struct iperf_test *test = arg;
    static const char *const waits[] = {[IPERF_PARAM_EXCHANGE] = "to the parameters",
                                        [IPERF_CREATE_STREAMS] = "to the streams",
                                        [IPERF_TEST_START] = "to the start",
                                        [IPERF_TEST_END] = "to the end of the test",
                                        [IPERF_EXCHANGE_RESULTS] = "to the results"};
    unsigned state = test->state > 0 ? (unsigned)test->state : 0;
    const char *what = state < sizeof waits / sizeof *waits ? waits[state] : NULL;
    iperf_fail(test, WEIR_ETIMEDOUT, "the server does not answer%s%s", what != NULL ? " " : "",
               what != NULL ? what : "");
    iperf_client_failed(test);
}

/* A test that ends with so many bytes has no time: it goes on while something moves. */
static void on_stuck(weir_timer *timer, void *arg)
{
    struct iperf_test *test = arg;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < test->stream_count; i++)
        bytes += test->streams[i].now.bytes;
    if (bytes != test->stuck_bytes) {
        test->stuck_bytes = bytes;
        weir_timer_start(&test->deadline, weir_after(STUCK_NS), on_stuck, test);
        return;
    }
    iperf_fail(test, WEIR_ETIMEDOUT, "nothing has moved for a minute");
    iperf_client_failed(test);
}

static void patience(struct iperf_test *test)
{
    weir_timer_start(&test->deadline, weir_after(test->options->connect_ms * WEIR_MS), on_deadline,
                     test);
}

void iperf_client_time_over(struct iperf_test *test)
{
    if (test->ended || !test->running)
        return;
    iperf_test_end(test);
    iperf_control_send_state(test, IPERF_TEST_END);
    patience(test);
}

/* ---- the streams, one behind the other: both ends number them in this order ---- */

static void next_stream(struct iperf_test *test)
{
    struct iperf_client *client = test->client;
    const struct iperf_params *params = &test->params;
    if (test->stream_count == test->stream_room || test->done)
        return;
    bool sender = params->both ? test->stream_count < params->streams : !params->reverse;
    struct iperf_stream *stream = iperf_stream_add(test, sender);
    stream->remote = client->server;
    int result;
    if (params->udp) {
        result =
            iperf_udp_connect(stream, client->has_source ? &client->source : NULL, &client->server);
    } else {
        iperf_test_hold(test);
        result =
            weir_connect_from(&stream->conn, client->url,
                              client->has_source ? &client->source : NULL, &client->stream, stream);
        if (result < 0)
            iperf_test_release(test);
    }
    if (result == 0)
        return;
    iperf_fail(test, result, "a stream cannot be opened: %s", weir_error_text(result));
    iperf_client_failed(test);
}

void iperf_client_stream_ready(struct iperf_stream *stream)
{
    stream->open = true;
    next_stream(stream->test);
}

static void on_stream_open(weir_conn conn, void *session)
{
    struct iperf_stream *stream = weir_conn_user(conn);
    struct iperf_test *test = stream->test;
    stream->conn = conn;
    if (weir_conn_local(conn, &stream->local) < 0 ||
        weir_send(conn, weir_bytes(test->cookie, IPERF_COOKIE_BYTES)) < 0)
        weir_abort(conn);
    iperf_client_stream_ready(stream);
}

static void on_stream_data(weir_conn conn, weir_view view, void *session)
{
    iperf_tcp_data(weir_conn_user(conn), view.size);
}

static void on_stream_close(weir_conn conn, weir_end end, void *session)
{
    struct iperf_stream *stream = weir_conn_user(conn);
    struct iperf_test *test = stream->test;
    iperf_tcp_gone(stream, end);
    if (!test->ended && !test->done) {
        iperf_fail(test, end.error != 0 ? end.error : -ECONNABORTED,
                   "the server ended a stream before its time");
        iperf_client_failed(test);
    }
    iperf_test_release(test);
}

/* ---- the states ---- */

static void send_params(struct iperf_test *test)
{
    struct iperf_client *client = test->client;
    struct iperf_params *params = &test->params;
    weir_json_writer out = {0};
    weir_tcp_info info;
    if (weir_conn_tcp_info(test->control.conn, &info) == 0)
        test->mss_bytes = info.send_mss_bytes;
    if (params->udp && params->block_bytes == 0)
        params->block_bytes =
            test->mss_bytes >= IPERF_UDP_BLOCK_LEAST && test->mss_bytes <= IPERF_UDP_BLOCK_MAX
                ? test->mss_bytes
                : STREAM_UDP_FALLBACK;
    int result = iperf_test_prepare(test);
    if (result < 0) {
        iperf_fail(test, result, "out of memory");
        iperf_client_failed(test);
        return;
    }
    client->stream.socket.nodelay = params->nodelay ? WEIR_SWITCH_ON : WEIR_SWITCH_OFF;
    iperf_params_write(params, &out);
    iperf_control_send_json(test, &out);
}

static void send_results(struct iperf_test *test)
{
    weir_json_writer out = {0};
    iperf_test_fill_results(test);
    iperf_results_write(&test->own, &out);
    iperf_control_send_json(test, &out);
    iperf_control_expect(test, EXPECT_SIZE);
}

static void finish(struct iperf_test *test)
{
    iperf_control_send_state(test, IPERF_DONE);
    leave(test);
}

/* The server runs, so it has got the last stream's first datagram: its answer is lost, or is read
 * only after this. */
static void all_answered(struct iperf_test *test)
{
    for (unsigned i = 0; test->params.udp && i < test->stream_count; i++)
        test->streams[i].answered = test->streams[i].open = true;
}

static void run(struct iperf_test *test)
{
    weir_timer_cancel(&test->deadline);
    all_answered(test);
    iperf_text_connected(test);
    iperf_test_start(test);
    if (test->params.time_s == 0)
        weir_timer_start(&test->deadline, weir_after(STUCK_NS), on_stuck, test);
    iperf_test_moved(test);
}

void iperf_client_state(struct iperf_test *test, int8_t state)
{
    patience(test);
    if (state != IPERF_SERVER_ERROR && state != IPERF_ACCESS_DENIED)
        test->state = state;
    switch (state) {
    case IPERF_PARAM_EXCHANGE:
        if (test->streams == NULL) {
            send_params(test);
            return;
        }
        break;
    case IPERF_CREATE_STREAMS:
        if (test->streams != NULL && test->stream_count == 0) {
            next_stream(test);
            return;
        }
        break;
    case IPERF_TEST_START:
        if (test->streams != NULL && test->stream_count == test->stream_room && !test->running)
            return;
        break;
    case IPERF_TEST_RUNNING:
        if (test->streams != NULL && test->stream_count == test->stream_room && !test->running) {
            run(test);
            return;
        }
        break;
    case IPERF_EXCHANGE_RESULTS:
        if (test->ended && test->own.count == 0) {
            send_results(test);
            return;
        }
        break;
    case IPERF_DISPLAY_RESULTS:
        if (test->peer.count != 0) {
            finish(test);
            return;
        }
        break;
    case IPERF_SERVER_TERMINATE:
        iperf_fail(test, -ECONNABORTED, "the server has ended the test");
        iperf_client_failed(test);
        return;
    case IPERF_ACCESS_DENIED:
        iperf_fail(test, -ECONNABORTED, "the server is busy with another test: try again later");
        iperf_client_failed(test);
        return;
    case IPERF_SERVER_ERROR:
        iperf_control_expect(test, EXPECT_ERROR);
        return;
    default:
        break;
    }
    iperf_fail(test, WEIR_EPROTO, "the server sent state %d, which has no place here", state);
    iperf_client_failed(test);
}

void iperf_client_body(struct iperf_test *test, char *body, uint32_t size)
{
    test->answer = body;
    int result = iperf_results_read(body, size, &test->peer, &test->report);
    if (result == 0 && test->peer.count == test->stream_count) {
        iperf_test_take_results(test);
        return;
    }
    iperf_fail(test, result < 0 ? result : WEIR_EPROTO, "the server's results make no sense");
    iperf_client_failed(test);
}

void iperf_client_error(struct iperf_test *test, int number, int code)
{
    static const struct {
        int number;
        const char *text;
    } table[] = {{IPERF_ERROR_LISTEN, "it cannot listen for the streams"},
                 {IPERF_ERROR_PARAMS, "it does not understand the parameters"},
                 {IPERF_ERROR_STREAMS, "the streams did not come"}};
    const char *text = NULL;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        text = table[i].number == number ? table[i].text : text;
    bool known = code > 0 && code < 4096;
    iperf_fail(test, -ECONNABORTED, "the server failed: %s%s%s (iperf3's error %d)",
               text != NULL ? text : "see its own messages", known ? ": " : "",
               known ? weir_error_text(-code) : "", number);
    iperf_client_failed(test);
}

/* ---- the control connection ---- */

static void on_open(weir_conn conn, void *session)
{
    struct iperf_test *test = weir_conn_user(conn);
    test->control.conn = conn;
    test->control.open = true;
    if (weir_conn_peer(conn, &test->peer_address) < 0 ||
        weir_send(conn, weir_bytes(test->cookie, IPERF_COOKIE_BYTES)) < 0)
        weir_abort(conn);
    patience(test);
}

static void on_data(weir_conn conn, weir_view view, void *session)
{
    iperf_control_take(weir_conn_user(conn), view);
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    struct iperf_test *test = weir_conn_user(conn);
    struct iperf_client *client = test->client;
    bool opened = test->control.open;
    test->control.open = false;
    if (!test->done && end.why == WEIR_WHY_DEADLINE && !opened)
        iperf_fail(test, -ETIMEDOUT, "no answer: a firewall drops it, or the host is down");
    else if (!test->done && !opened)
        iperf_fail(test, end.error != 0 ? end.error : -ECONNABORTED, "%s",
                   end.error == -ECONNREFUSED
                       ? "connection refused: nothing listens there; start weir bench iperf3 -s or "
                         "iperf3 -s"
                       : weir_error_text(end.error));
    else if (!test->done)
        iperf_fail(test, end.error != 0 ? end.error : -ECONNRESET,
                   "the server has ended the conversation; is it one of iperf3's?");
    if (!test->done)
        iperf_client_failed(test);
    weir_loop_stop(client->loop);
    iperf_test_release(test);
}

static const weir_service control_service = {
    .on_open = on_open,
    .on_data = on_data,
    .on_close = on_close,
    .first_byte_ms = WEIR_OFF,
    .idle_ms = WEIR_OFF,
    .linger_ms = 500,
};

static const weir_service stream_service = {
    .on_open = on_stream_open,
    .on_data = on_stream_data,
    .on_close = on_stream_close,
    .read_on = WEIR_READ_ALWAYS,
    .first_byte_ms = WEIR_OFF,
    .idle_ms = WEIR_OFF,
    .write_ms = WEIR_OFF,
    .linger_ms = 500,
};

/* ---- from the options to the result ---- */

static void cookie_make(char cookie[IPERF_COOKIE_BYTES])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    weir__random_bytes(cookie, IPERF_COOKIE_BYTES - 1);
    for (unsigned i = 0; i < IPERF_COOKIE_BYTES - 1; i++)
        cookie[i] = letters[(unsigned char)cookie[i] % 32];
    cookie[IPERF_COOKIE_BYTES - 1] = '\0';
}

static int look_up(struct iperf_client *client, const weir_iperf_options *options, char *why,
                   size_t why_size)
{
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_family = options->family == 4   ? AF_INET
                                          : options->family == 6 ? AF_INET6
                                                                 : AF_UNSPEC};
    struct addrinfo *found = NULL;
    snprintf(port, sizeof port, "%u", options->port);
    int code = getaddrinfo(options->host, port, &hints, &found);
    if (code != 0) {
        snprintf(why, why_size, "cannot look up %s: %s", options->host, gai_strerror(code));
        return WEIR_EADDRESS;
    }
    int result = weir_address_from_sockaddr(found->ai_addr, found->ai_addrlen, WEIR_TRANSPORT_TCP,
                                            &client->server);
    freeaddrinfo(found);
    if (result == 0 && options->bind != NULL) {
        client->has_source = true;
        result = iperf_bind_address(options->bind, 0, &client->source);
    }
    if (result == 0)
        result = weir_address_format(&client->server, client->url, sizeof client->url);
    if (result < 0)
        snprintf(why, why_size, "%s: %s", options->bind != NULL ? options->bind : options->host,
                 weir_error_text(result));
    return result < 0 ? result : 0;
}

static void params_of(const weir_iperf_options *options, struct iperf_params *out)
{
    *out = (struct iperf_params){
        .udp = options->udp,
        .reverse = options->reverse,
        .both = options->both,
        .counters64 = options->counters64,
        .server_output = options->server_output,
        .nodelay = options->nodelay,
        .tos = options->tos,
        .streams = options->streams,
        .omit_s = (uint32_t)(options->omit_ns / WEIR_S),
        .time_s = (uint32_t)((options->time_ns + WEIR_S - 1) / WEIR_S),
        .block_bytes = options->block_bytes,
        .window_bytes = options->window_bytes,
        .burst = options->burst,
        .bytes = options->bytes,
        .blocks = options->blocks,
        .rate_bits = options->rate_bits == WEIR_NEVER ? 0 : options->rate_bits,
    };
    snprintf(out->version, sizeof out->version, "weir %s", weir_version());
    if (options->congestion != NULL)
        snprintf(out->congestion, sizeof out->congestion, "%s", options->congestion);
    if (options->title != NULL)
        snprintf(out->title, sizeof out->title, "%s", options->title);
}

/* Somebody wants the end before its time. */
static void stop(struct iperf_test *test)
{
    iperf_fail(test, -EINTR, "interrupted");
    if (test->done)
        return;
    iperf_test_end(test);
    iperf_control_send_state(test, IPERF_CLIENT_TERMINATE);
    leave(test);
}

static int conversation(struct iperf_client *client)
{
    struct iperf_test *test = client->test;
    weir_loop *before = weir_loop_enter(client->loop);
    weir_conn conn;
    iperf_test_hold(test);
    int result = weir_connect_from(&conn, client->url, client->has_source ? &client->source : NULL,
                                   &client->control, test);
    weir_loop_enter(before);
    if (result < 0) {
        iperf_test_release(test);
        iperf_fail(test, result, "%s", weir_error_text(result));
        return result;
    }
    iperf_running_begin(client->loop);
    weir_loop_run(client->loop);
    if (iperf_running_stopped() && !test->done) {
        before = weir_loop_enter(client->loop);
        stop(test);
        weir_loop_enter(before);
        weir_loop_run(client->loop);
    }
    iperf_running_end();
    return test->error;
}

static void tell(struct iperf_test *test)
{
    if (test->options->json) {
        weir_json_writer out = {.indent = true, .limit = 256 << 20};
        iperf_report_write(test, &out);
        if (weir_json_done(&out) == 0)
            iperf_print(test, out.data, out.size);
        weir_json_free(&out);
    } else if (test->running) {
        iperf_text_end(test);
    }
}

int weir__iperf_client(const weir_iperf_options *given, size_t size, char *why, size_t why_size)
{
    struct iperf_client client = {.control = control_service, .stream = stream_service};
    weir_iperf_options options = {0};
    memcpy(&options, given, size < sizeof options ? size : sizeof options);
    int result = iperf_options_check(&options, why, why_size);
    if (result == 0)
        result = look_up(&client, &options, why, why_size);
    if (result < 0)
        return result;
    client.control.connect_ms = client.stream.connect_ms = options.connect_ms;
    client.stream.socket.congestion = options.congestion;
    client.stream.socket.tos = options.tos;
    client.stream.socket.send_buffer_bytes = client.stream.socket.receive_buffer_bytes =
        options.window_bytes;
    struct iperf_test *test = client.test = iperf_test_new(&options);
    if (test != NULL)
        result = weir_loop_new(&client.loop, &options.loop);
    if (test == NULL || result < 0) {
        snprintf(why, why_size, "no loop could be started: %s",
                 weir_error_text(test == NULL ? WEIR_ENOMEM : result));
        weir__free(test);
        return test == NULL ? WEIR_ENOMEM : result;
    }
    test->client = &client;
    test->live = true;
    cookie_make(test->cookie);
    params_of(&options, &test->params);
    iperf_socket_facts(test);
    if (!options.json)
        iperf_text(test, "Connecting to host %s, port %u\n", options.host, options.port);
    result = conversation(&client);
    if (result == 0 || test->running || options.json)
        tell(test);
    if (result < 0)
        snprintf(why, why_size, "%s", test->why);
    test->done = true;
    weir_loop_free(client.loop);
    iperf_test_release(test);
    return result;
}
