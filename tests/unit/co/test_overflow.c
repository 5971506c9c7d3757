/* A coroutine that overflows its stack is named before SIGSEGV ends the process, whatever guards
 * it; what else ends a process so is not mistaken for it. ctest: noasan notsan */
#include "unit/co/co_support.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/skip.h"

struct child {
    void (*run)(const struct child *child);
    weir_co_fn *fn;
    enum stack_guard guard;
    bool silent, keeps;
    char said[1024];
    int signal; /* it died of; -1: no such guard here */
};

/* As deep as it has to be to reach `to`. */
__attribute__((noinline)) static void dive(const char *to)
{
    volatile char room[512];
    memset((char *)(uintptr_t)room, 1, sizeof room);
    if ((const char *)__builtin_frame_address(0) > to)
        dive(to);
    room[0] = room[1]; /* no tail call */
}

static void diver(void *arg)
{
    dive(NULL);
}

static int member(void *arg)
{
    dive(NULL);
    return 0;
}

static void scoped(void *arg)
{
    weir_scope scope;
    int result = weir_scope_open(&scope, &(weir_scope_options){.name = "the deep"});
    if (result == 0)
        result = weir_scope_spawn(&scope, member, NULL);
    if (result == 0)
        result = weir_scope_leave(&scope, WEIR_NEVER);
    _exit(result != 0);
}

/* Into the canary's page, and not through it. */
static void canary_diver(void *arg)
{
    dive(co_stack(co_current())->low - 1000);
    weir_yield();
    _exit(0);
}

static void breaker(void *arg)
{
    static char *volatile nothing;
    *nothing = 1;
}

static void sender(void *arg)
{
    kill(getpid(), SIGSEGV);
    pause();
}

static void run_loop(const struct child *child)
{
    weir_loop_options options = {.backend = "epoll", .overflow_report = !child->silent};
    struct stack_options stacks = {.guard = child->guard};
    if (weir_loop_new(&loop, &options) < 0)
        _exit(1);
    former = loop_enter(loop);
    struct co_pool *pool = co_pool_of(loop, &stacks);
    /* The first stack of a slab has no neighbour to dive into. */
    if (pool == NULL || weir_spawn(canary_diver, NULL) < 0)
        _exit(255);
    if (weir_spawn(child->fn, NULL) < 0)
        _exit(1);
    if (child->fn == canary_diver || child->guard != STACK_GUARD_CANARY)
        list_pop(&loop->ready); /* only so that its stack is taken */
    for (;;)
        turn_ms(10);
}

static void begin(void *user)
{
    const struct child *child = user;
    if (weir_spawn(child->fn, NULL) < 0)
        _exit(1);
}

static void run_run(const struct child *child)
{
    static const weir_service service = {.listen = "tcp://127.0.0.1:0"};
    weir_run_options options = {.keep_signals = child->keeps,
                                .on_started = begin,
                                .quiet = true,
                                .user = (void *)(uintptr_t)child,
                                .loop = {.backend = "epoll"}};
    _exit(weir_run(&service, 1, &options) != 0);
}

static pthread_t first_thread;

static void on_conn(weir_conn conn, void *session)
{
    if (pthread_equal(pthread_self(), first_thread) || weir_spawn(diver, NULL) < 0)
        _exit(1);
}

static void dial(void *user)
{
    first_thread = pthread_self();
    weir_address address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (weir_run_address(0, &address) < 0 ||
        connect(fd, (struct sockaddr *)&address.socket, address.socket_size) < 0)
        _exit(1);
}

/* The first loop accepts, and others serve, on threads of their own. */
static void run_second(const struct child *child)
{
    static const weir_service service = {.listen = "tcp://127.0.0.1:0", .on_conn = on_conn};
    weir_run_options options = {.shape = WEIR_SHAPE_ACCEPTOR,
                                .loops = 2,
                                .on_started = dial,
                                .quiet = true,
                                .loop = {.backend = "epoll"}};
    _exit(weir_run(&service, 1, &options) != 0);
}

static void see(struct child *child)
{
    int status, ends[2];
    size_t size = 0;
    ssize_t more;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGSEGV, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        close(ends[1]);
        child->run(child);
        _exit(0);
    }
    close(ends[1]);
    while ((more = read(ends[0], child->said + size, sizeof child->said - 1 - size)) > 0)
        size += (size_t)more;
    close(ends[0]);
    child->said[size] = '\0';
    assert_int_equal(waitpid(pid, &status, 0), pid);
    child->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 255)
        child->signal = -1;
}

/* It names this function, by its place in the program: a static one has no name there. */
static void assert_named(const struct child *child, void (*fn)(void))
{
    char place[64];
    Dl_info info;
    assert_int_not_equal(dladdr((void *)(uintptr_t)fn, &info), 0);
    snprintf(place, sizeof place, "+0x%zx", (size_t)((uintptr_t)fn - (uintptr_t)info.dli_fbase));
    assert_int_equal(child->signal, SIGSEGV);
    const char *on = child->run == run_second ? ", on loop " : ", on loop 1;";
    if (strstr(child->said, "a coroutine has overflowed its stack of ") == NULL ||
        strstr(child->said, place) == NULL || strstr(child->said, on) == NULL)
        fail_msg("\"%s\" does not name %s", child->said, place);
}

