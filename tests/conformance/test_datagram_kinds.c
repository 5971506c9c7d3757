/* Datagram sockets: what a stream has not. Names and kinds, trains, what is known of each datagram,
 * groups, errors of the network. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "conformance/harness_datagram.h"

/* Where a box is bound, seen under another host's number. */
static weir_address at_host(const struct box *b, const char *host)
{
    char url[128];
    weir_address address;
    snprintf(url, sizeof url, "udp://%s:%d", host, weir_address_port(&b->address));
    assert_int_equal(weir_address_parse(url, &address, NULL), 0);
    return address;
}

static int raw_to(const weir_address *address)
{
    int fd = socket(address->socket.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address->socket, address->socket_size),
                     0);
    return fd;
}

static void hears(struct world *w, int fd, const char *text)
{
    char bytes[64];
    ssize_t got;
    UNTIL(w, (got = recv(fd, bytes, sizeof bytes, 0)) >= 0);
    assert_int_equal(got, strlen(text));
    assert_memory_equal(bytes, text, strlen(text));
}

/* --- names ------------------------------------------------------------------------------------ */

/* A client that asked one address of several hears only what comes from there. */
static void answered_from(const char *url, const char *host)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    a->on = box_reply;
    box_bind(a, url);
    weir_address asked = at_host(a, host);
    int fd = raw_to(&asked);
    assert_int_equal(send(fd, "hello", 5, 0), 5);
    hears(w, fd, "hello");
    assert_true(a->last.flags & WEIR_DATAGRAM_LOCAL);
    weir_address_set_port(&a->local, (unsigned)weir_address_port(&asked));
    assert_true(weir_address_equal(&a->local, &asked));
    assert_true(a->last.interface != 0);
    close(fd);
    boxes_end(w, a, NULL);
}

static void datagram_answers_leave_from_the_address_asked(void **state)
{
    answered_from("udp://0.0.0.0:0", "127.0.0.7");
}

static void datagram_answers_of_both_families(void **state)
{
    answered_from("udp://:0", "127.0.0.7");
    answered_from("udp://:0", "[::1]");
}

static void datagram_sockets_of_ip6(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    a->on = box_reply;
    box_bind(a, "udp://[::1]:0");
    box_connect(b, a);
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_str("six"))), 0);
    UNTIL(w, b->got == 1);
    assert_string_equal(b->text, "six");
    assert_true(weir_address_equal(&a->peer, &b->address));
    weir_address four = at_host(a, "127.0.0.1");
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &four, weir_str("x"))), 0);
    boxes_end(w, a, b);
}

static void datagram_sockets_of_ip4_reach_no_ip6(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    weir_address unix_name;
    box_bind(a, "udp://127.0.0.1:0");
    weir_address six = at_host(a, "[::1]");
    assert_int_equal(weir_address_parse("unix-dgram:@x", &unix_name, NULL), 0);
    assert_int_equal(V(w, weir_dgram_send_to(a->socket, &six, weir_str("x"))), WEIR_EADDRESS);
    assert_int_equal(V(w, weir_dgram_send_to(a->socket, &unix_name, weir_str("x"))), WEIR_EADDRESS);
    assert_int_equal(V(w, weir_dgram_send(a->socket, weir_str("x"))), WEIR_EADDRESS);
    boxes_end(w, a, NULL);
}

static void datagram_connected_sockets_hear_nobody_else(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    weir_address peer;
    box_bind(a, "udp://127.0.0.1:0");
    box_connect(b, a);
    int fd = box_raw(b);
    assert_int_equal(send(fd, "stranger", 8, 0), 8);
    assert_int_equal(V(w, weir_dgram_send_to(a->socket, &b->address, weir_str("friend"))), 0);
    UNTIL(w, b->got == 1);
    world_run_ms(w, 10);
    assert_int_equal(b->got, 1);
    assert_string_equal(b->text, "friend");
    assert_int_equal(V(w, weir_dgram_peer(b->socket, &peer)), 0);
    assert_true(weir_address_equal(&peer, &a->address));
    assert_int_equal(V(w, weir_dgram_peer(a->socket, &peer)), -ENOTCONN);
    close(fd);
    boxes_end(w, a, b);
}

