/* Scopes: leaving waits, a failure cancels, cleaning up may wait, and nothing outlives them.
 * ctest: backends */
#include "unit/co/co_support.h"

#include "base/alloc.h"
#include "co/scope.h"

enum { GRACE_MS = 600 };

struct child {
    weir_time until;
    int returns;
    int slept; /* what the sleep said */
    bool began, ended;
};

static int sleeps(void *arg)
{
    struct child *child = arg;
    child->began = true;
    child->slept = weir_sleep(child->until);
    child->ended = true;
    return child->slept < 0 ? child->slept : child->returns;
}

static void spawn(weir_scope *scope, weir_scope_fn *fn, void *arg)
{
    CHECK(weir_scope_spawn(scope, fn, arg) == 0);
}

/* --- leaving ---------------------------------------------------------------------------------- */

static void leaves(void *arg)
{
    struct child children[3] = {0};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, NULL) == 0);
    for (unsigned i = 0; i < 3; i++) {
        children[i].until = soon(3 - i);
        spawn(&scope, sleeps, &children[i]);
    }
    CHECK(!children[0].began); /* never inside the call */
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == 0);
    for (unsigned i = 0; i < 3; i++)
        CHECK(children[i].ended && children[i].slept == 0);
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == WEIR_EMISUSE);
    CHECK(weir_scope_spawn(&scope, sleeps, &children[0]) == WEIR_EMISUSE);
    CHECK(weir_scope_open(&scope, NULL) == 0);
    CHECK(weir_scope_leave(&scope, 0) == 0); /* nobody is there to be waited for */
}

static void leaving_waits_for_all(void **state)
{
    go(leaves, NULL);
    finish();
}

static void fails_one(void *arg)
{
    struct child children[3] = {
        {.until = WEIR_NEVER}, {.until = soon(1), .returns = -EIO}, {.until = WEIR_NEVER}};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, NULL) == 0);
    for (unsigned i = 0; i < 3; i++)
        spawn(&scope, sleeps, &children[i]);
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == -EIO);
    CHECK(children[0].slept == WEIR_ECANCELED && children[0].ended);
    CHECK(children[2].slept == WEIR_ECANCELED && children[2].ended);
    CHECK(weir_sleep(soon(1)) == 0); /* it is over with the scope */
}

static void a_failure_cancels_the_others(void **state)
{
    go(fails_one, NULL);
    finish();
}

static void waits_itself(void *arg)
{
    struct child failing = {.until = soon(1), .returns = -EIO};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, NULL) == 0);
    spawn(&scope, sleeps, &failing);
    CHECK(weir_sleep(WEIR_NEVER) == WEIR_ECANCELED);
    CHECK(weir_yield() == WEIR_ECANCELED);
    CHECK(weir_scope_spawn(&scope, sleeps, &failing) == WEIR_ECANCELED);
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == -EIO);
    CHECK(weir_yield() == 0);
}

static void a_failure_reaches_who_has_opened_it(void **state)
{
    go(waits_itself, NULL);
    finish();
}

static int fails_at_once(void *arg)
{
    return *(int *)arg;
}

static void two_failures(void *arg)
{
    int first = -EIO, second = -EPERM, count = 5;
    weir_scope scope;
    CHECK(weir_scope_open(&scope, NULL) == 0);
    spawn(&scope, fails_at_once, &count); /* that is none */
    spawn(&scope, fails_at_once, &first);
    spawn(&scope, fails_at_once, &second);
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == -EIO);
}

static void the_first_failure_is_told(void **state)
{
    go(two_failures, NULL);
    finish();
}

static void leaves_in_time(void *arg)
{
    struct child children[2] = {{.until = WEIR_NEVER}, {.until = WEIR_NEVER}};
    weir_scope scope;
    for (unsigned i = 0; i < 2; i++) {
        CHECK(weir_scope_open(&scope, NULL) == 0);
        spawn(&scope, sleeps, &children[i]);
        CHECK(weir_scope_leave(&scope, i == 0 ? soon(2) : 0) == WEIR_ETIMEDOUT);
        CHECK(children[i].ended && children[i].slept == WEIR_ECANCELED);
    }
}

