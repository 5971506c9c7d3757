/* Datagram sockets: the contracts in their form. */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conformance/harness_datagram.h"

enum { BIG = 65507 };

/* --- contracts -------------------------------------------------------------------------------- */

static void k01_datagram_verbs_need_the_loop(void **state)
{
    struct world *w = world_open(NULL);
    struct box *b = box_new(w);
    box_bind(b, "udp://127.0.0.1:0");
    assert_int_equal(weir_dgram_send_to(b->socket, &b->address, weir_str("x")), WEIR_EMISUSE);
    assert_int_equal(weir_dgram_close(b->socket), WEIR_EMISUSE);
    assert_int_equal(weir_dgram_open(NULL, "udp://127.0.0.1:0", &b->service), WEIR_EMISUSE);
    assert_false(weir_dgram_alive(b->socket));
    boxes_end(w, b, NULL);
}

static void k02_stale_datagram_handles(void **state)
{
    struct world *w = world_open(NULL);
    struct box *b = box_new(w), *next = box_new(w);
    weir_dgram_stats stats;
    weir_address address;
    box_bind(b, "udp://127.0.0.1:0");
    assert_int_equal(V(w, weir_dgram_close(b->socket)), 0);
    UNTIL(w, b->closes == 1);
    box_bind(next, "udp://127.0.0.1:0"); /* most likely in the same slot */
    assert_false(weir_dgram_is(b->socket, next->socket));
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_str("x"))), WEIR_EGONE);
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &next->address, weir_str("x"))),
                     WEIR_EGONE);
    assert_int_equal(V(w, weir_dgram_pause(b->socket)), WEIR_EGONE);
    assert_int_equal(V(w, weir_dgram_resume(b->socket)), WEIR_EGONE);
    assert_int_equal(V(w, weir_dgram_close(b->socket)), WEIR_EGONE);
    assert_int_equal(V(w, weir_dgram_abort(b->socket)), WEIR_EGONE);
    assert_int_equal(V(w, weir_dgram_join(b->socket, "239.1.1.1")), WEIR_EGONE);
    assert_int_equal(V(w, weir_dgram_local(b->socket, &address)), WEIR_EGONE);
    assert_int_equal(V(w, weir_dgram_stats_get(b->socket, &stats)), WEIR_EGONE);
    assert_int_equal(V(w, weir_dgram_alive(b->socket)), 0);
    assert_int_equal(V(w, weir_dgram_alive(next->socket)), 1);
    assert_int_equal(V(w, weir_dgram_send((weir_dgram){0}, weir_str("x"))), WEIR_EGONE);
    boxes_end(w, b, next);
}

/* A socket that sends to itself is not called within the send, nor before its handler returned. */
static void send_to_self(struct box *b, const weir_datagram *in)
{
    if (b->got < 10)
        b->error = HB(b, weir_dgram_send_to(b->socket, &b->address, in->view));
}

static void k03_datagrams_are_flat(void **state)
{
    struct world *w = world_open(NULL);
    struct box *b = box_new(w);
    b->on = send_to_self;
    box_bind(b, "udp://127.0.0.1:0");
    uint64_t before = world_syscalls(w);
    assert_int_equal(V(w, weir_dgram_send_to(b->socket, &b->address, weir_str("around"))), 0);
    assert_int_equal(world_syscalls(w), before); /* a send does not enter the kernel */
    UNTIL(w, b->got == 10);
    assert_string_equal(b->text, "around");
    boxes_end(w, b, NULL);
}

static unsigned released;

static void on_release(const void *data, size_t size, void *arg)
{
    released++;
}

/* Whatever way a socket ends it has one on_close; what was queued before a close arrives, what was
 * before an abort need not; lent bytes come back once. */
