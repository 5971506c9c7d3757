/* K12: the plan. The back end and its features are chosen by trying, can be overridden by the
 * environment, and what is left out has its reason. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/plan.h>

#include "conformance/harness.h"

static const weir_plan_row *row_of(const weir_plan *plan, const char *feature)
{
    for (uint32_t i = 0; i < plan->count; i++)
        if (strcmp(plan->rows[i].feature, feature) == 0)
            return &plan->rows[i];
    return NULL;
}

/* An echo on a new loop. */
static void it_works(void)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = do_echo;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    p->to_send = 200000;
    UNTIL(w, p->received == 200000);
    assert_true(p->in_pattern);
    world_end(w);
}

/* --- where io_uring is forbidden; in a child, before anything of io_uring is known --------------
 */

static int forbid(int number, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

static unsigned child_lines;
static char child_line[512];

static void child_log(const weir_log_line *line, void *arg)
{
    child_lines++;
    snprintf(child_line, sizeof child_line, "%s", line->text);
}

enum { CHILD_FINE = 0, CHILD_CANNOT = 77 };

/* What the child finds; each failure has a number. */
static int without_uring(int number, int error)
{
    weir_loop *loop;
    weir_plan plan;
    if (forbid(number, error) != 0)
        return CHILD_CANNOT;
    unsetenv("WEIR_BACKEND");
    unsetenv("WEIR_FEATURES");
    weir_log_set(child_log, NULL, WEIR_LOG_WARN);
    if (weir_loop_new(&loop, NULL) != 0)
        return 1;
    if (strcmp(weir_loop_backend(loop), "epoll") != 0)
        return 2;
    if (child_lines != 0) /* no noise */
        return 3;
    if (weir_plan_of(loop, &plan) != 0 || plan.why == NULL || strstr(plan.why, "ring") == NULL)
        return 4; /* and a reason that can be asked for */
    weir_loop_free(loop);
    if (weir_plan_probe("uring", NULL, &plan) == 0 || plan.why == NULL || plan.count != 0)
        return 5;
    if (weir_loop_new(&loop, &(weir_loop_options){.backend = "uring"}) == 0)
        return 6; /* who insists is told */
    if (child_lines != 1 || strstr(child_line, "uring") == NULL)
        return 7;
    return CHILD_FINE;
}

static void forbidden(int number, int error)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(without_uring(number, error));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CHILD_FINE);
}

static void k12_without_io_uring(void **state)
{
    forbidden(SYS_io_uring_setup, EPERM);  /* a container's profile */
    forbidden(SYS_io_uring_setup, ENOSYS); /* a kernel without it */
    forbidden(SYS_io_uring_setup, ENOMEM); /* the limit of locked memory */
    forbidden(SYS_io_uring_register, EPERM);
    forbidden(SYS_io_uring_enter, EPERM);
}

/* --- the choice
 * ---------------------------------------------------------------------------------*/

static void k12_the_environment_chooses(void **state)
{
    struct world *w = world_open(NULL);
    weir_plan plan, probed;
    assert_string_equal(w->backend, getenv("WEIR_BACKEND"));
    assert_int_equal(weir_plan_of(w->loop, &plan), 0);
    assert_string_equal(plan.backend, w->backend);
    assert_string_equal(plan.why, "WEIR_BACKEND names it");
    assert_true(plan.count != 0);
    for (uint32_t i = 0; i < plan.count; i++) {
        assert_true(strlen(plan.rows[i].feature) > 1);
        assert_true(strlen(plan.rows[i].reason) > 5);
    }
    /* What is probed is what a loop does. */
    assert_int_equal(weir_plan_probe(NULL, NULL, &probed), 0);
    assert_int_equal(probed.count, plan.count);
    for (uint32_t i = 0; i < plan.count; i++) {
        assert_string_equal(probed.rows[i].feature, plan.rows[i].feature);
        assert_int_equal(probed.rows[i].used, plan.rows[i].used);
    }
    world_end(w);
}

static void k12_auto(void **state)
{
    char *backend = strdup(getenv("WEIR_BACKEND"));
    weir_plan uring, plan;
    weir_loop *loop;
    unsetenv("WEIR_BACKEND");
    bool usable = weir_plan_probe("uring", NULL, &uring) == 0;
    assert_true(usable || strlen(uring.why) > 5);
    assert_int_equal(weir_loop_new(&loop, NULL), 0);
    assert_int_equal(weir_plan_of(loop, &plan), 0);
    assert_string_equal(plan.backend, usable ? "uring" : "epoll");
    assert_true(strlen(plan.why) > 5);
    weir_loop_free(loop);
    setenv("WEIR_BACKEND", backend, 1);
    free(backend);
}

static void k12_unknown_words(void **state)
{
    char *backend = strdup(getenv("WEIR_BACKEND"));
    const char *features = getenv("WEIR_FEATURES");
    char *kept = features != NULL ? strdup(features) : NULL;
    weir_loop *loop;
    weir_log_set(child_log, NULL, WEIR_LOG_WARN);
    setenv("WEIR_BACKEND", "kqueue", 1);
    assert_int_equal(weir_loop_new(&loop, NULL), -EINVAL);
    assert_non_null(strstr(child_line, "kqueue"));
    setenv("WEIR_BACKEND", backend, 1);
    setenv("WEIR_FEATURES", "-teleport", 1);
    if (strcmp(backend, "uring") == 0) {
        assert_true(weir_loop_new(&loop, NULL) < 0);
        assert_non_null(strstr(child_line, "feature"));
    }
    if (kept != NULL)
        setenv("WEIR_FEATURES", kept, 1);
    else
        unsetenv("WEIR_FEATURES");
    free(backend);
    free(kept);
}

/* Each switch turned the other way by itself: the plan says so, and everything still works. */
static void k12_every_switch(void **state)
{
    const char *features = getenv("WEIR_FEATURES");
    if (features != NULL && features[0] != 0) { /* this run is for those together */
        it_works();
        return;
    }
    unsigned count, turned = 0;
    const weir_feature *table = weir_features_table(&count);
    for (unsigned i = 0; i < count; i++) {
        weir_plan plan;
        char text[64];
        snprintf(text, sizeof text, "%c%s", table[i].on ? '-' : '+', table[i].name);
        setenv("WEIR_FEATURES", text, 1);
        int result = weir_plan_probe(NULL, NULL, &plan);
        const weir_plan_row *row = result == 0 ? row_of(&plan, table[i].name) : NULL;
        if (result == 0 && row != NULL) {
            assert_true(!table[i].on || !row->used);
            assert_true(row->used || strlen(row->reason) > 5);
            turned++;
        }
        if (result == 0)
            it_works();
        else
            assert_true(strlen(plan.why) > 5);
        unsetenv("WEIR_FEATURES");
    }
    print_message("%u switches turned\n", turned);
}

K_MAIN(T(k12_without_io_uring), T(k12_the_environment_chooses), T(k12_auto), T(k12_unknown_words),
       T(k12_every_switch))
