/* Pools of connections, another try, a second question.
 * ctest: backends */
#include "co/straight.h" /* first: its functions have parameters that are called loop */

#include "unit/co/co_support.h"

#include "co/loop_co.h"

static weir_listener listener;
static char url[WEIR_ADDRESS_TEXT_MAX];
static weir_pool *pool;
static int accepted;

/* --- pools ------------------------------------------------------------------------------------ */

/* Answers each line; "bye" ends, "more" is answered by more than was asked for, as is "late", when
 * its answer has been taken. */
static void serves(weir_conn c, void *session)
{
    weir_view in;
    accepted++;
    while (weir_recv_until(c, &in, "\n", 100, WEIR_NEVER) > 0) {
        bool bye = memcmp(in.data, "bye", 3) == 0, late = memcmp(in.data, "late", 4) == 0;
        bool more = late || memcmp(in.data, "more", 4) == 0;
        if (weir_send_all(c, in, WEIR_NEVER) < 0 || bye)
            return;
        if (late && weir_sleep(soon(5)) < 0)
            return;
        if (more && weir_send_all(c, weir_str("and more\n"), WEIR_NEVER) < 0)
            return;
    }
}

static void begins(const weir_pool_options *options)
{
    static const weir_service service = {.listen = "tcp://127.0.0.1:0", .on_conn = serves};
    weir_address address;
    accepted = 0;
    assert_int_equal(weir_listen(&listener, &service), 0);
    assert_int_equal(weir_listener_address(listener, &address), 0);
    assert_true(weir_address_format(&address, url, sizeof url) >= 0);
    assert_int_equal(weir_pool_new(&pool, options), 0);
}

static void ends(void)
{
    finish();
    assert_int_equal(weir_pool_free(pool), 0);
}

static int asks(weir_conn c, const char *line)
{
    weir_view in;
    int result = weir_send_all(c, weir_str(line), soon(5000));
    return result == 0 ? weir_recv_until(c, &in, "\n", 100, soon(5000)) : result;
}

static void ask_once(const char *line, bool good)
{
    weir_lease lease;
    CHECK(weir_pool_take(pool, url, &lease, soon(5000)) == 0);
    CHECK(asks(lease.conn, line) == (int)strlen(line));
    CHECK(weir_pool_give(&lease, good) == 0);
    CHECK(lease.conn.id == 0 && weir_pool_give(&lease, good) == WEIR_EMISUSE);
}

/* What the peer has done comes, however late the machine is: what a look at the clock has missed,
 * the next ones do not. */
static void turns_pass(void)
{
    for (int i = 0; i < 10; i++)
        CHECK(weir_sleep(soon(2)) == 0);
}

static void uses_again(void *arg)
{
    for (int i = 0; i < 5; i++)
        ask_once("hello\n", true);
    CHECK(accepted == 1 && weir_pool_count(pool) == 1);
    ask_once("hello\n", false); /* closed */
    CHECK(weir_pool_count(pool) == 0);
    ask_once("hello\n", true);
    CHECK(accepted == 2);
    ask_once("bye\n", true);
    turns_pass(); /* its end has come */
    ask_once("hello\n", true);
    CHECK(accepted == 3 && weir_pool_count(pool) == 1);
    ask_once("more\n", true); /* what nobody asked for comes: the next must not take it for his */
    turns_pass();
    ask_once("hello\n", true);
    CHECK(accepted == 4 && weir_pool_count(pool) == 1);
    ask_once("late\n", true); /* nobody receives when it comes */
    turns_pass();
    ask_once("hello\n", true);
    CHECK(accepted == 5 && weir_pool_count(pool) == 1);
}

static void one_is_used_again_while_it_is_in_order(void **state)
{
    begins(NULL);
    go(uses_again, NULL);
    ends();
}

struct user {
    char name;
    weir_time deadline;
    int result;
    bool good;
};

static void uses(void *arg)
{
    struct user *user = arg;
    weir_lease lease;
    user->result = weir_pool_take(pool, url, &lease, user->deadline);
    if (user->result < 0) {
        note('-');
        return;
    }
    note(user->name);
    CHECK(weir_pool_count(pool) <= 2);
    CHECK(asks(lease.conn, "hello\n") == 6);
    CHECK(weir_sleep(soon(5)) == 0);
    CHECK(weir_pool_give(&lease, user->good) == 0);
}

