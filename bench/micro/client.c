/* io_echo KIND [conns] [size] [depth] [seconds]: prints the server's CPU per message.
 * KIND: bare-epoll, bare-uring, or a back end of weir (uring, epoll, poll, select). */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "echo.h"

static volatile int stop;

static void on_alarm(int signal)
{
    (void)signal;
    stop = 1;
}

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static double cpu_now(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static int make_listener(struct sockaddr_in *address)
{
    socklen_t size = sizeof(*address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    *address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)address, size) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)address, &size) < 0) {
        perror("io_echo: listen");
        exit(1);
    }
    return fd;
}

/* Keeps `depth` messages of `size` bytes in flight on each connection until killed. */
static void client(const struct echo_job *job, const struct sockaddr_in *address)
{
    int batch = job->size * job->depth, epoll = epoll_create1(0);
    char *buffer = calloc(1, (size_t)batch);
    int *got = calloc((size_t)job->conns, sizeof(*got)), *fd = calloc((size_t)job->conns, 4);
    struct epoll_event events[256];

    for (int i = 0; i < job->conns; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        int one = 1;

        fd[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd[i], (const struct sockaddr *)address, sizeof(*address)) < 0)
            exit(1);
        setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd[i], &event);
    }
    for (int i = 0; i < job->conns; i++)
        if (write(fd[i], buffer, (size_t)batch) != batch)
            exit(1);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);

        for (int i = 0; i < count; i++) {
            uint32_t c = events[i].data.u32;
            ssize_t n = read(fd[c], buffer, (size_t)(batch - got[c]));

            if (n <= 0)
                exit(0);
            got[c] += (int)n;
            if (got[c] == batch) {
                got[c] = 0;
                if (write(fd[c], buffer, (size_t)batch) != batch)
                    exit(1);
            }
        }
    }
}

static echo_server *server_of(const char *kind)
{
    if (strcmp(kind, "bare-epoll") == 0)
        return echo_bare_epoll;
    if (strcmp(kind, "bare-uring") == 0)
        return echo_bare_uring;
    return echo_io;
}

int main(int argc, char **argv)
{
    struct echo_job job = {.kind = argc > 1 ? argv[1] : "uring",
                           .conns = argc > 2 ? atoi(argv[2]) : 64,
                           .size = argc > 3 ? atoi(argv[3]) : 64,
                           .depth = argc > 4 ? atoi(argv[4]) : 1,
                           .seconds = argc > 5 ? atof(argv[5]) : 2};
    struct sockaddr_in address;
    struct rlimit limit;
    double cpu, wall;
    uint64_t bytes;
    pid_t child;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    job.listener = make_listener(&address);
    child = fork();
    if (child == 0) {
        pin(1);
        client(&job, &address);
    }
    pin(0);
    signal(SIGALRM, on_alarm);
    ualarm((useconds_t)(job.seconds * 1e6) % 1000000, 0);
    if (job.seconds >= 1)
        alarm((unsigned)job.seconds);
    cpu = cpu_now(CLOCK_PROCESS_CPUTIME_ID);
    wall = cpu_now(CLOCK_MONOTONIC);
    bytes = server_of(job.kind)(&job, &stop);
    cpu = cpu_now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall = cpu_now(CLOCK_MONOTONIC) - wall;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    printf("%-12s conns %d size %d depth %d: %.3f us cpu/message, %.0f messages/s\n", job.kind,
           job.conns, job.size, job.depth, cpu * 1e6 * job.size / (double)bytes,
           (double)bytes / job.size / wall);
    return 0;
}
