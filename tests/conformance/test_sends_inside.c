/* Sending from inside of every kind of callback, and the kinds that need more than bytes: files
 * that end early, descriptors. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conformance/harness_sends.h"

static void answer_the_end(struct rec *r)
{
    send_all_kinds(r);
    do_close(r);
}

/* --- from inside callbacks ---------------------------------------------------------------------*/

static int chain_left;
static weir_timer chain_timer;
static weir_task chain_task;

static void chain_on(struct rec *r);

static void chain_timer_fired(weir_timer *timer, void *arg)
{
    chain_on(arg);
}

static void chain_task_ran(weir_task *task, void *arg)
{
    chain_on(arg);
}

/* Sends of every kind; the last one that tells goes on, and then a timer and a post do. */
static void chain_on(struct rec *r)
{
    if (chain_left-- == 0)
        return;
    send_all_kinds(r);
    enum send_kind kind = chain_left % 2 != 0 ? OWN : PULL;
    must_send(r, kind, 300);
    if (chain_left % 4 == 0)
        (void)weir_timer_start(&chain_timer, weir_after(WEIR_MS), chain_timer_fired, r);
    else if (chain_left % 4 == 1)
        (void)weir_post(r->side->world->loop, &chain_task, chain_task_ran, r);
    else
        items[item_count - 1].then = chain_on;
}

static void answer_byte(struct rec *r, weir_view data)
{
    send_all_kinds(r);
}

static void answer_idle(struct rec *r, enum weir_idle which)
{
    if (r->mark++ == 0)
        send_all_kinds(r);
}

static void answer_in_close(struct rec *r)
{
    for (int kind = 0; kind < KINDS; kind++)
        if (send_kind(r, (enum send_kind)kind, 10) >= 0)
            world_broke(r->side->world, "a %s send in on_close was taken", kind_names[kind]);
}

static void from_callbacks(int peer_buffer)
{
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->open = chain_on;
    s->data = answer_byte;
    s->idle = answer_idle;
    s->end = answer_the_end;
    s->close = answer_in_close;
    s->service.reader_idle_ms = 50;
    s->service.read_on = WEIR_READ_ALWAYS;
    s->service.socket.send_buffer_bytes = (uint32_t)peer_buffer;
    chain_left = 8;
    memset(&chain_timer, 0, sizeof chain_timer);
    memset(&chain_task, 0, sizeof chain_task);
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, peer_buffer, 0);
    UNTIL(w, chain_left < 0 && p->received == p->rec->sent);
    UNTIL(w, p->rec->mark != 0 && p->received == p->rec->sent);
    peer_say(p, "x", 1);
    UNTIL(w, p->rec->received == 1 && p->received == p->rec->sent);
    p->finish = true;
    p->to_send = p->sent;
    UNTIL(w, p->ended);
    assert_int_equal(p->received, p->rec->sent);
    assert_true(p->in_pattern);
    UNTIL(w, p->rec->closes == 1);
    sends_finish(w);
}

static void sends_from_inside_callbacks(void **state)
{
    from_callbacks(0);
}

static void sends_from_inside_callbacks_to_a_slow_reader(void **state)
{
    from_callbacks(4096);
}

static void send_statics(struct rec *r)
{
    for (int i = 0; i < 300; i++)
        must_send(r, STATIC, 300);
}

/* A source that is told of its end queues so much that the queue's own memory moves. */
static void sends_much_when_a_source_ends(void **state)
{
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < round * 20; i++)
            assert_true(send_kind_now(p->rec, STATIC, 300) >= 0);
        assert_true(send_kind_now(p->rec, PULL, 5) >= 0);
        items[item_count - 1].then = send_statics;
        UNTIL(w, items[item_count - 1].kind == STATIC && p->received == p->rec->sent);
        assert_true(p->in_pattern);
        item_count = 0;
    }
    sends_finish(w);
}

/* --- special kinds -----------------------------------------------------------------------------*/

/* A file that ends early tears the stream: what is there goes, the rest is not made up. */
static void sends_a_file_that_ends_early(void **state)
{
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    assert_int_equal(V(w, weir_send(p->rec->conn, weir_bytes(text, TEXT / 8))), WEIR_SEND_WAIT);
    int result = V(w, weir_send_file(p->rec->conn, text_file, TEXT / 8, TEXT, false));
    assert_int_equal(result, WEIR_SEND_WAIT);
    assert_int_equal(V(w, weir_send(p->rec->conn, weir_str("never"))), WEIR_SEND_WAIT);
    UNTIL(w, p->rec->closes == 1 && p->ended);
    assert_int_equal(p->rec->end.why, WEIR_WHY_ERROR);
    assert_int_equal(p->rec->end.error, WEIR_ETORN);
    assert_true(p->received <= TEXT && p->in_pattern);
    sends_finish(w);
}

/* Takes the pieces of text and the descriptors of a unix socket; how many of these. */
static unsigned take_descriptors(int fd, char *out, size_t room, int *fds)
{
    char control[CMSG_SPACE(16 * sizeof(int))];
    size_t size = 0;
    unsigned count = 0;
    for (;;) {
        struct iovec iov = {out + size, room - size};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof control};
        ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got <= 0)
            break;
        size += (size_t)got;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
            size_t bytes = c->cmsg_len - CMSG_LEN(0);
            memcpy(fds + count, CMSG_DATA(c), bytes);
            count += (unsigned)(bytes / sizeof *fds);
        }
    }
    out[size] = 0;
    return count;
}

static void sends_descriptors_in_order(void **state)
{
    enum { MOST = 16 };
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    char url[64], heard[64];
    int fds[MOST + 1], got[2 * MOST + 1];
    snprintf(url, sizeof url, "unix:@weir-test-sends-%d", (int)getpid());
    side_listen(s, url);
    struct peer *p = peer_connect(s);
    weir_conn c = p->rec->conn;
    p->reads = false;
    for (int i = 0; i <= MOST; i++)
        fds[i] = text_file;
    assert_int_equal(V(w, weir_send(c, weir_str("before "))), 0);
    assert_int_equal(V(w, weir_send_fds(c, weir_str("one "), fds, 1)), 0);
    assert_int_equal(V(w, weir_send(c, weir_str("between "))), 0);
    assert_int_equal(V(w, weir_send_fds(c, weir_str("many "), fds, MOST)), 0);
    assert_int_equal(V(w, weir_send(c, weir_str("behind"))), 0);
    assert_int_equal(V(w, weir_send_fds(c, weir_str("x"), fds, MOST + 1)), WEIR_EINVALID);
    assert_int_equal(V(w, weir_send_fds(c, weir_str(""), fds, 1)), WEIR_EINVALID);
    assert_int_equal(V(w, weir_send_fds(c, weir_str("x"), fds, 0)), WEIR_EINVALID);
    world_run_ms(w, 10);
    assert_int_equal(take_descriptors(p->fd, heard, sizeof heard - 1, got), MOST + 1);
    assert_string_equal(heard, "before one between many behind");
    for (int i = 0; i <= MOST; i++) {
        char first[4];
        assert_int_equal(pread(got[i], first, sizeof first, 0), sizeof first);
        assert_true(pattern_is(first, 0, sizeof first));
        close(got[i]);
    }
    sends_finish(w);
}

K_MAIN(T(sends_from_inside_callbacks), T(sends_from_inside_callbacks_to_a_slow_reader),
       T(sends_much_when_a_source_ends), T(sends_a_file_that_ends_early),
       T(sends_descriptors_in_order))