/* Eight for two connections, of whom the fifth has no patience. */
static void eight(bool good)
{
    struct user users[8];
    memset(trace, 0, sizeof trace);
    start_count = 0;
    for (unsigned i = 0; i < 8; i++) {
        users[i] = (struct user){.name = (char)('a' + i), .deadline = soon(5000), .good = good};
        if (i == 4)
            users[i].deadline = soon(1);
        go(uses, &users[i]);
    }
    finish();
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(users[i].result, i == 4 ? WEIR_ETIMEDOUT : 0);
    assert_int_equal(strlen(trace), 8);
}

static void waiters_are_served_in_order(void **state)
{
    weir_pool_options options = {.conns_max = 2};
    char order[8] = "";
    begins(&options);
    eight(true);
    for (size_t i = 0, at = 0; i < strlen(trace); i++)
        if (trace[i] != '-')
            order[at++] = trace[i];
    assert_memory_equal(order, "abcdfgh", 8);
    assert_int_equal(accepted, 2);
    eight(false); /* each makes one of its own, when it is its turn */
    assert_int_equal(accepted, 2 + 7 - 2);
    assert_int_equal(weir_pool_count(pool), 0);
    ends();
}

static void idles(void *arg)
{
    weir_lease leases[3];
    for (int i = 0; i < 3; i++)
        CHECK(weir_pool_take(pool, url, &leases[i], soon(5000)) == 0);
    CHECK(weir_pool_free(pool) == WEIR_EMISUSE);
    weir_conn second = leases[1].conn;
    for (int i = 0; i < 3; i++)
        CHECK(weir_pool_give(&leases[i], true) == 0);
    CHECK(weir_pool_count(pool) == 2); /* more are not kept */
    CHECK(weir_pool_take(pool, url, &leases[0], soon(5000)) == 0);
    CHECK(leases[0].conn.id == second.id); /* the last one: the others may become old */
    CHECK(weir_pool_give(&leases[0], true) == 0);
    CHECK(weir_sleep(soon(20)) == 0);
    CHECK(weir_pool_count(pool) == 2);
    weir_time until = soon(5000);
    while (weir_pool_count(pool) != 0 && weir_now() < until)
        CHECK(weir_sleep(soon(10)) == 0);
    CHECK(weir_pool_count(pool) == 0);
    ask_once("hello\n", true);
    CHECK(accepted == 4);
}

static void idle_ones_are_few_and_end(void **state)
{
    weir_pool_options options = {.idle_max = 2, .idle_ms = 400};
    begins(&options);
    go(idles, NULL);
    ends();
}

static int takes_in_scope(void *arg)
{
    uses(arg);
    return ((struct user *)arg)->result;
}

/* Given to one that is canceled in the same turn: it has it, and gives it back. */
static void cancels_taker(void *arg)
{
    struct user user = {.name = 'u', .deadline = WEIR_NEVER, .good = true};
    weir_lease lease;
    weir_scope scope;
    for (int gives = 0; gives < 2; gives++) {
        CHECK(weir_pool_take(pool, url, &lease, soon(5000)) == 0);
        CHECK(weir_scope_open(&scope, NULL) == 0);
        CHECK(weir_scope_spawn(&scope, takes_in_scope, &user) == 0);
        CHECK(weir_yield() == 0);
        if (gives)
            CHECK(weir_pool_give(&lease, true) == 0);
        CHECK((gives ? weir_scope_leave(&scope, WEIR_NEVER) : weir_scope_close(&scope)) ==
              (gives ? 0 : WEIR_ECANCELED));
        CHECK(user.result == (gives ? 0 : WEIR_ECANCELED));
        if (!gives)
            CHECK(weir_pool_give(&lease, true) == 0);
    }
    CHECK(weir_pool_count(pool) == 1 && accepted == 1);
}

static void a_canceled_taker_leaves_it_to_others(void **state)
{
    weir_pool_options options = {.conns_max = 1};
    begins(&options);
    go(cancels_taker, NULL);
    ends();
}

