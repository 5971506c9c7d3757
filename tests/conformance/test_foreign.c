/* Descriptors that are not weir's: pipes, FIFOs, message queues, terminals, counters, timers,
 * watches on files, processes. Each tells what it has by weir_poll, and to a coroutine by
 * weir_wait_fd. */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <weir/co.h>

#include "conformance/harness.h"

/* A descriptor that is waited for, and what makes it readable. */
struct foreign {
    const char *name;
    int (*begin)(struct foreign *f); /* 0, or why there is none: -errno */
    void (*give)(struct foreign *f);
    void (*take)(struct foreign *f);    /* what was given, and no more */
    void (*hang_up)(struct foreign *f); /* or NULL: it has no other end */
    int fd, other;
    char path[96];
};

static int pipe_begin(struct foreign *f)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    f->fd = ends[0];
    f->other = ends[1];
    return 0;
}

static void bytes_give(struct foreign *f)
{
    assert_int_equal(write(f->other, "hello\n", 6), 6);
}

static void bytes_take(struct foreign *f)
{
    char bytes[16];
    assert_int_equal(read(f->fd, bytes, sizeof bytes), 6);
    assert_memory_equal(bytes, "hello\n", 6);
    assert_int_equal(read(f->fd, bytes, sizeof bytes), -1);
    assert_int_equal(errno, EAGAIN);
}

static void other_end_closed(struct foreign *f)
{
    close(f->other);
    f->other = -1;
}