/* A path is made, its peer named, and removed; one that was left behind is replaced. */
static void datagram_unix_paths(void **state)
{
    char url[128], folder[] = "/tmp/weir-dgram-XXXXXX";
    static char bytes[65537];
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    struct stat stat_of;
    assert_non_null(mkdtemp(folder));
    snprintf(url, sizeof url, "unix-dgram:%s/s", folder);
    struct sockaddr_un left = {.sun_family = AF_UNIX};
    snprintf(left.sun_path, sizeof left.sun_path, "%s/s", folder);
    int stale = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&left, sizeof left), 0);
    close(stale);
    a->on = box_reply;
    a->service.socket.unix_mode = 0600;
    box_bind(a, url);
    assert_int_equal(stat(left.sun_path, &stat_of), 0);
    assert_int_equal(stat_of.st_mode & 0777, 0600);
    assert_int_equal(V(w, weir_dgram_open(NULL, url, &a->service)), -EADDRINUSE);
    box_connect(b, a);
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_str("named"))), 0);
    UNTIL(w, b->got == 1);
    assert_true(weir_address_equal(&b->peer, &a->address));
    assert_int_equal(a->peer.transport, WEIR_TRANSPORT_UNIX_DGRAM);
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_bytes(bytes, sizeof bytes))), 0);
    UNTIL(w, a->got == 2); /* one byte more than there is room for */
    assert_true(a->last.flags & WEIR_DATAGRAM_TRUNCATED);
    assert_int_equal(a->last.full_bytes, sizeof bytes);
    assert_int_equal(V(w, weir_dgram_close(a->socket)), 0);
    UNTIL(w, a->closes == 1);
    assert_int_equal(stat(left.sun_path, &stat_of), -1);
    assert_int_equal(rmdir(folder), 0);
    boxes_end(w, a, b);
}

/* Messages stay apart, an empty one is no end, and the end is the peer's. */
static void datagram_seqpacket(void **state)
{
    struct world *w = world_open(NULL);
    struct box *b = box_new(w);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char url[160];
    int length = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "weir-test-%d", getpid());
    socklen_t size = (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 + (socklen_t)length;
    snprintf(url, sizeof url, "unix-seqpacket:@%s", name.sun_path + 1);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_true(V(w, weir_dgram_connect(&b->socket, url, NULL, &b->service)) == 0);
    int fd = accept(listener, NULL, NULL);
    assert_int_equal(send(fd, "one", 3, MSG_EOR), 3);
    assert_int_equal(send(fd, "", 0, MSG_EOR), 0);
    assert_int_equal(send(fd, "three", 5, MSG_EOR), 5);
    UNTIL(w, b->got == 3);
    assert_int_equal(b->sizes[0], 3);
    assert_int_equal(b->empty, 1);
    assert_string_equal(b->text, "three");
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_str("back"))), 0);
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_str("again"))), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    hears(w, fd, "back");
    hears(w, fd, "again");
    b->on = box_reply;
    assert_int_equal(send(fd, "four", 4, MSG_EOR), 4);
    hears(w, fd, "four");
    b->on = NULL;
    assert_int_equal(b->closes, 0);
    close(fd);
    UNTIL(w, b->closes == 1);
    assert_int_equal(b->end.why, WEIR_WHY_PEER_FINISHED);
    close(listener);
    boxes_end(w, b, NULL);
}

/* --- what is known of each -------------------------------------------------------------------- */

static uint64_t real_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * WEIR_S + (uint64_t)now.tv_nsec;
}

