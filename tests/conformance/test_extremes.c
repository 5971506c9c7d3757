/* ctest: timeout=300
 * Every number that a program can put into a structure of options, at its extremes: it is refused
 * with a line that says why, or the service works. */
#include <stdlib.h>
#include <unistd.h>

#include <weir/http.h>

#include "conformance/harness.h"

struct field {
    const char *name;
    size_t offset, size;
};
#define FIELD(type, name)                                         \
    {                                                             \
#name, offsetof(type, name), sizeof(((type *)NULL)->name) \
    }
#define COUNT(array) (sizeof(array) / sizeof *(array))

static const uint64_t values[] = {UINT64_MAX,  INT64_MAX,  UINT32_MAX, INT32_MAX,
                                  0x80000000u, 0x1000001u, 0x1000000u, 65536,
                                  65535,       1,          2,          3};

static const struct field loop_fields[] = {
    FIELD(weir_loop_options, conns_max),      FIELD(weir_loop_options, memory_max_bytes),
    FIELD(weir_loop_options, posts_max),      FIELD(weir_loop_options, posts_max_bytes),
    FIELD(weir_loop_options, direct_slots),   FIELD(weir_loop_options, receive_block_bytes),
    FIELD(weir_loop_options, receive_blocks), FIELD(weir_loop_options, stall_ms),
    FIELD(weir_loop_options, sharers),
};

static const struct field service_fields[] = {
    FIELD(weir_service, conn_size),
    FIELD(weir_service, connect_ms),
    FIELD(weir_service, first_byte_ms),
    FIELD(weir_service, idle_ms),
    FIELD(weir_service, write_ms),
    FIELD(weir_service, linger_ms),
    FIELD(weir_service, reader_idle_ms),
    FIELD(weir_service, writer_idle_ms),
    FIELD(weir_service, both_idle_ms),
    FIELD(weir_service, soft_mark_bytes),
    FIELD(weir_service, hard_cap_bytes),
    FIELD(weir_service, full),
    FIELD(weir_service, read_on),
    FIELD(weir_service, conns_max),
    FIELD(weir_service, accept_rate),
    FIELD(weir_service, overload),
    FIELD(weir_service, frame.max),
    FIELD(weir_service, frame.kind),
    FIELD(weir_service, frame.width),
    FIELD(weir_service, socket.backlog),
    FIELD(weir_service, socket.keepalive_idle_s),
    FIELD(weir_service, socket.keepalive_interval_s),
    FIELD(weir_service, socket.keepalive_count),
    FIELD(weir_service, socket.user_timeout_ms),
    FIELD(weir_service, socket.defer_accept_s),
    FIELD(weir_service, socket.fast_open),
    FIELD(weir_service, socket.receive_buffer_bytes),
    FIELD(weir_service, socket.send_buffer_bytes),
    FIELD(weir_service, socket.notsent_lowat_bytes),
    FIELD(weir_service, socket.mark),
    FIELD(weir_service, socket.incoming_cpu),
    FIELD(weir_service, socket.busy_poll_us),
    FIELD(weir_service, socket.unix_mode),
    FIELD(weir_service, socket.unix_owner),
    FIELD(weir_service, socket.unix_group),
    FIELD(weir_service, socket.nodelay),
    FIELD(weir_service, socket.keepalive),
    FIELD(weir_service, socket.reuseaddr),
    FIELD(weir_service, socket.reuseport),
    FIELD(weir_service, socket.freebind),
    FIELD(weir_service, socket.transparent),
    FIELD(weir_service, socket.v6only),
    FIELD(weir_service, socket.tos),
};

static const struct field run_fields[] = {
    FIELD(weir_run_options, shape),          FIELD(weir_run_options, loops),
    FIELD(weir_run_options, spread),         FIELD(weir_run_options, drain_ms),
    FIELD(weir_run_options, loop.conns_max), FIELD(weir_run_options, loop.memory_max_bytes),
};

static const struct field http_fields[] = {
    FIELD(weir_http_options, header_ms),      FIELD(weir_http_options, body_ms),
    FIELD(weir_http_options, idle_ms),        FIELD(weir_http_options, line_max_bytes),
    FIELD(weir_http_options, head_max_bytes), FIELD(weir_http_options, fields_max),
    FIELD(weir_http_options, body_max_bytes), FIELD(weir_http_options, requests_max),
    FIELD(weir_http_options, stack_bytes),    FIELD(weir_http_options, handlers_max),
};

/* Sets a field, if the value is one of its. */
static bool put(void *structure, const struct field *field, uint64_t value)
{
    if (field->size < 8 && value >> 8 * field->size != 0 && value != UINT64_MAX)
        return false;
    memcpy((char *)structure + field->offset, &value, field->size);
    return true;
}

