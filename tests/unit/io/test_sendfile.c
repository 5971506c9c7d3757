/* Files to sockets: signals of a peer that is gone, files that sendfile refuses, more than one call
 * takes; and what is said of pages in memory by kernels that tell less. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/sendfile.h"

enum { SIZE = 300 * 1024 };

static struct {
    int refused;     /* by sendfile */
    size_t asked;    /* of sendfile, last */
    int interrupted; /* so many calls are, before one goes on */
    int send_error;
    int cold_at; /* from here on preadv2 would have to wait; 0: nothing is asked */
    unsigned probes;
    bool no_cachestat;
    int file, pair[2];
} it;

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

static bool interrupts(void)
{
    if (it.interrupted == 0)
        return false;
    it.interrupted--;
    errno = EINTR;
    return true;
}

/* In the place of the C library's. */
ssize_t sendfile(int fd, int file, off_t *offset, size_t size)
{
    it.asked = size;
    if (interrupts())
        return -1;
    if (it.refused != 0) {
        errno = it.refused;
        return -1;
    }
    return REAL(ssize_t, "sendfile", int, int, off_t *, size_t)(fd, file, offset, size);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
    if (interrupts())
        return -1;
    if (it.send_error != 0) {
        errno = it.send_error;
        return -1;
    }
    return REAL(ssize_t, "send", int, const void *, size_t, int)(fd, bytes, size, flags);
}

ssize_t preadv2(int file, const struct iovec *iov, int count, off_t at, int flags)
{
    it.probes++;
    if (it.cold_at != 0 && at >= it.cold_at) {
        errno = EAGAIN;
        return -1;
    }
    return it.cold_at != 0 ? 1
                           : REAL(ssize_t, "preadv2", int, const struct iovec *, int, off_t,
                                  int)(file, iov, count, at, flags);
}

long syscall(long number, ...)
{
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (it.no_cachestat && number == 451) { /* cachestat */
        errno = ENOSYS;
        return -1;
    }
    return ((long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"))(number, a[0], a[1], a[2], a[3], a[4],
                                                              a[5]);
}

static int set_up(void **state)
{
    char path[] = "/tmp/weir-sendfile-XXXXXX";
    static char bytes[SIZE];
    memset(&it, 0, sizeof it);
    for (unsigned i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 7 >> 3);
    it.file = mkstemp(path);
    unlink(path);
    if (it.file < 0 || write(it.file, bytes, SIZE) != SIZE)
        return -1;
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, it.pair);
}

static int tear_down(void **state)
{
    memset(&it.refused, 0, offsetof(__typeof__(it), file));
    close(it.file);
    close(it.pair[0]);
    if (it.pair[1] >= 0)
        close(it.pair[1]);
    return 0;
}

static void moved(int64_t from, int size)
{
    static char got[SIZE], bytes[SIZE];
    int at = 0;
    while (at < size) {
        ssize_t one = recv(it.pair[1], got + at, (size_t)(size - at), 0);
        assert_true(one > 0);
        at += (int)one;
    }
    assert_int_equal(pread(it.file, bytes, (size_t)size, from), size);
    assert_memory_equal(got, bytes, (size_t)size);
    assert_int_equal(recv(it.pair[1], got, 1, 0), -1);
}

static void a_part_of_a_file(void **state)
{
    int64_t offset = 1000;
    it.interrupted = 3;
    assert_int_equal(weir__sendfile(it.pair[0], it.file, &offset, 5000), 5000);
    assert_int_equal(offset, 6000);
    moved(1000, 5000);
    offset = SIZE;
    assert_int_equal(weir__sendfile(it.pair[0], it.file, &offset, 5000), 0);
    assert_int_equal(offset, SIZE);
    offset = SIZE - 10;
    assert_int_equal(weir__sendfile(it.pair[0], it.file, &offset, (size_t)5 << 30), 10);
    assert_int_equal(it.asked, 1 << 30);
    it.refused = EIO;
    assert_int_equal(weir__sendfile(it.pair[0], it.file, &offset, 10), -EIO);
}

static void files_that_are_copied(void **state)
{
    static const int refusals[] = {EINVAL, ENOSYS, ESPIPE};
    for (unsigned i = 0; i < 3; i++) {
        int64_t offset = 2000;
        it.refused = refusals[i];
        it.interrupted = 1;
        assert_int_equal(weir__sendfile(it.pair[0], it.file, &offset, 700), 700);
        assert_int_equal(offset, 2700);
        moved(2000, 700);
        /* In pieces, which lie on the stack. */
        assert_int_equal(weir__sendfile(it.pair[0], it.file, &offset, SIZE), 16 * 1024);
        assert_int_equal(offset, 2700 + 16 * 1024);
        moved(2700, 16 * 1024);
        offset = SIZE;
        assert_int_equal(weir__sendfile(it.pair[0], it.file, &offset, 700), 0);
        offset = 0;
        assert_int_equal(weir__sendfile(it.pair[0], -1, &offset, 700), -EBADF);
        it.send_error = EAGAIN;
        assert_int_equal(weir__sendfile(it.pair[0], it.file, &offset, 700), -EAGAIN);
        it.send_error = 0;
        assert_int_equal(offset, 0);
    }
}

static bool pending(void)
{
    sigset_t set;
    sigpending(&set);
    return sigismember(&set, SIGPIPE) == 1;
}

static bool blocked(void)
{
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    return sigismember(&set, SIGPIPE) == 1;
}

/* The signal of this move is taken back, and no other; the mask stays as it was. */
static void peers_that_are_gone(void **state)
{
    sigset_t pipe;
    int64_t offset = 0;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    close(it.pair[1]);
    it.pair[1] = -1;
    assert_int_equal(weir__sendfile(it.pair[0], it.file, &offset, 700), -EPIPE); /* we live */
    assert_false(blocked());
    assert_int_equal(offset, 0);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    assert_int_equal(weir__sendfile(it.pair[0], it.file, &offset, 700), -EPIPE);
    assert_true(blocked());
    assert_false(pending());
    raise(SIGPIPE); /* the program's own, which waits for it */
    assert_int_equal(weir__sendfile(it.pair[0], it.file, &offset, 700), -EPIPE);
    assert_true(blocked());
    assert_true(pending());
    const struct timespec now = {0, 0};
    assert_int_equal(sigtimedwait(&pipe, NULL, &now), SIGPIPE);
    pthread_sigmask(SIG_UNBLOCK, &pipe, NULL);
}

/* Without cachestat a byte of every 64 KiB is asked for. */
static void kernels_that_tell_less(void **state)
{
    it.no_cachestat = true;
    assert_true(weir__file_cached(it.file, 0, SIZE));
    it.cold_at = SIZE + 1; /* all is there */
    it.probes = 0;
    assert_true(weir__file_cached(it.file, 0, SIZE));
    assert_int_equal(it.probes, 1 + (SIZE + 65535) / 65536);
    it.probes = 0;
    assert_true(weir__file_cached(it.file, 65536, 65536));
    assert_int_equal(it.probes, 2);
    it.cold_at = 65536;
    it.probes = 0;
    assert_false(weir__file_cached(it.file, 0, SIZE)); /* its last byte */
    assert_int_equal(it.probes, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_part_of_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_that_are_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(peers_that_are_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kernels_that_tell_less, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