static void meta_of(const char *url, const char *host)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    a->service.meta =
        WEIR_DATAGRAM_LOCAL | WEIR_DATAGRAM_ECN | WEIR_DATAGRAM_HOPS | WEIR_DATAGRAM_TIME;
    box_bind(a, url);
    weir_address asked = at_host(a, host);
    int fd = raw_to(&asked), tos = 2, hops = 33;
    bool six = asked.socket.ss_family == AF_INET6;
    assert_int_equal(setsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TCLASS : IP_TOS,
                                &tos, sizeof tos),
                     0);
    assert_int_equal(setsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP,
                                six ? IPV6_UNICAST_HOPS : IP_TTL, &hops, sizeof hops),
                     0);
    uint64_t before = real_ns();
    assert_int_equal(send(fd, "x", 1, 0), 1);
    UNTIL(w, a->got == 1);
    assert_int_equal(a->last.flags, a->service.meta);
    assert_int_equal(a->last.ecn, 2);
    assert_int_equal(a->last.hops, 33);
    assert_true(a->last.received_ns >= before && a->last.received_ns <= real_ns());
    close(fd);
    boxes_end(w, a, NULL);
}

static void datagram_meta(void **state)
{
    meta_of("udp://127.0.0.1:0", "127.0.0.1");
    meta_of("udp://[::1]:0", "[::1]");
    meta_of("udp://:0", "127.0.0.1");
    meta_of("udp://:0", "[::1]");
}

static void datagram_marks_of_one(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    a->service.meta = WEIR_DATAGRAM_ECN | WEIR_DATAGRAM_HOPS;
    b->service.hops = 50;
    box_bind(a, "udp://127.0.0.1:0");
    box_bind(b, "udp://127.0.0.1:0");
    weir_address from = at_host(b, "127.0.0.5");
    const weir_dgram_message message = {
        .view = weir_str("marked"), .peer = &a->address, .ecn = WEIR_SOME(1), .hops = 7};
    weir_dgram_message wrong = {.view = weir_str("x"), .peer = &a->address, .ecn = 5};
    assert_int_equal(V(w, weir_dgram_send_with(b->socket, &message)), 0);
    assert_int_equal(V(w, weir_dgram_send_with(b->socket, &wrong)), WEIR_EINVALID);
    UNTIL(w, a->got == 1);
    assert_int_equal(a->last.ecn, 1);
    assert_int_equal(a->last.hops, 7);
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &a->address, weir_str("plain"))), 0);
    UNTIL(w, a->got == 2);
    assert_int_equal(a->last.ecn, 0);
    assert_int_equal(a->last.hops, 50);
    weir_dgram_message named = {.view = weir_str("from"), .peer = &a->address, .local = &from};
    assert_int_equal(V(w, weir_dgram_send_with(b->socket, &named)), 0);
    UNTIL(w, a->got == 3);
    assert_true(weir_address_equal(&a->peer, &from));
    boxes_end(w, a, b);
}

/* --- trains ----------------------------------------------------------------------------------- */

static void send_train(struct box *b, const struct box *to)
{
    static char bytes[950];
    const weir_dgram_message train = {
        .view = weir_bytes(bytes, sizeof bytes), .peer = &to->address, .segment_bytes = 100};
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)('a' + i / 100);
    assert_int_equal(V(b->w, weir_dgram_send_with(b->socket, &train)), 0);
}

