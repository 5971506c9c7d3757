/* What passes between a resolver and its name servers, turn by turn: the test is the server. */
#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <weir/error.h>
#include <weir/resolve.h>

#include "base/alloc.h"
#include "dns/resolver.h"

static weir_loop *loop;
static weir_resolver *resolver;
static unsigned told;
static int last_error;
static int udp[2] = {-1, -1}, tcp = -1; /* tcp has the port of udp[0] */
static uint16_t ports[2];
static char folder[] = "/tmp/weir-channel-XXXXXX", conf[64], hosts[64];

static const char none[] = "/dev/null/none";

struct asked { /* what came, and from whom */
    uint8_t data[512];
    ssize_t size;
    struct sockaddr_in from;
};

static int bound(int type, uint16_t *port)
{
    struct sockaddr_in in4 = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof in4;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (bind(fd, (struct sockaddr *)&in4, size) < 0 ||
        getsockname(fd, (struct sockaddr *)&in4, &size) < 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(in4.sin_port);
    return fd;
}

/* Another size each time: clocks of file systems are coarse. */
static void conf_write(unsigned which, unsigned lines)
{
    FILE *file = fopen(conf, "w");
    assert_non_null(file);
    fprintf(file, "nameserver [127.0.0.1]:%u\n", ports[which]);
    while (lines-- > 0)
        fprintf(file, "# a comment\n");
    fclose(file);
}

static int begin(void **state)
{
    char servers[32];

    for (unsigned i = 0; i < 50 && tcp < 0; i++) {
        if (udp[0] >= 0)
            close(udp[0]);
        ports[0] = ports[1] = 0;
        udp[0] = bound(SOCK_DGRAM, &ports[0]);
        tcp = bound(SOCK_STREAM, &ports[0]);
    }
    udp[1] = bound(SOCK_DGRAM, &ports[1]);
    if (tcp < 0 || listen(tcp, 4) < 0 || udp[0] < 0 || udp[1] < 0)
        return -1;
    snprintf(servers, sizeof servers, "127.0.0.1:%u", ports[0]);
    told = 0;
    last_error = 1;
    if (weir_loop_new(&loop, NULL) < 0)
        return -1;
    weir_loop_enter(loop);
    bool from_file = *state != NULL;
    weir_resolver_options o = {.servers = from_file ? NULL : servers,
                               .hosts = from_file ? hosts : none,
                               .nsswitch = none,
                               .resolv_conf = from_file ? conf : none,
                               .timeout_ms = 2000,
                               .attempts = 1,
                               .questions_max = 4};
    if (from_file)
        conf_write(0, 0);
    return weir_resolver_new(&resolver, &o);
}

static int end(void **state)
{
    weir_loop_enter(loop);
    weir_resolver_free(resolver);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
    close(udp[0]);
    close(udp[1]);
    close(tcp);
    udp[0] = udp[1] = tcp = -1;
    return 0;
}

static void on_answer(weir_lookup *lookup, const weir_answer *answer, void *arg)
{
    told++;
    last_error = answer->error;
}

static void turn(weir_time last)
{
    weir_loop_turn(loop, last);
    weir_loop_enter(loop);
}

static void turn_until(unsigned count)
{
    weir_time last = weir_after(5 * WEIR_S);
    while (told < count && weir_now() < last)
        turn(last);
    assert_int_equal(told, count);
}

static int ask(weir_lookup *lookup, const char *name, enum weir_record_type type)
{
    return weir_resolve(resolver, lookup, name, type, 0, WEIR_NEVER, on_answer, NULL);
}

/* A question that is there already; false: there is none. */
static bool take(unsigned which, struct asked *q)
{
    socklen_t size = sizeof q->from;
    q->size = recvfrom(udp[which], q->data, sizeof q->data, 0, (struct sockaddr *)&q->from, &size);
    return q->size >= 12;
}

static unsigned type_of(const struct asked *q)
{
    size_t at = 12;
    while (q->data[at] != 0)
        at += 1u + q->data[at];
    return (unsigned)q->data[at + 1] << 8 | q->data[at + 2];
}

/* Nothing but the question and what is said of it. */
static void reply(const struct asked *q, unsigned flags, unsigned rcode)
{
    struct asked r = *q;
    size_t at = 12;

    while (q->data[at] != 0)
        at += 1u + q->data[at];
    r.data[2] = (uint8_t)(0x81 | flags);
    r.data[3] = (uint8_t)(0x80 | rcode);
    memset(r.data + 6, 0, 6);
    sendto(udp[0], r.data, at + 5, 0, (const struct sockaddr *)&q->from, sizeof q->from);
}

/* The connection has ended and is reset before the question was written on it: EPIPE, which must
 * not be SIGPIPE. */
static void reset(void **state)
{
    struct linger linger = {.l_onoff = 1};
    struct pollfd ready = {.fd = tcp, .events = POLLIN};
    weir_lookup lookup = {{0}};
    struct asked q;

    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(ask(&lookup, "a.test", WEIR_RECORD_A), 0);
    assert_true(take(0, &q));
    reply(&q, 2 /* TC */, 0);
    weir_time last = weir_after(2 * WEIR_S);
    while (poll(&ready, 1, 0) == 0 && weir_now() < last)
        turn(weir_after(10 * WEIR_MS));
    int peer = accept(tcp, NULL, NULL);
    assert_true(peer >= 0);
    shutdown(peer, SHUT_WR);
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(peer);
    turn_until(1);
    assert_true(last_error < 0);
}

/* A server that does not know EDNS says so to two questions at once: both are asked again. */
static void without_edns(void **state)
{
    weir_lookup lookup = {{0}};
    struct asked q[2];

    assert_int_equal(ask(&lookup, "a.test", WEIR_RECORD_HOST), 0);
    weir_time last = weir_after(2 * WEIR_S);
    for (unsigned round = 0; told == 0 && round < 100 && weir_now() < last; round++) {
        unsigned count = 0;
        while (count < 2 && take(0, &q[count]))
            count++;
        for (unsigned i = 0; i < count; i++)
            reply(&q[i], 0, q[i].data[11] != 0 /* FORMERR with OPT */);
        turn(weir_after(10 * WEIR_MS));
    }
    turn_until(1);
    assert_int_equal(last_error, WEIR_ENODATA);
}

/* One family has nothing, the other one's question failed: nobody knows whether it has an address.
 */
static void half_an_answer(void **state)
{
    weir_lookup lookup = {{0}};
    struct asked q;

    assert_int_equal(ask(&lookup, "a.test", WEIR_RECORD_HOST), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(take(0, &q));
        reply(&q, 0, type_of(&q) == WEIR_RECORD_A ? 2 /* SERVFAIL */ : 0);
    }
    turn_until(1);
    assert_int_equal(last_error, WEIR_ENAMESERVER);
}

/* Questions that nobody waits for do not keep others out; who waits is asked for again. */
static void room(void **state)
{
    weir_lookup gone[3] = {{{0}}}, waits = {{0}}, more[3] = {{{0}}};
    static const char *const names[] = {"a.test", "b.test", "c.test"};
    weir_resolver_stats stats;
    struct asked q;

    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ask(&gone[i], names[i], WEIR_RECORD_A), 0);
    assert_int_equal(ask(&waits, "waits.test", WEIR_RECORD_A), 0);
    assert_int_equal(ask(&more[0], "d.test", WEIR_RECORD_A), 0); /* taken, and refused later */
    turn_until(1);
    assert_int_equal(last_error, WEIR_EFULL);
    resolver->room_at = 0; /* as if a second had passed */
    for (unsigned i = 0; i < 3; i++)
        assert_true(weir_lookup_cancel(&gone[i]));
    while (take(0, &q))
        ;
    assert_int_equal(ask(&more[0], "d.test", WEIR_RECORD_HOST), 0);
    weir_resolver_stats_get(resolver, &stats);
    assert_int_equal(stats.asked, 3);
    assert_int_equal(told, 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(take(0, &q));
        reply(&q, 0, 0);
    }
    assert_false(take(0, &q));
    turn_until(3);
    assert_int_equal(last_error, WEIR_ENODATA);
    for (unsigned i = 0; i < 3; i++) { /* but that is not done at any time */
        assert_int_equal(ask(&gone[i], names[i], WEIR_RECORD_A), 0);
        assert_true(weir_lookup_cancel(&gone[i]));
    }
    assert_int_equal(ask(&more[1], "e.test", WEIR_RECORD_HOST), 0);
    turn_until(4);
    assert_int_equal(last_error, WEIR_EFULL);
}

