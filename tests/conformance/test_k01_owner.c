/* K1: a loop and what is on it belong to one thread; other threads post and send to handles, their
 * answer is about the queue only. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "conformance/harness.h"

/* --- posts ------------------------------------------------------------------------------------ */

enum { THREADS = 4, EACH = 3000 };

struct numbered {
    weir_task task;
    int thread, number;
};

struct poster {
    weir_loop *loop;
    struct numbered *tasks;
    int thread;
    int refused;
};

static int next_of[THREADS], ran, out_of_order;

static void task_ran(weir_task *task, void *arg)
{
    struct numbered *n = arg;
    if (n->number != next_of[n->thread])
        out_of_order++;
    next_of[n->thread] = n->number + 1;
    ran++;
}

static void *post_all(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < EACH; i++) {
        struct numbered *n = &p->tasks[i];
        n->thread = p->thread;
        n->number = i;
        while (weir_post(p->loop, &n->task, task_ran, n) == WEIR_EFULL) {
            p->refused++;
            usleep(100);
        }
    }
    return NULL;
}

static void posts_from_threads(uint32_t posts_max, bool must_refuse)
{
    struct world *w = world_open(&(weir_loop_options){.posts_max = posts_max});
    struct poster posters[THREADS];
    pthread_t threads[THREADS];
    int refused = 0;
    ran = out_of_order = 0;
    memset(next_of, 0, sizeof next_of);
    for (int i = 0; i < THREADS; i++) {
        posters[i] = (struct poster){w->loop, calloc(EACH, sizeof(struct numbered)), i, 0};
        pthread_create(&threads[i], NULL, post_all, &posters[i]);
    }
    if (must_refuse)
        usleep(20000); /* nobody takes anything: the queue fills up */
    UNTIL(w, ran == THREADS * EACH);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        refused += posters[i].refused;
        free(posters[i].tasks);
    }
    assert_int_equal(out_of_order, 0); /* each thread's in its order */
    assert_true(!must_refuse || refused > 0);
    world_end(w);
}

static void k01_posts_from_many_threads(void **state)
{
    posts_from_threads(0, false);
}

static void k01_a_full_queue_refuses(void **state)
{
    posts_from_threads(64, true);
}

/* A post ends the sleep of its loop at once. */
static void *post_late(void *arg)
{
    struct poster *p = arg;
    usleep(20000);
    weir_post(p->loop, &p->tasks[0].task, task_ran, &p->tasks[0]);
    return NULL;
}

static void k01_a_post_wakes_a_sleeping_loop(void **state)
{
    struct world *w = world_open(NULL);
    for (int i = 0; i < 5; i++) {
        struct numbered n = {.thread = 0, .number = 0};
        struct poster p = {w->loop, &n, 0, 0};
        pthread_t thread;
        ran = 0;
        next_of[0] = 0;
        pthread_create(&thread, NULL, post_late, &p);
        while (ran == 0)
            assert_int_equal(weir_loop_turn(w->loop, now_ns() + 4 * WEIR_S), 0);
        pthread_join(thread, NULL);
    }
    world_end(w);
}

static int depth_max, depth;
static weir_task again;

static void post_again(weir_task *task, void *arg)
{
    int *left = arg;
    depth++;
    if (depth > depth_max)
        depth_max = depth;
    if (--*left > 0)
        weir_post(weir_loop_current(), task, post_again, arg);
    depth--;
}

/* A task that posts itself runs once a turn: it does not hold the turn for ever. */
static void k01_a_task_may_post_itself(void **state)
{
    struct world *w = world_open(NULL);
    int left = 50;
    depth_max = 0;
    assert_int_equal(weir_post(w->loop, &again, post_again, &left), 0);
    uint64_t before = w->turns;
    UNTIL(w, left == 0);
    assert_true(w->turns - before >= 49);
    assert_int_equal(depth_max, 1);
    world_end(w);
}

/* --- mail ------------------------------------------------------------------------------------- */

struct server { /* a loop on a thread of its own, with an echo */
    pthread_t thread;
    weir_loop *loop;
    weir_service service;
    _Atomic bool up;
    weir_address address;
    _Atomic uint64_t conn; /* the last opened */
    _Atomic int closed;
    weir_task start;
    _Atomic bool sees_foreign; /* what a verb on another loop's handle said */
    _Atomic int foreign_result;
    _Atomic uint64_t foreign;
    weir_task probe;
};

static void server_open(weir_conn conn, void *session)
{
    struct server *s = weir_conn_user(conn);
    atomic_store(&s->conn, conn.id);
}

static void server_data(weir_conn conn, weir_view data, void *session)
{
    if (weir_send(conn, data) < 0)
        weir_abort(conn);
}

static void server_close(weir_conn conn, weir_end end, void *session)
{
    struct server *s = weir_conn_user(conn);
    atomic_fetch_add(&s->closed, 1);
}

