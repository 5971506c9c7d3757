/* Connecting to names, RFC 8305: which address is tried when, who wins, and what is left behind.
 * The names are the test's; dead addresses are listeners on loopback whose queue is full, so that
 * the kernel drops what asks them. On every back end. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <weir/error.h>
#include <weir/module.h>
#include <weir/weir.h>

#include "base/alloc.h"
#include "net/conn.h"

enum { LISTENERS = 8 };

static const char *const backends[] = {"uring", "epoll", "poll", "select"};
static weir_loop *loop;
static weir_service service;
static unsigned port;
static int listeners[LISTENERS], fillers[LISTENERS * 4];
static unsigned listener_count, filler_count;

static struct {
    unsigned opened, closed;
    weir_end end;
    char peer[WEIR_ADDRESS_TEXT_MAX];
    weir_time when;
} seen;

/* --- names ------------------------------------------------------------------------------------ */

/* What the name stands for: two calls of addresses, each so many milliseconds after the connect. */
static struct part {
    uint32_t after_ms;
    int error;
    const char *hosts[6];
} parts[2];
static unsigned part_count, begun, canceled, told;
static weir_timer part_timer;
static weir__names_fn *part_fn;
static void *part_arg;

static void tell(weir_timer *timer, void *arg)
{
    weir_address addresses[6];
    char url[128];
    unsigned count = 0;
    const struct part *part = &parts[told++];

    for (; count < 6 && part->hosts[count] != NULL; count++) {
        snprintf(url, sizeof url, "tcp://%s:0", part->hosts[count]);
        assert_int_equal(weir_address_parse(url, &addresses[count], NULL), 0);
    }
    bool more = told < part_count;
    if (more)
        weir_timer_start(timer, weir_after((parts[1].after_ms - part->after_ms) * WEIR_MS), tell,
                         NULL);
    part_fn(part_arg, part->error, addresses, count, more);
}

static int begin(void *self, const char *name, weir__names_fn *fn, void *arg, void **lookup)
{
    begun++;
    if (strcmp(name, "refused.test") == 0)
        return WEIR_EFULL;
    part_fn = fn;
    part_arg = arg;
    *lookup = &part_timer;
    if (part_count > 0)
        weir_timer_start(&part_timer, weir_after(parts[0].after_ms * WEIR_MS), tell, NULL);
    return 0;
}

static void cancel(void *lookup)
{
    assert_ptr_equal(lookup, &part_timer);
    weir_timer_cancel(&part_timer);
    canceled++;
}

static const weir__names names = {begin, cancel};

/* --- listeners -------------------------------------------------------------------------------- */

static socklen_t name_of(const char *host, struct sockaddr_storage *out)
{
    char url[128];
    weir_address address;
    snprintf(url, sizeof url, "tcp://%s:%u", host, port);
    assert_int_equal(weir_address_parse(url, &address, NULL), 0);
    *out = address.socket;
    return address.socket_size;
}

static bool listen_on(const char *host, bool dead)
{
    struct sockaddr_storage name;
    socklen_t size = name_of(host, &name);
    int on = 1, fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&name, size) < 0 || listen(fd, dead ? 0 : 16) < 0) {
        close(fd);
        return false;
    }
    listeners[listener_count++] = fd;
    for (int i = 0; dead && i < 4; i++) {
        fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(fd, (struct sockaddr *)&name, size);
        fillers[filler_count++] = fd;
    }
    return true;
}

static void close_listeners(void)
{
    while (listener_count > 0)
        close(listeners[--listener_count]);
    while (filler_count > 0)
        close(fillers[--filler_count]);
}

/* A port that nobody has, and which the next test's is not. */
static void choose_port(void)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    socklen_t size = sizeof any;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&any, size), 0);
    getsockname(fd, (struct sockaddr *)&any, &size);
    port = ntohs(any.sin6_port);
    close(fd);
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* --- the program ------------------------------------------------------------------------------ */

