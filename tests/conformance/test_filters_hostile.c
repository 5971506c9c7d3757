/* Filters whose peer means harm, or whose stream breaks: what they do not pass up, what they send
 * of themselves, and how they end must not hold up, swell or cut anything. */
#include "conformance/harness.h"

/* A filter by letters on the wire: 'x' means nothing, 'a' is answered at once by the filter itself,
 * 'b' ends the connection in order with an error. Everything else passes. Its end is a cut. */
enum { ANSWER = 64 };
static int passed_down;

static int letters_open(weir_filter_at *at, void *state, void *config, bool client)
{
    weir_filter_ready(at);
    return 0;
}

static int letters_input(weir_filter_at *at, void *state, weir_view data)
{
    static const char answer[ANSWER];
    const char *bytes = data.data;
    for (uint32_t i = 0; i < data.size; i++) {
        int result = 0;
        if (bytes[i] == 'a')
            result = weir_filter_down(at, weir_bytes(answer, sizeof answer));
        else if (bytes[i] == 'b')
            weir_filter_close(at, WEIR_EPROTO);
        else if (bytes[i] != 'x')
            result = weir_filter_up(at, weir_bytes(bytes + i, 1));
        if (result < 0)
            return result;
    }
    return 0;
}

static int letters_input_end(weir_filter_at *at, void *state)
{
    return WEIR_ECUT;
}

static int64_t letters_output(weir_filter_at *at, void *state, weir_view data, bool flush)
{
    passed_down++;
    int result = weir_filter_down(at, data);
    return result < 0 ? result : (int64_t)data.size;
}

static const weir_filter letters = {.name = "letters",
                                    .state_size = 1,
                                    .open = letters_open,
                                    .input = letters_input,
                                    .input_end = letters_input_end,
                                    .output = letters_output};
static const weir_filter *const only_letters[] = {&letters, NULL};

static struct side *side_of_letters(struct world *w)
{
    struct side *s = side_new(w);
    s->service.filters = only_letters;
    passed_down = 0;
    return s;
}

static int pulls;

static ssize_t endless(weir_conn conn, void *data, size_t size, void *arg)
{
    pulls += data != NULL;
    if (data != NULL) /* else it is told that it will not be called again */
        memset(data, 'p', size);
    return (ssize_t)size;
}

/* A filter that has ended its connection takes no output any more, and asks no source for it. */
static void filters_k09_nothing_is_pulled_for_an_ended_one(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_of_letters(w);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    p->reads = false;
    pulls = 0;
    assert_in_range(V(w, weir_send_pull(p->rec->conn, endless, NULL)), 0, 1);
    UNTIL(w, passed_down > 10);
    peer_say(p, "b", 1);
    world_run_ms(w, 50);
    int before = pulls;
    p->reads = true;
    UNTIL(w, p->rec->closes == 1 && p->ended);
    assert_int_equal(pulls, before);
    assert_int_equal(p->rec->end.why, WEIR_WHY_ERROR);
    assert_int_equal(p->rec->end.error, WEIR_EPROTO);
    world_end(w);
}

static void says_bye(struct rec *r, weir_view data)
{
    assert_in_range(H(r, weir_send(r->conn, weir_str("bye"))), 0, 1);
    H(r, weir_close(r->conn));
}

/* A handler that answers and closes, while its filter has more for it: the answer is had. */
static void filters_k09_a_close_inside_is_no_failure(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_of_letters(w);
    s->data = says_bye;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "qq", 2);
    UNTIL(w, p->rec->closes == 1 || p->ended);
    p->finish = true;
    p->to_send = p->sent;
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->received, 3);
    assert_int_equal(p->error, 0);
    assert_int_equal(p->rec->end.error, 0);
    world_end(w);
}

/* What a filter answers by itself is output: who does not take it is not read from, and where
 * reading goes on in any case a limit ends it. */
