/* Files: operations off the loop, and moves to sockets. */
#include "io_suite.h"

#include "io/sendfile.h"
#include "support/skip.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOVED = 10 * 1024 * 1024 };

static int file_op(struct rig *rig, struct io_file *file)
{
    static uint32_t serial;
    uint64_t token = IO_TOKEN(IO_OP_FILE, 2, 0, ++serial);
    assert_int_equal(rig->io->ops->file(rig->io, file, token), IO_PENDING);
    return rig_final(rig, token);
}

/* An unnamed file; closed by the test. */
static int temporary(void)
{
    char name[] = "/tmp/weir-io-suite-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

static void write_sync_read_stat(void **state)
{
    struct rig *rig = rig_of(state);
    struct statx about;
    char back[16] = {0};
    struct io_file file = {.fd = temporary()};
    file.verb = IO_FILE_WRITE;
    file.buffer = (char[]){"0123456789"};
    file.size = 10;
    file.offset = 5;
    assert_int_equal(file_op(rig, &file), 10);
    file.verb = IO_FILE_SYNC;
    assert_int_equal(file_op(rig, &file), 0);
    file.verb = IO_FILE_READ;
    file.buffer = back;
    file.size = sizeof(back);
    file.offset = 8;
    assert_int_equal(file_op(rig, &file), 7); /* the file ends at 15 */
    assert_memory_equal(back, "3456789", 7);
    file.size = 4;
    assert_int_equal(file_op(rig, &file), 4);
    file.offset = 15;
    assert_int_equal(file_op(rig, &file), 0);
    file.verb = IO_FILE_STAT;
    file.path = "";
    file.flags = AT_EMPTY_PATH;
    file.mode = STATX_SIZE;
    file.statx = &about;
    assert_int_equal(file_op(rig, &file), 0);
    assert_int_equal(about.stx_size, 15);
    file.flags |= AT_STATX_DONT_SYNC;
    about.stx_size = 0;
    assert_int_equal(file_op(rig, &file), 0);
    assert_int_equal(about.stx_size, 15);
    file.verb = IO_FILE_CLOSE;
    assert_int_equal(file_op(rig, &file), 0);
    assert_int_equal(fcntl(file.fd, F_GETFD), -1);
}

static void open_files(void **state)
{
    struct rig *rig = rig_of(state);
    struct io_file file = {.verb = IO_FILE_OPEN, .fd = AT_FDCWD, .path = "/proc/self/exe"};
    int fd;
    for (int i = 0; i < 2; i++) {
        file.flags = i == 0 ? O_RDONLY : O_RDONLY | O_NONBLOCK;
        fd = file_op(rig, &file);
        assert_true(fd >= 0);
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        close(fd);
        file.path = "/usr/bin/env";
        fd = file_op(rig, &file);
        assert_true(fd >= 0);
        close(fd);
        file.path = "/nowhere/at/all";
        assert_int_equal(file_op(rig, &file), -ENOENT);
        file.path = "/proc/self/exe";
    }
    file.fd = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
    file.resolve = 0x08; /* RESOLVE_BENEATH */
    file.path = "bin/env";
    fd = file_op(rig, &file);
    assert_true(fd >= 0);
    close(fd);
    file.path = "../etc/passwd";
    assert_int_equal(file_op(rig, &file), -EXDEV);
    close(file.fd);
}

/* --- calls ------------------------------------------------------------------------------------ */

struct call {
    _Atomic int begun, go;
    _Atomic pthread_t on; /* the last of them */
    _Atomic bool signals_blocked;
};

static int blocking_call(void *arg)
{
    struct call *call = arg;
    sigset_t mask;
    call->on = pthread_self();
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    call->signals_blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGALRM) == 1;
    atomic_fetch_add(&call->begun, 1);
    while (!atomic_load(&call->go))
        rig_sleep_ms(1);
    return 42;
}

static void call_on_a_worker(void **state)
{
    struct rig *rig = rig_of(state);
    struct call call = {.go = 1};
    struct io_file file = {.verb = IO_FILE_CALL, .call = blocking_call, .arg = &call};
    assert_int_equal(file_op(rig, &file), 42);
    assert_false(pthread_equal(call.on, pthread_self()));
    assert_true(call.signals_blocked);
}

