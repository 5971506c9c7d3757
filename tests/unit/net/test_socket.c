/* Listening and connecting on loopback: addresses, retries, errors that name cause and fix. */
#include "unit/net/net_support.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/clock.h"

static const char *text_of(const weir_address *address, char *out)
{
    assert_true(weir_address_format(address, out, WEIR_ADDRESS_TEXT_MAX) > 0);
    return out;
}

/* A clock that moves only while somebody sleeps. */
struct slow_clock {
    uint64_t now_ns;
    unsigned sleeps;
};

static uint64_t slow_now(void *arg)
{
    return ((struct slow_clock *)arg)->now_ns;
}

static void slow_sleep(uint64_t ns, void *arg)
{
    struct slow_clock *clock = arg;

    clock->now_ns += ns;
    clock->sleeps++;
}

/* Port 0 gives a port that can be read; both ends agree about each other. */
static void test_ends_agree(void **state)
{
    static const char *const texts[] = {"tcp://127.0.0.1:0", "tcp://[::1]:0", "http://localhost:0",
                                        "unix:@weir-test-ends"};

    for (size_t i = 0; i < COUNT(texts); i++) {
        struct ends ends;
        weir_address listener, near, far;

        if (!reachable(texts[i]))
            continue;
        ends = connected(texts[i], NULL);
        listener = local_of(ends.listener);
        assert_int_equal(fcntl(ends.listener, F_GETFD), FD_CLOEXEC);
        assert_true(fcntl(ends.listener, F_GETFL) & O_NONBLOCK);
        if (listener.transport == WEIR_TRANSPORT_TCP)
            assert_true(weir_address_port(&listener) > 0);
        assert_int_equal(weir__socket_peer(ends.client, &far), 0);
        assert_true(weir_address_equal(&far, &listener));
        near = local_of(ends.client);
        assert_int_equal(weir__socket_peer(ends.server, &far), 0);
        assert_true(weir_address_equal(&far, &near));
        assert_int_equal(weir__socket_peer(ends.listener, &far), -ENOTCONN);
        close_ends(&ends);
    }
}

/* The any address takes both families; an IPv4 client has an IPv4 address there. */
static void test_any_is_dual(void **state)
{
    weir_address any = address_of("tcp://*:0"), four, peer;
    int listener = must_listen(&any, NULL), client, server;
    char text[WEIR_ADDRESS_TEXT_MAX];
    unsigned port;

    any = local_of(listener);
    port = (unsigned)weir_address_port(&any);
    for (int i = 0; i < 1 + reachable("[::1]"); i++) {
        four = address_of(i == 0 ? "tcp://127.0.0.1:0" : "tcp://[::1]:0");
        weir_address_set_port(&four, port);
        client = must_connect(&four, NULL);
        server = must_accept(listener);
        assert_int_equal(weir__socket_peer(server, &peer), 0);
        assert_non_null(strstr(text_of(&peer, text), i == 0 ? "tcp://127.0.0.1:" : "tcp://[::1]:"));
        close(client);
        close(server);
    }
    close(listener);
}

static int try_listen(const weir_address *address, const weir_socket_options *options,
                      struct weir__socket_error *error)
{
    struct weir__socket_how how = {.bind_wait_ms = -1};

    return weir__socket_listen(address, options, &how, error);
}

