/* A resolver on a loop of the test: ends in every moment, misuse, and memory that is short. The
 * answers themselves are e2e/resolver's. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <weir/error.h>
#include <weir/resolve.h>

#include "base/alloc.h"

static weir_loop *loop;
static weir_resolver *resolver;
static unsigned told;
static int last_error;
static char servers[64];
static int silent = -1; /* a socket that is asked and says nothing */

static const char none[] = "/dev/null/none";

static int begin(void **state)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof in4;

    silent = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (bind(silent, (struct sockaddr *)&in4, size) < 0 ||
        getsockname(silent, (struct sockaddr *)&in4, &size) < 0)
        return -1;
    snprintf(servers, sizeof servers, "127.0.0.1:%u", ntohs(in4.sin_port));
    told = 0;
    if (weir_loop_new(&loop, NULL) < 0)
        return -1;
    weir_loop_enter(loop);
    weir_resolver_options o = {.servers = servers,
                               .hosts = none,
                               .nsswitch = none,
                               .resolv_conf = none,
                               .timeout_ms = 50,
                               .attempts = 1};
    return weir_resolver_new(&resolver, &o);
}

static int end(void **state)
{
    weir_loop_enter(loop);
    weir_resolver_free(resolver);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
    close(silent);
    return 0;
}

static void on_answer(weir_lookup *lookup, const weir_answer *answer, void *arg)
{
    told++;
    last_error = answer->error;
}

static void turn_until(unsigned count)
{
    weir_time last = weir_after(5 * WEIR_S);
    while (told < count && weir_now() < last) {
        weir_loop_turn(loop, last);
        weir_loop_enter(loop);
    }
}

static int ask(weir_lookup *lookup, const char *name, weir_answer_fn *fn)
{
    return weir_resolve(resolver, lookup, name, WEIR_RECORD_HOST, 0, WEIR_NEVER, fn, NULL);
}

static void misuse(void **state)
{
    weir_lookup lookup = {{0}};
    weir_address address;

    assert_int_equal(weir_resolve(resolver, &lookup, "a", (enum weir_record_type)7, 0, WEIR_NEVER,
                                  on_answer, NULL),
                     WEIR_EINVALID);
    assert_int_equal(ask(&lookup, NULL, on_answer), WEIR_EINVALID);
    assert_int_equal(ask(&lookup, "a", NULL), WEIR_EINVALID);
    assert_int_equal(ask(NULL, "a", on_answer), WEIR_EINVALID);
    assert_int_equal(ask(&lookup, "", on_answer), WEIR_EADDRESS);
    assert_int_equal(ask(&lookup, "a", on_answer), 0);
    assert_int_equal(ask(&lookup, "b", on_answer), WEIR_EMISUSE);
    weir_address_parse("unix:@x", &address, NULL);
    assert_int_equal(weir_resolve_address(resolver, &lookup, &address, WEIR_NEVER, on_answer, NULL),
                     WEIR_EADDRESS);
    assert_true(weir_lookup_cancel(&lookup));
    assert_false(weir_lookup_cancel(&lookup));
    weir_loop_enter(NULL);
    assert_int_equal(ask(&lookup, "a", on_answer), WEIR_EMISUSE);
    weir_resolver *other;
    assert_int_equal(weir_resolver_new(&other, NULL), WEIR_EMISUSE);
    weir_loop_enter(loop);
    assert_int_equal(told, 0);
}

/* Never inside the verb, also when the answer is known. */
static void flat(void **state)
{
    weir_lookup lookup = {{0}};

    assert_int_equal(ask(&lookup, "127.0.0.1", on_answer), 0);
    assert_int_equal(told, 0);
    turn_until(1);
    assert_int_equal(told, 1);
    assert_int_equal(last_error, 0);
    assert_int_equal(ask(&lookup, "127.0.0.1", on_answer), 0); /* a lookup may be used again */
    assert_true(weir_lookup_cancel(&lookup)); /* canceled when it is known already */
    weir_loop_turn(loop, weir_after(5 * WEIR_MS));
    weir_loop_enter(loop);
    assert_int_equal(told, 1);
}

/* A deadline in the past is kept, and what is known is told all the same. */
static void past_deadline(void **state)
{
    weir_lookup a = {{0}}, b = {{0}};

    assert_int_equal(weir_resolve(resolver, &a, "a.test", WEIR_RECORD_A, 0, 1, on_answer, NULL), 0);
    turn_until(1);
    assert_int_equal(last_error, WEIR_ETIMEDOUT);
    assert_int_equal(weir_resolve(resolver, &b, "::1", WEIR_RECORD_HOST, 0, 1, on_answer, NULL), 0);
    turn_until(2);
    assert_int_equal(last_error, 0);
}

static void silence(void **state)
{
    weir_lookup lookup = {{0}};

    assert_int_equal(ask(&lookup, "a.test", on_answer), 0);
    turn_until(1);
    assert_int_equal(last_error, -ETIMEDOUT);
}