static int slow_call(void *arg)
{
    rig_sleep_ms(20);
    return 1;
}

/* The end of a job ends a sleep. */
static void a_worker_wakes_the_loop(void **state)
{
    struct rig *rig = rig_of(state);
    struct io_file file = {.verb = IO_FILE_CALL, .call = slow_call};
    uint64_t begin = rig_now_ns(), token = IO_TOKEN(IO_OP_FILE, 2, 3, 1);
    int result = 0;
    assert_int_equal(rig->io->ops->file(rig->io, &file, token), IO_PENDING);
    while (!rig_take(rig, token, &result))
        rig_turn(rig, 3000);
    assert_true(rig_now_ns() - begin < 2000000000u);
    assert_int_equal(result, 1);
}

/* Two workers (the rig's pool) are held; eight jobs wait; the next is refused. One that waits can
 * be canceled, one that runs gives its own result. */
static void full_queue_and_cancel(void **state)
{
    enum { JOBS = 12 };
    struct rig *rig = rig_of(state);
    struct call call = {.go = 0};
    struct io_file file[JOBS];
    uint64_t token[JOBS];
    int accepted = 0, canceled = 0, result;
    for (int i = 0; i < JOBS; i++) {
        int how;
        file[i] = (struct io_file){.verb = IO_FILE_CALL, .call = blocking_call, .arg = &call};
        token[i] = IO_TOKEN(IO_OP_FILE, 2, 1, (unsigned)i);
        how = rig->io->ops->file(rig->io, &file[i], token[i]);
        if (how < 0)
            break;
        accepted++;
        for (int wait = 0; i < 2 && atomic_load(&call.begun) <= i && wait < 1000; wait++)
            rig_sleep_ms(1);
    }
    assert_int_equal(accepted, 10);
    assert_int_equal(rig->io->ops->in_flight(rig->io), 10);
    assert_int_equal(rig->io->ops->cancel(rig->io, NULL, token[0]), 0); /* runs */
    assert_int_equal(rig->io->ops->cancel(rig->io, NULL, token[5]), 0); /* waits */
    assert_int_equal(rig_final(rig, token[5]), -ECANCELED);
    assert_false(rig_take(rig, token[0], &result));
    atomic_store(&call.go, 1);
    for (int i = 0; i < accepted; i++) {
        if (i == 5)
            continue;
        result = rig_final(rig, token[i]);
        canceled += result == -ECANCELED;
        assert_true(result == 42 || result == -ECANCELED);
    }
    assert_int_equal(canceled, 0);
    assert_int_equal(rig->io->ops->in_flight(rig->io), 0);
}

static int small_call(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
    return 7;
}

static void many_calls(void **state)
{
    struct rig *rig = rig_of(state);
    struct io_file file[8];
    _Atomic int count = 0;
    for (int round = 0; round < 300; round++) {
        for (unsigned i = 0; i < 8; i++) {
            file[i] = (struct io_file){.verb = IO_FILE_CALL, .call = small_call, .arg = &count};
            assert_int_equal(rig->io->ops->file(rig->io, &file[i], IO_TOKEN(IO_OP_FILE, 2, 2, i)),
                             IO_PENDING);
        }
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(rig_final(rig, IO_TOKEN(IO_OP_FILE, 2, 2, i)), 7);
    }
    assert_int_equal(count, 2400);
}

/* A job that a worker has finished, and an operation that needed none, found in the same turn: both
 * come. The worker's wake-up is used up in that turn. */
static void call_and_cached_together(void **state)
{
    struct rig *rig = rig_of(state);
    struct statx about;
    _Atomic int count = 0;
    uint64_t called = IO_TOKEN(IO_OP_FILE, 2, 3, 1), known = IO_TOKEN(IO_OP_FILE, 2, 3, 2);
    struct io_file call = {.verb = IO_FILE_CALL, .call = small_call, .arg = &count};
    struct io_file look = {.verb = IO_FILE_STAT, .fd = temporary(), .path = "", .statx = &about};
    look.flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    look.mode = STATX_SIZE;
    for (int round = 0; round < 3; round++) {
        assert_int_equal(rig->io->ops->file(rig->io, &call, called), IO_PENDING);
        while (atomic_load(&count) == round)
            rig_sleep_ms(1);
        rig_sleep_ms(5); /* until it has told */
        assert_int_equal(rig->io->ops->file(rig->io, &look, known), IO_PENDING);
        assert_int_equal(rig_final(rig, known), 0);
        assert_int_equal(rig_final(rig, called), 7);
    }
    close(look.fd);
}