static void filters_k06_answers_of_a_filter_are_bounded(void **state)
{
    enum { MARK = 32 << 10, CAP = 128 << 10, MANY = 1 << 20 };
    static char flood[4096];
    memset(flood, 'a', sizeof flood);
    for (int always = 0; always < 2; always++) {
        struct world *w = world_open(NULL);
        struct side *s = side_of_letters(w);
        s->service.soft_mark_bytes = MARK;
        s->service.hard_cap_bytes = CAP;
        s->service.socket.send_buffer_bytes = 8192;
        s->service.read_on = always ? WEIR_READ_ALWAYS : WEIR_READ_BELOW_MARK;
        side_listen(s, NULL);
        struct peer *p = peer_connect_small(s, 0, 4096);
        p->reads = false;
        uint64_t most = 0;
        for (int said = 0; said < MANY && p->rec->closes == 0; said += (int)sizeof flood) {
            if (send(p->fd, flood, sizeof flood, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                world_run_ms(w, 1);
            world_turn(w);
            most = world_memory(w) > most ? world_memory(w) : most;
        }
        /* One event may bring as much as the kernel holds. */
        assert_in_range(most, MARK, 20 << 20);
        if (always) {
            UNTIL(w, p->rec->closes == 1);
            assert_int_equal(p->rec->end.why, WEIR_WHY_LIMIT);
        } else {
            world_run_ms(w, 20);
            assert_int_equal(p->rec->closes, 0);
        }
        world_end(w);
    }
}

/* Deadlines ask for what filters pass up: wire bytes without content put nothing off. */
static void filters_k07_empty_records_are_no_sign_of_life(void **state)
{
    for (int began = 0; began < 2; began++) {
        struct world *w = world_open(NULL);
        struct side *s = side_of_letters(w);
        s->service.first_byte_ms = 300 * slowness();
        s->service.idle_ms = 300 * slowness();
        s->service.linger_ms = 20;
        side_listen(s, NULL);
        struct peer *p = peer_connect(s);
        if (began)
            peer_say(p, "w", 1);
        for (int i = 0; i < 10000 && p->rec->closes == 0; i++) {
            (void)!send(p->fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
            world_run_ms(w, 5);
        }
        assert_int_equal(p->rec->closes, 1);
        assert_int_equal(p->rec->end.deadline,
                         began ? WEIR_DEADLINE_IDLE : WEIR_DEADLINE_FIRST_BYTE);
        world_end(w);
    }
}

/* What arrived before a cut is whole: it is had, and then the cut is told. */
static void filters_k10_a_cut_comes_behind_what_is_held(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_of_letters(w);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    assert_int_equal(V(w, weir_pause(p->rec->conn)), 0);
    peer_say(p, "whole", 5);
    p->to_send = p->sent;
    p->finish = true;
    world_run_ms(w, 30);
    assert_int_equal(p->rec->closes, 0);
    assert_int_equal(V(w, weir_resume(p->rec->conn)), 0);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->received, 5);
    assert_int_equal(p->rec->end.error, WEIR_ECUT);
    world_end(w);
}

static int straight_got, straight_last, straight_go;

static void takes_late(weir_conn c, void *session)
{
    weir_view in;
    int result;
    while (straight_go == 0)
        weir_yield();
    while ((result = weir_recv(c, &in, WEIR_NEVER)) > 0)
        straight_got += result;
    straight_last = result;
    straight_go = 2;
}

/* The same for a coroutine that has not received it yet. */
static void filters_k10_a_cut_comes_behind_what_is_to_be_received(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_of_letters(w);
    s->service.on_conn = takes_late;
    straight_got = straight_go = 0;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "whole", 5);
    p->to_send = p->sent;
    p->finish = true;
    world_run_ms(w, 30);
    straight_go = 1;
    UNTIL(w, straight_go == 2 && p->rec->closes == 1);
    assert_int_equal(straight_got, 5);
    assert_int_equal(straight_last, WEIR_EGONE);
    assert_int_equal(p->rec->end.error, WEIR_ECUT);
    world_end(w);
}

K_MAIN(T(filters_k09_nothing_is_pulled_for_an_ended_one),
       T(filters_k09_a_close_inside_is_no_failure), T(filters_k06_answers_of_a_filter_are_bounded),
       T(filters_k07_empty_records_are_no_sign_of_life),
       T(filters_k10_a_cut_comes_behind_what_is_held),
       T(filters_k10_a_cut_comes_behind_what_is_to_be_received))