/* The look at a connection is no receive: views stay, and it is not a wait. */
static void looks(void *arg)
{
    weir_lease leases[2];
    weir_view in;
    for (int i = 0; i < 2; i++)
        CHECK(weir_pool_take(pool, url, &leases[i], soon(5000)) == 0);
    CHECK(weir_send_all(leases[0].conn, weir_str("hello\n"), soon(5000)) == 0);
    CHECK(weir_recv_until(leases[0].conn, &in, "\n", 100, soon(5000)) == 6);
    CHECK(weir_pool_give(&leases[0], false) == 0);
    CHECK(weir_pool_give(&leases[1], true) == 0);
    CHECK(weir_sleep(soon(5)) == 0); /* the first one is gone, and its view is the coroutine's */
    const struct co_left *left = co_local(co_current())->left;
    CHECK(left != NULL);
    uint64_t turns = loop->counters.turns;
    for (int i = 0; i < 300; i++) { /* more than may be received in a turn */
        CHECK(weir_pool_take(pool, url, &leases[0], soon(5000)) == 0);
        CHECK(weir_pool_give(&leases[0], true) == 0);
    }
    CHECK(loop->counters.turns == turns);
    CHECK(co_local(co_current())->left == left && memcmp(in.data, "hello\n", 6) == 0);
    CHECK(weir_pool_count(pool) == 1 && accepted == 2);
    CHECK(weir_pool_take(pool, url, &leases[0], soon(5000)) == 0);
    co_owe(WEIR_EGONE);
    CHECK(receive_quiet(leases[0].conn));
    CHECK(weir_sleep(soon(1)) == WEIR_EGONE); /* it is told yet */
    CHECK(weir_pool_give(&leases[0], true) == 0);
}

static void a_look_is_no_receive(void **state)
{
    begins(NULL);
    go(looks, NULL);
    ends();
}

static int takes_and_gives(void *arg)
{
    weir_lease lease;
    *(int *)arg = weir_pool_take(pool, url, &lease, WEIR_NEVER);
    return *(int *)arg == 0 ? weir_pool_give(&lease, true) : *(int *)arg;
}

/* It has got the connection, and is canceled before it runs: that is not the connection's fault. */
static void cancels_who_was_given(void *arg)
{
    int result = 1;
    weir_lease lease;
    weir_scope scope;
    CHECK(weir_pool_take(pool, url, &lease, soon(5000)) == 0);
    CHECK(weir_scope_open(&scope, NULL) == 0);
    CHECK(weir_scope_spawn(&scope, takes_and_gives, &result) == 0);
    CHECK(weir_yield() == 0);
    CHECK(weir_pool_give(&lease, true) == 0);
    int closed = weir_scope_close(&scope);
    CHECK(closed == 0 || closed == WEIR_ECANCELED);
    CHECK(result == 0 && weir_pool_count(pool) == 1);
    ask_once("hello\n", true);
    CHECK(accepted == 1);
}

static void a_notice_does_not_end_a_connection(void **state)
{
    weir_pool_options options = {.conns_max = 1};
    begins(&options);
    go(cancels_who_was_given, NULL);
    ends();
}

static void gives_copies(void *arg)
{
    weir_lease first, copy, second;
    CHECK(weir_pool_take(pool, url, &first, soon(5000)) == 0);
    copy = first;
    CHECK(weir_pool_give(&first, true) == 0);
    CHECK(weir_pool_give(&copy, true) == WEIR_EMISUSE);
    CHECK(weir_pool_take(pool, url, &second, soon(5000)) == 0); /* the same connection */
    CHECK(second.conn.id == copy.conn.id);
    CHECK(weir_pool_give(&copy, false) == WEIR_EMISUSE);
    CHECK(asks(second.conn, "hello\n") == 6); /* it is lent still */
    copy = second;
    CHECK(weir_pool_give(&second, false) == 0); /* closed, and its record is freed */
    CHECK(weir_pool_give(&copy, true) == WEIR_EMISUSE);
    CHECK(weir_pool_count(pool) == 0);
}

static void a_copy_is_not_given_back_again(void **state)
{
    begins(NULL);
    go(gives_copies, NULL);
    ends();
}

/* Of a program whose weir_service ends before .tls: what lies behind is not its. */
static void takes_with_less(void *arg)
{
    weir_lease lease;
    memcpy(url, "tls", 3); /* in place of tcp */
    CHECK(weir_pool_take(pool, url, &lease, soon(5000)) == WEIR_EINVALID);
    CHECK(weir_pool_count(pool) == 0);
}