static void a_deadline_cancels_and_waits(void **state)
{
    go(leaves_in_time, NULL);
    finish();
}

static void closes(void *arg)
{
    struct child child = {.until = WEIR_NEVER};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, NULL) == 0);
    spawn(&scope, sleeps, &child);
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
    CHECK(child.began && child.ended && child.slept == WEIR_ECANCELED); /* it is called anyway */
    /* Its own cancellation must not reach a wait that comes after the scope. */
    CHECK(weir_sleep(soon(2)) == 0);
    CHECK(weir_scope_open(&scope, NULL) == 0);
    CHECK(weir_scope_cancel(&scope) == 0);
    CHECK(weir_scope_cancel(&scope) == 0);
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == WEIR_ECANCELED);
    CHECK(weir_sleep(soon(2)) == 0);
}

static void closing_cancels(void **state)
{
    go(closes, NULL);
    finish();
}

static void cut_short(void *arg)
{
    struct child child = {.until = WEIR_NEVER};
    weir_scope scope;
    *(struct co **)arg = co_current();
    CHECK(weir_scope_open(&scope, NULL) == 0);
    spawn(&scope, sleeps, &child);
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == WEIR_EGONE);
    CHECK(child.ended);
}

/* The client of a handler goes while this waits for others on its behalf: they need not go on. */
static void a_leave_that_is_cut_short_cancels(void **state)
{
    struct co *co = NULL;
    go(cut_short, &co);
    turn();
    assert_non_null(co);
    co_tell(co, WEIR_EGONE);
    finish();
}

/* --- within each other ------------------------------------------------------------------------ */

struct tree {
    int depth;
    int leaf, inner;
};

static int grows(void *arg)
{
    struct tree *tree = arg, below = {.depth = tree->depth - 1};
    weir_scope scope;
    if (tree->depth == 0) {
        tree->leaf = weir_sleep(WEIR_NEVER);
        return tree->leaf;
    }
    CHECK(weir_scope_open(&scope, NULL) == 0);
    spawn(&scope, grows, &below);
    tree->inner = weir_scope_leave(&scope, WEIR_NEVER);
    tree->leaf = below.leaf;
    CHECK(tree->depth == 1 || below.inner == WEIR_ECANCELED);
    return tree->inner;
}

static void cancels_a_tree(void *arg)
{
    struct tree trees[2] = {{.depth = 5}, {.depth = 3}};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, NULL) == 0);
    spawn(&scope, grows, &trees[0]);
    spawn(&scope, grows, &trees[1]);
    CHECK(weir_sleep(soon(2)) == 0); /* they are all there */
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
    for (unsigned i = 0; i < 2; i++)
        CHECK(trees[i].leaf == WEIR_ECANCELED && trees[i].inner == WEIR_ECANCELED);
}

static void a_cancellation_reaches_every_leaf(void **state)
{
    go(cancels_a_tree, NULL);
    finish();
}

static void fails_within(void *arg)
{
    struct child outer_child = {.until = soon(4)};
    int failure = -EIO;
    weir_scope outer, inner;
    CHECK(weir_scope_open(&outer, NULL) == 0);
    spawn(&outer, sleeps, &outer_child);
    CHECK(weir_scope_open(&inner, NULL) == 0);
    CHECK(weir_scope_leave(&outer, WEIR_NEVER) == WEIR_EMISUSE); /* not its turn */
    spawn(&inner, fails_at_once, &failure);
    CHECK(weir_scope_leave(&inner, WEIR_NEVER) == -EIO);
    CHECK(weir_yield() == 0); /* the outer one goes on */
    CHECK(weir_scope_leave(&outer, WEIR_NEVER) == 0);
    CHECK(outer_child.slept == 0);
}

static void a_failure_stays_within_its_scope(void **state)
{
    go(fails_within, NULL);
    finish();
}

