/* Straight-line code through real sockets: views, limits, connecting, everything else that one
 * waits for, and the loop's end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "conformance/straight.h"

/* --- K8: views ---------------------------------------------------------------------------------
 */

static void keeps_its_view(weir_conn c, void *session)
{
    weir_view in;
    CHECK(w, weir_recv(c, &in, WEIR_NEVER) == 5);
    bool first = text_is(in, "first");
    step++;
    while (step < 3)
        weir_yield();
    CHECK(w, text_is(in, first ? "first" : "other"));
    CHECK(w, weir_recv(c, &in, WEIR_NEVER) > 0);
    CHECK(w, ((const char *)in.data)[0] == (first ? 's' : 'x'));
    ended++;
}

static void k08_a_view_stays_until_the_next_receive(void **state)
{
    begin(keeps_its_view);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s), *other = peer_connect(s);
    peer_say(p, "first", 5);
    peer_say(other, "other", 5);
    UNTIL(w, step == 2);
    for (int i = 0; i < 50; i++) { /* receive blocks are used again and again */
        peer_say(p, "second", 6);
        peer_say(other, "xxxxx", 5);
        world_turn(w);
    }
    step = 3;
    UNTIL(w, ended == 2);
    world_end(w);
}

static void takes_and_keeps(void *arg)
{
    weir_view in = {0};
    CHECK(w, weir_accept(s->listener, &conns[0], WEIR_NEVER) == 0);
    CHECK(w, weir_recv(conns[0], &in, WEIR_NEVER) == 5);
    step = 1;
    while (step == 1)
        weir_yield();
    CHECK(w, text_is(in, "still")); /* though the connection is gone */
    CHECK(w, weir_recv(conns[0], &in, 0) == WEIR_EGONE);
    ended++;
}

static void k08_a_view_outlives_its_connection(void **state)
{
    begin(NULL);
    side_listen(s, NULL);
    spawn(takes_and_keeps, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "still", 5);
    UNTIL(w, step == 1);
    peer_reset(p);
    UNTIL(w, p->rec->closes == 1);
    step = 2;
    UNTIL(w, ended == 1);
    world_turn(w);
    assert_int_equal(world_memory(w), 0);
    world_end(w);
}

static void serves_one_by_one(void *arg)
{
    weir_view in;
    for (int i = 0; i < 2; i++) {
        CHECK(w, weir_accept(s->listener, &conns[i], WEIR_NEVER) == 0);
        step = i + 1;
        CHECK(w, weir_recv(conns[i], &in, WEIR_NEVER) == 5);
        CHECK(w, weir_close(conns[i]) == 0);
        while (weir_conn_alive(conns[i]))
            weir_yield();
        CHECK(w, text_is(in, i == 0 ? "first" : "other"));
    }
    ended++;
}

/* Whoever serves one connection after the other does not keep the views of all. */
static void k08_views_of_ended_connections_go_with_the_next_receive(void **state)
{
    begin(NULL);
    side_listen(s, NULL);
    spawn(serves_one_by_one, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "first", 5);
    UNTIL(w, p->ended);
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    world_turn(w);
    assert_true(world_memory(w) != 0);
    p = peer_connect(s);
    UNTIL(w, step == 2);
    world_turn(w);
    assert_int_equal(world_memory(w), 0);
    peer_say(p, "other", 5);
    UNTIL(w, p->ended);
    peer_close(p);
    UNTIL(w, ended == 1);
    world_end(w);
}

/* --- K6: what nobody receives stays with the peer ----------------------------------------------
 */

static void looks_late(weir_conn c, void *session)
{
    weir_view in;
    uint64_t total = 0;
    while (step == 0)
        weir_yield();
    while (weir_recv(c, &in, WEIR_NEVER) > 0) {
        CHECK(w, pattern_is(in.data, total, in.size));
        total += in.size;
    }
    CHECK(w, total == LARGE * 4);
    ended++;
}

static void k06_what_nobody_receives_is_not_read(void **state)
{
    begin(looks_late);
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 0, 16384);
    p->to_send = LARGE * 4;
    p->finish = true;
    world_run_ms(w, 50);
    assert_true(world_memory(w) <= (4 << 20));
    step = 1;
    UNTIL(w, ended == 1);
    world_end(w);
}