static void datagram_trains_are_taken_apart(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    box_bind(a, "udp://127.0.0.1:0");
    box_bind(b, "udp://127.0.0.1:0");
    send_train(b, a);
    UNTIL(w, a->got == 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(a->sizes[i], i < 9 ? 100 : 50);
    assert_int_equal(a->text[0], 'j');
    assert_int_equal(a->last.segment_bytes, 0);
    assert_int_equal(a->last.flags & WEIR_DATAGRAM_TRUNCATED, 0);
    assert_int_equal(box_stats(a).received_datagrams, 10);
    assert_int_equal(box_stats(b).sent_datagrams, 10);
    assert_int_equal(box_stats(b).sent_bytes, 950);
    boxes_end(w, a, b);
}

static void datagram_trains_come_whole_where_asked(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    a->service.gro_whole = WEIR_SWITCH_ON;
    box_bind(a, "udp://127.0.0.1:0");
    box_bind(b, "udp://127.0.0.1:0");
    send_train(b, a);
    UNTIL(w, a->bytes == 950);
    if (a->got != 1) /* a kernel without it */
        skip_because("this kernel hands over no trains");
    assert_int_equal(a->last.segment_bytes, 100);
    assert_int_equal(box_stats(a).received_datagrams, 10);
    boxes_end(w, a, b);
}

/* What is queued in a row for one peer leaves as one train; off, it does not. */
static void joined(uint8_t gso, bool expected)
{
    static const char bytes[200];
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    a->service.gro_whole = WEIR_SWITCH_ON;
    b->service.gso = gso;
    box_bind(a, "udp://127.0.0.1:0");
    box_connect(b, a);
    for (int i = 0; i < 20; i++)
        assert_int_equal(V(w, weir_dgram_send(b->socket, weir_bytes(bytes, 200))), 0);
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_bytes(bytes, 100))), 0);
    UNTIL(w, a->bytes == 20 * 200 + 100);
    assert_int_equal(box_stats(a).received_datagrams, 21);
    assert_int_equal(a->got, expected ? 1 : 21);
    boxes_end(w, a, b);
}

static void datagram_queues_leave_as_trains(void **state)
{
    joined(WEIR_SWITCH_DEFAULT, true);
    joined(WEIR_SWITCH_OFF, false);
}

static unsigned batches, largest;

static void on_batch(weir_dgram socket, const weir_datagram *in, unsigned count, void *user)
{
    struct box *b = box_enter(socket, user);
    batches++;
    if (count > largest)
        largest = count;
    for (unsigned i = 0; i < count; i++) {
        b->got++;
        b->bytes += in[i].view.size;
        b->error |= HB(b, weir_dgram_reply(socket, &in[i], in[i].view));
    }
    box_leave(b);
}

static void datagram_batches(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    batches = largest = 0;
    a->service.on_datagram = NULL;
    a->service.on_batch = on_batch;
    box_bind(a, "udp://127.0.0.1:0");
    world_turn_ms(w, 1);
    int fd = box_raw(a);
    for (int i = 0; i < 100; i++)
        assert_int_equal(send(fd, "0123456789", 10, 0), 10);
    for (int i = 0; i < 100; i++)
        hears(w, fd, "0123456789");
    assert_int_equal(a->got, 100);
    assert_int_equal(a->error, 0);
    assert_true(largest <= 64);
    if (!world_feature("cq=small")) /* which has room for 16 */
        assert_true(largest > 20 && batches < 20);
    close(fd);
    boxes_end(w, a, NULL);
}

/* --- errors of the network -------------------------------------------------------------------- */

/* From a socket that is not connected an error names whose datagram it was. */
static void refused_at(const char *url)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *gone = box_new(w);
    a->service.on_error = box_on_error;
    box_bind(gone, url);
    box_bind(a, url);
    assert_int_equal(V(w, weir_dgram_abort(gone->socket)), 0);
    UNTIL(w, gone->closes == 1);
    assert_int_equal(V(w, weir_dgram_send_to(a->socket, &gone->address, weir_str("anybody?"))), 0);
    UNTIL(w, a->errors == 1);
    assert_int_equal(a->told.error, -ECONNREFUSED);
    assert_int_equal(a->told.origin, strchr(url, '[') ? WEIR_ORIGIN_ICMP6 : WEIR_ORIGIN_ICMP);
    assert_true(weir_address_equal(&a->told_peer, &gone->address));
    weir_address_set_port(&a->told_offender, (unsigned)weir_address_port(&gone->address));
    assert_true(weir_address_equal(&a->told_offender, &gone->address));
    int fd = box_raw(a);
    assert_int_equal(send(fd, "x", 1, 0), 1); /* and it goes on */
    UNTIL(w, a->got == 1);
    close(fd);
    boxes_end(w, a, gone);
}

static void datagram_errors_of_the_network(void **state)
{
    refused_at("udp://127.0.0.1:0");
    refused_at("udp://[::1]:0");
}