/* Streams have no offsets. */
static void write_and_read_a_pipe(void **state)
{
    struct rig *rig = rig_of(state);
    char back[8] = {0};
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct io_file file = {.verb = IO_FILE_WRITE,
                           .fd = ends[1],
                           .buffer = (char[]){"stream"},
                           .size = 6,
                           .offset = -1};
    assert_int_equal(file_op(rig, &file), 6);
    file.verb = IO_FILE_READ;
    file.fd = ends[0];
    file.buffer = back;
    file.size = sizeof(back);
    assert_int_equal(file_op(rig, &file), 6);
    assert_string_equal(back, "stream");
    close(ends[0]);
    close(ends[1]);
}

/* The disposition of SIGPIPE is the default one: it would kill. */
static void write_to_a_pipe_without_a_reader(void **state)
{
    struct rig *rig = rig_of(state);
    struct sigaction usual = {.sa_handler = SIG_DFL}, before;
    sigset_t pending;
    int ends[2];
    assert_int_equal(sigaction(SIGPIPE, &usual, &before), 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    close(ends[0]);
    for (int i = 0; i < 3; i++) {
        struct io_file file = {.verb = IO_FILE_WRITE,
                               .fd = ends[1],
                               .buffer = (char[]){"stream"},
                               .size = 6,
                               .offset = -1};
        assert_int_equal(file_op(rig, &file), -EPIPE);
    }
    sigemptyset(&pending);
    sigpending(&pending);
    assert_false(sigismember(&pending, SIGPIPE));
    sigaction(SIGPIPE, &before, NULL);
    close(ends[1]);
}

/* --- move ------------------------------------------------------------------------------------- */

static uint8_t byte_at(size_t at)
{
    return (uint8_t)(at * 7 + at / 509);
}

static int patterned_file(size_t size)
{
    uint8_t *bytes = malloc(size);
    int fd = temporary();
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte_at(i);
    assert_int_equal(pwrite(fd, bytes, size, 0), size);
    free(bytes);
    return fd;
}

struct reader {
    int peer;
    size_t got;
    bool right;
};

static void *slow_reader(void *arg)
{
    struct reader *reader = arg;
    uint8_t buffer[200000];
    ssize_t got;
    reader->right = true;
    while (reader->got < MOVED && (got = recv(reader->peer, buffer, sizeof(buffer), 0)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            reader->right &= buffer[i] == byte_at(reader->got + (size_t)i);
        reader->got += (size_t)got;
        rig_sleep_ms(2);
    }
    return NULL;
}

static int move(struct rig *rig, unsigned slot, int file, int64_t *offset, size_t size,
                unsigned flags)
{
    uint64_t token = rig_token(rig, slot, IO_OP_MOVE);
    int result = 0;
    int how =
        rig->io->ops->move(rig->io, rig_fd(rig, slot), file, offset, size, flags, token, &result);
    if (how == IO_DONE)
        return result == 0 ? -ENODATA : result;
    assert_int_equal(how, IO_PENDING);
    return rig_final(rig, token);
}

static void move_to(struct rig *rig, unsigned slot, int peer)
{
    struct reader reader = {.peer = peer};
    int file = patterned_file(MOVED), result;
    pthread_t thread;
    int64_t offset = 0;
    unsigned flags = 0;
    assert_int_equal(pthread_create(&thread, NULL, slow_reader, &reader), 0);
    while (offset < MOVED) {
        result = move(rig, slot, file, &offset, (size_t)(MOVED - offset), flags);
        if (result < 0)
            fail_msg("move: %d", result);
        flags = result > 0 ? IO_SEND_BLOCKED : 0; /* it was short */
    }
    pthread_join(thread, NULL);
    assert_int_equal(reader.got, MOVED);
    assert_true(reader.right);
    assert_int_equal(move(rig, slot, file, &offset, 100, 0), -ENODATA); /* the end of the file */
    close(file);
    close(peer);
}

static void move_to_slow_tcp(void **state)
{
    int peer;
    unsigned slot = rig_tcp(rig_of(state), &peer);
    move_to(rig_of(state), slot, peer);
}

static void move_to_slow_unix(void **state)
{
    int peer;
    unsigned slot = rig_unix(rig_of(state), &peer);
    move_to(rig_of(state), slot, peer);
}

/* Nobody reads, and the socket of a ring need not be a non-blocking one. */
static void move_does_not_wait(void **state)
{
    struct rig *rig = rig_of(state);
    int file = patterned_file(4000000), result = 1, how = IO_DONE, peer;
    unsigned slot = rig_unix(rig, &peer);
    uint64_t token = rig_token(rig, slot, IO_OP_MOVE), begin = rig_now_ns();
    int64_t offset = 0;
    for (int i = 0; i < 1000 && how == IO_DONE; i++) {
        how = rig->io->ops->move(rig->io, rig_fd(rig, slot), file, &offset, 4000000, 0, token,
                                 &result);
        assert_true(how == IO_PENDING || (how == IO_DONE && result > 0));
        if (how == IO_PENDING && rig_take(rig, token, &result))
            how = IO_DONE; /* it waited for the disk */
    }
    assert_int_equal(how, IO_PENDING);
    assert_true(offset > 0 && offset < 4000000);
    rig_idle(rig, 20);
    assert_false(rig_take(rig, token, &result));
    assert_true(rig_now_ns() - begin < 3000000000u);
    assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, slot), token), 0);
    assert_int_equal(rig_final(rig, token), -ECANCELED);
    close(peer);
    close(file);
}