static void waits_for_all(weir_conn c, void *session)
{
    weir_view in;
    CHECK(w, weir_recv_exact(c, &in, 1 << 20, WEIR_NEVER) == WEIR_EGONE);
    ended++;
}

/* Parts of messages that fill the loop's budget do not lock it, and do not grow beyond it: reading
 * pauses on them, and who is not heard of any more is idle. */
static void k06_parts_of_messages_leave_the_budget(void **state)
{
    enum { CLIENTS = 30, SIZE = 1 << 20, BUDGET = 300 << 10, IDLE_MS = 300 };
    begin(waits_for_all);
    world_end(w);
    w = world_open(&(weir_loop_options){.memory_max_bytes = BUDGET});
    s = side_new(w);
    s->service.on_conn = waits_for_all;
    s->service.idle_ms = IDLE_MS;
    s->service.linger_ms = 20;
    side_listen(s, NULL);
    for (int i = 0; i < CLIENTS; i++)
        peer_start(s)->to_send = SIZE - 1;
    UNTIL(w, world_memory(w) > BUDGET);
    while (s->closed < CLIENTS) {
        world_turn(w);
        assert_in_range(world_memory(w), 0, CLIENTS * SIZE / 2);
    }
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(s->recs[i]->end.deadline, WEIR_DEADLINE_IDLE);
    world_end(w);
}

/* --- K7: idle time counts while somebody waits to receive ---------------------------------------
 */

static void works_then_waits(weir_conn c, void *session)
{
    weir_view in;
    CHECK(w, weir_recv(c, &in, WEIR_NEVER) == 1);
    CHECK(w, weir_sleep(weir_after(150 * WEIR_MS)) == 0);
    step = 1;
    results[0] = weir_recv(c, &in, WEIR_NEVER);
    ended++;
}

static void k07_idle_is_who_is_waited_for(void **state)
{
    begin(works_then_waits);
    s->service.idle_ms = 60;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "x", 1);
    UNTIL(w, step == 1);
    assert_int_equal(p->rec->closes, 0);
    uint64_t from_ns = now_ns();
    UNTIL(w, p->rec->closes == 1);
    assert_true(now_ns() - from_ns >= 50 * WEIR_MS);
    assert_int_equal(results[0], WEIR_EGONE);
    assert_int_equal(p->rec->end.deadline, WEIR_DEADLINE_IDLE);
    world_end(w);
}

/* --- frames ------------------------------------------------------------------------------------
 */

static void lines(weir_conn c, void *session)
{
    weir_view line;
    CHECK(w, weir_recv_frame(c, &line, WEIR_NEVER) == 1);
    CHECK(w, text_is(line, "one"));
    CHECK(w, weir_recv_frame(c, &line, WEIR_NEVER) == 1);
    CHECK(w, line.size == 0);
    CHECK(w, weir_recv_frame(c, &line, WEIR_NEVER) == 1);
    CHECK(w, text_is(line, "three"));
    results[0] = weir_recv_frame(c, &line, WEIR_NEVER);
    ended++;
}

static void frames_of(const char *last, int result)
{
    begin(lines);
    s->service.frame = weir_frame_line(16);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "one\r\n\nth", 8);
    world_run_ms(w, 5);
    peer_say(p, "ree\n", 4);
    if (last[0] != 0)
        peer_say(p, last, strlen(last));
    shutdown(p->fd, SHUT_WR);
    UNTIL(w, ended == 1);
    assert_int_equal(results[0], result);
    world_end(w);
}

static void frames_in_a_coroutine(void **state)
{
    frames_of("", 0);
    frames_of("cut", WEIR_EPROTO);
    frames_of("this one is longer than sixteen\n", WEIR_ETOOBIG);
}

/* --- K16: messages that are there already ------------------------------------------------------
 */

enum { SHORT_LINES = 4000 };