static weir_lookup pair[2];

static void cancels_the_other(weir_lookup *lookup, const weir_answer *answer, void *arg)
{
    told++;
    assert_true(weir_lookup_cancel(&pair[lookup == &pair[0]]));
}

static void cancel_in_handler(void **state)
{
    assert_int_equal(ask(&pair[0], "127.0.0.1", cancels_the_other), 0);
    assert_int_equal(ask(&pair[1], "127.0.0.1", cancels_the_other), 0);
    turn_until(1);
    weir_loop_turn(loop, weir_after(5 * WEIR_MS));
    weir_loop_enter(loop);
    assert_int_equal(told, 1);
}

/* Everybody is told, but not all in one turn. */
static void some_a_turn(void **state)
{
    static weir_lookup many[200];

    memset(many, 0, sizeof many);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(ask(&many[i], "127.0.0.1", on_answer), 0);
    turn_until(1);
    assert_true(told <= 64);
    turn_until(200);
    assert_int_equal(told, 200);
}

static void frees_all(weir_lookup *lookup, const weir_answer *answer, void *arg)
{
    told++;
    assert_int_equal(answer->count, 1);
    weir_resolver_free(resolver);
    resolver = NULL;
    assert_string_equal(answer->name, "127.0.0.1"); /* still valid */
}

static void free_in_handler(void **state)
{
    weir_lookup waits = {{0}}, known = {{0}}, known_too = {{0}};

    assert_int_equal(ask(&waits, "a.test", on_answer), 0);
    assert_int_equal(ask(&known, "127.0.0.1", frees_all), 0);
    assert_int_equal(ask(&known_too, "127.0.0.1", on_answer), 0);
    turn_until(1);
    assert_null(resolver);
    weir_loop_turn(loop, weir_after(100 * WEIR_MS));
    weir_loop_enter(loop);
    assert_int_equal(told, 1);
    assert_int_equal(waits.opaque[0], 0);
    assert_int_equal(known_too.opaque[0], 0);
}

static void again(weir_lookup *lookup, const weir_answer *answer, void *arg)
{
    if (++told < 100)
        assert_int_equal(ask(lookup, told % 2 == 0 ? "127.0.0.1" : "b.", again), 0);
}

static void ask_in_handler(void **state)
{
    weir_lookup lookup = {{0}};

    assert_int_equal(ask(&lookup, "localhost", again), 0);
    turn_until(3); /* "b." is asked of the silent server each second time */
    weir_lookup_cancel(&lookup);
    assert_true(told >= 3);
}

/* The n-th allocation fails, for each n: an error or an answer, and nothing is left behind. */
static void short_of_memory(void **state)
{
    for (unsigned n = 0;; n++) { /* first without a failure: the loop keeps some memory */
        weir_resolver *own = NULL;
        weir_lookup lookup = {{0}}, second = {{0}};
        uint64_t before = weir__alloc_live();
        weir_resolver_options o = {.servers = servers,
                                   .hosts = "/etc/hosts",
                                   .nsswitch = none,
                                   .resolv_conf = none,
                                   .timeout_ms = 5,
                                   .attempts = 1};

        weir__alloc_fail_at(n);
        int result = weir_resolver_new(&own, &o);
        if (result == 0) {
            told = 0;
            unsigned expected = 0;
            expected += weir_resolve(own, &lookup, "nobody.test", WEIR_RECORD_HOST, 0, WEIR_NEVER,
                                     on_answer, NULL) == 0;
            expected += weir_resolve(own, &second, "127.0.0.1", WEIR_RECORD_A, 0, WEIR_NEVER,
                                     on_answer, NULL) == 0;
            turn_until(expected);
            assert_int_equal(told, expected);
        } else {
            assert_int_equal(result, WEIR_ENOMEM);
        }
        weir_resolver_free(own);
        bool reached = weir__alloc_fail_at(0) == 0;
        weir_loop_turn(loop, 0);
        weir_loop_enter(loop);
        if (n > 0 && weir__alloc_live() != before)
            fail_msg("%u: %lu are left", n, weir__alloc_live() - before);
        if (n > 0 && !reached)
            break;
        assert_true(n < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(misuse, begin, end),
        cmocka_unit_test_setup_teardown(flat, begin, end),
        cmocka_unit_test_setup_teardown(past_deadline, begin, end),
        cmocka_unit_test_setup_teardown(silence, begin, end),
        cmocka_unit_test_setup_teardown(cancel_in_handler, begin, end),
        cmocka_unit_test_setup_teardown(some_a_turn, begin, end),
        cmocka_unit_test_setup_teardown(free_in_handler, begin, end),
        cmocka_unit_test_setup_teardown(ask_in_handler, begin, end),
        cmocka_unit_test_setup_teardown(short_of_memory, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