/* Who waits through many of those ends at last. */
static void no_end(void **state)
{
    weir_lookup waits = {{0}};
    char name[16];

    assert_int_equal(ask(&waits, "waits.test", WEIR_RECORD_A), 0);
    for (unsigned i = 0; i < 4 * RENEWALS_MAX && told == 0; i++) {
        weir_lookup gone = {{0}};
        snprintf(name, sizeof name, "n%u.test", i);
        resolver->room_at = 0;
        assert_int_equal(ask(&gone, name, WEIR_RECORD_A), 0);
        assert_true(weir_lookup_cancel(&gone));
        turn(0);
    }
    assert_int_equal(told, 1);
    assert_int_equal(last_error, -ETIMEDOUT);
}

/* A flood of false answers is read piece by piece. */
static void flood(void **state)
{
    weir_lookup lookup = {{0}};
    weir_resolver_stats stats;
    struct asked q;

    assert_int_equal(ask(&lookup, "a.test", WEIR_RECORD_A), 0);
    turn(0); /* the loop waits for the socket now */
    assert_true(take(0, &q));
    q.data[0] ^= 1;
    for (unsigned i = 0; i < 100; i++)
        reply(&q, 0, 0);
    q.data[0] ^= 1;
    reply(&q, 0, 0);
    turn(weir_after(WEIR_S));
    weir_resolver_stats_get(resolver, &stats);
    assert_int_equal(stats.asked, 1);
    turn_until(1);
    assert_int_equal(last_error, WEIR_ENODATA);
}