static void k04_datagram_sockets_end_once(void **state)
{
    static const char lent[1000];
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    released = 0;
    box_bind(a, "udp://127.0.0.1:0");
    box_connect(b, a);
    for (int i = 0; i < 5; i++) {
        weir_view view;
        verb_begin(w);
        view = weir_own(lent, sizeof lent, on_release, NULL);
        assert_int_equal(verb_end(w, weir_dgram_send(b->socket, view)), 0);
    }
    assert_int_equal(V(w, weir_dgram_close(b->socket)), 0);
    assert_int_equal(V(w, weir_dgram_close(b->socket)), 0);
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_str("late"))), WEIR_EMISUSE);
    UNTIL(w, b->closes == 1 && a->got == 5 && released == 5);
    assert_int_equal(b->end.why, WEIR_WHY_CLOSED);
    assert_int_equal(V(w, weir_dgram_abort(a->socket)), 0);
    UNTIL(w, a->closes == 1);
    assert_int_equal(V(w, weir_dgram_close(a->socket)), WEIR_EGONE);
    boxes_end(w, a, b);
}

static void close_first(struct box *b, const weir_datagram *in)
{
    b->error = HB(b, weir_dgram_close(b->socket));
}

/* After a close in a handler nothing of the same batch is handed over. */
static void k04_nothing_after_a_close(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    a->on = close_first;
    box_bind(a, "udp://127.0.0.1:0");
    int fd = box_raw(a);
    for (int i = 0; i < 20; i++)
        assert_int_equal(send(fd, "x", 1, 0), 1);
    UNTIL(w, a->closes == 1);
    assert_int_equal(a->got, 1);
    close(fd);
    boxes_end(w, a, NULL);
}

/* In order and none twice, of changing sizes, empty ones among them: the joining of those of one
 * size shows nowhere. */
static unsigned in_order, out_of_order;

static void check_order(struct box *b, const weir_datagram *in)
{
    uint32_t number = 0;
    if (in->view.size == 0)
        return;
    memcpy(&number, in->view.data, sizeof number);
    if (number == in_order && in->view.size == 4 + number % 7 / 3 * 100)
        in_order++;
    else
        out_of_order++;
}

static void order_over(const char *url, unsigned each)
{
    enum { ALL = 2000 };
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    unsigned sent = 0, empty = 0;
    in_order = out_of_order = 0;
    a->on = check_order;
    a->service.socket.receive_buffer_bytes = 200000;
    box_bind(a, url);
    box_connect(b, a);
    while (in_order < ALL && out_of_order == 0) {
        for (unsigned i = 0; i < each && sent < ALL; i++, sent++) {
            char bytes[300] = {0};
            memcpy(bytes, &sent, sizeof sent);
            assert_true(
                V(w, weir_dgram_send(b->socket, weir_bytes(bytes, 4 + sent % 7 / 3 * 100))) >= 0);
            if (sent % 50 == 0) {
                assert_true(V(w, weir_dgram_send(b->socket, weir_bytes(bytes, 0))) >= 0);
                empty++;
            }
        }
        UNTIL(w, in_order == sent || out_of_order != 0);
    }
    assert_int_equal(out_of_order, 0);
    UNTIL(w, a->empty == empty);
    boxes_end(w, a, b);
}

static void k05_datagrams_in_order(void **state)
{
    order_over("udp://127.0.0.1:0", 60);
}

static void k05_unix_datagrams_in_order(void **state)
{
    order_over("unix-dgram:@weir-test-order", 100);
}

/* To a peer that does not read and reads later, one in each turn: the kernel takes the bytes of one
 * before it sees that there is no room. */