enum { NESTED = 3000 };

static void nests(void *arg)
{
    weir_scope *scopes = arg;
    for (int i = 0; i < NESTED; i++)
        CHECK(weir_scope_open(&scopes[i], NULL) == 0);
    CHECK(weir_scope_cancel(&scopes[0]) == 0);
    for (int i = NESTED - 1; i >= 0; i--)
        CHECK(weir_scope_leave(&scopes[i], WEIR_NEVER) == WEIR_ECANCELED);
    CHECK(weir_yield() == 0);
    CHECK(weir_scope_open(&scopes[0], NULL) == 0);
    CHECK(weir_scope_cancel(&scopes[0]) == 0);
    CHECK(weir_scope_open(&scopes[1], NULL) == 0); /* born canceled */
    CHECK(weir_sleep(WEIR_NEVER) == WEIR_ECANCELED);
    CHECK(weir_scope_leave(&scopes[1], WEIR_NEVER) == WEIR_ECANCELED);
    CHECK(weir_scope_leave(&scopes[0], WEIR_NEVER) == WEIR_ECANCELED);
}

static void they_may_be_many_deep(void **state)
{
    weir_scope *scopes = weir__alloc(NESTED * sizeof *scopes);
    assert_non_null(scopes);
    go(nests, scopes);
    finish();
    weir__free(scopes);
}

/* --- grace ------------------------------------------------------------------------------------ */

static int cleans_up(void *arg)
{
    CHECK(weir_sleep(WEIR_NEVER) == WEIR_ECANCELED);
    CHECK(weir_sleep(soon(1)) == WEIR_ECANCELED);
    CHECK(weir_grace_begin() == 0);
    CHECK(weir_sleep(soon(2)) == 0);
    CHECK(weir_grace_begin() == 0); /* they count */
    CHECK(weir_grace_end() == 0);
    CHECK(weir_sleep(soon(1)) == 0);
    CHECK(weir_grace_end() == 0);
    CHECK(weir_sleep(soon(1)) == WEIR_ECANCELED);
    CHECK(weir_grace_end() == WEIR_EMISUSE);
    note('c');
    return WEIR_ECANCELED;
}

static int takes_too_long(void *arg)
{
    weir_time began = weir_now();
    CHECK(weir_grace_begin() == 0); /* before it is canceled: that does not cut its wait */
    CHECK(weir_sleep(WEIR_NEVER) == WEIR_ECANCELED);
    CHECK(weir_now() - began >= GRACE_MS * WEIR_MS);
    CHECK(weir_sleep(soon(1)) == WEIR_ECANCELED);
    CHECK(weir_grace_begin() == WEIR_ECANCELED);
    note('l');
    return 0;
}

static void cancels_with_grace(void *arg)
{
    weir_scope_options options = {.name = "grace", .grace_ms = GRACE_MS};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, &options) == 0);
    spawn(&scope, cleans_up, NULL);
    spawn(&scope, takes_too_long, NULL);
    CHECK(weir_yield() == 0);
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
}

static void cleaning_up_may_wait_for_a_while(void **state)
{
    go(cancels_with_grace, NULL);
    finish();
    assert_string_equal(trace, "cl");
    assert_int_equal(weir_grace_begin(), WEIR_EMISUSE);
    assert_int_equal(weir_grace_end(), WEIR_EMISUSE);
}

static int opens_with_more(void *arg)
{
    weir_scope_options options = {.grace_ms = 60000};
    weir_scope scope;
    int result;
    CHECK(weir_scope_open(&scope, &options) == 0);
    spawn(&scope, takes_too_long, NULL);
    result = weir_scope_leave(&scope, WEIR_NEVER);
    CHECK(result == WEIR_ECANCELED);
    return result;
}

static void cancels_the_outer(void *arg)
{
    weir_scope_options options = {.grace_ms = GRACE_MS};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, &options) == 0);
    spawn(&scope, opens_with_more, NULL);
    CHECK(weir_sleep(soon(2)) == 0);
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
}

