/* The trials of io_uring's features on a kernel that does not do what they ask for: one answer of
 * the ring is another one, or one call fails. The feature is held for missing then, nothing is left
 * open, and the next trial meets nothing of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/uring.h"
#include "io/uring_trials.h"
#include "support/skip.h"

enum change { NOTHING, RESULT, GOES_ON, BUFFER, TOKEN, CHANGES };
enum { MAKES_FD = 100, BUFFER_NUMBER = 1 << IORING_CQE_BUFFER_SHIFT };

static struct {
    unsigned answers, calls; /* so far */
    unsigned answer, call;   /* which of them is changed; 0: none */
    enum change change;
    int opened[2]; /* what making a ring gives at first, and then; 0: what the kernel says */
    unsigned opens;
    int submitted;
} now;

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    assert_non_null(found);
    return found;
}

/* Whether this call fails. */
static bool fails(void)
{
    if (++now.calls != now.call)
        return false;
    errno = EMFILE;
    return true;
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))real(name))

/* In the place of liburing's and the C library's. */
int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                     unsigned count, struct __kernel_timespec *time, sigset_t *mask)
{
    int result =
        REAL(int, "io_uring_submit_and_wait_timeout", struct io_uring *, struct io_uring_cqe **,
             unsigned, struct __kernel_timespec *, sigset_t *)(ring, cqe, count, time, mask);
    struct io_uring_cqe *told = result >= 0 ? *cqe : NULL;
    if (told == NULL || told->user_data > MAKES_FD || ++now.answers != now.answer)
        return result;
    if (told->user_data == MAKES_FD && told->res >= 0 && now.change != GOES_ON &&
        now.change != BUFFER)
        close(told->res); /* nobody can know of it */
    switch (now.change) {
    case RESULT:
        told->res = -EIO;
        break;
    case GOES_ON:
        told->flags ^= IORING_CQE_F_MORE;
        break;
    case BUFFER:
        told->flags ^= told->flags & IORING_CQE_F_BUFFER ? IORING_CQE_F_BUFFER | BUFFER_NUMBER : 0;
        break;
    case TOKEN:
        told->user_data = 50;
        break;
    default:
        break;
    }
    return result;
}

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                               struct io_uring_params *params)
{
    int error = now.opens < 2 ? now.opened[now.opens] : 0;
    now.opens++;
    return error != 0 ? error
                      : REAL(int, "io_uring_queue_init_params", unsigned, struct io_uring *,
                             struct io_uring_params *)(entries, ring, params);
}

int io_uring_submit(struct io_uring *ring)
{
    return now.submitted != 0 ? now.submitted
                              : REAL(int, "io_uring_submit", struct io_uring *)(ring);
}

int io_uring_register(unsigned fd, unsigned what, const void *with, unsigned count)
{
    if (what != IORING_UNREGISTER_PBUF_RING && what != IORING_UNREGISTER_FILES && fails())
        return -EMFILE;
    return REAL(int, "io_uring_register", unsigned, unsigned, const void *, unsigned)(fd, what,
                                                                                      with, count);
}

int socketpair(int family, int type, int protocol, int pair[2])
{
    return fails() ? -1
                   : REAL(int, "socketpair", int, int, int, int *)(family, type, protocol, pair);
}

int socket(int family, int type, int protocol)
{
    return fails() ? -1 : REAL(int, "socket", int, int, int)(family, type, protocol);
}

int bind(int fd, const struct sockaddr *name, socklen_t size)
{
    return fails() ? -1
                   : REAL(int, "bind", int, const struct sockaddr *, socklen_t)(fd, name, size);
}

int listen(int fd, int backlog)
{
    return fails() ? -1 : REAL(int, "listen", int, int)(fd, backlog);
}

int getsockname(int fd, struct sockaddr *name, socklen_t *size)
{
    return fails() ? -1
                   : REAL(int, "getsockname", int, struct sockaddr *, socklen_t *)(fd, name, size);
}

int connect(int fd, const struct sockaddr *name, socklen_t size)
{
    return fails() ? -1
                   : REAL(int, "connect", int, const struct sockaddr *, socklen_t)(fd, name, size);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
    return fails() ? -1
                   : REAL(ssize_t, "send", int, const void *, size_t, int)(fd, bytes, size, flags);
}

/* --- the trials ------------------------------------------------------------------------------- */

static const char *buffer_ring(const struct trial *trial)
{
    return trial_buffer_ring(trial) < 0 ? "no" : NULL;
}

/* `since`: kernels from this one on have it, 100 * major + minor. `answers`: what it looks at,
 * before it takes what is left. An answer may be changed in a way that a trial need not look at: by
 * change, the answers that may be so, as characters '1', '2' ... */