static void server_start(weir_task *task, void *arg)
{
    struct server *s = arg;
    weir_listener listener;
    if (weir_listen(&listener, &s->service) == 0 &&
        weir_listener_address(listener, &s->address) == 0)
        atomic_store(&s->up, true);
}

static void *server_run(void *arg)
{
    struct server *s = arg;
    weir_loop_run(s->loop);
    weir_loop_free(s->loop);
    return NULL;
}

static struct server *server_begin(const weir_loop_options *options)
{
    struct server *s = calloc(1, sizeof *s);
    s->service = (weir_service){.listen = "tcp://127.0.0.1:0",
                                .user = s,
                                .on_open = server_open,
                                .on_data = server_data,
                                .on_close = server_close,
                                .full = WEIR_FULL_REFUSE};
    assert_int_equal(weir_loop_new(&s->loop, options), 0);
    assert_int_equal(weir_post(s->loop, &s->start, server_start, s), 0);
    pthread_create(&s->thread, NULL, server_run, s);
    while (!atomic_load(&s->up))
        usleep(200);
    return s;
}

static void server_end(struct server *s)
{
    weir_loop_stop(s->loop);
    pthread_join(s->thread, NULL);
    free(s);
}

static int server_peer(struct server *s)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    atomic_store(&s->conn, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&s->address.socket, s->address.socket_size), 0);
    while (atomic_load(&s->conn) == 0)
        usleep(200);
    return fd;
}

static int dones, done_error;
static weir_loop *done_on;

static void mail_done(weir_conn conn, int error, void *arg)
{
    dones++;
    done_error = error;
    done_on = weir_loop_current();
}

static void k01_mail_reaches_its_connection(void **state)
{
    struct world *w = world_open(NULL);
    struct server *s = server_begin(NULL);
    int fd = server_peer(s);
    weir_conn conn = {atomic_load(&s->conn)};
    char buffer[64] = {0};
    dones = 0;
    done_error = 1;
    assert_int_equal(V(w, weir_mail(conn, "letter", 6, mail_done, NULL)), 0);
    assert_int_equal(recv(fd, buffer, 6, MSG_WAITALL), 6);
    assert_string_equal(buffer, "letter");
    UNTIL(w, dones == 1);
    assert_int_equal(done_error, 0);
    assert_ptr_equal(done_on, w->loop); /* on the sender's loop */
    /* From a thread without a loop: sent, and nobody to be told. */
    assert_int_equal(weir_mail(conn, "more", 4, mail_done, NULL), 0);
    assert_int_equal(recv(fd, buffer, 4, MSG_WAITALL), 4);
    world_run_ms(w, 10);
    assert_int_equal(dones, 1);
    close(fd);
    server_end(s);
    world_end(w);
}

static void k01_mail_to_a_stale_handle(void **state)
{
    struct world *w = world_open(NULL);
    struct server *s = server_begin(NULL);
    int fd = server_peer(s);
    weir_conn conn = {atomic_load(&s->conn)};
    close(fd);
    while (atomic_load(&s->closed) == 0)
        usleep(200);
    dones = 0;
    assert_int_equal(V(w, weir_mail(conn, "late", 4, mail_done, NULL)), 0);
    UNTIL(w, dones == 1);
    assert_int_equal(done_error, WEIR_EGONE);
    assert_ptr_equal(done_on, w->loop);
    server_end(s);
    /* The loop is gone: known at once. */
    assert_int_equal(V(w, weir_mail(conn, "later", 5, mail_done, NULL)), WEIR_EGONE);
    world_run_ms(w, 5);
    assert_int_equal(dones, 1);
    world_end(w);
}

static void k01_mail_to_a_full_connection(void **state)
{
    struct world *w = world_open(NULL);
    struct server *s = server_begin(NULL);
    int fd = server_peer(s);
    weir_conn conn = {atomic_load(&s->conn)};
    char *letter = calloc(1, 400000);
    dones = 0;
    done_error = 0;
    for (int i = 0; i < 60 && done_error == 0; i++) { /* the peer reads nothing */
        int result = V(w, weir_mail(conn, letter, 400000, mail_done, NULL));
        assert_true(result == 0 || result == WEIR_EFULL);
        world_run_ms(w, 2);
    }
    UNTIL(w, done_error != 0);
    assert_int_equal(done_error, WEIR_EFULL);
    assert_int_equal(V(w, weir_mail(conn, letter, 2 << 20, mail_done, NULL)), WEIR_ETOOBIG);
    free(letter);
    close(fd);
    server_end(s);
    world_end(w);
}

static void spin_a_while(weir_task *task, void *arg)
{
    uint64_t end_ns = now_ns() + 30 * WEIR_MS;
    while (now_ns() < end_ns)
        ;
}

