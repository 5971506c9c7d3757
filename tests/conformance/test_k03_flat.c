/* K3: flat. No handler runs inside a verb, and no verb that sends enters the kernel: the flush
 * does, after the handler. System calls are seen by the kernel's user dispatch (prctl(2), 5.11). */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <weir/http.h>

#include "conformance/harness.h"

/* --- seeing system calls
 * ------------------------------------------------------------------------*/

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF          0
#define PR_SYS_DISPATCH_ON           1
#endif
enum { ALLOWED = 0, TRAPPED = 1 };

static volatile char selector;
static volatile int seen; /* number of the first call since watch_begin, or -1 */

#if defined(__x86_64__)
/* Does in the call's stead what it would have done; the rest of the verb goes unwatched. */
static void trapped(int signal_number, siginfo_t *info, void *context)
{
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    selector = ALLOWED;
    if (seen < 0)
        seen = info->si_syscall;
    long result = syscall(info->si_syscall, r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10],
                          r[REG_R8], r[REG_R9]);
    r[REG_RAX] = result < 0 ? -errno : result;
}

static bool watch_start(void)
{
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
    selector = ALLOWED;
    return sigaction(SIGSYS, &action, NULL) == 0 &&
           prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector) == 0;
}
#else
static bool watch_start(void)
{
    return false;
}
#endif

static void watch_stop(void)
{
    selector = ALLOWED;
    (void)prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0);
}

/* Memory comes from the system now and then; a sanitizer has its own business with it. */
static bool about_memory(int number)
{
    static const int fine[] = {SYS_mmap,     SYS_munmap, SYS_madvise, SYS_brk,
                               SYS_mprotect, SYS_mremap, SYS_futex};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        if (fine[i] == number)
            return true;
    return false;
}

static void watch_end(struct world *w, const char *what)
{
    selector = ALLOWED;
    if (seen >= 0 && !about_memory(seen))
        world_broke(w, "%s made system call %d (K3)", what, seen);
}