/* Without randomness there are no questions: anybody could guess their numbers. */
static void no_random(void **state)
{
    struct rlimit before, no_files;
    struct channel *made;
    int version;

    ares_version(&version);
    if (version >= 0x011301)
        skip();
    getrlimit(RLIMIT_NOFILE, &before);
    no_files = before;
    no_files.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &no_files);
    int result = channel_new(&made, resolver);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(result, -EMFILE);
}

/* Whatever fails while a changed resolv.conf is taken over: the next lookup tries it again. */
static void tried_again(void **state)
{
    for (unsigned n = 1;; n++) {
        weir_lookup first = {{0}}, second = {{0}};
        struct asked q;
        char name[16];

        conf_write(n % 2, n);
        resolver->checked = 0;
        snprintf(name, sizeof name, "a%u.test", n);
        weir__alloc_fail_at(n);
        int result = ask(&first, name, WEIR_RECORD_A);
        bool reached = weir__alloc_fail_at(0) == 0;
        weir_lookup_cancel(&first);
        while (take(n % 2, &q))
            ;
        resolver->checked = 0;
        name[0] = 'b';
        assert_int_equal(ask(&second, name, WEIR_RECORD_A), 0);
        if (!take(n % 2, &q))
            fail_msg("failure %u (%d): the new server is not asked", n, result);
        weir_lookup_cancel(&second);
        resolver->room_at = 0;
        if (!reached)
            break;
        assert_true(n < 100);
    }
}

/* A file that there is no descriptor for is not an empty one. */
static void no_descriptor(void **state)
{
    struct rlimit before, no_files;
    weir_lookup lookup = {{0}};

    FILE *file = fopen(hosts, "w");
    fputs("10.0.0.1 a.test\n", file);
    fclose(file);
    resolver->checked = 0;
    getrlimit(RLIMIT_NOFILE, &before);
    no_files = before;
    no_files.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &no_files);
    int result = ask(&lookup, "a.test", WEIR_RECORD_A);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(result, -EMFILE);
    assert_int_equal(ask(&lookup, "a.test", WEIR_RECORD_A), 0);
    turn_until(1);
    assert_int_equal(last_error, 0);
    unlink(hosts);
}

static int from_file = 1;

int main(void)
{
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(conf, sizeof conf, "%s/resolv.conf", folder);
    snprintf(hosts, sizeof hosts, "%s/hosts", folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reset, begin, end),
        cmocka_unit_test_setup_teardown(without_edns, begin, end),
        cmocka_unit_test_setup_teardown(half_an_answer, begin, end),
        cmocka_unit_test_setup_teardown(room, begin, end),
        cmocka_unit_test_setup_teardown(no_end, begin, end),
        cmocka_unit_test_setup_teardown(flood, begin, end),
        cmocka_unit_test_setup_teardown(no_random, begin, end),
        cmocka_unit_test_prestate_setup_teardown(tried_again, begin, end, &from_file),
        cmocka_unit_test_prestate_setup_teardown(no_descriptor, begin, end, &from_file),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(conf);
    rmdir(folder);
    return failed;
}