static void must_say(const struct weir__socket_error *error, const char *word)
{
    if (strstr(error->text, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error->text, word);
}

/* With v6only the same port is free for IPv4, without it is not, and the error says so. */
/* Listens for IPv6 alone on a port that the kernel chooses, and for IPv4 on the same one; a port
 * that somebody else has for IPv4 is given up for another. */
static void listen_on_both(weir_address *six, weir_address *four,
                           const weir_socket_options *options, int fds[2])
{
    struct weir__socket_error error;

    for (int tries = 0; tries < 50; tries++) {
        weir_address_set_port(six, 0);
        fds[0] = must_listen(six, options);
        *six = local_of(fds[0]);
        weir_address_set_port(four, (unsigned)weir_address_port(six));
        fds[1] = try_listen(four, NULL, &error);
        if (fds[1] >= 0)
            return;
        assert_int_equal(fds[1], -EADDRINUSE);
        close(fds[0]);
    }
    fail_msg("no port is free for both");
}

static void test_v6only(void **state)
{
    weir_socket_options options = {.v6only = WEIR_SWITCH_ON};
    weir_address six = address_of("tcp://[::]:0"), four = address_of("tcp://0.0.0.0:0");
    struct weir__socket_error error;
    int first, second, fds[2];

    if (!reachable("[::1]"))
        SKIP("this host has no IPv6");
    listen_on_both(&six, &four, &options, fds);
    first = fds[0];
    second = fds[1];
    assert_int_equal(number_of(first, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    close(first);
    assert_int_equal(try_listen(&six, NULL, &error), -EADDRINUSE);
    must_say(&error, "v6only");
    close(second);
    first = must_listen(&six, NULL);
    assert_int_equal(number_of(first, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    assert_int_equal(try_listen(&four, NULL, &error), -EADDRINUSE);
    must_say(&error, "this process itself");
    close(first);
}

static void test_udp(void **state)
{
    weir_address address = address_of("udp://127.0.0.1:0");
    struct weir__socket_error error;
    int fd = must_listen(&address, NULL);
    char text[WEIR_ADDRESS_TEXT_MAX];

    address = local_of(fd);
    assert_int_equal(address.transport, WEIR_TRANSPORT_UDP);
    assert_non_null(strstr(text_of(&address, text), "udp://127.0.0.1:"));
    assert_int_equal(try_listen(&address, NULL, &error), -EADDRINUSE);
    must_say(&error, "this process itself");
    close(fd);
}

/* The port's holder in another process is named. */
static void test_taken_by_another(void **state)
{
    weir_address address = address_of("tcp://127.0.0.1:0");
    int fd = must_listen(&address, NULL), hold[2], named[2];
    struct weir__socket_error error;
    char who[64], byte = 0;
    pid_t child;

    address = local_of(fd);
    assert_int_equal(pipe(hold) | pipe(named), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_NAME, "hold\x1bthe-port");
        close(hold[1]);
        _exit(write(named[1], &byte, 1) != 1 || read(hold[0], &byte, 1) < 0);
    }
    close(fd);
    assert_int_equal(read(named[0], &byte, 1), 1);
    assert_int_equal(try_listen(&address, NULL, &error), -EADDRINUSE);
    assert_string_equal(error.what, "bind");
    snprintf(who, sizeof who, "hold?the-port (pid %d)", (int)child);
    must_say(&error, who);
    must_say(&error, "EADDRINUSE");
    close(hold[1]);
    close(hold[0]);
    close(named[0]);
    close(named[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* A taken port is tried again until the deadline, and had when it becomes free before (K17). */
static void test_waits_for_the_port(void **state)
{
    weir_address address = address_of("tcp://127.0.0.1:0");
    struct weir__socket_how how = {.bind_wait_ms = 120};
    struct weir__socket_error error;
    int fd = must_listen(&address, NULL);
    int64_t start = now_ms();
    pid_t child;

    address = local_of(fd);
    assert_int_equal(weir__socket_listen(&address, NULL, &how, &error), -EADDRINUSE);
    assert_in_range(now_ms() - start, 119, 10000);

    start = now_ms();
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        usleep(150000);
        _exit(0);
    }
    close(fd); /* the child has it still */
    fd = weir__socket_listen(&address, NULL, NULL, &error);
    if (fd < 0)
        fail_msg("%s", error.text);
    assert_in_range(now_ms() - start, 149, 10000);
    close(fd);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* Without a word from the caller it is 2 s, in pauses that grow and never pass the end. */
static void test_waits_two_seconds(void **state)
{
    weir_address address = address_of("tcp://127.0.0.1:0");
    struct slow_clock clock = {.now_ns = 1000000000000};
    struct clock_source source = {.now_ns = slow_now,
                                  .wall_ns = slow_now,
                                  .thread_cpu_ns = slow_now,
                                  .sleep_ns = slow_sleep,
                                  .arg = &clock};
    struct weir__socket_how how = {0};
    struct weir__socket_error error;
    int fd = must_listen(&address, NULL), result;

    address = local_of(fd);
    weir__clock_set_source(&source);
    result = weir__socket_listen(&address, NULL, &how, &error);
    weir__clock_set_source(NULL);
    assert_int_equal(result, -EADDRINUSE);
    assert_int_equal(clock.now_ns, 1002000000000);
    assert_in_range(clock.sleeps, 40, 60);
    how.bind_wait_ms = -1;
    clock.sleeps = 0;
    weir__clock_set_source(&source);
    result = weir__socket_listen(&address, NULL, &how, &error);
    weir__clock_set_source(NULL);
    assert_int_equal(result, -EADDRINUSE);
    assert_int_equal(clock.sleeps, 0);
    close(fd);
}

/* A port with connections in TIME_WAIT can be listened on again at once. */
static void test_time_wait(void **state)
{
    struct ends ends = connected("tcp://127.0.0.1:0", NULL);
    weir_address address = local_of(ends.listener);
    char byte;

    close(ends.server); /* closes first: TIME_WAIT is on this side */
    must_poll(ends.client, POLLIN);
    assert_int_equal(recv(ends.client, &byte, 1, 0), 0);
    close(ends.client);
    close(ends.listener);
    close(must_listen(&address, NULL));
}

/* A connection is in the way, no listener: the text does not accuse one. */
static void test_taken_by_connection(void **state)
{
    weir_socket_options options = {.reuseaddr = WEIR_SWITCH_OFF};
    struct ends ends = connected("tcp://127.0.0.1:0", NULL);
    weir_address address = local_of(ends.listener);
    struct weir__socket_error error;

    close(ends.listener);
    assert_int_equal(try_listen(&address, &options, &error), -EADDRINUSE);
    must_say(&error, "no listener is to be seen");
    close(ends.client);
    close(ends.server);
}

static void test_no_such_address(void **state)
{
    weir_socket_options options = {.freebind = WEIR_SWITCH_ON};
    weir_address address = address_of("tcp://203.0.113.77:0");
    struct weir__socket_error error;

    assert_int_equal(try_listen(&address, NULL, &error), -EADDRNOTAVAIL);
    must_say(&error, "freebind");
    must_say(&error, "tcp://203.0.113.77:0");
    close(must_listen(&address, &options));
    address = address_of("tcp://[fe80::1]:0");
    assert_int_equal(try_listen(&address, NULL, &error), -EINVAL);
    must_say(&error, "%eth0");
    memset(&address, 0, sizeof address);
    assert_int_equal(try_listen(&address, NULL, &error), WEIR_EINVALID);
}

static void listen_as_nobody(struct report *report, const void *arg)
{
    weir_address address;

    if (own_network() < 0 ||
        write_text("/proc/sys/net/ipv4/ip_unprivileged_port_start", "1024") < 0 ||
        become_nobody() < 0) {
        report->result = CHILD_CANNOT;
        return;
    }
    weir_address_parse(arg, &address, NULL);
    report->result = try_listen(&address, NULL, &report->error);
}

static void test_low_port(void **state)
{
    struct report report;

    if (geteuid() != 0)
        SKIP("only root can make a network and then be nobody in it");
    report = in_child(listen_as_nobody, "tcp://127.0.0.1:80");
    if (report.result == CHILD_CANNOT)
        SKIP("no network namespace can be made here");
    assert_int_equal(report.result, -EACCES);
    must_say(&report.error, "ports below 1024 need CAP_NET_BIND_SERVICE");
    must_say(&report.error, "ip_unprivileged_port_start=80");
}

static void listen_in_small_network(struct report *report, const void *arg)
{
    weir_address address;
    weir_tcp_info info;

    if (own_network() < 0 || write_text("/proc/sys/net/core/somaxconn", "100") < 0) {
        report->result = CHILD_CANNOT;
        return;
    }
    weir_address_parse("tcp://127.0.0.1:0", &address, NULL);
    report->result = try_listen(&address, arg, &report->error);
    /* For a listener these are the length of its queue, and the most that it can be. */
    report->number = weir__tcp_info(report->result, &info) < 0 ? -1 : info.state;
}

/* The kernel cuts a long backlog silently; weir says so. */
static void test_backlog(void **state)
{
    weir_socket_options options = {.backlog = 100};
    struct report report = in_child(listen_in_small_network, NULL);
    struct weir__socket_error error;
    weir_address address = address_of("tcp://127.0.0.1:0");
    int fd;

    if (report.result == CHILD_CANNOT)
        SKIP("no network namespace can be made here");
    assert_true(report.result >= 0);
    assert_int_equal(report.number, TCP_LISTEN);
    assert_int_equal(report.error.warnings, 1);
    assert_non_null(strstr(report.error.warning, "backlog 4096 is cut to 100"));
    report = in_child(listen_in_small_network, &options);
    assert_true(report.result >= 0);
    assert_int_equal(report.error.warnings, 0);
    assert_string_equal(report.error.warning, "");

    options.backlog = 0x80000000u;
    assert_int_equal(try_listen(&address, &options, &error), WEIR_EINVALID);
    must_say(&error, "backlog");
    /* What the kernel made of it can be seen: room for three is full with four. */
    options.backlog = 3;
    fd = must_listen(&address, &options);
    address = local_of(fd);
    for (int i = 0; i < 4; i++) {
        int client = must_connect(&address, NULL);

        must_poll(client, POLLOUT);
        /* Left open on purpose until the process ends: they fill the queue. */
    }
    fd = must_connect(&address, NULL);
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 50), 0);
    close(fd);
}

/* Answers socket(AF_INET6) with EAFNOSUPPORT, as a kernel without IPv6 does. */
static int forbid_ip6(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT(filter), .filter = filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0
               ? -1
               : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void listen_without_ip6(struct report *report, const void *arg)
{
    weir_address address;

    if (forbid_ip6() < 0) {
        report->result = CHILD_CANNOT;
        return;
    }
    weir_address_parse(arg, &address, NULL);
    report->result = try_listen(&address, NULL, &report->error);
    if (report->result >= 0 && weir__socket_local(report->result, &address) == 0)
        report->number = address.socket.ss_family;
}

static void listen_with_ip6_off(struct report *report, const void *arg)
{
    weir_address address;

    if (own_network() < 0 || write_text("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1") < 0) {
        report->result = CHILD_CANNOT;
        return;
    }
    weir_address_parse(arg, &address, NULL);
    report->result = try_listen(&address, NULL, &report->error);
    if (report->result >= 0 && weir__socket_local(report->result, &address) == 0) {
        weir_address four = {0};
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        weir_address_parse("tcp://127.0.0.1:0", &four, NULL);
        weir_address_set_port(&four, (unsigned)weir_address_port(&address));
        report->number = connect(fd, (struct sockaddr *)&four.socket, four.socket_size);
    }
}

/* A star is any address there is: IPv4 alone on a host that has no other. [::] asks for IPv6. */
static void test_without_ip6(void **state)
{
    struct report report = in_child(listen_without_ip6, "tcp://*:0");

    if (report.result == CHILD_CANNOT)
        SKIP("system calls cannot be filtered here");
    assert_true(report.result >= 0);
    assert_int_equal(report.number, AF_INET);
    report = in_child(listen_without_ip6, "tcp://[::]:0");
    assert_int_equal(report.result, -EAFNOSUPPORT);
    must_say(&report.error, "no IPv6");
    report = in_child(listen_with_ip6_off, "tcp://*:0");
    if (report.result == CHILD_CANNOT)
        SKIP("no network namespace can be made here");
    if (report.result < 0)
        fail_msg("%s", report.error.text);
    assert_int_equal(report.number, 0);
}

static void listen_without_descriptors(struct report *report, const void *arg)
{
    weir_address address;

    while (dup(0) >= 0)
        continue;
    weir_address_parse("tcp://127.0.0.1:0", &address, NULL);
    report->result = try_listen(&address, NULL, &report->error);
}

static void test_no_descriptors(void **state)
{
    struct report report = in_child(listen_without_descriptors, NULL);

    assert_int_equal(report.result, -EMFILE);
    must_say(&report.error, "ulimit -n");
}

/* An outgoing connection from a chosen address; what cannot be is refused with its reason. */
static void test_local_end(void **state)
{
    weir_address address = address_of("tcp://127.0.0.1:0"), local = address_of("tcp://127.0.0.9:0");
    int listener = must_listen(&address, NULL), fd, server;
    struct weir__socket_how how = {.local = &local, .blocking = true};
    struct weir__socket_error error;
    char text[WEIR_ADDRESS_TEXT_MAX];

    address = local_of(listener);
    fd = weir__socket_for_connect(&address, NULL, &how, &error);
    assert_true(fd >= 0);
    assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(number_of(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT), 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&address.socket, address.socket_size), 0);
    server = must_accept(listener);
    assert_int_equal(weir__socket_peer(server, &local), 0);
    assert_non_null(strstr(text_of(&local, text), "tcp://127.0.0.9:"));
    close(fd);
    close(server);

    local = address_of("tcp://*:0");
    fd = weir__socket_for_connect(&address, NULL, &how, &error);
    assert_true(fd >= 0);
    close(fd);
    local = address_of("tcp://[::1]:0");
    assert_int_equal(weir__socket_for_connect(&address, NULL, &how, &error), WEIR_EINVALID);
    must_say(&error, "family");
    local = address_of("udp://127.0.0.1:0");
    assert_int_equal(weir__socket_for_connect(&address, NULL, &how, &error), WEIR_EINVALID);
    local = address_of("tcp://203.0.113.77:0");
    assert_int_equal(weir__socket_for_connect(&address, NULL, &how, &error), -EADDRNOTAVAIL);
    must_say(&error, "cannot connect to tcp://127.0.0.1:");
    local = local_of(listener);
    assert_int_equal(weir__socket_for_connect(&address, NULL, &how, &error), -EADDRINUSE);
    close(listener);
}

static void test_tcp_info(void **state)
{
    struct ends ends = connected("tcp://127.0.0.1:0", NULL);
    weir_tcp_info info;
    char buffer[8];
    int pair[2];

    assert_int_equal(send(ends.client, "hello", 5, 0), 5);
    must_poll(ends.server, POLLIN);
    assert_int_equal(recv(ends.server, buffer, sizeof buffer, 0), 5);
    assert_int_equal(weir__tcp_info(ends.server, &info), 0);
    assert_string_equal(weir_tcp_state_name(info.state), "ESTABLISHED");
    assert_int_equal(info.received_bytes, 5);
    assert_true(info.rtt_us > 0 && info.cwnd_segments > 0 && info.send_mss_bytes > 0);
    assert_true(info.send_window_bytes > 0 && info.rto_us > 0);
    for (int i = 0; i < 100; i++) { /* the acknowledgement may be on its way */
        assert_int_equal(weir__tcp_info(ends.client, &info), 0);
        if (info.acked_bytes >= 5)
            break;
        usleep(2000);
    }
    assert_int_equal(info.sent_bytes, 5);
    assert_in_range(info.acked_bytes, 5, 6);
    assert_int_equal(info.unacked_segments, 0);
    close(ends.server);
    must_poll(ends.client, POLLIN);
    assert_int_equal(weir__tcp_info(ends.client, &info), 0);
    assert_string_equal(weir_tcp_state_name(info.state), "CLOSE_WAIT");
    close(ends.client);
    close(ends.listener);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(weir__tcp_info(pair[0], &info), WEIR_ENOTSUP);
    assert_int_equal(weir__tcp_info(-1, &info), -EBADF);
    close(pair[0]);
    close(pair[1]);
    assert_string_equal(weir_tcp_state_name(0), "unknown");
    assert_string_equal(weir_tcp_state_name(99), "unknown");
    assert_string_equal(weir_tcp_state_name(TCP_LISTEN), "LISTEN");
}

static void test_other_kinds(void **state)
{
    weir_address address;
    struct weir__socket_error error;
    int pair[2], file = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    assert_int_equal(weir__socket_local(pair[0], &address), 0);
    assert_int_equal(address.transport, WEIR_TRANSPORT_UNIX_DGRAM);
    assert_int_equal(weir__socket_apply(pair[0], NULL, &error), WEIR_ENOTSUP);
    assert_int_equal(weir__socket_local(file, &address), -ENOTSOCK);
    assert_int_equal(weir__socket_apply(file, NULL, &error), -ENOTSOCK);
    close(pair[0]);
    close(pair[1]);
    close(file);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends_agree),
        cmocka_unit_test(test_any_is_dual),
        cmocka_unit_test(test_v6only),
        cmocka_unit_test(test_udp),
        cmocka_unit_test(test_taken_by_another),
        cmocka_unit_test(test_waits_for_the_port),
        cmocka_unit_test(test_waits_two_seconds),
        cmocka_unit_test(test_time_wait),
        cmocka_unit_test(test_taken_by_connection),
        cmocka_unit_test(test_no_such_address),
        cmocka_unit_test(test_low_port),
        cmocka_unit_test(test_backlog),
        cmocka_unit_test(test_without_ip6),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_local_end),
        cmocka_unit_test(test_tcp_info),
        cmocka_unit_test(test_other_kinds),
    };

    return cmocka_run_group_tests_name("socket", tests, NULL, NULL);
}