static int fifo_begin(struct foreign *f)
{
    snprintf(f->path, sizeof f->path, "/tmp/weir-fifo-%d", (int)getpid());
    unlink(f->path);
    if (mkfifo(f->path, 0600) < 0)
        return -errno;
    f->fd = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    f->other = open(f->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    unlink(f->path);
    return f->fd >= 0 && f->other >= 0 ? 0 : -errno;
}

/* The program's side is raw: what is typed comes as it is. */
static int terminal_begin(struct foreign *f)
{
    struct termios raw;
    char name[64];
    f->other = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (f->other < 0 || grantpt(f->other) < 0 || unlockpt(f->other) < 0 ||
        ptsname_r(f->other, name, sizeof name) != 0)
        return -errno;
    f->fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (f->fd < 0 || tcgetattr(f->fd, &raw) < 0)
        return -errno;
    cfmakeraw(&raw);
    return tcsetattr(f->fd, TCSANOW, &raw) < 0 ? -errno : 0;
}

/* On Linux a message queue is a descriptor: mq_overview(7). */
static int queue_begin(struct foreign *f)
{
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 64};
    snprintf(f->path, sizeof f->path, "/weir-%d", (int)getpid());
    mq_unlink(f->path);
    f->fd = mq_open(f->path, O_RDONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0600, &attributes);
    if (f->fd < 0)
        return -errno;
    f->other = mq_open(f->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    mq_unlink(f->path);
    return f->other < 0 ? -errno : 0;
}

static void queue_give(struct foreign *f)
{
    assert_int_equal(mq_send(f->other, "hello", 5, 3), 0);
}

static void queue_take(struct foreign *f)
{
    char bytes[64];
    unsigned priority = 0;
    assert_int_equal(mq_receive(f->fd, bytes, sizeof bytes, &priority), 5);
    assert_memory_equal(bytes, "hello", 5);
    assert_int_equal(priority, 3);
    assert_int_equal(mq_receive(f->fd, bytes, sizeof bytes, NULL), -1);
}

static int counter_begin(struct foreign *f)
{
    f->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return f->fd < 0 ? -errno : 0;
}

static void counter_give(struct foreign *f)
{
    assert_int_equal(eventfd_write(f->fd, 7), 0);
}

static void counter_take(struct foreign *f)
{
    eventfd_t value;
    assert_int_equal(eventfd_read(f->fd, &value), 0);
    assert_int_equal(value, 7);
}

static int timer_begin(struct foreign *f)
{
    f->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return f->fd < 0 ? -errno : 0;
}

static void timer_give(struct foreign *f)
{
    struct itimerspec soon = {.it_value = {.tv_nsec = 1}};
    assert_int_equal(timerfd_settime(f->fd, 0, &soon, NULL), 0);
}

static void timer_take(struct foreign *f)
{
    uint64_t times;
    assert_int_equal(read(f->fd, &times, sizeof times), sizeof times);
    assert_int_equal(times, 1);
}

static int watch_begin(struct foreign *f)
{
    snprintf(f->path, sizeof f->path, "/tmp/weir-watch-XXXXXX");
    if (mkdtemp(f->path) == NULL)
        return -errno;
    f->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (f->fd < 0 || inotify_add_watch(f->fd, f->path, IN_CREATE) < 0)
        return -errno;
    return 0;
}

static void watch_give(struct foreign *f)
{
    char file[128];
    snprintf(file, sizeof file, "%s/file", f->path);
    int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    unlink(file);
}

static void watch_take(struct foreign *f)
{
    _Alignas(struct inotify_event) char bytes[512];
    const struct inotify_event *event = (const struct inotify_event *)(const void *)bytes;
    assert_true(read(f->fd, bytes, sizeof bytes) > 0);
    assert_true(event->mask & IN_CREATE);
    assert_string_equal(event->name, "file");
}

static struct foreign kinds[] = {
    {"pipe", pipe_begin, bytes_give, bytes_take, other_end_closed, -1, -1, ""},
    {"FIFO", fifo_begin, bytes_give, bytes_take, other_end_closed, -1, -1, ""},
    {"terminal", terminal_begin, bytes_give, bytes_take, other_end_closed, -1, -1, ""},
    {"message queue", queue_begin, queue_give, queue_take, NULL, -1, -1, ""},
    {"eventfd", counter_begin, counter_give, counter_take, NULL, -1, -1, ""},
    {"timerfd", timer_begin, timer_give, timer_take, NULL, -1, -1, ""},
    {"inotify", watch_begin, watch_give, watch_take, NULL, -1, -1, ""},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void foreign_end(struct foreign *f)
{
    close(f->fd);
    if (f->other >= 0)
        close(f->other);
    if (f->begin == watch_begin)
        rmdir(f->path);
    f->fd = f->other = -1;
}

static void foreign_begin(struct foreign *f)
{
    int result = f->begin(f);
    if (result < 0)
        fail_msg("%s: %s", f->name, strerror(-result));
}

struct told {
    unsigned times;
    int events;
};

static void on_events(weir_watch *watch, int events, void *arg)
{
    struct told *told = arg;
    told->times++;
    told->events = events;
}

/* Quiet while there is nothing; told once when there is something; again when asked again. */
static void foreign_descriptors_become_readable(void **state)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct world *w = world_open(NULL);
        struct foreign *f = &kinds[i];
        struct told told = {0};
        weir_watch watch = {0};
        foreign_begin(f);
        assert_int_equal(V(w, weir_poll(&watch, f->fd, POLLIN, on_events, &told)), 0);
        world_run_ms(w, 5);
        assert_int_equal(told.times, 0);
        for (unsigned round = 1; round <= 3; round++) {
            f->give(f);
            UNTIL(w, told.times == round);
            if ((told.events & POLLIN) == 0)
                fail_msg("%s: events 0x%x", f->name, (unsigned)told.events);
            world_run_ms(w, 2); /* once only, though it is readable still */
            assert_int_equal(told.times, round);
            f->take(f);
            assert_int_equal(V(w, weir_poll(&watch, f->fd, POLLIN, on_events, &told)), 0);
        }
        V(w, (weir_watch_cancel(&watch), 0));
        f->give(f);
        world_run_ms(w, 2);
        assert_int_equal(told.times, 3);
        foreign_end(f);
        world_end(w);
    }
}