static void whole_over(int type, const char *transport)
{
    enum { ALL = 400 };
    struct world *w = world_open(NULL);
    struct box *b = box_new(w);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char url[160], bytes[300] = {0}, heard[400];
    int length = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "weir-whole-%d", getpid());
    socklen_t size = (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 + (socklen_t)length;
    snprintf(url, sizeof url, "%s:@%s", transport, name.sun_path + 1);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), listener = -1;
    assert_int_equal(bind(fd, (struct sockaddr *)&name, size), 0);
    if (type == SOCK_SEQPACKET)
        assert_int_equal(listen(fd, 1), 0);
    b->service.soft_mark_bytes = b->service.hard_cap_bytes = 1 << 20;
    assert_int_equal(V(w, weir_dgram_connect(&b->socket, url, NULL, &b->service)), 0);
    if (type == SOCK_SEQPACKET) {
        listener = fd;
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        assert_true(fd >= 0);
    }
    for (unsigned i = 0; i < ALL; i++) {
        memcpy(bytes, &i, sizeof i);
        assert_int_equal(V(w, weir_dgram_send(b->socket, weir_bytes(bytes, sizeof bytes))), 0);
        world_turn_ms(w, 0);
    }
    assert_true(box_stats(b).queued_datagrams > 0);
    for (unsigned i = 0; i < ALL; i++) {
        ssize_t got;
        UNTIL(w, (got = recv(fd, heard, sizeof heard, 0)) >= 0);
        memcpy(bytes, &i, sizeof i);
        assert_int_equal(got, sizeof bytes);
        assert_memory_equal(heard, bytes, sizeof bytes);
    }
    close(fd);
    if (listener >= 0)
        close(listener);
    boxes_end(w, b, NULL);
}

static void k05_unix_datagrams_stay_whole_while_they_wait(void **state)
{
    whole_over(SOCK_DGRAM, "unix-dgram");
    whole_over(SOCK_SEQPACKET, "unix-seqpacket");
}

static void k06_a_full_datagram_queue_refuses(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    b->service.queue_max_datagrams = 10;
    box_bind(a, "udp://127.0.0.1:0");
    box_connect(b, a);
    for (int i = 0; i < 10; i++)
        assert_int_equal(V(w, weir_dgram_send(b->socket, weir_str("x"))), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(V(w, weir_dgram_send(b->socket, weir_str("y"))), WEIR_EFULL);
    assert_int_equal(box_stats(b).queued_datagrams, 10);
    UNTIL(w, a->got == 10);
    world_run_ms(w, 10);
    assert_int_equal(a->got, 10);
    assert_int_equal(box_stats(b).refused_datagrams, 3);
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_str("z"))), 0);
    UNTIL(w, a->got == 11);
    boxes_end(w, a, b);
}

static void k06_or_drops_the_oldest(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    b->service.hard_cap_bytes = 1000;
    b->service.soft_mark_bytes = 1000;
    b->service.full = WEIR_DGRAM_OLDEST;
    box_bind(a, "udp://127.0.0.1:0");
    box_connect(b, a);
    for (unsigned i = 0; i < 25; i++) {
        char bytes[100] = {(char)i};
        assert_int_equal(V(w, weir_dgram_send(b->socket, weir_bytes(bytes, sizeof bytes))), 0);
    }
    UNTIL(w, a->got == 10);
    assert_int_equal(a->text[0], 24);
    assert_int_equal(box_stats(b).dropped_oldest, 15);
    char large[1001] = {0};
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_bytes(large, sizeof large))), WEIR_EFULL);
    boxes_end(w, a, b);
}

/* Above the soft mark the sender is told to wait, and told when it may go on. */
static void k06_the_mark_of_datagrams(void **state)
{
    static const char bytes[1000];
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    b->service.soft_mark_bytes = 10000;
    a->service.socket.receive_buffer_bytes = 200000;
    box_bind(a, "udp://127.0.0.1:0");
    box_connect(b, a);
    for (int i = 0; i < 10; i++)
        assert_int_equal(V(w, weir_dgram_send(b->socket, weir_bytes(bytes, sizeof bytes))), 0);
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_str("x"))), WEIR_SEND_WAIT);
    assert_int_equal(b->drains, 0);
    UNTIL(w, b->drains == 1 && a->got == 11);
    world_run_ms(w, 5);
    assert_int_equal(b->drains, 1);
    boxes_end(w, a, b);
}

/* An echo to a peer that does not read, and that nobody tells of when it does: the answers were
 * views of receive memory, which is used again meanwhile. */