static void a_service_has_the_programs_size(void **state)
{
    static const weir_layer behind;
    static const weir_service service = {.straight = true, .tls = &behind};
    weir_pool_options options = {.service = &service};
    begins(NULL);
    assert_int_equal(weir_pool_free(pool), 0);
    assert_int_equal(weir__pool_make(&pool, &options, sizeof options, offsetof(weir_service, tls)),
                     0);
    go(takes_with_less, NULL);
    ends();
}

static void takes_nowhere(void *arg)
{
    weir_lease lease;
    CHECK(weir_listener_close(listener) == 0);
    CHECK(weir_sleep(soon(5)) == 0);
    CHECK(weir_pool_take(pool, url, &lease, soon(5000)) == -ECONNREFUSED);
    CHECK(weir_pool_take(pool, "nonsense", &lease, soon(5000)) < 0);
    CHECK(weir_pool_take(pool, NULL, &lease, 0) == WEIR_EINVALID);
    CHECK(weir_pool_count(pool) == 0);
}

static void nobody_is_there(void **state)
{
    static const weir_service events = {.on_conn = serves};
    weir_pool_options options = {.service = &events};
    weir_pool *other;
    weir_lease lease;
    begins(NULL);
    assert_int_equal(weir_pool_new(&other, &options), WEIR_EINVALID);
    assert_int_equal(weir_pool_take(pool, url, &lease, WEIR_NEVER),
                     WEIR_EMISUSE); /* no coroutine */
    go(takes_nowhere, NULL);
    ends();
}

/* --- another try ------------------------------------------------------------------------------ */

static int tries, succeeds_at;

static int tried(void *arg, weir_time deadline)
{
    return ++tries == succeeds_at ? 7 : *(int *)arg;
}

static bool not_perm(int error)
{
    return error != -EPERM;
}

static void retries(void *arg)
{
    weir_retry_options options = {.tries_max = 5, .first_ms = 4, .most_ms = 6, .again = not_perm};
    int error = -ECONNREFUSED, perm = -EPERM, misuse = WEIR_EMISUSE;
    weir_time began = weir_now();
    succeeds_at = 4;
    CHECK(weir_retry(tried, &error, &options, WEIR_NEVER) == 7);
    CHECK(tries == 4);
    CHECK(weir_now() - began >= (2 + 3 + 3) * WEIR_MS); /* at least the halves */
    tries = succeeds_at = 0;
    CHECK(weir_retry(tried, &error, &options, WEIR_NEVER) == -ECONNREFUSED);
    CHECK(tries == 5);
    tries = 0;
    CHECK(weir_retry(tried, &perm, &options, WEIR_NEVER) == -EPERM);
    CHECK(weir_retry(tried, &misuse, NULL, WEIR_NEVER) == WEIR_EMISUSE);
    CHECK(tries == 2);
    options.first_ms = options.most_ms = 60000; /* that pause would come too late */
    CHECK(weir_retry(tried, &error, &options, soon(1000)) == -ECONNREFUSED);
    CHECK(tries == 3 && weir_now() - began < WEIR_S);
    options.most_ms = 1;
    CHECK(weir_retry(tried, &error, &options, WEIR_NEVER) == WEIR_EINVALID);
}

static int retries_in_scope(void *arg)
{
    weir_retry_options options = {.first_ms = 60000, .most_ms = 60000};
    int error = -EIO;
    int result = weir_retry(tried, &error, &options, WEIR_NEVER);
    CHECK(result == WEIR_ECANCELED);
    return result;
}

static void cancels_retry(void *arg)
{
    weir_scope scope;
    CHECK(weir_scope_open(&scope, NULL) == 0);
    CHECK(weir_scope_spawn(&scope, retries_in_scope, NULL) == 0);
    CHECK(weir_sleep(soon(2)) == 0);
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
}

static void tries_are_counted_and_paused(void **state)
{
    tries = 0;
    go(retries, NULL);
    finish();
    go(cancels_retry, NULL);
    finish();
}

/* --- a second question ------------------------------------------------------------------------ */

struct question {
    unsigned ms; /* until it is answered */
    int result, slept;
    bool begun, ended;
    int place; /* in which it ended */
};

static int ended_count;

static int answered(void *arg, weir_time deadline)
{
    struct question *question = arg;
    question->begun = true;
    question->slept = weir_sleep(question->ms != 0 ? soon(question->ms) : WEIR_NEVER);
    question->ended = true;
    return question->slept < 0 ? question->slept : question->result;
}