/* The other end is gone: whoever waits for bytes hears of it. */
static void foreign_descriptors_that_hang_up(void **state)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct world *w = world_open(NULL);
        struct foreign *f = &kinds[i];
        struct told told = {0};
        weir_watch watch = {0};
        if (f->hang_up != NULL) {
            foreign_begin(f);
            assert_int_equal(V(w, weir_poll(&watch, f->fd, POLLIN, on_events, &told)), 0);
            world_run_ms(w, 2);
            f->hang_up(f);
            UNTIL(w, told.times == 1);
            /* select cannot tell it from something to read. */
            if ((told.events & (POLLHUP | POLLIN | POLLERR)) == 0)
                fail_msg("%s: events 0x%x", f->name, (unsigned)told.events);
            foreign_end(f);
        }
        world_end(w);
    }
}

/* What is full becomes writable when the other end has taken some. */
static void foreign_descriptors_become_writable(void **state)
{
    static char bytes[65536];
    for (size_t i = 0; i < KINDS; i++) {
        struct world *w = world_open(NULL);
        struct foreign *f = &kinds[i];
        struct told told = {0};
        weir_watch watch = {0};
        bool queue = f->begin == queue_begin;
        if (queue || f->begin == pipe_begin || f->begin == fifo_begin) {
            foreign_begin(f);
            while ((queue ? mq_send(f->other, "x", 1, 0) : write(f->other, bytes, 4096)) >= 0)
                ;
            assert_int_equal(errno, EAGAIN);
            assert_int_equal(V(w, weir_poll(&watch, f->other, POLLOUT, on_events, &told)), 0);
            world_run_ms(w, 5);
            assert_int_equal(told.times, 0);
            assert_true(queue ? mq_receive(f->fd, bytes, sizeof bytes, NULL) == 1
                              : read(f->fd, bytes, sizeof bytes) > 0);
            UNTIL(w, told.times == 1);
            assert_true(told.events & POLLOUT);
            foreign_end(f);
        }
        world_end(w);
    }
}

struct waiting {
    struct foreign *f;
    int early, late;
    bool ended;
};

static void wait_for_it(void *arg)
{
    struct waiting *waiting = arg;
    waiting->early = weir_wait_fd(waiting->f->fd, POLLIN, weir_after(2 * WEIR_MS));
    waiting->f->give(waiting->f);
    waiting->late = weir_wait_fd(waiting->f->fd, POLLIN, WEIR_NEVER);
    waiting->ended = true;
}

static void foreign_descriptors_in_coroutines(void **state)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct world *w = world_open(NULL);
        struct waiting waiting = {.f = &kinds[i]};
        foreign_begin(&kinds[i]);
        assert_int_equal(V(w, weir_spawn(wait_for_it, &waiting)), 0);
        UNTIL(w, waiting.ended);
        assert_int_equal(waiting.early, WEIR_ETIMEDOUT);
        if (waiting.late <= 0 || (waiting.late & POLLIN) == 0)
            fail_msg("%s: %d", kinds[i].name, waiting.late);
        kinds[i].take(&kinds[i]);
        foreign_end(&kinds[i]);
        world_end(w);
    }
}

/* A process becomes readable by its pidfd when it has ended (kernel 5.3), and leaves no zombie. */
static void foreign_descriptor_of_a_process(void **state)
{
    struct world *w = world_open(NULL);
    struct told told = {0};
    weir_watch watch = {0};
    int ends[2], status = 0;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char byte;
        close(ends[1]);
        _exit(read(ends[0], &byte, 1) == 0 ? 42 : 1);
    }
    close(ends[0]);
    int fd = (int)syscall(SYS_pidfd_open, child, 0);
    assert_true(fd >= 0);
    assert_int_equal(V(w, weir_poll(&watch, fd, POLLIN, on_events, &told)), 0);
    world_run_ms(w, 5);
    assert_int_equal(told.times, 0);
    close(ends[1]);
    UNTIL(w, told.times == 1);
    assert_true(told.events & POLLIN);
    assert_int_equal(waitpid(child, &status, WNOHANG), child);
    assert_int_equal(WEXITSTATUS(status), 42);
    close(fd);
    world_end(w);
}

K_MAIN(T(foreign_descriptors_become_readable), T(foreign_descriptors_that_hang_up),
       T(foreign_descriptors_become_writable), T(foreign_descriptors_in_coroutines),
       T(foreign_descriptor_of_a_process))
