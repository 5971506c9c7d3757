/* Straight-line code through real sockets, K4 and K5: a wait that ends takes nothing with it. */
#include <errno.h>
#include <unistd.h>

#include "conformance/harness_filter.h"
#include "conformance/straight.h"

/* --- K4, K5: what is sent comes back, in order, to the end -------------------------------------
 */

static void k04_echo_in_a_coroutine(void **state)
{
    begin(echo);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    p->to_send = LARGE;
    p->finish = true;
    UNTIL(w, p->ended);
    assert_int_equal(p->received, LARGE);
    assert_true(p->in_pattern);
    assert_int_equal(p->error, 0);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(ended, 1);
    assert_int_equal(results[0], 0);
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
    assert_int_equal(world_memory(w), 0);
    world_end(w);
}

static void k05_many_echo_at_once(void **state)
{
    enum { MANY = 40, EACH = 60000 };
    struct peer *peers[MANY];
    begin(echo);
    side_listen(s, NULL);
    for (int i = 0; i < MANY; i++) {
        peers[i] = peer_connect(s);
        peers[i]->to_send = EACH;
        peers[i]->piece = 1 + (size_t)i * 97;
        peers[i]->finish = true;
    }
    for (int i = 0; i < MANY; i++) {
        UNTIL(w, peers[i]->ended);
        assert_int_equal(peers[i]->received, EACH);
        assert_true(peers[i]->in_pattern);
    }
    UNTIL(w, s->closed == MANY);
    assert_int_equal(ended, MANY);
    world_end(w);
}

static void returns_at_once(weir_conn c, void *session)
{
    ended++;
}

static void k04_return_closes(void **state)
{
    begin(returns_at_once);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, p->ended && p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    assert_int_equal(p->error, 0);
    world_end(w);
}

/* --- K4: a deadline ends the wait, never the stream's bytes ------------------------------------
 */

static void in_parts(weir_conn c, void *session)
{
    weir_view in;
    CHECK(w, weir_recv_exact(c, &in, 6, soon(20)) == WEIR_ETIMEDOUT);
    step = 1;
    CHECK(w, weir_recv_until(c, &in, "\r\n", 100, soon(5)) == WEIR_ETIMEDOUT);
    CHECK(w, weir_recv_exact(c, &in, 6, weir_after(30 * WEIR_S)) == 6);
    CHECK(w, text_is(in, "abcdef"));
    step = 2;
    CHECK(w, weir_recv_until(c, &in, "\r\n", 100, weir_after(30 * WEIR_S)) == 4);
    CHECK(w, text_is(in, "gh\r\n"));
    CHECK(w, weir_recv_until(c, &in, "\r\n", 3, weir_after(30 * WEIR_S)) == WEIR_ETOOBIG);
    CHECK(w, weir_recv(c, &in, 0) == 4);
    CHECK(w, text_is(in, "ijkl"));
    CHECK(w, weir_recv(c, &in, 0) == WEIR_ETIMEDOUT);
    CHECK(w, in.size == 0);
    step = 3;
    CHECK(w, weir_recv_exact(c, &in, 3, weir_after(30 * WEIR_S)) == WEIR_EPROTO);
    CHECK(w, weir_recv(c, &in, 0) == 2);
    CHECK(w, weir_recv(c, &in, 0) == 0);
    CHECK(w, weir_recv_exact(c, &in, 3, 0) == 0);
    ended++;
}

static void k04_a_deadline_keeps_the_bytes(void **state)
{
    begin(in_parts);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "abcd", 4);
    UNTIL(w, step == 1);
    peer_say(p, "ef", 2);
    UNTIL(w, step == 2);
    peer_say(p, "gh\r", 3);
    world_run_ms(w, 5);
    peer_say(p, "\nijkl", 5);
    UNTIL(w, step == 3);
    peer_say(p, "mn", 2);
    shutdown(p->fd, SHUT_WR);
    UNTIL(w, ended == 1);
    UNTIL(w, p->rec->closes == 1);
    world_end(w);
}

/* --- K4: close resumes every waiter with WEIR_EGONE, then on_close -----------------------------
 */

static void receiver(void *arg)
{
    weir_view in;
    results[1] = weir_recv(conns[0], &in, WEIR_NEVER);
    ended++;
}

static void sender(void *arg)
{
    static char large[LARGE];
    results[2] = weir_send_all(conns[0], weir_bytes(large, sizeof large), WEIR_NEVER);
    ended++;
}

static void sleeper(weir_conn c, void *session)
{
    struct rec *r = side_rec(s, c);
    conns[0] = c;
    CHECK(w, weir_spawn(receiver, NULL) == 0);
    CHECK(w, weir_spawn(sender, NULL) == 0);
    step = 1;
    results[0] = weir_sleep(WEIR_NEVER);
    CHECK(w, r->closes == 0);
    CHECK(w, weir_sleep(weir_after(2 * WEIR_MS)) == 0); /* who cleans up may wait */
    CHECK(w, r->closes == 0);
    ended++;
}

