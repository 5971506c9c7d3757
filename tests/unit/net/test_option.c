/* Socket options: each reaches the kernel, accepted connections inherit it, refusals name it. */
#include "unit/net/net_support.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "net/option.h"

#define FIELD(field) \
#field, offsetof(weir_socket_options, field), sizeof(((weir_socket_options *)0)->field)

/* Every option that is a number: how it is asked for, and what the kernel then says. */
static const struct row {
    const char *name;
    size_t offset, size;
    uint32_t asked;
    int level, number, seen;
    int otherwise; /* what it is when it is not asked for; -2: the kernel's own matter */
    bool root;     /* needs a capability */
    bool kept;     /* an accepted TCP connection has it too */
} rows[] = {
    {FIELD(nodelay), WEIR_SWITCH_OFF, IPPROTO_TCP, TCP_NODELAY, 0, 1, false, true},
    {FIELD(nodelay), WEIR_SWITCH_ON, IPPROTO_TCP, TCP_NODELAY, 1, 1, false, true},
    {FIELD(keepalive), WEIR_SWITCH_ON, SOL_SOCKET, SO_KEEPALIVE, 1, 0, false, true},
    {FIELD(keepalive_idle_s), 77, IPPROTO_TCP, TCP_KEEPIDLE, 77, -2, false, true},
    {FIELD(keepalive_idle_s), 77, SOL_SOCKET, SO_KEEPALIVE, 1, 0, false, true},
    {FIELD(keepalive_interval_s), 7, IPPROTO_TCP, TCP_KEEPINTVL, 7, -2, false, true},
    {FIELD(keepalive_interval_s), 7, SOL_SOCKET, SO_KEEPALIVE, 1, 0, false, true},
    {FIELD(keepalive_count), 4, IPPROTO_TCP, TCP_KEEPCNT, 4, -2, false, true},
    {FIELD(keepalive_count), 4, SOL_SOCKET, SO_KEEPALIVE, 1, 0, false, true},
    {FIELD(user_timeout_ms), 12345, IPPROTO_TCP, TCP_USER_TIMEOUT, 12345, 0, false, true},
    {FIELD(notsent_lowat_bytes), 16384, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384, -2, false, true},
    {FIELD(receive_buffer_bytes), 50000, SOL_SOCKET, SO_RCVBUF, 100000, -2, false, true},
    {FIELD(send_buffer_bytes), 60000, SOL_SOCKET, SO_SNDBUF, 120000, -2, false, true},
    {FIELD(mark), 5, SOL_SOCKET, SO_MARK, 5, 0, true, true},
    {FIELD(tos), WEIR_DSCP(10), IPPROTO_IP, IP_TOS, 40, 0, false, true},
    {FIELD(freebind), WEIR_SWITCH_ON, IPPROTO_IP, IP_FREEBIND, 1, 0, false, true},
    {FIELD(transparent), WEIR_SWITCH_ON, IPPROTO_IP, IP_TRANSPARENT, 1, 0, true, true},
    {FIELD(reuseport), WEIR_SWITCH_ON, SOL_SOCKET, SO_REUSEPORT, 1, 0, false, true},
    {FIELD(reuseaddr), WEIR_SWITCH_OFF, SOL_SOCKET, SO_REUSEADDR, 0, 1, false, true},
    {FIELD(reuseaddr), WEIR_SWITCH_ON, SOL_SOCKET, SO_REUSEADDR, 1, 1, false, true},
    {FIELD(busy_poll_us), 10, SOL_SOCKET, SO_BUSY_POLL, 10, -2, true, true},
    {FIELD(incoming_cpu), WEIR_SOME(0), SOL_SOCKET, SO_INCOMING_CPU, 0, -2, false, false},
    {FIELD(defer_accept_s), 1, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1, 0, false, false},
    {FIELD(fast_open), 16, IPPROTO_TCP, TCP_FASTOPEN, 16, 0, false, false},
};

