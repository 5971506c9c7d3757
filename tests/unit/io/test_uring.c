#include "io_suite.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/error.h>

#include "io/uring.h"

/* --- the text of WEIR_FEATURES -----------------------------------------------------------------
 */

static void features_are_read(void **state)
{
    struct io_features features;
    const char *why = NULL;
    (void)state;
    assert_int_equal(weir__io_features(&features, NULL, &why), 0);
    assert_true(features.on[IO_SWITCH_defer_taskrun]);
    assert_false(features.on[IO_SWITCH_direct]);
    assert_false(features.named[IO_SWITCH_direct]);
    assert_int_equal(weir__io_features(&features,
                                       " -defer_taskrun,+direct, incremental cq=small,,blocks=77",
                                       &why),
                     0);
    assert_false(features.on[IO_SWITCH_defer_taskrun]);
    assert_true(features.on[IO_SWITCH_direct] && features.named[IO_SWITCH_direct]);
    assert_true(features.on[IO_SWITCH_incremental] && features.named[IO_SWITCH_incremental]);
    assert_true(features.size[IO_SIZE_cq] == IO_SIZE_SMALL);
    assert_int_equal(features.size[IO_SIZE_blocks], 77);
    assert_int_equal(features.size[IO_SIZE_sq], 0);
}

static void wrong_features_are_refused(void **state)
{
    static const char *const wrong[] = {"-defer",
                                        "+",
                                        "-",
                                        "direct=1",
                                        "cq=",
                                        "cq=-1",
                                        "cq=1x",
                                        "cq=4294967295",
                                        "cq=99999999999999999999",
                                        "=",
                                        "-cq",
                                        "blocks=small1",
                                        "-direct,blub"};
    struct io_features features;
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct io_config config = {.features = wrong[i]};
        const char *why = NULL;
        struct io *io;
        assert_int_equal(weir__io_features(&features, wrong[i], &why), -EINVAL);
        assert_non_null(strstr(why, "WEIR_FEATURES"));
        assert_int_equal(weir__io_open(&io, "uring", &config, &why), -EINVAL);
    }
}

/* --- opening -----------------------------------------------------------------------------------
 */

/* Makes io_uring_setup fail with this error in the calling process. */
static void forbid_setup(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(77);
}

/* In a child where nothing was probed yet: 0 when the refusal is told with cause and fix, and
 * "auto" goes on to epoll. */
static int refused(int error, const char *word)
{
    struct io_config config = {0};
    const char *why = NULL;
    struct io_plan plan;
    struct io *io;
    forbid_setup(error);
    if (weir__io_open(&io, "uring", &config, &why) != -error)
        return 1;
    if (why == NULL || strstr(why, word) == NULL)
        return 2;
    if (weir__io_open(&io, NULL, &config, &why) != 0 || strcmp(io->ops->name, "epoll") != 0)
        return 3;
    io->ops->close(io);
    if (weir__io_probe("uring", &plan) != -error || plan.rows != 1 || plan.row[0].used ||
        strstr(plan.row[0].reason, word) == NULL)
        return 4;
    return 0;
}

static void refusals_are_explained(void **state)
{
    static const struct {
        int error;
        const char *word;
    } cases[] = {{EPERM, "io_uring_disabled"},
                 {EACCES, "seccomp"},
                 {ENOSYS, "6.1"},
                 {ENOMEM, "memlock"},
                 {EMFILE, "ulimit -n"}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int status;
        pid_t child = fork();
        if (child == 0)
            _exit(refused(cases[i].error, cases[i].word));
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            skip(); /* no seccomp here */
        assert_int_equal(status, 0);
    }
}

static void a_table_too_large_is_explained(void **state)
{
    struct rlimit limit;
    struct io_config config = {.direct = true};
    const char *why = NULL;
    struct io *io;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    config.direct_slots = (unsigned)limit.rlim_cur + 1;
    assert_int_equal(weir__io_open(&io, "uring", &config, &why), -EMFILE);
    assert_non_null(strstr(why, "ulimit -n"));
}

static void wrong_blocks_are_explained(void **state)
{
    struct io_config config = {.blocks = 40000};
    const char *why = NULL;
    struct io *io;
    (void)state;
    assert_int_equal(weir__io_open(&io, "uring", &config, &why), -EINVAL);
    assert_non_null(strstr(why, "32768"));
    config = (struct io_config){.block_size = 100};
    assert_int_equal(weir__io_open(&io, "uring", &config, &why), -EINVAL);
}