static void counts_lines(weir_conn c, void *session)
{
    weir_view in;
    weir_sleep(soon(20)); /* all of them have come */
    while (weir_recv_until(c, &in, "\n", 16, WEIR_NEVER) > 0)
        step++;
    ended++;
}

static void watches(void *arg)
{
    int had = 0;
    while (ended == 0) {
        if (step - had > results[0])
            results[0] = step - had;
        had = step;
        weir_yield();
    }
    ended++;
}

static void k16_a_flood_of_messages_lets_others_go_on(void **state)
{
    static char text[SHORT_LINES * 2];
    begin(counts_lines);
    for (int i = 0; i < SHORT_LINES; i++)
        memcpy(text + i * 2, "x\n", 2);
    side_listen(s, NULL);
    spawn(watches, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, text, sizeof text);
    shutdown(p->fd, SHUT_WR);
    UNTIL(w, ended == 2);
    assert_int_equal(step, SHORT_LINES);
    assert_in_range(results[0], 1, 600);
    world_end(w);
}

/* --- accepting and connecting ------------------------------------------------------------------
 */

static void accepts(void *arg)
{
    weir_view in;
    CHECK(w, weir_accept(s->listener, &conns[0], soon(5)) == WEIR_ETIMEDOUT);
    step = 1;
    CHECK(w, weir_accept(s->listener, &conns[0], WEIR_NEVER) == 0);
    CHECK(w, weir_recv(conns[0], &in, WEIR_NEVER) == 4);
    CHECK(w, weir_send_all(conns[0], in, WEIR_NEVER) == 0);
    CHECK(w, weir_recv(conns[0], &in, WEIR_NEVER) == 0);
    CHECK(w, weir_close(conns[0]) == 0);
    CHECK(w, weir_recv(conns[0], &in, WEIR_NEVER) == WEIR_EGONE);
    results[0] = weir_accept(s->listener, &conns[1], WEIR_NEVER);
    ended++;
}

static char url[WEIR_ADDRESS_TEXT_MAX];

static void connects(void *arg)
{
    weir_view in;
    weir_conn c;
    CHECK(w, weir_connect_wait(&c, url, NULL, weir_after(30 * WEIR_S)) == 0);
    CHECK(w, weir_send_all(c, weir_str("ping"), WEIR_NEVER) == 0);
    CHECK(w, weir_finish(c) == 0);
    CHECK(w, weir_recv_exact(c, &in, 4, WEIR_NEVER) == 4);
    CHECK(w, text_is(in, "ping"));
    CHECK(w, weir_recv(c, &in, WEIR_NEVER) == 0);
    weir_close(c);
    CHECK(w, weir_connect_wait(&c, "tcp://127.0.0.1:1", NULL, WEIR_NEVER) == -ECONNREFUSED);
    CHECK(w, weir_connect_wait(&c, "nonsense", NULL, WEIR_NEVER) == WEIR_EADDRESS);
    CHECK(w, weir_connect_wait(&c, url, &s->service, 0) == WEIR_ETIMEDOUT);
    ended++;
}

static void k04_accept_and_connect(void **state)
{
    begin(NULL);
    s->early_close_fine = true;
    side_listen(s, NULL);
    snprintf(url, sizeof url, "%s", side_url(s));
    spawn(accepts, NULL);
    UNTIL(w, step == 1);
    spawn(connects, NULL);
    UNTIL(w, ended == 1);
    assert_int_equal(V(w, weir_listener_close(s->listener)), 0);
    UNTIL(w, ended == 2);
    assert_int_equal(results[0], WEIR_EGONE);
    UNTIL(w, s->opened == 0);
    world_end(w);
}

/* A listener's queue that takes nobody: the connect does not come to an end by itself. */
static void k09_whom_nobody_accepts_is_closed_with_the_listener(void **state)
{
    begin(NULL);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, s->count == 1);
    assert_int_equal(V(w, weir_listener_close(s->listener)), 0);
    UNTIL(w, p->ended);
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    world_end(w);
}

static void connects_in_vain(void *arg)
{
    weir_conn c;
    results[0] = weir_connect_wait(&c, url, NULL, soon(30));
    CHECK(w, c.id == 0);
    ended++;
}