static void each_guard_names_the_coroutine(void **state)
{
    struct child child = {.run = run_loop, .fn = diver, .guard = STACK_GUARD_AUTO};
    see(&child);
    assert_named(&child, (void (*)(void))diver);
    child.guard = STACK_GUARD_MPROTECT;
    see(&child);
    assert_named(&child, (void (*)(void))diver);
    child.fn = scoped;
    see(&child);
    assert_named(&child, (void (*)(void))member);
    assert_non_null(strstr(child.said, "in the scope the deep"));
    child.guard = STACK_GUARD_CANARY;
    child.fn = canary_diver;
    see(&child);
    assert_named(&child, (void (*)(void))canary_diver);
    child.guard = STACK_GUARD_INSTALL;
    child.fn = diver;
    see(&child);
    if (child.signal == 0)
        skip_because("this kernel has no MADV_GUARD_INSTALL (6.13)");
    assert_named(&child, (void (*)(void))diver);
}

static void weir_run_names_it_unless_signals_are_kept(void **state)
{
    struct child child = {.run = run_run, .fn = diver};
    see(&child);
    assert_named(&child, (void (*)(void))diver);
    child.keeps = true;
    see(&child);
    assert_int_equal(child.signal, SIGSEGV);
    assert_string_equal(child.said, "");
}

/* The threads of other loops block what is sent to the process, and not what they do themselves. */
static void another_thread_names_it(void **state)
{
    struct child child = {.run = run_second, .fn = diver};
    see(&child);
    assert_named(&child, (void (*)(void))diver);
}

static void other_ends_are_not_mistaken_for_it(void **state)
{
    struct child child = {.run = run_loop, .fn = breaker};
    see(&child);
    assert_int_equal(child.signal, SIGSEGV);
    assert_string_equal(child.said, "");
    child.fn = sender;
    see(&child);
    assert_int_equal(child.signal, SIGSEGV);
    assert_string_equal(child.said, "");
    child.fn = diver;
    child.silent = true;
    see(&child);
    assert_int_equal(child.signal, SIGSEGV);
    assert_string_equal(child.said, "");
}

static void ignore(int number)
{
}

static void nothing(void *arg)
{
}

static struct sigaction action_now(void)
{
    struct sigaction now;
    assert_int_equal(sigaction(SIGSEGV, NULL, &now), 0);
    return now;
}

static void the_handler_and_the_stack_go_with_the_last_loop(void **state)
{
    weir_loop_options options = {.backend = "epoll", .overflow_report = true};
    struct sigaction own = {.sa_handler = ignore}, none = {.sa_handler = SIG_DFL};
    struct sigaction before = action_now(); /* cmocka's */
    weir_loop *loops[2];
    stack_t stack;
    assert_int_equal(sigaction(SIGSEGV, &none, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(weir_loop_new(&loops[i], &options), 0);
        former = loop_enter(loops[i]);
        assert_int_equal(weir_spawn(nothing, NULL), 0);
        loop_enter(former);
    }
    assert_int_equal(action_now().sa_flags & (SA_SIGINFO | SA_ONSTACK), SA_SIGINFO | SA_ONSTACK);
    assert_int_equal(sigaltstack(NULL, &stack), 0);
    assert_int_equal(stack.ss_flags, 0);
    weir_loop_free(loops[0]);
    assert_int_equal(action_now().sa_flags & SA_SIGINFO, SA_SIGINFO);
    weir_loop_free(loops[1]);
    assert_true(action_now().sa_handler == SIG_DFL);
    assert_int_equal(sigaltstack(NULL, &stack), 0);
    assert_int_equal(stack.ss_flags, SS_DISABLE);
    /* Somebody else's is left alone. */
    assert_int_equal(sigaction(SIGSEGV, &own, NULL), 0);
    assert_int_equal(weir_loop_new(&loops[0], &options), 0);
    former = loop_enter(loops[0]);
    assert_int_equal(weir_spawn(nothing, NULL), 0);
    loop_enter(former);
    assert_true(action_now().sa_handler == ignore);
    weir_loop_free(loops[0]);
    assert_true(action_now().sa_handler == ignore);
    assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
}

static bool on_altstack(void)
{
    stack_t stack = {.ss_flags = SS_DISABLE};
    return sigaltstack(NULL, &stack) == 0 && (stack.ss_flags & SS_DISABLE) == 0;
}

static void child_counts_anew(weir_loop *of_parent)
{
    int wrong = 0;
    alarm(20);
    wrong |= weir_loop_after_fork(of_parent) != 0;
    loop_enter(of_parent);
    wrong |= (weir_spawn(nothing, NULL) != 0) << 1;
    loop_enter(NULL);
    wrong |= (!on_altstack() || (action_now().sa_flags & SA_SIGINFO) == 0) << 2;
    weir_loop_free(of_parent);
    wrong |= (action_now().sa_handler != SIG_DFL) << 3;
    wrong |= on_altstack() << 4;
    _exit(wrong);
}

static void the_child_of_a_fork_counts_its_own(void **state)
{
    weir_loop_options options = {.backend = "epoll", .overflow_report = true};
    struct sigaction none = {.sa_handler = SIG_DFL}, before = action_now(); /* cmocka's */
    weir_loop *watched;
    int status = -1;
    assert_int_equal(sigaction(SIGSEGV, &none, NULL), 0);
    assert_int_equal(weir_loop_new(&watched, &options), 0);
    former = loop_enter(watched);
    assert_int_equal(weir_spawn(nothing, NULL), 0);
    loop_enter(former);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        child_counts_anew(watched);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    weir_loop_free(watched);
    assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_guard_names_the_coroutine),
        cmocka_unit_test(weir_run_names_it_unless_signals_are_kept),
        cmocka_unit_test(another_thread_names_it),
        cmocka_unit_test(other_ends_are_not_mistaken_for_it),
        cmocka_unit_test(the_handler_and_the_stack_go_with_the_last_loop),
        cmocka_unit_test(the_child_of_a_fork_counts_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