/* The disposition of SIGPIPE is the default one: it would kill. */
static void move_to_closed_peer(void **state)
{
    struct rig *rig = rig_of(state);
    struct sigaction usual = {.sa_handler = SIG_DFL}, before;
    int file = patterned_file(1000000), result = 0, peer;
    sigset_t pending;
    assert_int_equal(sigaction(SIGPIPE, &usual, &before), 0);
    for (int i = 0; i < 2; i++) {
        unsigned slot = i == 0 ? rig_tcp(rig, &peer) : rig_unix(rig, &peer);
        int64_t offset = 0;
        close(peer);
        rig_sleep_ms(5);
        for (int tries = 0; tries < 10 && result >= 0; tries++) {
            result = move(rig, slot, file, &offset, 100000, 0);
            rig_sleep_ms(2);
        }
        assert_true(result == -EPIPE || result == -ECONNRESET);
        result = move(rig, slot, file, &offset, 100000, 0);
        assert_int_equal(result, -EPIPE);
        result = 0;
    }
    sigemptyset(&pending);
    sigpending(&pending);
    assert_false(sigismember(&pending, SIGPIPE));
    sigaction(SIGPIPE, &before, NULL);
    close(file);
}

/* The file is shorter than was thought: short, but not for want of room. */
static void move_beyond_the_end(void **state)
{
    struct rig *rig = rig_of(state);
    int file = patterned_file(1000), result = 0, peer;
    unsigned slot = rig_tcp(rig, &peer), flags = 0;
    int64_t offset = 0;
    uint8_t back[1000];
    for (int tries = 0; tries < 5 && result != -ENODATA; tries++) {
        result = move(rig, slot, file, &offset, 5000, flags);
        flags = result > 0 ? IO_SEND_BLOCKED : 0;
    }
    assert_int_equal(result, -ENODATA);
    assert_int_equal(offset, 1000);
    assert_int_equal(recv(peer, back, 1000, MSG_WAITALL), 1000);
    close(file);
    close(peer);
}

/* Sendfile refuses some files; the bytes come all the same. */
static void move_of_an_odd_file(void **state)
{
    struct rig *rig = rig_of(state);
    char text[4096] = {0}, want[4096] = {0};
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC), peer;
    unsigned slot = rig_tcp(rig, &peer);
    int64_t offset = 0;
    assert_true(read(file, want, 6) == 6);
    while (offset < 6)
        assert_true(move(rig, slot, file, &offset, (size_t)(6 - offset), 0) >= 0);
    assert_int_equal(recv(peer, text, 6, MSG_WAITALL), 6);
    assert_memory_equal(text, want, 6);
    close(file);
    close(peer);
}