static void on_open(weir_conn conn, void *session)
{
    weir_address peer;
    seen.opened++;
    seen.when = weir_now();
    assert_int_equal(weir_conn_peer(conn, &peer), 0);
    weir_address_set_port(&peer, 0);
    weir_address_format(&peer, seen.peer, sizeof seen.peer);
    weir_abort(conn); /* an orderly end would wait for a peer that nobody plays */
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    seen.closed++;
    seen.end = end;
    if (seen.opened == 0)
        seen.when = weir_now();
}

static void turn_until_closed(void)
{
    weir_time last = weir_after(6 * WEIR_S);
    while (seen.closed == 0 && weir_now() < last) {
        weir_loop_turn(loop, last);
        weir_loop_enter(loop);
    }
    assert_int_equal(seen.closed, 1);
}

/* Connects to "name.test"; how many milliseconds it took until it was open, or failed. */
static unsigned run(unsigned count, struct part first, struct part second)
{
    weir_conn conn;
    char url[64];

    memset(&seen, 0, sizeof seen);
    parts[0] = first;
    parts[1] = second;
    part_count = count;
    begun = canceled = told = 0;
    unsigned before = open_descriptors();
    weir_loop_turn(loop, 0);
    weir_loop_enter(loop);
    weir_time from = weir_now();
    snprintf(url, sizeof url, "tcp://name.test:%u", port);
    assert_int_equal(weir_connect(&conn, url, &service, NULL), 0);
    assert_int_equal(seen.opened + seen.closed, 0);
    turn_until_closed();
    assert_false(weir_conn_alive(conn));
    assert_int_equal(begun, 1);
    for (int i = 0; i < 20 && open_descriptors() != before; i++) {
        weir_loop_turn(loop, weir_after(5 * WEIR_MS)); /* the ring lets go a little later */
        weir_loop_enter(loop);
    }
    assert_int_equal(open_descriptors(), before);
    return (unsigned)((seen.when - from) / WEIR_MS);
}

static void check_won(const char *peer)
{
    if (seen.opened != 1)
        fail_msg("not opened: %s", weir_error_text(seen.end.error));
    assert_string_equal(seen.peer, peer);
}

static void check_failed(enum weir_why why, int error)
{
    assert_int_equal(seen.opened, 0);
    assert_int_equal(seen.end.why, why);
    assert_int_equal(seen.end.error, error);
}

/* The machine may have other work: what took too long is tried again, up to five times. */
static bool too_slow;

static void check_between(unsigned took_ms, unsigned least, unsigned most)
{
    if (took_ms < least)
        fail_msg("%u ms, less than %u", took_ms, least);
    too_slow |= took_ms > most;
}

static const struct part nothing = {0};

static void first_answers(void)
{
    listen_on("[::1]", false);
    listen_on("127.0.0.1", false);
    unsigned took = run(1, (struct part){1, 0, {"127.0.0.1", "[::1]"}}, nothing);
    check_won("tcp://[::1]:0"); /* RFC 6724 prefers it */
    check_between(took, 0, 150);
    assert_int_equal(canceled, 0);
    close_listeners();
    listen_on("127.0.0.1", false);
    took = run(1, (struct part){1, 0, {"[::1]", "127.0.0.1"}}, nothing);
    check_won("tcp://127.0.0.1:0"); /* the first is refused: at once */
    check_between(took, 0, 150);
}

static void staggered(void)
{
    listen_on("[::1]", true);
    listen_on("127.0.0.1", true);
    listen_on("127.0.0.2", false);
    unsigned took = run(1, (struct part){1, 0, {"[::1]", "127.0.0.1", "127.0.0.2"}}, nothing);
    check_won("tcp://127.0.0.2:0");
    check_between(took, 500, 900); /* 250 ms behind 250 ms, and none sooner */
}

