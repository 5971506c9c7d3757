#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <weir/plan.h>

static int clean(void **state)
{
    unsetenv("WEIR_BACKEND");
    unsetenv("WEIR_FEATURES");
    return 0;
}

static void every_back_end_has_a_plan_or_a_reason(void **state)
{
    weir_plan plan;
    unsigned usable = 0;
    for (const char *const *name = weir_backend_names(); *name != NULL; name++) {
        int error = weir_plan_probe(*name, NULL, &plan);
        assert_int_equal(error, plan.error);
        assert_string_equal(plan.backend, *name);
        assert_non_null(plan.why);
        assert_true((error == 0) == (plan.count != 0));
        for (unsigned i = 0; i < plan.count; i++)
            assert_true(plan.rows[i].feature != NULL && plan.rows[i].reason != NULL);
        usable += error == 0;
    }
    assert_true(usable >= 3);
}

static bool used(const weir_plan *plan, const char *feature)
{
    for (unsigned i = 0; i < plan->count; i++)
        if (strcmp(plan->rows[i].feature, feature) == 0)
            return plan->rows[i].used;
    return false;
}

static void the_choice_has_its_reason(void **state)
{
    weir_plan plan;
    assert_int_equal(weir_plan_probe("auto", NULL, &plan), 0);
    assert_true(strcmp(plan.backend, "uring") == 0 || strcmp(plan.backend, "epoll") == 0);
    assert_string_not_equal(plan.why, "as asked");
    assert_int_equal(weir_plan_probe("epoll", NULL, &plan), 0);
    assert_string_equal(plan.why, "as asked");
    setenv("WEIR_BACKEND", "poll", 1);
    assert_int_equal(weir_plan_probe(NULL, NULL, &plan), 0);
    assert_string_equal(plan.backend, "poll");
    assert_string_equal(plan.why, "WEIR_BACKEND names it");
    assert_int_equal(weir_plan_probe("epoll", NULL, &plan), 0);
    assert_string_equal(plan.backend, "epoll"); /* who asks for one is told about that one */
}

static void features_change_it(void **state)
{
    weir_plan plan;
    if (weir_plan_probe("uring", NULL, &plan) < 0)
        skip();
    bool had = used(&plan, "multishot_accept");
    assert_int_equal(weir_plan_probe("uring", "-multishot_accept", &plan), 0);
    assert_false(used(&plan, "multishot_accept"));
    setenv("WEIR_FEATURES", "+multishot_accept", 1);
    assert_int_equal(weir_plan_probe("uring", "-multishot_accept", &plan), 0);
    assert_true(used(&plan, "multishot_accept") == had);
    setenv("WEIR_FEATURES", "teleport", 1);
    assert_int_equal(weir_plan_probe("uring", NULL, &plan), -EINVAL);
    assert_non_null(strstr(plan.why, "unknown feature"));
}

static void mistakes(void **state)
{
    weir_plan plan;
    assert_int_equal(weir_plan_probe("kqueue", NULL, &plan), -EINVAL);
    assert_string_equal(plan.backend, "kqueue");
    assert_non_null(strstr(plan.why, "known are"));
    assert_true(weir_plan_probe("epoll", NULL, NULL) < 0);
    assert_true(weir_plan_of(NULL, &plan) < 0);
}

static void a_loop_tells_why_it_has_its_back_end(void **state)
{
    weir_loop *loop;
    weir_plan plan;
    weir_loop_options options = {.backend = "epoll"};
    assert_int_equal(weir_loop_new(&loop, &options), 0);
    assert_int_equal(weir_plan_of(loop, &plan), 0);
    assert_string_equal(plan.backend, "epoll");
    assert_string_equal(plan.why, "as asked");
    assert_true(used(&plan, "edge_triggered"));
    weir_loop_free(loop);
    setenv("WEIR_BACKEND", "select", 1);
    assert_int_equal(weir_loop_new(&loop, &options), 0);
    assert_int_equal(weir_plan_of(loop, &plan), 0);
    assert_string_equal(plan.backend, "select");
    assert_string_equal(plan.why, "WEIR_BACKEND names it");
    weir_loop_free(loop);
    unsetenv("WEIR_BACKEND");
    assert_int_equal(weir_loop_new(&loop, NULL), 0);
    assert_int_equal(weir_plan_of(loop, &plan), 0);
    assert_string_not_equal(plan.why, "as asked");
    weir_loop_free(loop);
}

static void the_switches_are_listed(void **state)
{
    unsigned count;
    const weir_feature *table = weir_features_table(&count);
    assert_true(count > 10);
    for (unsigned i = 0; i < count; i++)
        assert_true(strlen(table[i].name) > 1 && strlen(table[i].what) > 5);
    assert_ptr_equal(weir_features_table(NULL), table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_back_end_has_a_plan_or_a_reason, clean),
        cmocka_unit_test_setup(the_choice_has_its_reason, clean),
        cmocka_unit_test_setup(features_change_it, clean),
        cmocka_unit_test_setup(mistakes, clean),
        cmocka_unit_test_setup(a_loop_tells_why_it_has_its_back_end, clean),
        cmocka_unit_test_setup(the_switches_are_listed, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
