/* What the tests of sockets share: addresses, pairs of connected sockets, and children with fewer
 * rights or a network of their own. */
#ifndef WEIR_TEST_NET_SUPPORT_H
#define WEIR_TEST_NET_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <weir/address.h>
#include <weir/error.h>

#include "net/socket.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NOBODY       65534

#define SKIP(...)                       \
    do {                                \
        printf("skip: %s: ", __func__); \
        printf(__VA_ARGS__);            \
        printf("\n");                   \
        fflush(stdout);                 \
        skip();                         \
    } while (0)

static inline int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads an address. Abstract names get the process's number, for tests that run side by side. */
static inline weir_address address_of(const char *text)
{
    struct weir_address_error error = {0};
    weir_address address;
    char own[256];

    if (strncmp(text, "unix:@", 6) == 0) {
        snprintf(own, sizeof own, "%s-%d", text, (int)getpid());
        text = own;
    }
    if (weir_address_parse(text, &address, &error) != 0)
        fail_msg("%s: at %u: %s", text, error.offset, error.message);
    return address;
}

/* Listens, without waiting for a taken address; fails the test with the error's text. */
static inline int must_listen(const weir_address *address, const weir_socket_options *options)
{
    struct weir__socket_how how = {.bind_wait_ms = -1};
    struct weir__socket_error error;
    int fd = weir__socket_listen(address, options, &how, &error);

    if (fd < 0)
        fail_msg("%s", error.text);
    return fd;
}

/* Whether this host can do what a test's address asks for: not every container has IPv6. */
static inline bool reachable(const char *text)
{
    weir_address six = address_of("tcp://[::1]:0");
    struct weir__socket_how how = {.bind_wait_ms = -1};
    struct weir__socket_error error;
    int fd;

    if (strstr(text, "[::") == NULL)
        return true;
    fd = weir__socket_listen(&six, NULL, &how, &error);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static inline weir_address local_of(int fd)
{
    weir_address address;

    assert_int_equal(weir__socket_local(fd, &address), 0);
    return address;
}

static inline int number_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t size = sizeof value;

    assert_int_equal(getsockopt(fd, level, option, &value, &size), 0);
    return value;
}

static inline void must_poll(int fd, short events)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};

    assert_int_equal(poll(&poll_fd, 1, 2000), 1);
}

/* A connection to `remote` that is under way or done. */
static inline int must_connect(const weir_address *remote, const weir_socket_options *options)
{
    struct weir__socket_error error;
    int fd = weir__socket_for_connect(remote, options, NULL, &error);

    if (fd < 0)
        fail_msg("%s", error.text);
    if (connect(fd, (const struct sockaddr *)&remote->socket, remote->socket_size) < 0)
        assert_int_equal(errno, EINPROGRESS);
    return fd;
}

static inline int must_accept(int listener)
{
    int fd;

    must_poll(listener, POLLIN);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(fd >= 0);
    return fd;
}

/* A listener, and both ends of a connection to it. */
struct ends {
    int listener, client, server;
};

static inline struct ends connected(const char *text, const weir_socket_options *options)
{
    weir_address address = address_of(text);
    struct ends ends = {.listener = must_listen(&address, options)};

    address = local_of(ends.listener);
    ends.client = must_connect(&address, NULL);
    ends.server = must_accept(ends.listener);
    return ends;
}

static inline void close_ends(const struct ends *ends)
{
    close(ends->listener);
    close(ends->client);
    close(ends->server);
}

/* What a child found out; the parent asserts, because a child must not run on into other tests. */
struct report {
    int result; /* CHILD_CANNOT: not permitted here */
    int number;
    struct weir__socket_error error;
};
#define CHILD_CANNOT 1000000

/* Runs body(report, arg) in a child process and waits for it. */
static inline struct report in_child(void (*body)(struct report *report, const void *arg),
                                     const void *arg)
{
    struct report *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct report report;
    int status;
    pid_t child;

    assert_ptr_not_equal(shared, MAP_FAILED);
    fflush(stdout);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body(shared, arg);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    report = *shared;
    munmap(shared, sizeof *shared);
    return report;
}

/* In a child: gives up root's rights. A process without them has nothing to give up. */
static inline int become_nobody(void)
{
    if (geteuid() != 0)
        return 0;
    return setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0 ? -1 : 0;
}

static inline int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t put;

    if (fd < 0)
        return -1;
    put = write(fd, text, strlen(text));
    close(fd);
    return put == (ssize_t)strlen(text) ? 0 : -1;
}

/* In a child: a network of its own, with loopback up. Not permitted: -1. */
static inline int own_network(void)
{
    char map[64];
    unsigned uid = geteuid(), gid = getegid();
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd, result;

    if (unshare(CLONE_NEWNET) < 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
            return -1;
        snprintf(map, sizeof map, "0 %u 1", uid);
        write_text("/proc/self/uid_map", map);
        write_text("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "0 %u 1", gid);
        write_text("/proc/self/gid_map", map);
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    result = ioctl(fd, SIOCSIFFLAGS, &request);
    close(fd);
    return result;
}

#endif
