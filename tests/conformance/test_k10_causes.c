/* K10: the causes of docs/guide/causes.md that need no network to be shown: what the kernel says
 * (asked with a plain socket) and what weir reports of the same. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "conformance/harness.h"

enum { SOON_MS = 60 };

static socklen_t unix_name(struct sockaddr_un *name, char *url, size_t size, const char *what)
{
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length =
        snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "weir-%s-%d", what, (int)getpid());
    snprintf(url, size, "unix:@%s", name->sun_path + 1);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

/* What a plain connect that does not wait ends with; the socket goes to *fd. */
static int plain_connect(const struct sockaddr *name, socklen_t size, int *fd)
{
    *fd = socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(*fd >= 0);
    return connect(*fd, name, size) == 0 ? 0 : errno;
}

static void expect_error(const struct rec *r, int error)
{
    assert_string_equal(r->log, "C");
    assert_int_equal(r->end.why, WEIR_WHY_ERROR);
    assert_int_equal(r->end.error, error);
    assert_int_equal(r->end.deadline, WEIR_DEADLINE_NONE);
}

static void expect_connect_deadline(const struct rec *r)
{
    assert_string_equal(r->log, "C");
    assert_int_equal(r->end.why, WEIR_WHY_DEADLINE);
    assert_int_equal(r->end.deadline, WEIR_DEADLINE_CONNECT);
    assert_int_equal(r->end.error, WEIR_ETIMEDOUT);
}

/* --- a unix listener whose queue is full ------------------------------------------------------ */

struct full {
    int listener, waiting[8];
    unsigned count;
    char url[80];
};

/* TCP says EINPROGRESS of what waits; a unix socket says EAGAIN, and nothing will ever tell that
 * there is room. */
static void full_make(struct full *full)
{
    struct sockaddr_un name;
    socklen_t size = unix_name(&name, full->url, sizeof full->url, "full");
    full->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(full->listener, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(full->listener, 1), 0);
    int says = 0;
    for (full->count = 0; full->count < 8 && says == 0; full->count++)
        says = plain_connect((struct sockaddr *)&name, size, &full->waiting[full->count]);
    assert_int_equal(says, EAGAIN);
}

static void full_end(struct full *full)
{
    for (unsigned i = 0; i < full->count; i++)
        close(full->waiting[i]);
    close(full->listener);
}

static void k10_eagain_of_a_unix_connect_ends_at_the_deadline(void **state)
{
    struct world *w = world_open(NULL);
    struct side *c = side_new(w);
    struct full full;
    full_make(&full);
    c->service.connect_ms = SOON_MS;
    uint64_t begin_ns = now_ns();
    for (int i = 0; i < 3; i++)
        side_connect(c, full.url);
    UNTIL(w, c->closed == 3);
    assert_true(now_ns() - begin_ns >= SOON_MS * WEIR_MS);
    for (unsigned i = 0; i < 3; i++)
        expect_connect_deadline(c->recs[i]);
    side_connect(c, full.url); /* one that still waits when the loop ends */
    full_end(&full);
    world_end(w);
}

static void k10_eagain_of_a_unix_connect_waits_for_room(void **state)
{
    struct world *w = world_open(NULL);
    struct side *c = side_new(w);
    struct full full;
    full_make(&full);
    for (int i = 0; i < 3; i++)
        side_connect(c, full.url);
    world_run_ms(w, 30);
    assert_int_equal(c->opened + c->closed, 0);
    int taken[16];
    unsigned count = 0;
    uint64_t until_ns = now_ns() + 10 * WEIR_S;
    while (c->opened < 3 && now_ns() < until_ns) { /* first those that were there before */
        int fd = accept4(full.listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && count < 16)
            taken[count++] = fd;
        world_run_ms(w, 5);
    }
    assert_int_equal(c->opened, 3);
    assert_int_equal(c->closed, 0);
    while (count != 0)
        close(taken[--count]);
    full_end(&full);
    world_end(w);
}

/* --- nobody there ----------------------------------------------------------------------------- */

static void k10_refused_and_not_there(void **state)
{
    struct world *w = world_open(NULL);
    struct side *c = side_new(w);
    char url[128], path[80];
    struct sockaddr_un stale = {.sun_family = AF_UNIX};
    int listener = raw_listener(1, url, sizeof url), fd;
    close(listener);
    side_connect(c, url); /* a port that nobody listens on */
    UNTIL(w, c->closed == 1);
    expect_error(c->recs[0], -ECONNREFUSED);

    unix_name(&(struct sockaddr_un){0}, url, sizeof url, "nobody");
    side_connect(c, url); /* a name that nobody has */
    UNTIL(w, c->closed == 2);
    expect_error(c->recs[1], -ECONNREFUSED);

    snprintf(path, sizeof path, "/tmp/weir-causes-%d", (int)getpid());
    snprintf(url, sizeof url, "unix:%s", path);
    side_connect(c, url); /* no such file */
    UNTIL(w, c->closed == 3);
    expect_error(c->recs[2], -ENOENT);

    snprintf(stale.sun_path, sizeof stale.sun_path, "%s", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&stale, sizeof stale), 0);
    close(fd);
    side_connect(c, url); /* a file that a dead process left */
    UNTIL(w, c->closed == 4);
    expect_error(c->recs[3], -ECONNREFUSED);
    unlink(path);
    world_end(w);
}

/* --- during a connection ---------------------------------------------------------------------- */

/* The end of a unix connection without unread bytes is seen by a send as EPIPE. */
static void k10_epipe(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct sockaddr_un name;
    char url[80];
    (void)unix_name(&name, url, sizeof url, "epipe");
    side_listen(s, url);
    struct peer *p = peer_connect(s);
    assert_int_equal(V(w, weir_pause(p->rec->conn)), 0);
    world_turn(w);
    peer_close(p);
    assert_true(V(w, weir_send(p->rec->conn, weir_str("anybody?"))) >= 0);
    UNTIL(w, p->rec->closes == 1);
    assert_string_equal(p->rec->log, "OC");
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_RESET);
    assert_int_equal(p->rec->end.error, -EPIPE);
    world_end(w);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int number)
{
    alarms++;
}

/* Signals whose handlers do not restart system calls: EINTR is nobody's business but weir's. */
static void k10_eintr_is_not_told(void **state)
{
    struct sigaction action = {.sa_handler = on_alarm}, former;
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w);
    s->data = do_echo;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    assert_int_equal(sigaction(SIGALRM, &action, &former), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    p->to_send = 4 << 20;
    for (int i = 0; i < 20; i++)
        side_connect(c, side_url(s));
    UNTIL(w, p->received == p->to_send && c->opened == 20 && alarms > 20);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &former, NULL);
    assert_true(p->in_pattern);
    assert_int_equal(c->closed + s->closed, 0);
    world_end(w);
}

K_MAIN(T(k10_eagain_of_a_unix_connect_ends_at_the_deadline),
       T(k10_eagain_of_a_unix_connect_waits_for_room), T(k10_refused_and_not_there), T(k10_epipe),
       T(k10_eintr_is_not_told))
