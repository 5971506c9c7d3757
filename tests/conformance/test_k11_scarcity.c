/* K11: without descriptors a listener backs off, what stands goes on, and nothing spins. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "conformance/harness.h"

enum { HOARD = 4096 };
static int hoard[HOARD], hoarded;
static struct rlimit former;

/* Before anything is armed: the ring keeps the limit that held when an accept began. */
static int lower_limit(void **state)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &former);
    limit = former;
    limit.rlim_cur = former.rlim_max < 400 ? former.rlim_max : 400;
    return setrlimit(RLIMIT_NOFILE, &limit);
}

/* Leaves `spare` descriptors below the limit. */
static void hoard_descriptors(int spare)
{
    hoarded = 0;
    int fd;
    while (hoarded < HOARD && (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        hoard[hoarded++] = fd;
    while (spare-- > 0 && hoarded > 0)
        close(hoard[--hoarded]);
}

static void release_descriptors(void)
{
    while (hoarded > 0)
        close(hoard[--hoarded]);
}

static int restore_limit(void **state)
{
    release_descriptors();
    return setrlimit(RLIMIT_NOFILE, &former);
}

static void k11_accept_backs_off_and_resumes(void **state)
{
    enum { CLIENTS = 12 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *peers[CLIENTS];
    if (world_direct(w)) {
        world_end(w);
        skip_because("direct descriptors do not count against the process's limit");
    }
    s->data = do_echo;
    side_listen(s, NULL);
    struct peer *standing = peer_connect(s);
    hoard_descriptors(CLIENTS + 3); /* for the peers' ends and three of ours */
    for (int i = 0; i < CLIENTS; i++)
        peers[i] = peer_start(s);
    UNTIL(w, log_count("backs off") >= 1);
    world_run_ms(w, 20);
    unsigned served = s->count;
    assert_in_range(served, 1, 1 + CLIENTS - 1);
    /* It does not spin: a turn may come for each time that it tries again, ten a second. */
    uint64_t before_ns = now_ns(), turns = 0, calls = world_syscalls(w);
    while (now_ns() - before_ns < 300 * WEIR_MS) {
        weir_loop_turn(w->loop, before_ns + 300 * WEIR_MS);
        turns++;
    }
    assert_true(turns <= 30);
    assert_true(world_syscalls(w) - calls <= 120);
    assert_int_equal(log_count("backs off"), 1); /* one line a burst */
    /* What stands goes on. */
    peer_say(standing, "still here", 10);
    UNTIL(w, standing->received == 10);
    release_descriptors();
    UNTIL(w, s->count == CLIENTS + 1);
    for (int i = 0; i < CLIENTS; i++) {
        peer_say(peers[i], "x", 1);
        UNTIL(w, peers[i]->received == 1);
    }
    world_end(w);
}

/* A descriptor that comes back is enough for one more. */
static void k11_one_at_a_time(void **state)
{
    enum { CLIENTS = 6 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *peers[CLIENTS];
    if (world_direct(w)) {
        world_end(w);
        skip_because("direct descriptors do not count against the process's limit");
    }
    s->data = do_echo;
    side_listen(s, NULL);
    hoard_descriptors(CLIENTS + 1);
    for (int i = 0; i < CLIENTS; i++)
        peers[i] = peer_start(s);
    for (int i = 0; i < CLIENTS; i++) {
        UNTIL(w, s->count > (unsigned)i);
        peer_say(peers[i], "x", 1);
        UNTIL(w, peers[i]->received == 1);
        peer_close(peers[i]);
        UNTIL(w, s->recs[i]->closes == 1);
    }
    release_descriptors();
    world_end(w);
}

static void k11_connect_without_descriptors(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w);
    weir_conn conn = {0};
    side_listen(s, NULL);
    const char *url = side_url(s);
    hoard_descriptors(0);
    int result = V(w, weir_connect(&conn, url, &c->service, NULL));
    release_descriptors();
    assert_int_equal(result, -EMFILE);
    world_run_ms(w, 5);
    assert_int_equal(c->count, 0);
    side_connect(c, url);
    UNTIL(w, c->opened == 1);
    world_end(w);
}

static void k11_listen_without_descriptors(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.listen = "tcp://127.0.0.1:0";
    hoard_descriptors(0);
    int result = V(w, weir_listen(NULL, &s->service));
    release_descriptors();
    assert_int_equal(result, -EMFILE);
    world_end(w);
}

#define L(function) cmocka_unit_test_setup_teardown(function, lower_limit, restore_limit)

K_MAIN(L(k11_accept_backs_off_and_resumes), L(k11_one_at_a_time),
       L(k11_connect_without_descriptors), L(k11_listen_without_descriptors))