static void set_field(weir_socket_options *options, const struct row *row, uint32_t value)
{
    uint8_t byte = (uint8_t)value;

    memcpy((char *)options + row->offset, row->size == 1 ? (void *)&byte : (void *)&value,
           row->size);
}

/* Over IPv4, IPv6, and IPv4 to a listener for both. */
static const struct {
    const char *listen, *connect;
} routes[] = {
    {"tcp://127.0.0.1:0", "tcp://127.0.0.1:0"},
    {"tcp://[::1]:0", "tcp://[::1]:0"},
    {"tcp://*:0", "tcp://127.0.0.1:0"},
};

static void check_row(const struct row *row, const weir_address *listen, weir_address remote)
{
    weir_socket_options options = {0};
    int listener, client, server;
    weir_address local;

    if (row->root && geteuid() != 0)
        return;
    set_field(&options, row, row->asked);
    listener = must_listen(listen, &options);
    if (number_of(listener, row->level, row->number) != row->seen)
        fail_msg("%s = %u: the kernel says %d", row->name, row->asked,
                 number_of(listener, row->level, row->number));
    local = local_of(listener);
    weir_address_set_port(&remote, (unsigned)weir_address_port(&local));
    client = must_connect(&remote, NULL);
    must_poll(client, POLLOUT);
    assert_int_equal(send(client, "x", 1, 0), 1); /* for defer_accept */
    server = must_accept(listener);
    if (row->kept && number_of(server, row->level, row->number) != row->seen)
        fail_msg("%s is not inherited: %d", row->name, number_of(server, row->level, row->number));
    close(server);
    close(client);
    close(listener);
}

static void test_numbers(void **state)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t j = 0; j < COUNT(routes); j++) {
            weir_address listen = address_of(routes[j].listen);

            if (reachable(routes[j].listen))
                check_row(&rows[i], &listen, address_of(routes[j].connect));
        }
    }
    if (geteuid() != 0)
        SKIP("mark, transparent and busy_poll_us need root; the others passed");
}

