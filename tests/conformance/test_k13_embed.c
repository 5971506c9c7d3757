/* A loop inside a foreign one: its descriptor tells of everything, no completion sleeps (DESIGN
 * section 4, Embedding; K13). */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "conformance/harness.h"

static int loop_fd;

/* What a host does: sleeps in its own poll, never past weir_loop_due, and turns the loop when it
 * was told to. Fails when the descriptor says nothing for two seconds though something is due. */
static int host_turn(struct world *w, int timeout_ms)
{
    struct pollfd slot = {.fd = loop_fd, .events = POLLIN};
    weir_time due = weir_loop_due(w->loop), now = now_ns();
    int ms = timeout_ms;
    if (due != WEIR_NEVER) {
        uint64_t left_ms = due > now ? (due - now + WEIR_MS - 1) / WEIR_MS : 0;
        if (left_ms < (uint64_t)ms)
            ms = (int)left_ms;
    }
    int told = poll(&slot, 1, ms);
    if (told != 0 || (due != WEIR_NEVER && now_ns() >= due)) {
        assert_int_equal(weir_loop_turn(w->loop, 0), 0);
        w->turns++;
    }
    if (w->broken[0] != 0)
        fail_msg("%s", w->broken);
    return told;
}

#define HOST_UNTIL(w, condition)                    \
    do {                                            \
        uint64_t until_ = now_ns() + 2000000000ull; \
        while (!(condition)) {                      \
            if (now_ns() > until_)                  \
                world_vain(w, #condition);          \
            host_turn(w, 500);                      \
        }                                           \
    } while (0)

static struct world *embedded(void)
{
    struct world *w = world_open(NULL);
    loop_fd = weir_loop_fd(w->loop);
    if (world_is(w, "poll") || world_is(w, "select")) {
        assert_int_equal(loop_fd, WEIR_ENOTSUP);
        world_end(w);
        return NULL;
    }
    assert_true(loop_fd >= 0);
    assert_int_equal(weir_loop_fd(w->loop), loop_fd);
    return w;
}

static const char no_descriptor[] = "the back end has no descriptor that tells of everything";

/* A blocking client: the loop is turned by the host until it has been answered. */
static void ask(struct world *w, struct side *s, int fd, const char *text)
{
    char buffer[256];
    size_t size = strlen(text), got = 0;
    assert_int_equal(send(fd, text, size, MSG_NOSIGNAL), size);
    uint64_t end_ns = now_ns() + 2 * WEIR_S;
    while (got < size) {
        ssize_t part = recv(fd, buffer + got, sizeof buffer - got, MSG_DONTWAIT);
        if (part > 0)
            got += (size_t)part;
        else
            host_turn(w, 500);
        if (now_ns() > end_ns)
            world_vain(w, "an answer");
    }
    assert_memory_equal(buffer, text, size);
}

static int client_of(struct side *s)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&s->address.socket, s->address.socket_size), 0);
    return fd;
}

static void k13_embedded_no_completion_sleeps(void **state)
{
    struct world *w = embedded();
    if (w == NULL)
        skip_because(no_descriptor);
    struct side *s = side_new(w);
    s->data = do_echo;
    side_listen(s, NULL);
    weir_loop_turn(w->loop, 0); /* after verbs */
    for (int i = 0; i < 20; i++) {
        int fd = client_of(s);
        HOST_UNTIL(w, s->count == (unsigned)i + 1);
        ask(w, s, fd, "first");
        ask(w, s, fd, "second, after a while of nothing");
        close(fd);
        HOST_UNTIL(w, s->recs[i]->closes == 1);
    }
    world_end(w);
}

static void k13_embedded_large_answers(void **state)
{
    struct world *w = embedded();
    if (w == NULL)
        skip_because(no_descriptor);
    struct side *s = side_new(w);
    s->data = do_echo;
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    weir_loop_turn(w->loop, 0);
    struct peer *p = peer_of(w, client_of(s));
    enum { TOTAL = 1 << 20 };
    uint8_t buffer[8192];
    uint64_t end_ns = now_ns() + 4 * WEIR_S;
    while (p->received < TOTAL) {
        size_t size = TOTAL - p->sent < sizeof buffer ? (size_t)(TOTAL - p->sent) : sizeof buffer;
        pattern_fill(buffer, p->sent, size);
        ssize_t moved = size != 0 ? send(p->fd, buffer, size, MSG_NOSIGNAL) : 0;
        if (moved > 0)
            p->sent += (uint64_t)moved;
        ssize_t got = recv(p->fd, buffer, sizeof buffer, 0);
        if (got > 0) {
            assert_true(pattern_is(buffer, p->received, (size_t)got));
            p->received += (uint64_t)got;
        }
        if (moved <= 0 && got <= 0)
            host_turn(w, 500);
        if (now_ns() > end_ns)
            world_vain(w, "all of the echo");
    }
    world_end(w);
}