static void the_plan_is_whole(void **state)
{
    static const char *const named[] = {"defer_taskrun",    "incremental", "bundles",   "send_zc",
                                        "registered_waits", "napi",        "no_iowait", "direct"};
    struct io_plan plan;
    (void)state;
    assert_int_equal(weir__io_probe("uring", &plan), 0);
    assert_string_equal(plan.backend, "uring");
    for (int i = 0; i < plan.rows; i++) {
        assert_non_null(plan.row[i].feature);
        assert_true(strlen(plan.row[i].reason) > 5);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(plan.row[i].feature, plan.row[j].feature);
    }
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        int row = 0;
        while (row < plan.rows && strcmp(plan.row[row].feature, named[i]) != 0)
            row++;
        assert_true(row < plan.rows);
    }
}

/* --- the ring ----------------------------------------------------------------------------------
 */

static void a_restricted_ring_refuses_the_rest(void **state)
{
    struct uring *ring = uring_of(rig_of(state)->io);
    struct io_uring_sqe *sqe;
    const struct io_uring_cqe *cqe;
    rig_turn(rig_of(state), 0);
    sqe = uring_sqe(ring);
    sqe->opcode = IORING_OP_NOP; /* harmless, but not weir's */
    sqe->user_data = IO_TOKEN(URING_OWN, 0, 0, URING_OWN_QUIET);
    assert_int_equal(uring_flush(ring), 0);
    cqe = &ring->cqes[(*ring->cq_ktail - 1) & ring->cq_mask];
    assert_int_equal(cqe->res, -EACCES);
    assert_int_equal(
        io_uring_register((unsigned)ring->setup_fd, IORING_REGISTER_PERSONALITY, NULL, 0), -EACCES);
}

static void *wait_elsewhere(void *arg)
{
    struct io *io = arg;
    return (void *)(intptr_t)io->ops->wait(io, 0);
}

static void another_thread_is_refused(void **state)
{
    struct rig *rig = rig_of(state);
    pthread_t thread;
    void *result;
    rig_turn(rig, 0);
    /* Something to submit, so that it must enter. */
    assert_int_equal(rig->io->ops->cancel(rig->io, NULL, IO_TOKEN(IO_OP_FILE, 1, 1, 1)), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_elsewhere, rig->io), 0);
    pthread_join(thread, &result);
    assert_true((intptr_t)result < 0);
    rig_turn(rig, 0);
}

/* An io made on one thread and used on another belongs to the other. */
static void *use_elsewhere(void *arg)
{
    struct rig *rig = arg;
    int peer;
    unsigned slot = rig_unix(rig, &peer);
    rig_recv(rig, slot);
    assert_int_equal(send(peer, "moved", 5, 0), 5);
    assert_true(rig_got(rig, slot, 5));
    rig_close(rig, slot, false);
    close(peer);
    return NULL;
}

static void made_here_used_there(void **state)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, use_elsewhere, rig_of(state)), 0);
    pthread_join(thread, NULL);
}

enum { MANY = 300 };

/* More completions than the queue holds: counted, and none is lost. */
static void overflow_loses_nothing(void **state)
{
    struct rig *rig = rig_of(state);
    unsigned slot[MANY];
    int peer[MANY];
    for (int i = 0; i < MANY; i++) {
        slot[i] = rig_unix(rig, &peer[i]);
        rig_recv(rig, slot[i]);
    }
    rig_turn(rig, 0);
    for (int round = 1; round <= 5; round++) {
        for (int i = 0; i < MANY; i++)
            assert_int_equal(send(peer[i], "12345", 5, 0), 5);
        for (int i = 0; i < MANY; i++)
            assert_true(rig_got(rig, slot[i], (uint64_t)round * 5));
    }
    assert_true(rig->io->stats.cq_overflows > 0);
    assert_true(rig->io->stats.sq_fulls > 0);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(rig->slot[slot[i]].bytes, 25);
        rig_close(rig, slot[i], false);
        close(peer[i]);
    }
}

/* Many gathered sends of unequal lengths in one turn: what describes them must stay until the
 * kernel has seen it, also when the queue is handed over in the middle. */
static void gathered_sends_stay_apart(void **state)
{
    enum { SENDERS = 60, PIECES = 400 };
    struct rig *rig = rig_of(state);
    static char text[SENDERS][PIECES];
    unsigned slot[SENDERS], pieces[SENDERS];
    int peer[SENDERS], result;
    for (int i = 0; i < SENDERS; i++) {
        slot[i] = rig_unix(rig, &peer[i]);
        pieces[i] = 2 + (unsigned)(i * 7919) % (PIECES - 2);
        memset(text[i], '0' + i, sizeof(text[i]));
    }
    for (int i = 0; i < SENDERS; i++) {
        struct iovec iov[PIECES];
        for (unsigned j = 0; j < pieces[i]; j++)
            iov[j] = (struct iovec){&text[i][j], 1};
        assert_int_equal(rig->io->ops->send(rig->io, rig_fd(rig, slot[i]), iov, pieces[i], 0,
                                            rig_token(rig, slot[i], IO_OP_SEND), &result),
                         IO_PENDING);
    }
    for (int i = 0; i < SENDERS; i++) {
        char back[PIECES];
        assert_int_equal(rig_final(rig, rig_token(rig, slot[i], IO_OP_SEND)), pieces[i]);
        assert_int_equal(recv(peer[i], back, sizeof(back), 0), pieces[i]);
        assert_memory_equal(back, text[i], pieces[i]);
        close(peer[i]);
    }
}