static void k04_a_connect_is_given_up(void **state)
{
    begin(NULL);
    int fd = raw_listener(0, url, sizeof url);
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    int fillers[4];
    getsockname(fd, (struct sockaddr *)&address, &size);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fillers[i], (struct sockaddr *)&address, size);
    }
    spawn(connects_in_vain, NULL);
    UNTIL(w, ended == 1);
    assert_int_equal(results[0], WEIR_ETIMEDOUT);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(fd);
    world_end(w);
}

/* --- descriptors, workers, files ---------------------------------------------------------------
 */

static _Atomic int begun;

static void blocks(void *arg)
{
    begun++;
    usleep(20000);
    *(int *)arg = 42;
}

static void waits_for_others(void *arg)
{
    int fds[2], answer = 0;
    char path[] = "/tmp/weir-straight-XXXXXX", bytes[16];
    uint64_t size = 0;
    CHECK(w, pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
    CHECK(w, weir_wait_fd(fds[0], POLLIN, soon(5)) == WEIR_ETIMEDOUT);
    CHECK(w, weir_wait_fd(fds[1], POLLOUT, WEIR_NEVER) == POLLOUT);
    CHECK(w, write(fds[1], "x", 1) == 1);
    CHECK(w, (weir_wait_fd(fds[0], POLLIN, WEIR_NEVER) & POLLIN) != 0);
    close(fds[0]);
    close(fds[1]);
    CHECK(w, weir_offload(blocks, &answer, WEIR_NEVER) == 0 && answer == 42);
    /* The deadline passes while it runs: it is waited for. A busy machine may not begin in time. */
    int result, tries = 0;
    do {
        answer = 0;
        result = weir_offload(blocks, &answer, soon(5));
    } while (result == WEIR_ETIMEDOUT && answer == 0 && ++tries < 200);
    CHECK(w, result == 0 && answer == 42);
    answer = 0;
    CHECK(w, weir_offload(blocks, &answer, 0) == WEIR_ETIMEDOUT && answer == 0);
    close(mkostemp(path, O_CLOEXEC));
    int fd = weir_file_open(path, O_RDWR, 0, WEIR_NEVER);
    CHECK(w, fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(w, weir_file_write(fd, "0123456789", 10, 0, WEIR_NEVER) == 10);
    CHECK(w, weir_file_sync(fd, WEIR_NEVER) == 0);
    CHECK(w, weir_file_size(fd, &size, WEIR_NEVER) == 0 && size == 10);
    CHECK(w, weir_file_read(fd, bytes, sizeof bytes, 4, WEIR_NEVER) == 6);
    CHECK(w, memcmp(bytes, "456789", 6) == 0);
    CHECK(w, weir_file_read(fd, bytes, sizeof bytes, 0, 0) == WEIR_ETIMEDOUT);
    CHECK(w, weir_file_close(fd) == 0);
    CHECK(w, fcntl(fd, F_GETFD) == -1);
    CHECK(w, weir_file_open("/nowhere/at/all", O_RDONLY, 0, WEIR_NEVER) == -ENOENT);
    unlink(path);
    ended++;
}

static void k04_descriptors_workers_and_files(void **state)
{
    begin(NULL);
    spawn(waits_for_others, NULL);
    UNTIL(w, ended == 1);
    world_end(w);
}

/* --- K3: no stack is switched inside a verb ----------------------------------------------------
 */

static void notes_that_it_runs(void *arg)
{
    step++;
}

static void spawns(void *arg)
{
    CHECK(w, weir_spawn(notes_that_it_runs, NULL) == 0);
    CHECK(w, step == 0);
    CHECK(w, weir_yield() == 0);
    CHECK(w, step == 1);
    ended++;
}

static void k03_spawn_runs_nothing_at_once(void **state)
{
    begin(NULL);
    spawn(spawns, NULL);
    assert_int_equal(step, 0);
    UNTIL(w, ended == 1);
    world_end(w);
}

static void yields(void *arg)
{
    while (step == 0 && weir_yield() == 0)
        results[0]++;
    ended++;
}

static void k16_who_yields_lets_others_go_first(void **state)
{
    begin(echo);
    side_listen(s, NULL);
    spawn(yields, NULL);
    struct peer *p = peer_connect(s);
    p->to_send = 100000;
    UNTIL(w, p->received == 100000);
    assert_true(results[0] > 0);
    step = 1;
    UNTIL(w, ended == 1);
    world_end(w);
}

static void k01_outside_of_coroutines(void **state)
{
    weir_view in;
    weir_conn c;
    int fds[2];
    assert_int_equal(weir_spawn(notes_that_it_runs, NULL), WEIR_EMISUSE);
    begin(echo);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    weir_conn conn = p->rec->conn;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(V(w, weir_recv(conn, &in, 0)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_recv_exact(conn, &in, 1, 0)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_recv_until(conn, &in, "x", 1, 0)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_recv_frame(conn, &in, 0)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_send_all(conn, weir_str("x"), 0)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_sleep(0)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_yield()), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_wait_fd(fds[0], POLLIN, 0)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_offload(notes_that_it_runs, NULL, 0)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_accept(s->listener, &c, 0)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_connect_wait(&c, side_url(s), NULL, 0)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_file_open("/", 0, 0, 0)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_file_close(fds[0])), WEIR_EMISUSE);
    close(fds[0]);
    close(fds[1]);
    world_end(w);
}

static void k01_one_consumer(void **state)
{
    begin(echo);
    s->service.listen = "tcp://127.0.0.1:0";
    weir_service both = s->service; /* has on_data too */
    assert_int_equal(V(w, weir_listen(NULL, &both)), WEIR_EINVALID);
    world_end(w);
}

/* --- the loop's end ----------------------------------------------------------------------------
 */

static void never_ends(void *arg)
{
    int result;
    do
        result = weir_sleep(WEIR_NEVER);
    while (result == WEIR_EGONE || result == 0);
    CHECK(w, result == WEIR_ECANCELED);
    CHECK(w, weir_yield() == WEIR_ECANCELED);
    ended++;
}

static void never_ends_conn(weir_conn c, void *session)
{
    weir_view in;
    conns[0] = c;
    CHECK(w, weir_recv(c, &in, WEIR_NEVER) < 0);
    never_ends(NULL);
}

static void works_on(void *arg)
{
    int answer = 0;
    CHECK(w, weir_offload(blocks, &answer, WEIR_NEVER) == 0 && answer == 42);
    ended++;
}

static void offloads_conn(weir_conn c, void *session)
{
    works_on(NULL);
}

static void k04_the_loops_end_ends_every_wait(void **state)
{
    begin(never_ends_conn);
    side_listen(s, NULL);
    peer_connect(s);
    spawn(never_ends, NULL);
    UNTIL(w, conns[0].id != 0);
    world_end(w);
    assert_int_equal(ended, 2);
}

static void k04_the_loops_end_waits_for_workers(void **state)
{
    begin(offloads_conn);
    begun = 0;
    side_listen(s, NULL);
    peer_connect(s);
    spawn(works_on, NULL);
    UNTIL(w, begun == 2);
    world_end(w);
    assert_int_equal(ended, 2);
}

K_MAIN(T(k08_a_view_stays_until_the_next_receive), T(k08_a_view_outlives_its_connection),
       T(k08_views_of_ended_connections_go_with_the_next_receive),
       T(k06_what_nobody_receives_is_not_read), T(k06_parts_of_messages_leave_the_budget),
       T(k07_idle_is_who_is_waited_for), T(frames_in_a_coroutine), T(k04_accept_and_connect),
       T(k04_a_connect_is_given_up), T(k04_descriptors_workers_and_files),
       T(k03_spawn_runs_nothing_at_once), T(k16_who_yields_lets_others_go_first),
       T(k16_a_flood_of_messages_lets_others_go_on),
       T(k09_whom_nobody_accepts_is_closed_with_the_listener), T(k01_outside_of_coroutines),
       T(k01_one_consumer), T(k04_the_loops_end_ends_every_wait),
       T(k04_the_loops_end_waits_for_workers))