static void no_inner_scope_has_a_longer_grace(void **state)
{
    go(cancels_the_outer, NULL);
    finish();
    assert_string_equal(trace, "l");
}

static weir_scope *canceled_first;

static int opens_and_is_canceled(void *arg)
{
    weir_scope_options options = {.grace_ms = 60000};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, &options) == 0);
    canceled_first = &scope;
    spawn(&scope, takes_too_long, NULL);
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == WEIR_ECANCELED);
    return 0;
}

static void cancels_inner_then_outer(void *arg)
{
    weir_scope_options options = {.grace_ms = GRACE_MS};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, &options) == 0);
    spawn(&scope, opens_and_is_canceled, NULL);
    CHECK(weir_sleep(soon(2)) == 0);
    CHECK(weir_scope_cancel(canceled_first) == 0);
    CHECK(weir_sleep(soon(2)) == 0); /* that is not within it */
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
}

static void an_outer_end_shortens_a_grace(void **state)
{
    go(cancels_inner_then_outer, NULL);
    finish();
    assert_string_equal(trace, "l");
}

/* --- limits and misuse ------------------------------------------------------------------------ */

static void spawns_many(void *arg)
{
    weir_scope_options options = {.coroutines_max = 2};
    struct child children[3] = {{.until = soon(1)}, {.until = soon(1)}, {.until = soon(1)}};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, &options) == 0);
    spawn(&scope, sleeps, &children[0]);
    spawn(&scope, sleeps, &children[1]);
    CHECK(weir_scope_spawn(&scope, sleeps, &children[2]) == WEIR_EFULL);
    CHECK(weir_scope_spawn(&scope, NULL, NULL) == WEIR_EINVALID);
    CHECK(weir_sleep(soon(3)) == 0);
    spawn(&scope, sleeps, &children[2]); /* there is room again */
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == 0);
    CHECK(children[2].slept == 0);
}

static void the_number_is_limited(void **state)
{
    go(spawns_many, NULL);
    finish();
}

static weir_scope shown;

static void shows(void *arg)
{
    CHECK(weir_scope_open(&shown, NULL) == 0);
    CHECK(weir_sleep(WEIR_NEVER) == WEIR_ECANCELED);
    CHECK(weir_scope_leave(&shown, WEIR_NEVER) == -EIO);
}

static int leaves_anothers(void *arg)
{
    CHECK(weir_scope_leave(&shown, 0) == WEIR_EMISUSE);
    CHECK(weir_scope_close(&shown) == WEIR_EMISUSE);
    CHECK(weir_yield() == 0); /* and nothing was canceled */
    note('o');
    return 0;
}

static void others_may_spawn_but_not_leave(void **state)
{
    struct child failing = {.returns = -EIO};
    weir_scope mine;
    assert_int_equal(weir_scope_open(&mine, NULL), WEIR_EMISUSE);
    go(shows, NULL);
    turn();
    assert_int_equal(weir_scope_spawn(&shown, leaves_anothers, NULL), 0); /* as a handler does */
    turn();
    turn();
    assert_string_equal(trace, "o");
    assert_int_equal(weir_scope_leave(&shown, 0), WEIR_EMISUSE);
    assert_int_equal(weir_scope_spawn(&shown, sleeps, &failing), 0);
    finish();
    assert_true(failing.ended);
    assert_int_equal(weir_scope_spawn(&shown, sleeps, &failing), WEIR_EMISUSE);
    assert_int_equal(weir_scope_cancel(&shown), WEIR_EMISUSE);
}

/* --- the end of the loop ---------------------------------------------------------------------- */

static char last_line[256];

static void keep_line(const weir_log_line *line, void *arg)
{
    if (strstr(line->text, "scope") != NULL)
        snprintf(last_line, sizeof last_line, "%s", line->text);
}