static _Atomic unsigned lines; /* loops log from threads of their own */
static const char *what;
static uint64_t which;

static void count_line(const weir_log_line *line, void *arg)
{
    lines++;
}

static void begin(const struct field *field, uint64_t value)
{
    lines = 0;
    what = field->name;
    which = value;
    weir_log_set(count_line, NULL, WEIR_LOG_WARN);
}

/* Refused, and it was said why. */
static void expect_reason(int error)
{
    if (error >= 0 || lines == 0)
        fail_msg("%s = %#llx: error %d, %u lines", what, (unsigned long long)which, error, lines);
}

static void on_data(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0)
        weir_abort(c);
}

static void on_idle(weir_conn c, enum weir_idle which_idle, void *session)
{
}

/* A client says something, and leaves; and a client of the loop's own finds nobody. */
static void use(weir_loop *loop, const weir_service *service)
{
    weir_listener listener = {0};
    weir_address address;
    weir_conn conn;
    int fd = -1;
    weir_loop *former = weir_loop_enter(loop);
    int result = weir_listen(&listener, service);
    if (result < 0) {
        expect_reason(result);
    } else {
        assert_int_equal(weir_listener_address(listener, &address), 0);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fd, (struct sockaddr *)&address.socket, address.socket_size);
        (void)weir_connect(&conn, "tcp://127.0.0.1:1", service, NULL);
    }
    weir_loop_enter(former);
    for (int i = 0; i < 12 && fd >= 0; i++) {
        if (i == 3)
            (void)!send(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, MSG_NOSIGNAL);
        if (i == 9)
            close(fd);
        weir_loop_turn(loop, now_ns() + WEIR_MS);
    }
}

static void use_on_a_loop(const weir_loop_options *options, const weir_service *service)
{
    weir_loop *loop = NULL;
    int result = weir_loop_new(&loop, options);
    if (result < 0) {
        expect_reason(result);
        return;
    }
    use(loop, service);
    weir_loop_free(loop);
}

static const weir_service usual = {
    .listen = "tcp://127.0.0.1:0", .on_data = on_data, .on_idle = on_idle};

static void extremes_of_loops(void **state)
{
    for (size_t f = 0; f < COUNT(loop_fields); f++)
        for (size_t v = 0; v < COUNT(values); v++) {
            weir_loop_options options = {0};
            begin(&loop_fields[f], values[v]);
            if (put(&options, &loop_fields[f], values[v]))
                use_on_a_loop(&options, &usual);
        }
}

static void extremes_of_services(void **state)
{
    for (size_t f = 0; f < COUNT(service_fields); f++)
        for (size_t v = 0; v < COUNT(values); v++) {
            weir_service service = usual;
            begin(&service_fields[f], values[v]);
            if (put(&service, &service_fields[f], values[v]))
                use_on_a_loop(NULL, &service);
        }
}

static void extremes_of_http(void **state)
{
    for (size_t f = 0; f < COUNT(http_fields); f++)
        for (size_t v = 0; v < COUNT(values); v++) {
            weir_http_options options = {0};
            weir_service service;
            begin(&http_fields[f], values[v]);
            if (!put(&options, &http_fields[f], values[v]))
                continue;
            weir_http_app *app = weir_http_app_new(&options);
            if (app == NULL) {
                expect_reason(-1);
                continue;
            }
            assert_int_equal(weir_http_welcome(app), 0);
            weir_http_service(app, "tcp://127.0.0.1:0", &service);
            use_on_a_loop(NULL, &service);
            weir_http_app_free(app);
        }
}

static void stop(void *arg)
{
    weir_stop();
    weir_stop();
}

static void extremes_of_runs(void **state)
{
    for (size_t f = 0; f < COUNT(run_fields); f++)
        for (size_t v = 0; v < COUNT(values); v++)
            for (int shape = WEIR_SHAPE_SINGLE; shape <= WEIR_SHAPE_ACCEPTOR; shape++) {
                weir_run_options options = {
                    .shape = (enum weir_shape)shape, .loops = 2, .on_started = stop};
                begin(&run_fields[f], values[v]);
                if (!put(&options, &run_fields[f], values[v]))
                    continue;
                int result = weir_run(&usual, 1, &options);
                if (result < 0)
                    expect_reason(result);
            }
    begin(&(struct field){.name = "services"}, 0);
    expect_reason(weir_run(&usual, 0, NULL));
    lines = 0;
    expect_reason(weir_run(&usual, UINT32_MAX, NULL));
    lines = 0;
    expect_reason(weir_run(NULL, 1, NULL));
}

K_MAIN(T(extremes_of_loops), T(extremes_of_services), T(extremes_of_http), T(extremes_of_runs))
