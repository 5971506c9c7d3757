/* weir_connect to localhost: ::1, then 127.0.0.1, as one connect. */
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#include "conformance/harness.h"

/* A listener on a free port of ::1 or 127.0.0.1; NULL: there is no IPv6 here. */
static const char *listen_on(struct side *s, const char *host)
{
    static char url[64];
    char own[64];
    snprintf(own, sizeof own, "tcp://%s:0", host);
    side_listen(s, own);
    snprintf(url, sizeof url, "tcp://localhost:%d", weir_address_port(&s->address));
    return url;
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

static void talk(const char *host)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w);
    s->data = do_echo;
    side_connect(c, listen_on(s, host));
    UNTIL(w, c->opened == 1 && s->opened == 1);
    assert_int_equal(V(w, weir_send(c->recs[0]->conn, weir_str("hello"))), 0);
    UNTIL(w, c->recs[0]->received == 5);
    assert_int_equal(c->count, 1);
    assert_int_equal(V(w, weir_close(c->recs[0]->conn)), 0);
    UNTIL(w, c->closed == 1 && s->closed == 1);
    assert_int_equal(c->recs[0]->opens, 1);
    assert_int_equal(c->recs[0]->end.why, WEIR_WHY_CLOSED);
    world_end(w);
}

static void localhost_is_found_at_127_0_0_1(void **state)
{
    talk("127.0.0.1");
}

static void localhost_is_found_at_ipv6(void **state)
{
    if (!has_ipv6())
        skip_because("no IPv6 here");
    talk("[::1]");
}

/* A port that nobody has: it was ours. */
static const char *nobodys(struct world *w, struct side *s)
{
    const char *url = listen_on(s, "127.0.0.1");
    assert_int_equal(V(w, weir_listener_close(s->listener)), 0);
    world_run_ms(w, 20);
    return url;
}

static void localhost_refuses_once(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w);
    c->early_close_fine = true;
    side_connect(c, nobodys(w, s));
    UNTIL(w, c->closed == 1);
    assert_int_equal(c->recs[0]->closes, 1);
    assert_int_equal(c->recs[0]->opens, 0);
    assert_int_equal(c->recs[0]->end.why, WEIR_WHY_ERROR);
    assert_int_equal(c->recs[0]->end.error, -ECONNREFUSED);
    world_end(w);
}

/* Closed after as many turns as it takes to be anywhere on its way. */
static void localhost_is_given_up_anywhere(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w);
    c->early_close_fine = true;
    s->data = do_echo;
    const char *url = listen_on(s, "127.0.0.1");
    for (unsigned turns = 0; turns < 6; turns++) {
        for (int abort = 0; abort < 2; abort++) {
            weir_conn conn = side_connect(c, url);
            for (unsigned i = 0; i < turns; i++)
                world_turn(w);
            (void)V(w, abort ? weir_abort(conn) : weir_close(conn));
            unsigned wanted = turns * 2 + (unsigned)abort + 1;
            UNTIL(w, c->closed == wanted && s->opened == 0);
        }
    }
    world_end(w);
}

K_MAIN(T(localhost_is_found_at_127_0_0_1), T(localhost_is_found_at_ipv6), T(localhost_refuses_once),
       T(localhost_is_given_up_anywhere))