static const struct row {
    const char *name;
    const char *(*run)(const struct trial *trial);
    unsigned since, answers;
    const char *indifferent[CHANGES];
} rows[] = {
    {"buffer_ring", buffer_ring, 519, 0, {0}},
    {"multishot_accept", trial_multishot_accept, 519, 2, {[BUFFER] = "12"}},
    {"multishot_recv", trial_multishot_recv, 600, 2, {0}},
    {"multishot_message", trial_multishot_message, 600, 2, {[GOES_ON] = "2", [BUFFER] = "1"}},
    {"recv_cap", trial_recv_cap, 617, 2, {[BUFFER] = "12"}},
    {"incremental",
     trial_incremental,
     615,
     7,
     {[RESULT] = "67", [GOES_ON] = "123467", [BUFFER] = "567"}},
    {"poll_first", trial_poll_first, 519, 1, {[GOES_ON] = "1", [BUFFER] = "1"}},
    {"cancel_op", trial_cancel_op, 606, 2, {[GOES_ON] = "12", [BUFFER] = "12", [TOKEN] = "1"}},
    {"direct",
     trial_direct,
     613,
     6,
     {[RESULT] = "3", [GOES_ON] = "3456", [BUFFER] = "123456", [TOKEN] = "3"}},
};
enum { ROWS = sizeof(rows) / sizeof(*rows) };

static const char *run(const struct row *row, const struct trial *trial, unsigned answer,
                       enum change change, unsigned call)
{
    now.answers = now.calls = 0;
    now.answer = answer;
    now.change = change;
    now.call = call;
    const char *why = row->run(trial);
    now.answer = now.call = 0;
    return why;
}

static unsigned open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static unsigned kernel(void)
{
    struct utsname names;
    unsigned major = 0, minor = 0;
    if (uname(&names) != 0 || sscanf(names.release, "%u.%u", &major, &minor) != 2)
        return 0;
    return 100 * major + minor;
}

static bool may_be(const struct row *row, enum change change, unsigned answer)
{
    const char *all = row->indifferent[change];
    return all != NULL && strchr(all, (int)('0' + answer)) != NULL;
}

/* Nothing is left open, and the same trial finds the feature. */
static void nothing_left(const struct row *row, const struct trial *trial, unsigned files,
                         const char *what, unsigned which)
{
    if (open_files() != files)
        fail_msg("%s: %u files are open, %u were, after %s %u", row->name, open_files(), files,
                 what, which);
    const char *why = run(row, trial, 0, NOTHING, 0);
    if (why != NULL)
        fail_msg("%s: not found after %s %u: %s", row->name, what, which, why);
}

static void trial_of(const struct row *row)
{
    static const char *const names[CHANGES] = {"", "the result of answer", "the end of answer",
                                               "the block of answer", "the token of answer"};
    struct trial trial;
    assert_int_equal(trial_open(&trial), 0);
    const char *why = run(row, &trial, 0, NOTHING, 0);
    unsigned calls = now.calls, files = open_files();
    if (why != NULL && kernel() >= row->since)
        fail_msg("%s is not found, though this kernel has it: %s", row->name, why);
    for (unsigned answer = 1; why == NULL && answer <= row->answers; answer++)
        for (enum change change = RESULT; change < CHANGES; change++) {
            bool found = run(row, &trial, answer, change, 0) == NULL;
            if (found != may_be(row, change, answer))
                fail_msg("%s: the feature is %s with another %s %u", row->name,
                         found ? "found" : "missed", names[change], answer);
            nothing_left(row, &trial, files, names[change], answer);
        }
    for (unsigned call = 1; why == NULL && call <= calls; call++) {
        if (run(row, &trial, 0, NOTHING, call) == NULL)
            fail_msg("%s: the feature is found though call %u fails", row->name, call);
        nothing_left(row, &trial, files, "call", call);
    }
    trial_close(&trial);
}

static void features_that_are_none(void **state)
{
    struct trial trial;
    int error = trial_open(&trial);
    if (error < 0)
        skip_because("this kernel gives no ring");
    trial_close(&trial);
    uint64_t live = weir__alloc_live();
    unsigned files = open_files();
    for (unsigned i = 0; i < ROWS; i++)
        trial_of(&rows[i]);
    assert_int_equal(weir__alloc_live(), live);
    assert_int_equal(open_files(), files);
}

/* No ring, an older one, or one that may not be used. */
static void rings_that_are_none(void **state)
{
    static const struct {
        int opened[2], submitted, result;
        enum change change;
    } cases[] = {
        {{0, 0}, 0, 0, NOTHING},
        {{-EPERM, 0}, 0, -EPERM, NOTHING},
        {{-EINVAL, 0}, 0, 0, NOTHING}, /* the newer flags are not there */
        {{-EINVAL, -ENOSYS}, 0, -ENOSYS, NOTHING},
        {{0, 0}, -EACCES, -EACCES, NOTHING},
        {{0, 0}, 0, -EIO, RESULT},
        {{0, 0}, 0, -EIO, TOKEN},
    };
    struct trial trial;
    if (trial_open(&trial) < 0)
        skip_because("this kernel gives no ring");
    trial_close(&trial);
    uint64_t live = weir__alloc_live();
    unsigned files = open_files();
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        memset(&now, 0, sizeof(now));
        memcpy(now.opened, cases[i].opened, sizeof(now.opened));
        now.submitted = cases[i].submitted;
        now.answer = 1;
        now.change = cases[i].change;
        int result = trial_open(&trial);
        memset(&now, 0, sizeof(now));
        assert_int_equal(result, cases[i].result);
        if (result == 0) {
            assert_null(run(&rows[0], &trial, 0, NOTHING, 0));
            trial_close(&trial);
        }
        assert_int_equal(weir__alloc_live(), live);
        assert_int_equal(open_files(), files);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_that_are_none),
        cmocka_unit_test(features_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