/* The queue is bounded by bytes as well as by messages. */
static void k01_mail_is_bounded_by_bytes(void **state)
{
    struct world *w = world_open(NULL);
    struct server *s = server_begin(&(weir_loop_options){.posts_max_bytes = 100000});
    int fd = server_peer(s);
    weir_conn conn = {atomic_load(&s->conn)};
    char *letter = calloc(1, 30000);
    weir_task busy = {0};
    int result = 0, sent = 0;
    assert_int_equal(weir_post(s->loop, &busy, spin_a_while, NULL), 0);
    while (result == 0 && sent < 100) {
        result = weir_mail(conn, letter, 30000, NULL, NULL);
        sent += result == 0;
    }
    assert_int_equal(result, WEIR_EFULL);
    assert_true(sent >= 3);
    size_t total = (size_t)sent * 30000;
    while (total > 0) {
        ssize_t got = recv(fd, letter, 30000, 0);
        assert_true(got > 0);
        total -= (size_t)got;
    }
    free(letter);
    close(fd);
    server_end(s);
    world_end(w);
}

/* Mail from many threads, each in its order, all there. */
struct mailer {
    weir_conn conn;
    unsigned char name;
    int refused;
};

static void *mail_all(void *arg)
{
    struct mailer *m = arg;
    for (unsigned i = 0; i < 500; i++) {
        unsigned char letter[4] = {m->name, (unsigned char)(i >> 8), (unsigned char)i, 0};
        while (weir_mail(m->conn, letter, sizeof letter, NULL, NULL) == WEIR_EFULL)
            usleep(100);
    }
    return NULL;
}

static void k01_mail_from_many_threads(void **state)
{
    struct world *w = world_open(NULL);
    struct server *s = server_begin(NULL);
    int fd = server_peer(s);
    struct mailer mailers[THREADS];
    pthread_t threads[THREADS];
    unsigned next[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        mailers[i] = (struct mailer){{atomic_load(&s->conn)}, (unsigned char)i, 0};
        pthread_create(&threads[i], NULL, mail_all, &mailers[i]);
    }
    for (int i = 0; i < THREADS * 500; i++) {
        unsigned char letter[4];
        assert_int_equal(recv(fd, letter, 4, MSG_WAITALL), 4);
        assert_true(letter[0] < THREADS);
        assert_int_equal(letter[1] << 8 | letter[2], next[letter[0]]++);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    close(fd);
    server_end(s);
    world_end(w);
}

/* --- foreign loops ---------------------------------------------------------------------------- */

static void k01_verbs_need_their_own_loop(void **state)
{
    struct world *w = world_open(NULL);
    struct server *s = server_begin(NULL);
    int fd = server_peer(s);
    weir_conn conn = {atomic_load(&s->conn)};
    weir_timer timer = {0};
    weir_watch watch = {0};
    /* On another loop, and on none. */
    assert_int_equal(V(w, weir_send(conn, weir_str("x"))), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_close(conn)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_abort(conn)), WEIR_EMISUSE);
    assert_int_equal(weir_send(conn, weir_str("x")), WEIR_EMISUSE);
    assert_int_equal(weir_abort(conn), WEIR_EMISUSE);
    assert_false(weir_conn_alive(conn));
    assert_int_equal(weir_timer_start(&timer, 0, NULL, NULL), WEIR_EMISUSE);
    assert_int_equal(weir_poll(&watch, 0, 1, NULL, NULL), WEIR_EMISUSE);
    assert_int_equal(weir_listen(NULL, &s->service), WEIR_EMISUSE);
    assert_int_equal(weir_connect(NULL, "tcp://127.0.0.1:1", &s->service, NULL), WEIR_EMISUSE);
    /* Turning another thread's loop is refused, too. */
    assert_int_equal(weir_loop_turn(s->loop, 0), WEIR_EMISUSE);
    assert_int_equal(send(fd, "still", 5, MSG_NOSIGNAL), 5);
    char buffer[8];
    assert_int_equal(recv(fd, buffer, 5, MSG_WAITALL), 5);
    close(fd);
    server_end(s);
    world_end(w);
}

static int turned;

static void turn_inside(weir_task *task, void *arg)
{
    turned = weir_loop_turn(arg, 0);
}

static void k01_no_turn_within_a_turn(void **state)
{
    struct world *w = world_open(NULL);
    weir_task task = {0};
    turned = 1;
    assert_int_equal(weir_post(w->loop, &task, turn_inside, w->loop), 0);
    world_turn(w);
    assert_int_equal(turned, WEIR_EMISUSE);
    world_end(w);
}

K_MAIN(T(k01_posts_from_many_threads), T(k01_a_full_queue_refuses),
       T(k01_a_post_wakes_a_sleeping_loop), T(k01_a_task_may_post_itself),
       T(k01_mail_reaches_its_connection), T(k01_mail_to_a_stale_handle),
       T(k01_mail_to_a_full_connection), T(k01_mail_is_bounded_by_bytes),
       T(k01_mail_from_many_threads), T(k01_verbs_need_their_own_loop),
       T(k01_no_turn_within_a_turn))