static int hedges(struct question *questions, unsigned count, unsigned delay_ms, weir_time deadline)
{
    void *args[4] = {NULL};
    for (unsigned i = 0; i < count; i++) {
        questions[i].begun = questions[i].ended = false;
        args[i] = &questions[i];
    }
    int result = weir_hedge(answered, args, count, delay_ms * WEIR_MS, deadline);
    for (unsigned i = 0; i < count; i++)
        CHECK(questions[i].begun == questions[i].ended); /* all have returned */
    return result;
}

static void hedges_all(void *arg)
{
    struct question quick[] = {{.ms = 1}, {.ms = 1}};
    struct question slow[] = {{.ms = 0}, {.ms = 2}};
    struct question failing[] = {{.ms = 1, .result = -EIO}, {.ms = 1, .result = -EPERM}};
    struct question never[] = {{.ms = 0}, {.ms = 0}, {.ms = 0}};
    CHECK(hedges(quick, 2, 5000, WEIR_NEVER) == 0 && !quick[1].begun);
    CHECK(hedges(slow, 2, 2, WEIR_NEVER) == 1 && slow[0].slept == WEIR_ECANCELED);
    weir_time began = weir_now();
    CHECK(hedges(failing, 2, 5000, WEIR_NEVER) == -EPERM); /* the second begins at once then */
    failing[1].result = 0;
    CHECK(hedges(failing, 2, 5000, WEIR_NEVER) == 1);
    CHECK(weir_now() - began < 5 * WEIR_S);
    CHECK(hedges(never, 3, 1, soon(20)) == WEIR_ETIMEDOUT && never[2].begun);
    CHECK(hedges(never, 3, 0, soon(5)) == WEIR_ETIMEDOUT && never[2].begun);
    CHECK(weir_hedge(answered, NULL, 1, 0, 0) == WEIR_EINVALID);
    CHECK(weir_sleep(soon(1)) == 0); /* its scope is gone */
}

static weir_waitgroup gate;

static int passes_gate(void *arg, weir_time deadline)
{
    struct question *question = arg;
    int result = weir_waitgroup_wait(&gate, deadline);
    question->place = ++ended_count;
    return result;
}

static void opens_gate(void *arg)
{
    CHECK(weir_sleep(soon(2)) == 0);
    CHECK(weir_waitgroup_done(&gate) == 0);
}

/* Both are woken at once: the first to end counts, not the last. */
static void hedges_two_at_once(void *arg)
{
    struct question both[2] = {{.ms = 0}, {.ms = 0}};
    void *args[] = {&both[0], &both[1]};
    memset(&gate, 0, sizeof gate);
    ended_count = 0;
    CHECK(weir_waitgroup_add(&gate, 1) == 0);
    CHECK(weir_spawn(opens_gate, NULL) == 0);
    int first = weir_hedge(passes_gate, args, 2, 0, soon(5000));
    CHECK(first >= 0 && first < 2 && both[first].place == 1 && ended_count == 2);
}

static int hedges_in_scope(void *arg)
{
    int result = hedges(arg, 2, 1, WEIR_NEVER);
    CHECK(result == WEIR_ECANCELED);
    return result;
}

static void cancels_hedge(void *arg)
{
    struct question never[] = {{.ms = 0}, {.ms = 0}};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, NULL) == 0);
    CHECK(weir_scope_spawn(&scope, hedges_in_scope, never) == 0);
    CHECK(weir_sleep(soon(5)) == 0);
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
    CHECK(never[0].slept == WEIR_ECANCELED);
}

static void the_first_that_succeeds_counts(void **state)
{
    go(hedges_all, NULL);
    go(hedges_two_at_once, NULL);
    finish();
    go(cancels_hedge, NULL);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(one_is_used_again_while_it_is_in_order),
        CASE(waiters_are_served_in_order),
        CASE(idle_ones_are_few_and_end),
        CASE(a_canceled_taker_leaves_it_to_others),
        CASE(a_look_is_no_receive),
        CASE(a_notice_does_not_end_a_connection),
        CASE(a_copy_is_not_given_back_again),
        CASE(a_service_has_the_programs_size),
        CASE(nobody_is_there),
        CASE(tries_are_counted_and_paused),
        CASE(the_first_that_succeeds_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