static void waiters_are_resumed(void (*end)(struct peer *p))
{
    begin(sleeper);
    s->service.socket.send_buffer_bytes = 8192;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 8192, 0);
    p->reads = false;
    UNTIL(w, step == 1);
    world_run_ms(w, 5);
    end(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(ended, 3);
    assert_int_equal(results[0], WEIR_EGONE);
    assert_int_equal(results[1], WEIR_EGONE);
    assert_int_equal(results[2], WEIR_EGONE);
    world_end(w);
}

static void k04_a_reset_resumes_every_waiter(void **state)
{
    waiters_are_resumed(peer_reset);
}

static weir_conn aborted_conn;

static void abort_it(void *arg)
{
    (void)weir_abort(aborted_conn);
    weir_sleep(weir_after(WEIR_MS));
    ended++;
}

/* Another coroutine closes: who serves the connection hears it from its next verb alone. */
static void waits_to_receive(weir_conn c, void *session)
{
    weir_view in;
    aborted_conn = c;
    CHECK(w, weir_spawn(abort_it, NULL) == 0);
    results[0] = weir_recv(c, &in, WEIR_NEVER);
    CHECK(w, weir_sleep(weir_after(2 * WEIR_MS)) == 0);
    results[1] = weir_recv(c, &in, WEIR_NEVER);
    results[2] = weir_send_all(c, weir_str("x"), WEIR_NEVER);
    ended++;
}

static void k04_an_abort_by_another(void **state)
{
    begin(waits_to_receive);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(ended, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(results[i], WEIR_EGONE);
    world_end(w);
}

/* Who waits elsewhere hears of it in that wait, whoever closes. */
static void aborted_elsewhere(weir_conn c, void *session)
{
    aborted_conn = c;
    CHECK(w, weir_spawn(abort_it, NULL) == 0);
    results[0] = weir_sleep(weir_after(30 * WEIR_S));
    results[1] = weir_sleep(weir_after(2 * WEIR_MS));
    ended++;
}

static void k04_an_abort_by_another_ends_any_wait(void **state)
{
    begin(aborted_elsewhere);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(ended, 2);
    assert_int_equal(results[0], WEIR_EGONE);
    assert_int_equal(results[1], 0);
    world_end(w);
}

/* Whom a verb of the connection has told may wait while he cleans up. */
static void told_once(weir_conn c, void *session)
{
    weir_view in;
    step = 1;
    results[0] = weir_recv(c, &in, WEIR_NEVER);
    for (int i = 1; i < 5; i++)
        results[i] = weir_sleep(weir_after(2 * WEIR_MS));
    ended++;
}

static void k04_who_cleans_up_may_wait(void **state)
{
    begin(told_once);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, step == 1);
    world_run_ms(w, 5);
    peer_reset(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(ended, 1);
    assert_int_equal(results[0], WEIR_EGONE);
    for (int i = 1; i < 5; i++)
        assert_int_equal(results[i], 0);
    world_end(w);
}

/* --- K4: sends that are withdrawn --------------------------------------------------------------
 */

static char *large;

static void fill(void *arg)
{
    /* More than all buffers take: its first byte leaves. */
    results[0] = weir_send_all(conns[0], weir_bytes(large, LARGE), weir_after(60 * WEIR_S));
    ended++;
}

static void behind(void *arg)
{
    char *own = malloc(LARGE);
    memset(own, 'x', LARGE);
    results[1] = weir_send_all(conns[0], weir_bytes(own, LARGE), soon(30));
    memset(own, 'y', LARGE); /* nothing refers to it any more */
    free(own);
    results[2] = weir_send_all(conns[0], weir_str("end"), weir_after(60 * WEIR_S));
    ended++;
}

static void two_senders(weir_conn c, void *session)
{
    weir_view in;
    conns[0] = c;
    CHECK(w, weir_spawn(fill, NULL) == 0);
    CHECK(w, weir_spawn(behind, NULL) == 0);
    step = 1;
    results[3] = weir_recv(c, &in, WEIR_NEVER);
    while (ended < 2)
        weir_yield();
    ended++;
}

static void k04_a_send_withdrawn_before_its_first_byte(void **state)
{
    begin(two_senders);
    s->service.socket.send_buffer_bytes = 8192;
    large = malloc(LARGE);
    pattern_fill(large, 0, LARGE);
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 8192, 0);
    p->reads = false;
    UNTIL(w, results[1] != 0);
    assert_int_equal(results[1], WEIR_ETIMEDOUT);
    assert_int_equal(results[0], 0);
    assert_int_equal(ended, 0);
    p->reads = true;
    UNTIL(w, ended == 2);
    assert_int_equal(results[0], 0);
    assert_int_equal(results[2], 0);
    assert_int_equal(results[3], 0);
    shutdown(p->fd, SHUT_WR);
    UNTIL(w, p->ended);
    assert_int_equal(p->received, LARGE + 3);
    assert_true(memcmp(p->kept, large, KEPT_MAX) == 0);
    UNTIL(w, p->rec->closes == 1);
    free(large);
    world_end(w);
}