static void k08_answers_outlive_the_receive_memory(void **state)
{
    enum { ALL = 300 }; /* more than the kernel keeps for one that does not read */
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    unsigned sent = 0, heard = 0;
    char bytes[4000];
    a->on = box_reply;
    a->service.read_on = WEIR_SWITCH_ON;
    box_bind(a, "unix-dgram:@weir-test-views");
    int fd = box_raw(a);
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    assert_int_equal(connect(fd, &nobody, sizeof nobody), 0); /* its queue has a limit then */
    while (sent < ALL) {
        memset(bytes, 'a' + (int)(sent % 26), sizeof bytes);
        if (sendto(fd, bytes, sizeof bytes, 0, (const struct sockaddr *)&a->address.socket,
                   a->address.socket_size) == (ssize_t)sizeof bytes)
            sent++;
        world_turn_ms(w, 0);
    }
    UNTIL(w, a->got == ALL);
    assert_true(box_stats(a).queued_datagrams > 0);
    while (heard < ALL) {
        ssize_t got = recv(fd, bytes, sizeof bytes, 0);
        world_turn_ms(w, 1);
        if (got < 0)
            continue;
        assert_int_equal(got, sizeof bytes);
        for (size_t i = 0; i < sizeof bytes; i++)
            assert_int_equal(bytes[i], 'a' + (int)(heard % 26));
        heard++;
    }
    close(fd);
    boxes_end(w, a, NULL);
}

static weir_view kept;

static void keep(struct box *b, const weir_datagram *in)
{
    if (b->got == 1)
        kept = weir_retain(in->view);
}

static void k08_a_datagram_can_be_kept(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    a->on = keep;
    box_bind(a, "udp://127.0.0.1:0");
    int fd = box_raw(a);
    assert_int_equal(send(fd, "the first", 9, 0), 9);
    UNTIL(w, a->got == 1);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(send(fd, "others...", 9, 0), 9);
        world_turn_ms(w, 1);
    }
    assert_int_equal(kept.size, 9);
    assert_memory_equal(kept.data, "the first", 9);
    V(w, (weir_release(kept), 0));
    close(fd);
    boxes_end(w, a, NULL);
}

static void k11_no_descriptor_for_a_datagram_socket(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    struct rlimit limit, low;
    box_bind(a, "udp://127.0.0.1:0");
    int fd = box_raw(a);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    low.rlim_cur = (rlim_t)fd + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int result = V(w, weir_dgram_open(NULL, "udp://127.0.0.1:0", &a->service));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(result, -EMFILE);
    assert_non_null(strstr(log_last(), "ulimit -n"));
    assert_int_equal(send(fd, "x", 1, 0), 1); /* what stands goes on */
    UNTIL(w, a->got == 1);
    close(fd);
    boxes_end(w, a, NULL);
}

static void k13_an_idle_datagram_socket_is_free(void **state)
{
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    a->service.on_error = box_on_error;
    a->on = box_reply;
    box_bind(a, "udp://127.0.0.1:0");
    box_connect(b, a);
    assert_int_equal(V(w, weir_dgram_send(b->socket, weir_str("x"))), 0);
    UNTIL(w, b->got == 1);
    world_run_ms(w, 5);
    uint64_t before = world_syscalls(w);
    world_turn_ms(w, 200); /* one sleep, which nothing ends; on epoll and the like in two pieces */
    assert_true(world_syscalls(w) - before <= 3);
    boxes_end(w, a, b);
}

/* A flood on one socket: another one's datagram is served within a turn or two, not behind it. */
static struct box *flooded;
static unsigned flood_before;

static void note_flood(struct box *b, const weir_datagram *in)
{
    flood_before = flooded->got;
}

static void k16_a_flood_of_datagrams_starves_nobody(void **state)
{
    enum { FLOOD = 600 };
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    a->service.socket.receive_buffer_bytes = 200000; /* of which each takes 768 */
    b->on = note_flood;
    flooded = a;
    box_bind(a, "udp://127.0.0.1:0");
    box_bind(b, "udp://127.0.0.1:0");
    world_turn_ms(w, 1);
    int fa = box_raw(a), fb = box_raw(b);
    unsigned sent = 0;
    while (sent < FLOOD && send(fa, "x", 1, 0) == 1)
        sent++;
    assert_int_equal(send(fb, "x", 1, 0), 1);
    UNTIL(w, b->got == 1 && a->got + box_stats(a).dropped_kernel == sent);
    assert_true(a->got > 300);
    assert_true(flood_before <= 128);
    close(fa);
    close(fb);
    boxes_end(w, a, b);
}