static int lasts(void *arg)
{
    CHECK(weir_sleep(WEIR_NEVER) == WEIR_ECANCELED);
    CHECK(weir_grace_begin() == WEIR_ECANCELED); /* no time passes any more */
    CHECK(weir_sleep(soon(1)) == WEIR_ECANCELED);
    note('c');
    return WEIR_ECANCELED;
}

static void outlives(void *arg)
{
    weir_scope_options options = {.name = "the last"};
    weir_scope scope;
    CHECK(weir_scope_open(&scope, &options) == 0);
    spawn(&scope, lasts, NULL);
    spawn(&scope, lasts, NULL);
    if (arg != NULL)
        CHECK(weir_sleep(WEIR_NEVER) == WEIR_ECANCELED);
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == WEIR_ECANCELED);
    note('o');
}

static void end_with(void *arg)
{
    weir_log_set(keep_line, NULL, WEIR_LOG_INFO);
    go(outlives, arg);
    turn();
    loop_enter(former);
    weir_loop_free(loop);
    loop = NULL;
    weir_log_set(NULL, NULL, WEIR_LOG_OFF);
    assert_int_equal(broke, 0);
    assert_int_equal(running, 0);
    assert_string_equal(trace, "cco"); /* the members first */
    assert_non_null(strstr(last_line, "3 coroutines wait, 3 of them in scopes, the first in the "
                                      "last"));
}

static void the_end_of_the_loop_reports_what_is_left(void **state)
{
    end_with(NULL);
}

static void the_end_of_the_loop_finds_the_owner_elsewhere(void **state)
{
    end_with(&last_line);
}

#ifdef NDEBUG
static weir_scope forgotten;

static int lasts_long(void *arg)
{
    CHECK(weir_sleep(WEIR_NEVER) == WEIR_ECANCELED);
    note('c');
    return WEIR_ECANCELED;
}

static int lasts_still(void *arg)
{
    weir_scope inner;
    CHECK(weir_scope_open(&inner, NULL) == 0);
    spawn(&inner, lasts_long, NULL);
    CHECK(weir_grace_begin() == 0);
    CHECK(weir_sleep(WEIR_NEVER) == WEIR_ECANCELED); /* there is no grace */
    CHECK(weir_scope_leave(&inner, WEIR_NEVER) == WEIR_ECANCELED);
    note('s');
    return -EIO; /* there is nobody to hear it */
}

static void forgets(void *arg)
{
    CHECK(weir_scope_open(&forgotten, NULL) == 0);
    spawn(&forgotten, lasts_still, NULL);
    spawn(&forgotten, lasts_long, NULL);
    CHECK(weir_yield() == 0);
    note('f');
}

static void a_scope_that_is_not_left_is_reported(void **state)
{
    weir_log_set(keep_line, NULL, WEIR_LOG_ERROR);
    go(forgets, NULL);
    finish();
    for (int i = 0; i < 10; i++)
        turn();
    weir_log_set(NULL, NULL, WEIR_LOG_OFF);
    assert_string_equal(trace, "fccs");
    assert_int_equal(broke, 0);
    assert_non_null(strstr(last_line, "without leaving a scope"));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(leaving_waits_for_all),
        CASE(a_failure_cancels_the_others),
        CASE(a_failure_reaches_who_has_opened_it),
        CASE(the_first_failure_is_told),
        CASE(a_deadline_cancels_and_waits),
        CASE(closing_cancels),
        CASE(a_leave_that_is_cut_short_cancels),
        CASE(a_cancellation_reaches_every_leaf),
        CASE(a_failure_stays_within_its_scope),
        CASE(they_may_be_many_deep),
        CASE(cleaning_up_may_wait_for_a_while),
        CASE(no_inner_scope_has_a_longer_grace),
        CASE(an_outer_end_shortens_a_grace),
        CASE(the_number_is_limited),
        CASE(others_may_spawn_but_not_leave),
        CASE(the_end_of_the_loop_reports_what_is_left),
        CASE(the_end_of_the_loop_finds_the_owner_elsewhere),
#ifdef NDEBUG /* a debug build stops there */
        CASE(a_scope_that_is_not_left_is_reported),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