static void torn(weir_conn c, void *session)
{
    weir_view in;
    char *own = malloc(LARGE);
    memset(own, 'x', LARGE);
    conns[0] = c;
    results[0] = weir_send_all(c, weir_bytes(own, LARGE), soon(30));
    free(own);
    results[1] = weir_send_all(c, weir_str("more"), WEIR_NEVER);
    results[2] = weir_send(c, weir_str("more"));
    results[3] = weir_recv(c, &in, 0);
    ended++;
}

static void k04_a_torn_stream_takes_nothing_but_close(void **state)
{
    begin(torn);
    s->service.socket.send_buffer_bytes = 8192;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 8192, 0);
    p->reads = false;
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(ended, 1);
    assert_int_equal(results[0], WEIR_ETORN);
    assert_int_equal(results[1], WEIR_ETORN);
    assert_int_equal(results[2], WEIR_ETORN);
    assert_int_equal(results[3], WEIR_ETIMEDOUT);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    p->reads = true;
    UNTIL(w, p->ended);
    assert_int_equal(p->error, ECONNRESET); /* a part does not look like the whole */
    assert_true(p->received < LARGE);
    world_end(w);
}

/* Others in the queue of a stream that is torn hear of it too. */
static void k04_a_torn_stream_is_torn_for_all(void **state)
{
    begin(two_senders);
    s->service.socket.send_buffer_bytes = 8192;
    s->service.write_ms = 100 * slowness();
    large = malloc(LARGE);
    pattern_fill(large, 0, LARGE);
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 8192, 0);
    p->reads = false;
    UNTIL(w, p->rec->closes == 1); /* by the write deadline, here */
    assert_int_equal(results[0], WEIR_EGONE);
    assert_true(results[1] == WEIR_ETIMEDOUT);
    assert_int_equal(results[2], WEIR_EGONE);
    assert_int_equal(p->rec->end.deadline, WEIR_DEADLINE_WRITE);
    free(large);
    world_end(w);
}

static void sends_filtered(weir_conn c, void *session)
{
    results[0] = weir_send_all(c, weir_bytes(large, LARGE), WEIR_NEVER);
    results[1] = weir_send_all(c, weir_bytes(large, LARGE), WEIR_NEVER);
    ended++;
}

/* What waits above the filters is lent too: it comes back when the connection is given up. */
static void k04_a_send_that_stalls_above_filters_ends(void **state)
{
    struct strainer wire = {0}, top = {0};
    begin(sends_filtered);
    side_strain(s, &wire, &top);
    s->service.socket.send_buffer_bytes = 8192;
    s->service.write_ms = 100 * slowness();
    large = calloc(1, LARGE);
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 8192, 0);
    p->reads = false;
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(ended, 1);
    assert_int_equal(results[0], WEIR_EGONE);
    assert_int_equal(results[1], WEIR_EGONE);
    assert_int_equal(p->rec->end.deadline, WEIR_DEADLINE_WRITE);
    free(large);
    world_end(w);
}

/* --- K6: a send that waits keeps nobody from receiving ------------------------------------------
 */

static void sends_all(void *arg)
{
    results[0] = weir_send_all(conns[0], weir_bytes(large, LARGE), weir_after(60 * WEIR_S));
    ended++;
}

static void sends_and_receives(weir_conn c, void *session)
{
    weir_view in;
    uint64_t total = 0;
    conns[0] = c;
    CHECK(w, weir_spawn(sends_all, NULL) == 0);
    while (weir_recv(c, &in, WEIR_NEVER) > 0)
        total += in.size;
    CHECK(w, total == LARGE);
    step = 1;
    while (ended == 0)
        weir_yield();
    ended++;
}

/* The peer reads nothing before it has sent all of its own. */
static void k06_a_waiting_send_keeps_nobody_from_receiving(void **state)
{
    begin(sends_and_receives);
    large = malloc(LARGE);
    pattern_fill(large, 0, LARGE);
    s->service.socket.send_buffer_bytes = 8192;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 8192, 8192);
    p->reads = false;
    p->to_send = LARGE;
    p->finish = true;
    UNTIL(w, step == 1);
    assert_int_equal(ended, 0);
    p->reads = true;
    UNTIL(w, ended == 2 && p->ended);
    assert_int_equal(results[0], 0);
    assert_int_equal(p->received, LARGE);
    assert_true(p->in_pattern);
    free(large);
    world_end(w);
}

K_MAIN(T(k04_echo_in_a_coroutine), T(k05_many_echo_at_once), T(k04_return_closes),
       T(k04_a_deadline_keeps_the_bytes), T(k04_a_reset_resumes_every_waiter),
       T(k04_an_abort_by_another), T(k04_an_abort_by_another_ends_any_wait),
       T(k04_who_cleans_up_may_wait), T(k04_a_send_withdrawn_before_its_first_byte),
       T(k04_a_torn_stream_takes_nothing_but_close), T(k04_a_torn_stream_is_torn_for_all),
       T(k04_a_send_that_stalls_above_filters_ends),
       T(k06_a_waiting_send_keeps_nobody_from_receiving))