/* Without the error queue they are counted, and stop nothing. */
static void datagram_errors_nobody_asked_for(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *gone = box_new(w);
    box_bind(gone, "udp://127.0.0.1:0");
    box_connect(a, gone);
    assert_int_equal(V(w, weir_dgram_abort(gone->socket)), 0);
    UNTIL(w, gone->closes == 1);
    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(V(w, weir_dgram_send(a->socket, weir_str("anybody?"))), 0);
        UNTIL(w, box_stats(a).errors >= i);
    }
    world_run_ms(w, 5);
    assert_int_equal(box_stats(a).errors, 5);
    assert_int_equal(box_stats(a).sent_datagrams, 5);
    boxes_end(w, a, gone);
}

static void datagram_broadcast(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    a->service.on_error = box_on_error;
    b->service.broadcast = WEIR_SWITCH_ON;
    box_bind(a, "udp://0.0.0.0:0");
    box_bind(b, "udp://127.0.0.1:0");
    weir_address all = at_host(a, "127.255.255.255");
    assert_int_equal(V(w, weir_dgram_send_to(a->socket, &all, weir_str("not allowed"))), 0);
    UNTIL(w, a->errors == 1);
    assert_int_equal(a->told.error, -EACCES);
    assert_int_equal(a->told.origin, WEIR_ORIGIN_LOCAL);
    assert_int_equal(box_stats(a).dropped_error, 1);
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &all, weir_str("to all"))), 0);
    UNTIL(w, a->got == 1);
    assert_string_equal(a->text, "to all");
    a->on = box_reply;
    boxes_end(w, a, b);
}

/* --- groups ----------------------------------------------------------------------------------- */

static void datagram_groups(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    a->service.groups = "239.255.77.1%lo 239.255.77.2%lo";
    b->service.multicast_interface = "lo";
    box_bind(a, "udp://0.0.0.0:0");
    box_bind(b, "udp://127.0.0.1:0");
    weir_address first = at_host(a, "239.255.77.1"), second = at_host(a, "239.255.77.2"),
                 sourced = at_host(a, "232.1.77.1");
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &first, weir_str("first"))), 0);
    UNTIL(w, a->got == 1);
    assert_int_equal(V(w, weir_dgram_join(a->socket, "239.255.77.1%lo")), -EADDRINUSE);
    assert_int_equal(V(w, weir_dgram_leave(a->socket, "239.255.77.1%lo")), 0);
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &first, weir_str("left"))), 0);
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &second, weir_str("second"))), 0);
    UNTIL(w, a->got == 2);
    assert_string_equal(a->text, "second");
    /* Only from a source that was named. */
    assert_int_equal(V(w, weir_dgram_join(a->socket, "127.0.0.9@232.1.77.1%lo")), 0);
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &sourced, weir_str("another's"))), 0);
    world_run_ms(w, 5);
    assert_int_equal(V(w, weir_dgram_join(a->socket, "127.0.0.1@232.1.77.1%lo")), 0);
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &second, weir_str("third"))), 0);
    UNTIL(w, a->got >= 3);
    assert_string_equal(a->text, "third");
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &sourced, weir_str("sourced"))), 0);
    UNTIL(w, a->got == 4);
    assert_string_equal(a->text, "sourced");
    boxes_end(w, a, b);
}

static void datagram_groups_that_are_none(void **state)
{
    static const char *const wrong[] = {
        "",           "group",       "127.0.0.1@ff02::1", "@239.1.1.1",
        "239.1.1.1@", "239.1.1.1.1", "1%lo@239.1.1.1"};
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    box_bind(a, "udp://127.0.0.1:0");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (V(w, weir_dgram_join(a->socket, wrong[i])) != WEIR_EADDRESS)
            fail_msg("joined %s", wrong[i]);
    assert_int_equal(V(w, weir_dgram_join(a->socket, "239.1.1.1%nosuch0")), -ENODEV);
    assert_int_equal(V(w, weir_dgram_join(a->socket, "ff02::1%lo")), WEIR_EADDRESS);
    assert_int_equal(V(w, weir_dgram_join(a->socket, "127.0.0.1%lo")), -EINVAL);
    boxes_end(w, a, NULL);
}