/* The families take turns: the second attempt is IPv4 though two IPv6 addresses wait. */
static void interleaved(void)
{
    listen_on("[::1]", true);
    listen_on("127.0.0.1", false);
    unsigned took = run(1, (struct part){1, 0, {"[::1]", "[::1]", "[::1]", "127.0.0.1"}}, nothing);
    check_won("tcp://127.0.0.1:0");
    check_between(took, 250, 480);
}

static void parts_of_a_name(void)
{
    listen_on("[::1]", false);
    listen_on("127.0.0.1", false);
    unsigned took = run(2, (struct part){1, 0, {"[::1]"}}, (struct part){400, 0, {"127.0.0.1"}});
    check_won("tcp://[::1]:0"); /* IPv6 does not wait for the other */
    check_between(took, 0, 200);
    assert_int_equal(canceled, 1);
    took = run(2, (struct part){1, 0, {"127.0.0.1"}}, (struct part){20, 0, {"[::1]"}});
    check_won("tcp://[::1]:0"); /* IPv4 waits for 50 ms */
    took = run(2, (struct part){1, 0, {"127.0.0.1"}}, (struct part){500, 0, {"[::1]"}});
    check_won("tcp://127.0.0.1:0"); /* and no longer */
    check_between(took, 50, 300);
    took = run(2, (struct part){1, 0, {"127.0.0.1"}}, (struct part){10, WEIR_ENAMESERVER, {NULL}});
    check_won("tcp://127.0.0.1:0"); /* the other one failed: it need not be waited for */
    took = run(2, (struct part){1, WEIR_ENODATA, {NULL}}, (struct part){30, 0, {"127.0.0.1"}});
    check_won("tcp://127.0.0.1:0");
}

static void late_part(void) /* what comes while attempts are under way is tried too */
{
    listen_on("[::1]", true);
    listen_on("127.0.0.1", false);
    unsigned took = run(2, (struct part){1, 0, {"[::1]"}}, (struct part){350, 0, {"127.0.0.1"}});
    check_won("tcp://127.0.0.1:0");
    check_between(took, 350, 600);
}

static void failures(void)
{
    unsigned took = run(1, (struct part){1, WEIR_ENONAME, {NULL}}, nothing);
    check_failed(WEIR_WHY_ERROR, WEIR_ENONAME);
    took += run(1, (struct part){1, 0, {"[::1]", "127.0.0.1", "127.0.0.2"}}, nothing);
    check_failed(WEIR_WHY_ERROR, -ECONNREFUSED);
    took += run(1, (struct part){1, 0, {NULL}}, nothing);
    check_failed(WEIR_WHY_ERROR, WEIR_ENODATA);
    check_between(took, 0, 300);
}

static void deadline(void)
{
    service.connect_ms = 300;
    listen_on("[::1]", true);
    unsigned took = run(1, (struct part){1, 0, {"[::1]"}}, nothing);
    check_failed(WEIR_WHY_DEADLINE, WEIR_ETIMEDOUT);
    assert_int_equal(seen.end.deadline, WEIR_DEADLINE_CONNECT);
    check_between(took, 300, 600);
    took = run(0, nothing, nothing); /* the name is never told */
    check_failed(WEIR_WHY_DEADLINE, WEIR_ETIMEDOUT);
    check_between(took, 300, 600);
    assert_int_equal(canceled, 1);
    service.connect_ms = 0;
}