/* A turn with nothing to do and no time to wait does not enter the kernel. */
static void an_empty_turn_makes_no_call(void **state)
{
    struct rig *rig = rig_of(state);
    uint64_t calls;
    rig_idle(rig, 5);
    calls = rig->io->stats.syscalls;
    for (int i = 0; i < 100; i++)
        rig_turn(rig, 0);
    assert_int_equal(rig->io->stats.syscalls, calls);
    rig_turn(rig, 1);
    assert_int_equal(rig->io->stats.syscalls, calls + 1);
}

/* Work of a turn is handed over, and waited for, in one call. */
static void a_turn_is_one_call(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_unix(rig, &peer);
    uint64_t calls;
    rig_recv(rig, slot);
    rig_idle(rig, 5);
    calls = rig->io->stats.syscalls;
    for (int i = 0; i < 50; i++) {
        char byte = 'x';
        struct iovec iov = {&byte, 1};
        uint64_t token = rig_token(rig, slot, IO_OP_SEND);
        int result;
        assert_int_equal(send(peer, "y", 1, 0), 1);
        assert_int_equal(rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, 0, token, &result),
                         IO_PENDING);
        rig_turn(rig, 1000);
        while (!rig_take(rig, token, &result) || rig->slot[slot].bytes < (uint64_t)i + 1)
            rig_turn(rig, 1000);
        assert_int_equal(result, 1);
    }
    assert_in_range(rig->io->stats.syscalls - calls, 50, 110);
    close(peer);
}

/* Under DEFER_TASKRUN the kernel tells a host only once of an eventfd that the ring polls, unless
 * the registration is renewed. */
static void a_host_hears_of_polled_eventfds(void **state)
{
    struct rig *rig = rig_of(state);
    int watched = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct pollfd host = {.fd = rig->io->ops->poll_fd(rig->io), .events = POLLIN};
    unsigned slot = rig_add(rig, watched, false);
    uint64_t token = rig_token(rig, slot, IO_OP_POLL);
    assert_true(host.fd >= 0);
    for (int i = 0; i < 5; i++) {
        int result = 0;
        assert_int_equal(rig->io->ops->poll(rig->io, rig_fd(rig, slot), POLLIN, token), IO_PENDING);
        while (poll(&host, 1, 20) == 1)
            rig_turn(rig, 0);
        assert_int_equal(eventfd_write(watched, 1), 0);
        while (!rig_take(rig, token, &result)) {
            assert_int_equal(poll(&host, 1, 1000), 1);
            rig_turn(rig, 0);
        }
        assert_int_equal(result, POLLIN);
        assert_int_equal(eventfd_read(watched, &(eventfd_t){0}), 0);
    }
}

static const struct CMUnitTest ring_cases[] = {
    IO_CASE(a_restricted_ring_refuses_the_rest),
    IO_CASE(another_thread_is_refused),
    IO_CASE(made_here_used_there),
    IO_CASE(an_empty_turn_makes_no_call),
    IO_CASE(a_turn_is_one_call),
    IO_CASE(a_host_hears_of_polled_eventfds),
    IO_CASES_END,
};

static const struct CMUnitTest small_cases[] = {
    IO_CASE(overflow_loses_nothing),
    IO_CASE(gathered_sends_stay_apart),
    IO_CASES_END,
};

int main(void)
{
    const struct CMUnitTest plain[] = {
        cmocka_unit_test(refusals_are_explained), /* before anything was probed, and after */
        cmocka_unit_test(features_are_read),
        cmocka_unit_test(wrong_features_are_refused),
        cmocka_unit_test(refusals_are_explained),
        cmocka_unit_test(a_table_too_large_is_explained),
        cmocka_unit_test(wrong_blocks_are_explained),
        cmocka_unit_test(the_plan_is_whole),
    };
    const struct CMUnitTest *const ring[] = {ring_cases}, *const small[] = {small_cases};
    const struct io_config tiny = {.features = "cq=small,sq=small"};
    int failed;

    failed =
        _cmocka_run_group_tests("refusals", plain, sizeof(plain) / sizeof(plain[0]), NULL, NULL);
    failed += io_suite_run_lists("ring", &weir__io_uring, NULL, ring, 1);
    failed += io_suite_run_lists("small ring", &weir__io_uring, &tiny, small, 1);
    return failed;
}