/* --- options and flow ------------------------------------------------------------------------- */

static void refused(struct world *w, struct box *a, const char *name, int error)
{
    int result = V(w, weir_dgram_open(NULL, "udp://127.0.0.1:0", &a->service));
    if (result != error || strstr(log_last(), name) == NULL)
        fail_msg("%s: %s, and the log says: %s", name, weir_error_name(result), log_last());
}

static void datagram_options_that_are_refused(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    const weir_dgram_service good = a->service;
    a->service.multicast_interface = "nosuch0";
    refused(w, a, "multicast_interface", -ENODEV);
    a->service = good;
    a->service.groups = "239.1.1.1%nosuch0";
    refused(w, a, "239.1.1.1%nosuch0", -ENODEV);
    a->service = good;
    a->service.datagram_max_bytes = 65537;
    refused(w, a, "datagram_max_bytes", WEIR_EINVALID);
    a->service = good;
    a->service.on_batch = on_batch;
    refused(w, a, "on_batch", WEIR_EINVALID);
    a->service = good;
    a->service.gro = 3;
    refused(w, a, "gro", WEIR_EINVALID);
    a->service = good;
    a->service.reserved[7] = 1;
    refused(w, a, "reserved", WEIR_EINVALID);
    a->service = good;
    assert_int_equal(V(w, weir_dgram_open(NULL, "tcp://127.0.0.1:0", &good)), WEIR_ENOTSUP);
    assert_int_equal(V(w, weir_dgram_open(NULL, "unix-seqpacket:@x", &good)), WEIR_ENOTSUP);
    weir_service stream = {.listen = "udp://127.0.0.1:0"};
    assert_int_equal(V(w, weir_listen(NULL, &stream)), WEIR_ENOTSUP);
    a->service.mtu = WEIR_MTU_DO;
    a->service.multicast_loop = WEIR_SWITCH_OFF;
    a->service.multicast_hops = 3;
    box_bind(a, "udp://[::1]:0");
    boxes_end(w, a, NULL);
}

static void datagram_pause(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    box_bind(a, "udp://127.0.0.1:0");
    world_turn_ms(w, 1);
    assert_int_equal(V(w, weir_dgram_pause(a->socket)), 0);
    world_run_ms(w, 5);
    int fd = box_raw(a);
    for (int i = 0; i < 3; i++)
        assert_int_equal(send(fd, "x", 1, 0), 1);
    world_run_ms(w, 20);
    assert_int_equal(a->got, 0);
    assert_int_equal(V(w, weir_dgram_resume(a->socket)), 0);
    UNTIL(w, a->got == 3);
    for (int i = 0; i < 20; i++) { /* in any order, and more than once */
        assert_int_equal(V(w, weir_dgram_pause(a->socket)), 0);
        if (i % 3 == 0)
            world_turn_ms(w, 0);
        assert_int_equal(V(w, weir_dgram_resume(a->socket)), 0);
        if (i % 2 == 0)
            world_turn_ms(w, 0);
    }
    assert_int_equal(send(fd, "x", 1, 0), 1);
    UNTIL(w, a->got == 4);
    close(fd);
    boxes_end(w, a, NULL);
}

K_MAIN(T(datagram_answers_leave_from_the_address_asked), T(datagram_answers_of_both_families),
       T(datagram_sockets_of_ip6), T(datagram_sockets_of_ip4_reach_no_ip6),
       T(datagram_connected_sockets_hear_nobody_else), T(datagram_unix_paths),
       T(datagram_seqpacket), T(datagram_meta), T(datagram_marks_of_one),
       T(datagram_trains_are_taken_apart), T(datagram_trains_come_whole_where_asked),
       T(datagram_queues_leave_as_trains), T(datagram_batches), T(datagram_errors_of_the_network),
       T(datagram_errors_nobody_asked_for), T(datagram_broadcast), T(datagram_groups),
       T(datagram_groups_that_are_none), T(datagram_options_that_are_refused), T(datagram_pause))