/* What is not in memory is read by a worker first, not by the loop. */
static void move_of_a_cold_file(void **state)
{
    struct rig *rig = rig_of(state);
    int file = patterned_file(MOVED), peer;
    unsigned slot = rig_tcp(rig, &peer);
    struct reader reader = {.peer = peer};
    uint64_t token = rig_token(rig, slot, IO_OP_MOVE);
    int64_t offset = 0;
    int result = 0, how;
    pthread_t thread;
    assert_true(weir__file_cached(file, 0, MOVED));
    assert_true(weir__file_cached(file, 0, MOVED + 5000000)); /* as far as it goes */
    assert_true(weir__file_cached(file, MOVED, 100));
    assert_int_equal(fsync(file), 0);
    assert_int_equal(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
    if (weir__file_cached(file, 0, MOVED)) {
        close(file);
        close(peer);
        skip_because("a file system that is memory itself");
    }
    /* Canceled while the worker is at it; the rig waits for the job when it closes. */
    how = rig->io->ops->move(rig->io, rig_fd(rig, slot), file, &offset, MOVED, 0, token, &result);
    assert_int_equal(how, IO_PENDING);
    assert_int_equal(offset, 0);
    assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, slot), token), 0);
    result = rig_final(rig, token); /* or the disk was faster */
    assert_true(result == -ECANCELED || result == 0);
    while (rig->io->ops->in_flight(rig->io) != 0)
        rig_turn(rig, 100);
    assert_false(rig_take(rig, token, &result));
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    assert_int_equal(pthread_create(&thread, NULL, slow_reader, &reader), 0);
    while (offset < MOVED) {
        bool cold = !weir__file_cached(file, offset, 4096);
        how = rig->io->ops->move(rig->io, rig_fd(rig, slot), file, &offset,
                                 (size_t)(MOVED - offset), 0, token, &result);
        if (how == IO_PENDING) {
            assert_int_equal(rig_final(rig, token), 0);
            assert_true(!cold || weir__file_cached(file, offset, 4096));
        } else {
            assert_false(cold);
            assert_true(result > 0);
        }
    }
    pthread_join(thread, NULL);
    assert_true(reader.right);
    close(file);
    close(peer);
}

static void cancel_of_pending_move(void **state)
{
    struct rig *rig = rig_of(state);
    int file = patterned_file(1000000), peer, result = 0, how;
    unsigned slot = rig_tcp(rig, &peer);
    uint64_t token = rig_token(rig, slot, IO_OP_MOVE);
    int64_t offset = 0;
    do {
        offset = 0;
        how = rig->io->ops->move(rig->io, rig_fd(rig, slot), file, &offset, 1000000, 0, token,
                                 &result);
        assert_true(how == IO_PENDING || result > 0);
    } while (how == IO_DONE);
    rig_idle(rig, 5);
    assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, slot), token), 0);
    assert_int_equal(rig_final(rig, token), -ECANCELED);
    assert_int_equal(rig->io->ops->in_flight(rig->io), 0);
    close(file);
    close(peer);
}

const struct CMUnitTest io_cases_file[] = {
    IO_CASE(write_sync_read_stat),   IO_CASE(open_files),
    IO_CASE(call_on_a_worker),       IO_CASE(a_worker_wakes_the_loop),
    IO_CASE(full_queue_and_cancel),  IO_CASE(many_calls),
    IO_CASE(move_to_slow_tcp),       IO_CASE(move_to_slow_unix),
    IO_CASE(move_to_closed_peer),    IO_CASE(move_beyond_the_end),
    IO_CASE(move_of_an_odd_file),    IO_CASE(move_of_a_cold_file),
    IO_CASE(cancel_of_pending_move), IO_CASE(call_and_cached_together),
    IO_CASE(write_and_read_a_pipe),  IO_CASE(write_to_a_pipe_without_a_reader),
    IO_CASE(move_does_not_wait),     IO_CASES_END,
};