static void mark(weir_timer *timer, void *arg)
{
    *(uint64_t *)arg = now_ns();
}

static void mark_task(weir_task *task, void *arg)
{
    *(uint64_t *)arg = now_ns();
}

static void k13_embedded_timers(void **state)
{
    struct world *w = embedded();
    if (w == NULL)
        skip_because(no_descriptor);
    weir_timer timer = {0};
    uint64_t fired_ns = 0;
    assert_int_equal(weir_loop_due(w->loop), WEIR_NEVER);
    verb_begin(w);
    weir_time due = weir_after(20 * WEIR_MS);
    assert_int_equal(weir_timer_start(&timer, due, mark, &fired_ns), 0);
    verb_end(w, 0);
    weir_loop_turn(w->loop, 0);
    HOST_UNTIL(w, fired_ns != 0);
    assert_true(fired_ns >= due);
    world_end(w);
}

static void *post_from_elsewhere(void *arg)
{
    static weir_task task;
    struct world *w = arg;
    usleep(10000);
    memset(&task, 0, sizeof task);
    weir_post(w->loop, &task, mark_task, w->sides->note);
    return NULL;
}

/* A post from another thread makes the descriptor readable. */
static void k13_embedded_posts(void **state)
{
    struct world *w = embedded();
    if (w == NULL)
        skip_because(no_descriptor);
    struct side *s = side_new(w);
    for (int i = 0; i < 5; i++) {
        uint64_t ran_ns = 0;
        pthread_t thread;
        s->note = &ran_ns;
        weir_loop_turn(w->loop, 0);
        pthread_create(&thread, NULL, post_from_elsewhere, w);
        HOST_UNTIL(w, ran_ns != 0);
        pthread_join(thread, NULL);
    }
    world_end(w);
}

/* Verbs called between turns: their effect needs one turn, and weir_loop_due says so. */
static void k13_embedded_verbs_between_turns(void **state)
{
    struct world *w = embedded();
    if (w == NULL)
        skip_because(no_descriptor);
    struct side *s = side_new(w);
    side_listen(s, NULL);
    weir_loop_turn(w->loop, 0);
    int fd = client_of(s);
    HOST_UNTIL(w, s->opened == 1);
    for (int i = 0; i < 3; i++)
        host_turn(w, 5);
    char buffer[16];
    assert_int_equal(V(w, weir_send(s->recs[0]->conn, weir_str("unasked"))), 0);
    assert_true(weir_loop_due(w->loop) <= now_ns());
    uint64_t end_ns = now_ns() + 2 * WEIR_S;
    while (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) != 7) {
        host_turn(w, 500);
        assert_true(now_ns() < end_ns);
    }
    close(fd);
    HOST_UNTIL(w, s->closed == 1);
    world_end(w);
}

/* Nothing to do: the descriptor is silent. */
static void k13_embedded_idle(void **state)
{
    struct world *w = embedded();
    if (w == NULL)
        skip_because(no_descriptor);
    struct side *s = side_new(w);
    s->data = do_echo;
    s->service.idle_ms = s->service.first_byte_ms = WEIR_OFF;
    side_listen(s, NULL);
    weir_loop_turn(w->loop, 0);
    int fd = client_of(s);
    HOST_UNTIL(w, s->opened == 1);
    ask(w, s, fd, "hello");
    for (int i = 0; i < 5; i++)
        host_turn(w, 5);
    uint64_t before = w->turns, end_ns = now_ns() + 100 * WEIR_MS;
    while (now_ns() < end_ns)
        host_turn(w, 50);
    assert_true(w->turns - before <= 2);
    close(fd);
    HOST_UNTIL(w, s->closed == 1);
    world_end(w);
}

K_MAIN(T(k13_embedded_no_completion_sleeps), T(k13_embedded_large_answers), T(k13_embedded_timers),
       T(k13_embedded_posts), T(k13_embedded_verbs_between_turns), T(k13_embedded_idle))