static void ends(void)
{
    weir_conn conn;
    char url[64];

    listen_on("[::1]", true);
    for (int i = 0; i < 4;
         i++) { /* closed and aborted while the name, and an attempt, is waited for */
        memset(&seen, 0, sizeof seen);
        parts[0] = (struct part){1, 0, {"[::1]"}};
        part_count = i < 2 ? 0 : 1;
        told = canceled = 0;
        snprintf(url, sizeof url, "tcp://name.test:%u", port);
        assert_int_equal(weir_connect(&conn, url, &service, NULL), 0);
        weir_loop_turn(loop, weir_after(20 * WEIR_MS));
        weir_loop_turn(loop, weir_after(20 * WEIR_MS));
        weir_loop_enter(loop);
        assert_int_equal(i % 2 == 0 ? weir_close(conn) : weir_abort(conn), 0);
        turn_until_closed();
        assert_int_equal(seen.end.why, WEIR_WHY_CLOSED);
        assert_int_equal(canceled, i < 2);
    }
    memset(&seen, 0, sizeof seen); /* who looks names up goes away */
    part_count = 0;
    canceled = 0;
    assert_int_equal(weir_connect(&conn, url, &service, NULL), 0);
    weir__names_unset(loop, &parts); /* another's: nothing happens */
    weir_loop_turn(loop, 0);
    weir_loop_enter(loop);
    assert_int_equal(seen.closed, 0);
    weir__names_unset(loop, &part_timer);
    turn_until_closed();
    check_failed(WEIR_WHY_ERROR, WEIR_ECANCELED);
    assert_int_equal(canceled, 0);
    assert_int_equal(weir_connect(&conn, url, &service, NULL), WEIR_EADDRESS);
    assert_int_equal(weir__names_set(&names, &part_timer), 0);
    assert_int_equal(weir__names_set(&names, &part_timer), WEIR_EMISUSE);
}

static void from_an_address(void)
{
    weir_conn conn;
    char url[64];
    weir_address source;

    listen_on("[::1]", false);
    listen_on("127.0.0.1", false);
    memset(&seen, 0, sizeof seen);
    parts[0] = (struct part){1, 0, {"[::1]", "127.0.0.1"}};
    part_count = 1;
    told = 0;
    weir_address_parse("tcp://127.0.0.3:0", &source, NULL);
    snprintf(url, sizeof url, "tcp://name.test:%u", port);
    assert_int_equal(weir_connect_from(&conn, url, &source, &service, NULL), 0);
    turn_until_closed();
    check_won("tcp://127.0.0.1:0"); /* the other family does not fit */
}

static char filter_host[64];

static int filter_open(weir_filter_at *at, void *state, void *config, bool client)
{
    if (weir_filter_host(at, filter_host, sizeof filter_host) < 0)
        return WEIR_EINVALID;
    weir_filter_ready(at);
    return 0;
}

static int filter_input(weir_filter_at *at, void *state, weir_view data)
{
    return weir_filter_up(at, data);
}

static int64_t filter_output(weir_filter_at *at, void *state, weir_view data, bool flush)
{
    int result = weir_filter_down(at, data);
    return result < 0 ? result : (int64_t)data.size;
}

/* A filter learns the name that was asked for, which a certificate must have, whatever address that
 * has led to. */
static void host_for_filters(void)
{
    static const weir_filter filter = {
        .name = "host", .open = filter_open, .input = filter_input, .output = filter_output};
    static const weir_filter *const filters[] = {&filter, NULL};

    listen_on("127.0.0.1", false);
    service.filters = filters;
    memset(filter_host, 0, sizeof filter_host);
    run(1, (struct part){1, 0, {"127.0.0.1"}}, nothing);
    check_won("tcp://127.0.0.1:0");
    assert_string_equal(filter_host, "name.test");
    close_listeners();
    run(1, (struct part){1, WEIR_ENONAME, {NULL}}, nothing); /* none is opened, nothing is left */
    check_failed(WEIR_WHY_ERROR, WEIR_ENONAME);
    service.filters = NULL;
}