static void test_defaults(void **state)
{
    struct ends ends = connected("tcp://127.0.0.1:0", NULL);
    int fds[] = {ends.listener, ends.server};

    for (size_t f = 0; f < COUNT(fds); f++) {
        for (size_t i = 0; i < COUNT(rows); i++)
            if (rows[i].otherwise != -2)
                assert_int_equal(number_of(fds[f], rows[i].level, rows[i].number),
                                 rows[i].otherwise);
        assert_int_equal(number_of(fds[f], SOL_SOCKET, SO_OOBINLINE), 1);
    }
    assert_int_equal(number_of(ends.client, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(number_of(ends.client, SOL_SOCKET, SO_OOBINLINE), 1);
    assert_int_equal(number_of(ends.client, SOL_SOCKET, SO_REUSEADDR), 0);
    close_ends(&ends);
}

static void test_names_and_linger(void **state)
{
    weir_socket_options options = {
        .congestion = "reno", .bind_device = "lo", .linger_s = 3, .tos = WEIR_DSCP(46)};
    struct ends ends;
    int fds[2];

    if (!reachable("[::1]"))
        SKIP("this host has no IPv6");
    ends = connected("tcp://[::1]:0", &options);
    fds[0] = ends.listener;
    fds[1] = ends.server;
    for (size_t f = 0; f < COUNT(fds); f++) {
        char name[32] = {0};
        struct linger linger;
        socklen_t size = sizeof name;

        assert_int_equal(getsockopt(fds[f], IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
        assert_string_equal(name, "reno");
        memset(name, 0, sizeof name);
        size = sizeof name;
        assert_int_equal(getsockopt(fds[f], SOL_SOCKET, SO_BINDTODEVICE, name, &size), 0);
        assert_string_equal(name, "lo");
        size = sizeof linger;
        assert_int_equal(getsockopt(fds[f], SOL_SOCKET, SO_LINGER, &linger, &size), 0);
        assert_int_equal(linger.l_onoff, 1);
        assert_int_equal(linger.l_linger, 3);
        assert_int_equal(number_of(fds[f], IPPROTO_IPV6, IPV6_TCLASS), 0xb8);
    }
    close_ends(&ends);
}

/* WEIR_LINGER_RESET: the peer sees a reset, not an end. */
static void test_linger_reset(void **state)
{
    weir_socket_options options = {.linger_s = WEIR_LINGER_RESET};
    struct ends ends = connected("tcp://127.0.0.1:0", &options);
    char byte;

    close(ends.server);
    must_poll(ends.client, POLLIN);
    assert_int_equal(recv(ends.client, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(ends.client);
    close(ends.listener);
}

static int error_of(const weir_socket_options *options, struct weir__socket_error *error)
{
    weir_address address = address_of("tcp://127.0.0.1:0");
    struct weir__socket_how how = {.bind_wait_ms = -1};
    int fd = weir__socket_listen(&address, options, &how, error);

    if (fd >= 0)
        close(fd);
    return fd;
}

/* What the kernel refuses is an error that names the option, the value and the way out. */
static void test_refused(void **state)
{
    static const struct {
        weir_socket_options options;
        int result;
        const char *what, *words[3];
    } cases[] = {
        {{.congestion = "no-such"},
         -ENOENT,
         "congestion",
         {"congestion = no-such", "ENOENT", "reno"}},
        {{.bind_device = "no-such"},
         -ENODEV,
         "bind_device",
         {"bind_device = no-such", "ENODEV", "ip link"}},
        {{.keepalive_idle_s = 40000},
         -EINVAL,
         "keepalive_idle_s",
         {"keepalive_idle_s = 40000", "EINVAL", "32767"}},
        {{.keepalive_interval_s = 40000}, -EINVAL, "keepalive_interval_s", {"32767"}},
        {{.keepalive_count = 128}, -EINVAL, "keepalive_count", {"127"}},
        {{.congestion = ""}, WEIR_EINVALID, "congestion", {"15 characters"}},
        {{.congestion = "sixteen-letters!"}, WEIR_EINVALID, "congestion", {"15 characters"}},
        {{.bind_device = "sixteen-letters!"}, WEIR_EINVALID, "bind_device", {"15 characters"}},
        {{.bind_device = ""}, WEIR_EINVALID, "bind_device", {"15 characters"}},
        {{.nodelay = 3}, WEIR_EINVALID, "nodelay", {"switch"}},
        {{.v6only = 3}, WEIR_EINVALID, "v6only", {"switch"}},
        {{.keepalive = 9}, WEIR_EINVALID, "keepalive", {"switch"}},
        {{.keepalive = WEIR_SWITCH_OFF, .keepalive_count = 1}, WEIR_EINVALID, "keepalive", {"off"}},
        {{.user_timeout_ms = 0x80000000u}, WEIR_EINVALID, "user_timeout_ms", {"2147483647"}},
        {{.backlog = 0x80000000u}, WEIR_EINVALID, "backlog", {"2147483647"}},
        {{.fast_open = 0x80000000u}, WEIR_EINVALID, "fast_open", {"2147483647"}},
        {{.linger_s = -2}, WEIR_EINVALID, "linger_s", {"WEIR_LINGER_RESET"}},
        {{.tos = 1}, WEIR_EINVALID, "tos", {"ECN"}},
        {{.unix_mode = 01000}, WEIR_EINVALID, "unix_mode", {"0777"}},
        {{.reserved = {[35] = 1}}, WEIR_EINVALID, "reserved", {"newer library"}},
    };
    struct weir__socket_error error;

    for (size_t i = 0; i < COUNT(cases); i++) {
        int result = error_of(&cases[i].options, &error);

        if (result != cases[i].result)
            fail_msg("case %zu (%s): %d %s", i, cases[i].what, result, error.text);
        assert_int_equal(error.code, result);
        assert_string_equal(error.what, cases[i].what);
        for (size_t j = 0; j < COUNT(cases[i].words) && cases[i].words[j] != NULL; j++)
            if (strstr(error.text, cases[i].words[j]) == NULL)
                fail_msg("\"%s\" does not say \"%s\"", error.text, cases[i].words[j]);
    }
}

static void listen_with(struct report *report, const void *arg)
{
    weir_address address;
    struct weir__socket_how how = {.bind_wait_ms = -1};

    if (become_nobody() < 0) {
        report->result = CHILD_CANNOT;
        return;
    }
    weir_address_parse("tcp://127.0.0.1:0", &address, NULL);
    report->result = weir__socket_listen(&address, arg, &how, &report->error);
    /* Pointers to static text mean the same in the parent, which this process was forked from. */
}

static void test_refused_to_nobody(void **state)
{
    weir_socket_options mark = {.mark = 5}, transparent = {.transparent = WEIR_SWITCH_ON};
    struct report report = in_child(listen_with, &mark);

    if (report.result == CHILD_CANNOT)
        SKIP("this process cannot change its user");
    assert_int_equal(report.result, -EPERM);
    assert_string_equal(report.error.what, "mark");
    assert_non_null(strstr(report.error.text, "mark = 5"));
    assert_non_null(strstr(report.error.text, "CAP_NET_ADMIN"));
    report = in_child(listen_with, &transparent);
    assert_int_equal(report.result, -EPERM);
    assert_non_null(strstr(report.error.text, "transparent = on"));
}

static void test_warnings(void **state)
{
    weir_socket_options options = {
        .receive_buffer_bytes = 2000000000, .send_buffer_bytes = 2000000000, .linger_s = 1};
    struct weir__socket_error error;

    assert_true(error_of(&options, &error) >= 0);
    assert_true(error.warnings >= 3);
    assert_string_equal(error.text, "");
    assert_non_null(strstr(error.warning, "net.core.rmem_max"));
    assert_non_null(strstr(error.warning, "net.core.wmem_max"));
    assert_non_null(strstr(error.warning, "linger_s = 1"));
    assert_int_equal(error.warning[strlen(error.warning) - 1] == '\n', 0);

    memset(&error, 0, sizeof error);
    for (int i = 0; i < 100; i++)
        weir__socket_warn(&error, "warning number %d of a hundred", i);
    assert_in_range(error.warnings, 20, 60);
    assert_null(strstr(error.warning, "\n\n"));
    assert_true(strlen(error.warning) < sizeof error.warning);
}

static void open_fast(struct report *report, const void *arg)
{
    static const weir_socket_options options = {.fast_open = 5};
    struct weir__socket_how how = {.bind_wait_ms = -1};
    weir_address address;

    if (own_network() < 0 || write_text("/proc/sys/net/ipv4/tcp_fastopen", arg) < 0) {
        report->result = CHILD_CANNOT;
        return;
    }
    weir_address_parse("tcp://127.0.0.1:0", &address, NULL);
    report->result = weir__socket_listen(&address, &options, &how, &report->error);
    report->number = (int)report->error.warnings;
    if (weir__socket_local(report->result, &address) == 0)
        weir__socket_for_connect(&address, &options, NULL, &report->error);
}

static void test_fast_open(void **state)
{
    struct report report = in_child(open_fast, "1");

    if (report.result == CHILD_CANNOT)
        SKIP("no network namespace can be made here");
    assert_int_equal(report.number, 1);
    assert_int_equal(report.error.warnings, 0);
    report = in_child(open_fast, "3");
    assert_int_equal(report.number, 0);
    report = in_child(open_fast, "0");
    assert_int_equal(report.number, 1);
    assert_int_equal(report.error.code, -EOPNOTSUPP);
    assert_non_null(strstr(report.error.text, "bit 0 of the sysctl net.ipv4.tcp_fastopen"));
}

/* An outgoing socket has its options before it connects; the data goes with the SYN. */
static void test_client(void **state)
{
    weir_socket_options options = {.fast_open = 1,
                                   .nodelay = WEIR_SWITCH_OFF,
                                   .defer_accept_s = 1,
                                   .user_timeout_ms = 99,
                                   .keepalive = WEIR_SWITCH_OFF};
    weir_address address = address_of("tcp://127.0.0.1:1");
    struct weir__socket_error error;
    int fd = weir__socket_for_connect(&address, &options, NULL, &error);

    assert_true(fd >= 0);
    assert_int_equal(number_of(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT), 1);
    assert_int_equal(number_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_equal(number_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 99);
    assert_int_equal(number_of(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
    close(fd);
}

/* Sockets that exist already take what still has a meaning for them. */
static void test_apply(void **state)
{
    weir_socket_options options = {.user_timeout_ms = 7,
                                   .reuseport = WEIR_SWITCH_ON,
                                   .v6only = WEIR_SWITCH_ON,
                                   .transparent = WEIR_SWITCH_OFF,
                                   .defer_accept_s = 1,
                                   .fast_open = 3,
                                   .send_buffer_bytes = 30000};
    struct ends ends = connected(reachable("[::1]") ? "tcp://[::1]:0" : "tcp://127.0.0.1:0", NULL);
    struct weir__socket_error error;

    assert_int_equal(weir__socket_apply(ends.server, &options, &error), 0);
    assert_int_equal(number_of(ends.server, IPPROTO_TCP, TCP_USER_TIMEOUT), 7);
    assert_int_equal(number_of(ends.server, SOL_SOCKET, SO_REUSEPORT), 0);
    assert_int_equal(weir__socket_apply(ends.listener, &options, &error), 0);
    assert_int_equal(number_of(ends.listener, IPPROTO_TCP, TCP_DEFER_ACCEPT), 1);
    assert_int_equal(number_of(ends.listener, IPPROTO_TCP, TCP_FASTOPEN), 3);
    assert_int_equal(weir__socket_apply(ends.server, NULL, &error), 0);
    options.tos = 1;
    assert_int_equal(weir__socket_apply(ends.server, &options, &error), WEIR_EINVALID);
    close_ends(&ends);
}

/* A unix connection has nothing of its listener's; TCP's options leave unix and udp alone. */
static void test_other_kinds(void **state)
{
    weir_socket_options options = {.send_buffer_bytes = 30000,
                                   .congestion = "reno",
                                   .mark = 0,
                                   .keepalive_idle_s = 5,
                                   .bind_device = "lo",
                                   .linger_s = 3,
                                   .defer_accept_s = 5,
                                   .fast_open = 5};
    struct ends ends = connected("unix:@weir-test-option", &options);
    weir_address tcp = address_of("tcp://:0"), local = local_of(ends.listener);
    weir_address udp = address_of("udp://127.0.0.1:0");
    struct weir__socket_error error;

    assert_true(weir__socket_inherits(&tcp));
    assert_false(weir__socket_inherits(&local));
    assert_int_equal(number_of(ends.listener, SOL_SOCKET, SO_SNDBUF), 60000);
    assert_int_not_equal(number_of(ends.server, SOL_SOCKET, SO_SNDBUF), 60000);
    assert_int_equal(number_of(ends.server, SOL_SOCKET, SO_OOBINLINE), 0);
    assert_int_equal(weir__socket_apply(ends.server, &options, &error), 0);
    assert_int_equal(number_of(ends.server, SOL_SOCKET, SO_SNDBUF), 60000);
    assert_int_equal(number_of(ends.server, SOL_SOCKET, SO_OOBINLINE), 1);
    close_ends(&ends);
    close(must_listen(&udp, &options));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),          cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_names_and_linger), cmocka_unit_test(test_linger_reset),
        cmocka_unit_test(test_refused),          cmocka_unit_test(test_refused_to_nobody),
        cmocka_unit_test(test_warnings),         cmocka_unit_test(test_fast_open),
        cmocka_unit_test(test_client),           cmocka_unit_test(test_apply),
        cmocka_unit_test(test_other_kinds),
    };

    return cmocka_run_group_tests_name("option", tests, NULL, NULL);
}