#define QUIET(r, call)                      \
    do {                                    \
        h_begin((r)->side->world);          \
        seen = -1;                          \
        selector = TRAPPED;                 \
        (void)!(call);                      \
        watch_end((r)->side->world, #call); \
        h_end((r)->side->world, 0);         \
    } while (0)

static void released(const void *data, size_t size, void *arg)
{
    struct rec *r = arg;
    if (r->side->world->in_verb != 0)
        world_broke(r->side->world, "a release ran inside a verb (K3)");
}

static ssize_t pulled(weir_conn conn, void *data, size_t size, void *arg)
{
    struct rec *r = arg;
    if (r->side->world->in_verb != 0)
        world_broke(r->side->world, "a source was asked inside a verb (K3)");
    if (data == NULL || r->mark++ % 2 != 0)
        return 0;
    memset(data, 'p', size < 100 ? size : 100);
    return size < 100 ? (ssize_t)size : 100;
}

static weir_timer timer;

static void timer_fired(weir_timer *t, void *arg)
{
    struct rec *r = arg;
    if (r->side->world->in_verb != 0)
        world_broke(r->side->world, "a timer fired inside a verb (K3)");
}

/* Every verb that only queues or asks, from within a handler. */
static void quiet_verbs(struct rec *r)
{
    static const char bytes[3000];
    weir_view views[2] = {weir_bytes(bytes, 10), weir_static(bytes, 300)};
    weir_conn_stats stats;
    weir_view kept;
    QUIET(r, weir_send(r->conn, weir_bytes(bytes, sizeof bytes)));
    QUIET(r, weir_send(r->conn, weir_bytes(bytes, 10)));
    QUIET(r, weir_send(r->conn, weir_static(bytes, sizeof bytes)));
    QUIET(r, weir_sendv(r->conn, views, 2));
    QUIET(r, weir_send(r->conn, weir_own(bytes, 700, released, r)));
    QUIET(r, weir_send_pull(r->conn, pulled, r));
    QUIET(r, weir_pull_ready(r->conn));
    QUIET(r, weir_flush(r->conn));
    QUIET(r, (kept = weir_retain(weir_bytes(bytes, 900))).size);
    QUIET(r, weir_send(r->conn, kept));
    QUIET(r, (weir_release(kept), 0));
    QUIET(r, weir_conn_stats_get(r->conn, &stats));
    QUIET(r, weir_conn_alive(r->conn));
    QUIET(r, weir_timer_start(&timer, weir_after(0), timer_fired, r));
    QUIET(r, weir_timer_cancel(&timer));
    QUIET(r, weir_timer_start(&timer, 0, timer_fired, r));
}

static void quiet_data(struct rec *r, weir_view data)
{
    quiet_verbs(r);
    QUIET(r, weir_send(r->conn, data));
    QUIET(r, weir_send(r->conn, weir_slice(data, 0, 1)));
}

static void quiet_idle(struct rec *r, enum weir_idle which)
{
    quiet_verbs(r);
}

static void quiet_end(struct rec *r)
{
    quiet_verbs(r);
    if (r->number == 0)
        QUIET(r, weir_finish(r->conn));
    else if (r->number == 1)
        QUIET(r, weir_close(r->conn));
    else
        QUIET(r, weir_abort(r->conn));
}

static bool above_the_mark(struct world *w, struct rec *r)
{
    weir_conn_stats stats;
    return V(w, weir_conn_stats_get(r->conn, &stats)) == 0 && stats.unsent_bytes > 20000;
}

static void k03_sending_does_not_enter_the_kernel(void **state)
{
    struct world *w = world_open(NULL);
    if (!watch_start()) {
        world_end(w);
        skip_because("the kernel has no dispatch of system calls to the program (prctl(2))");
    }
    struct side *s = side_new(w);
    memset(&timer, 0, sizeof timer);
    s->open = s->drain = s->close = quiet_verbs;
    s->data = quiet_data;
    s->idle = quiet_idle;
    s->end = quiet_end;
    s->service.reader_idle_ms = 10;
    s->service.soft_mark_bytes = 20000;
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    for (unsigned i = 0; i < 3; i++) {
        struct peer *p = peer_connect_small(s, 4096, 0);
        p->reads = false;
        p->to_send = 3000;
        UNTIL(w, above_the_mark(w, p->rec)); /* on_idle goes on sending */
        p->reads = true;
        UNTIL(w, p->rec->drains > 0);
        p->finish = true;
        UNTIL(w, p->rec->ends == 1);
        p->reads = false;
        UNTIL(w, p->rec->closes == 1 || i < 2);
        p->reads = true;
        UNTIL(w, p->rec->closes == 1);
    }
    watch_stop();
    world_end(w);
}

/* That the trap works: what does enter the kernel is seen. */
static void k03_system_calls_are_seen(void **state)
{
    if (!watch_start())
        skip_because("the kernel has no dispatch of system calls to the program (prctl(2))");
    seen = -1;
    selector = TRAPPED;
    pid_t parent = getppid();
    selector = ALLOWED;
    watch_stop();
    assert_int_equal(seen, SYS_getppid);
    assert_int_equal(parent, getppid());
}

/* --- the flush
 * ----------------------------------------------------------------------------------*/

static int peer_fd;

static bool peer_has_bytes(void)
{
    struct pollfd p = {.fd = peer_fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

static void send_and_look(struct rec *r, weir_view data)
{
    if (H(r, weir_send(r->conn, weir_str("answer"))) < 0 || H(r, weir_flush(r->conn)) != 0)
        world_broke(r->side->world, "refused");
    if (peer_has_bytes())
        world_broke(r->side->world, "bytes left before the handler returned (K3)");
}

static void k03_the_flush_comes_behind_the_handler(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = send_and_look;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_fd = p->fd;
    p->reads = false;
    peer_say(p, "ask", 3);
    UNTIL(w, p->rec->datas == 1);
    UNTIL(w, peer_has_bytes());
    world_end(w);
}

/* --- verbs from handlers to others
 * ---------------------------------------------------------------*/

/* Whatever one handler does to the other connections: theirs run later (the harness looks). */
static struct rec *three[3];
static char nowhere[64];
static struct side *caller;
static weir_task task;

static void mail_done(weir_conn conn, int error, void *arg)
{
    struct world *w = arg;
    if (w->in_verb != 0 || w->in_handler != 0)
        world_broke(w, "a mail's end was told inside a verb or handler (K3)");
}

static void task_ran(weir_task *t, void *arg)
{
    struct world *w = arg;
    if (w->in_verb != 0 || w->in_handler != 0)
        world_broke(w, "a task ran inside a verb or handler (K3)");
}

static void stir(struct rec *r, weir_view data)
{
    struct world *w = r->side->world;
    weir_conn c;
    H(r, weir_resume(three[0]->conn)); /* has input and an end that wait */
    H(r, weir_abort(three[1]->conn));
    H(r, weir_close(three[2]->conn));
    (void)!H(r, weir_connect(&c, nowhere, &caller->service, NULL));
    (void)!H(r, weir_mail(r->conn, "mail", 4, mail_done, w));
    (void)!H(r, weir_mail(three[1]->conn, "mail", 4, mail_done, w));
    (void)!H(r, weir_post(w->loop, &task, task_ran, w));
    (void)!H(r, weir_timer_start(&timer, 0, timer_fired, r));
}

static void k03_no_handler_inside_a_verb(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *others = side_new(w);
    caller = side_new(w);
    caller->early_close_fine = true;
    memset(&timer, 0, sizeof timer);
    memset(&task, 0, sizeof task);
    snprintf(nowhere, sizeof nowhere, "unix:/tmp/weir-k03-none-%d", (int)getpid());
    s->data = stir;
    others->end = do_close;
    side_listen(s, NULL);
    side_listen(others, NULL);
    for (int i = 0; i < 3; i++) {
        struct peer *p = peer_connect(others);
        three[i] = p->rec;
        if (i == 0) {
            assert_int_equal(V(w, weir_pause(p->rec->conn)), 0);
            p->to_send = 5000;
            p->finish = true;
            UNTIL(w, p->finished);
            world_run_ms(w, 5);
        }
    }
    struct peer *p = peer_connect(s);
    peer_say(p, "go", 2);
    UNTIL(w, others->recs[0]->closes == 1 && others->recs[1]->closes == 1);
    assert_int_equal(others->recs[0]->received, 5000);
    UNTIL(w, p->received == 4);
    world_end(w);
}

/* --- HTTP: handlers on stacks of their own
 * -------------------------------------------------------*/

static int answering; /* handlers that are within a verb that does not wait */
static int overlaps;

static void answer(weir_exchange x, void *user)
{
    overlaps += answering != 0;
    answering++;
    (void)!weir_http_set(x, "X-One", "1");
    (void)!weir_http_text(x, 200, "%s", "text");
    answering--;
}

static void answer_in_parts(weir_exchange x, void *user)
{
    overlaps += answering != 0;
    answering++;
    (void)!weir_http_begin(x, 200, "text/plain", 4);
    answering--;
    (void)!weir_http_write(x, weir_str("text"), weir_after(WEIR_S)); /* may wait */
    overlaps += answering != 0;
    answering++;
    (void)!weir_http_end(x);
    answering--;
}

static void k03_no_stack_is_switched_inside_a_verb(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    weir_http_app *app = weir_http_app_new(NULL);
    assert_non_null(app);
    assert_int_equal(weir_http_get(app, "/a", answer, NULL), 0);
    assert_int_equal(weir_http_get(app, "/b", answer_in_parts, NULL), 0);
    assert_int_equal(weir_http_route(app, "GET", "/c", answer, NULL, WEIR_HTTP_PLAIN), 0);
    weir_http_service(app, "tcp://127.0.0.1:0", &s->service);
    weir_listener listener;
    assert_int_equal(V(w, weir_listen(&listener, &s->service)), 0);
    assert_int_equal(V(w, weir_listener_address(listener, &s->address)), 0);
    struct peer *p[6];
    overlaps = answering = 0;
    for (int i = 0; i < 6; i++) {
        char text[1024] = "";
        for (int k = 0; k < 10; k++) {
            size_t used = strlen(text);
            snprintf(text + used, sizeof text - used, "GET /%c HTTP/1.1\r\nHost: t\r\n\r\n",
                     "abc"[(i + k) % 3]);
        }
        p[i] = peer_start(s);
        peer_say(p[i], text, strlen(text));
    }
    for (int i = 0; i < 6; i++) {
        int answers = 0;
        while (answers < 10) {
            world_turn(w);
            answers = 0;
            for (size_t at = 0; at + 4 <= p[i]->kept_size; at++)
                answers += memcmp(p[i]->kept + at, "text", 4) == 0 &&
                           (at < 2 || memcmp(p[i]->kept + at - 2, ": ", 2) != 0);
        }
    }
    assert_int_equal(overlaps, 0);
    w->check_leaks = false; /* what an application keeps for its next server lives on to its end */
    world_end(w);
    weir_http_app_free(app);
}

K_MAIN(T(k03_sending_does_not_enter_the_kernel), T(k03_system_calls_are_seen),
       T(k03_the_flush_comes_behind_the_handler), T(k03_no_handler_inside_a_verb),
       T(k03_no_stack_is_switched_inside_a_verb))