static void refused_names(void)
{
    static const char *const bad[] = {"tcp://:x",
                                      "tcp://a b:1",
                                      "tcp://a",
                                      "tcp://1.2.3:80",
                                      "tcp://a.1:80",
                                      "tcp://a.0x7f:80",
                                      "tcp://user@a.test:80",
                                      "tcp://a.test:99999",
                                      "name.test:80",
                                      "tcp://[a.test]:80"};
    weir_conn conn;

    begun = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (weir_connect(&conn, bad[i], &service, NULL) != WEIR_EADDRESS)
            fail_msg("taken: %s", bad[i]);
    assert_int_equal(weir_connect(&conn, "udp://a.test:80", &service, NULL), WEIR_ENOTSUP);
    assert_int_equal(begun, 0);
    char longer[3000]; /* than any name, because of its path: the name is all that counts */
    memset(longer, 'p', sizeof longer);
    memcpy(longer, "http://refused.test:80/", 23);
    longer[sizeof longer - 1] = '\0';
    memset(&seen, 0, sizeof seen);
    assert_int_equal(weir_connect(&conn, longer, &service, NULL), 0);
    turn_until_closed();
    check_failed(WEIR_WHY_ERROR, WEIR_EFULL);
    memset(&seen, 0, sizeof seen);
    assert_int_equal(weir_connect(&conn, "tcp://refused.test:80", &service, NULL), 0);
    turn_until_closed();
    check_failed(WEIR_WHY_ERROR, WEIR_EFULL);
}

static void on_backends(void (*test)(void))
{
    unsigned ran = 0;
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        weir_loop_options options = {.backend = backends[i]};
        uint64_t before = weir__alloc_live();
        if (weir_loop_new(&loop, &options) < 0)
            continue;
        ran++;
        weir_loop_enter(loop);
        service = (weir_service){.on_open = on_open, .on_close = on_close};
        assert_int_equal(weir__names_set(&names, &part_timer), 0);
        too_slow = true;
        for (int tries = 0; tries < 5 && too_slow; tries++) {
            too_slow = false;
            choose_port();
            test();
            close_listeners();
        }
        if (too_slow)
            fail_msg("too slow on %s", backends[i]);
        weir_loop_enter(NULL);
        weir_loop_free(loop);
        if (i > 0) /* what is made once a process is there by then */
            assert_int_equal(weir__alloc_live(), before);
    }
    assert_true(ran >= 3);
}

#define CASE(name)                        \
    static void test_##name(void **state) \
    {                                     \
        on_backends(name);                \
    }
CASE(first_answers)
CASE(staggered)
CASE(interleaved)
CASE(parts_of_a_name)
CASE(late_part)
CASE(failures)
CASE(deadline)
CASE(ends)
CASE(from_an_address)
CASE(refused_names)
CASE(host_for_filters)

/* The order of RFC 6724, of what a host with nothing but loopback can tell. */
static void preferred(void **state)
{
    static const char *const given[] = {"192.0.2.1", "127.0.0.1", "[fe80::1]", "[::1]"};
    weir_address addresses[4];
    char url[64], text[WEIR_ADDRESS_TEXT_MAX];

    for (unsigned i = 0; i < 4; i++) {
        snprintf(url, sizeof url, "tcp://%s:0", given[i]);
        assert_int_equal(weir_address_parse(url, &addresses[i], NULL), 0);
    }
    addresses_prefer(addresses, 4);
    weir_address_format(&addresses[0], text, sizeof text);
    assert_string_equal(text, "tcp://[::1]:0");
    for (unsigned i = 1; i < 4; i++) {
        weir_address_format(&addresses[i], text, sizeof text);
        assert_string_not_equal(text, "tcp://[::1]:0");
    }
    weir_address_format(&addresses[3], text, sizeof text);
    assert_string_equal(text, "tcp://[fe80::1]:0"); /* without an interface: no way */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_answers),    cmocka_unit_test(test_staggered),
        cmocka_unit_test(test_interleaved),      cmocka_unit_test(test_parts_of_a_name),
        cmocka_unit_test(test_late_part),        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_deadline),         cmocka_unit_test(test_ends),
        cmocka_unit_test(test_from_an_address),  cmocka_unit_test(test_refused_names),
        cmocka_unit_test(test_host_for_filters), cmocka_unit_test(preferred),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