/* What a peer may send that is odd: nothing, the most, and more than is wanted. */
static void k18_odd_datagrams(void **state)
{
    static char bytes[BIG];
    struct world *w = world_open(NULL);
    struct box *a = box_new(w), *b = box_new(w);
    b->service.datagram_max_bytes = 100;
    box_bind(a, "udp://127.0.0.1:0");
    box_bind(b, "udp://127.0.0.1:0");
    int fa = box_raw(a), fb = box_raw(b);
    assert_int_equal(send(fa, bytes, BIG, 0), BIG);
    for (int i = 0; i < 10; i++)
        assert_int_equal(send(fa, bytes, 0, 0), 0);
    UNTIL(w, a->got == 11);
    assert_int_equal(a->sizes[0], BIG);
    assert_int_equal(a->empty, 10);
    assert_int_equal(a->last.flags & WEIR_DATAGRAM_TRUNCATED, 0);
    assert_int_equal(send(fb, bytes, 101, 0), 101);
    UNTIL(w, b->got == 1);
    assert_int_equal(b->last.view.size, 100);
    assert_int_equal(b->last.full_bytes, 101);
    assert_true(b->last.flags & WEIR_DATAGRAM_TRUNCATED);
    assert_int_equal(box_stats(b).truncated_datagrams, 1);
    assert_int_equal(send(fb, bytes, 100, 0), 100);
    UNTIL(w, b->got == 2);
    assert_false(b->last.flags & WEIR_DATAGRAM_TRUNCATED);
    assert_int_equal(V(w, weir_dgram_send_to(a->socket, &b->address, weir_bytes(bytes, BIG))), 0);
    static char larger[BIG + 1];
    assert_int_equal(
        V(w, weir_dgram_send_to(a->socket, &b->address, weir_bytes(larger, sizeof larger))),
        WEIR_ETOOBIG);
    close(fa);
    close(fb);
    boxes_end(w, a, b);
}

static unsigned descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 512; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Descriptors that a peer passes, and nobody asked for, do not fill our table. */
static void k18_passed_descriptors_are_closed(void **state)
{
    enum { TIMES = 20, EACH = 8 };
    struct world *w = world_open(NULL);
    struct box *a = box_new(w);
    box_bind(a, "unix-dgram:@weir-test-passed");
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(
        connect(fd, (const struct sockaddr *)&a->address.socket, a->address.socket_size), 0);
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(EACH * sizeof(int))];
    } control = {.header = {CMSG_LEN(EACH * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    for (int i = 0; i < EACH; i++)
        memcpy(CMSG_DATA(&control.header) + (size_t)i * sizeof(int), &fd, sizeof fd);
    unsigned before = descriptors();
    for (unsigned i = 1; i <= TIMES; i++) {
        struct iovec iov = {&i, sizeof i};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof control.bytes};
        UNTIL(w, sendmsg(fd, &message, 0) == sizeof i);
        UNTIL(w, a->got == i);
    }
    assert_int_equal(descriptors(), before);
    close(fd);
    boxes_end(w, a, NULL);
}

K_MAIN(T(k01_datagram_verbs_need_the_loop), T(k02_stale_datagram_handles),
       T(k03_datagrams_are_flat), T(k04_datagram_sockets_end_once), T(k04_nothing_after_a_close),
       T(k05_datagrams_in_order), T(k05_unix_datagrams_in_order),
       T(k05_unix_datagrams_stay_whole_while_they_wait), T(k06_a_full_datagram_queue_refuses),
       T(k06_or_drops_the_oldest), T(k06_the_mark_of_datagrams),
       T(k08_answers_outlive_the_receive_memory), T(k08_a_datagram_can_be_kept),
       T(k11_no_descriptor_for_a_datagram_socket), T(k13_an_idle_datagram_socket_is_free),
       T(k16_a_flood_of_datagrams_starves_nobody), T(k18_odd_datagrams),
       T(k18_passed_descriptors_are_closed))
