/* What the models share: the command line, the listener, accepting, blocking echo, and the end.
 *
 *     ./MODEL [-p PORT] [-c CONNS] [-w WORKERS] [-i SECONDS]
 *
 * PORT is of 127.0.0.1, default 7000, 0: any; the first line on standard output names it. CONNS is
 * how many connections are served at a time (default 1000), WORKERS how many threads or processes
 * there are where the model has a fixed number of them (default 8), SECONDS how long a silent
 * client may hold one of them (default 60). Further clients wait in the kernel's queue. TERM ends.
 */
#ifndef MODEL_H
#define MODEL_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { MODEL_NONE = -1, MODEL_SPARE_FDS = 32, MODEL_BYTES = 16384 };

struct model {
    int listener;
    bool scarce; /* no descriptor or memory for the next client: try again in MODEL_PAUSE_MS */
    bool shared; /* there are to be several listeners on the port: SO_REUSEPORT */
    unsigned port, conns_max, workers, idle_s;
};

#define MODEL_PAUSE_MS 100
static const struct timespec model_pause = {.tv_nsec = MODEL_PAUSE_MS * 1000000l};
static volatile sig_atomic_t model_ended;

static inline void model_die(const char *what)
{
    perror(what);
    exit(1);
}

/* The kernel closes what is open; nothing else is to be put in order. */
static inline void model_end(void)
{
    _exit(0);
}

static inline unsigned model_number(const char *text, unsigned least, unsigned most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < least || value > most) {
        fprintf(stderr, "not a number from %u to %u: %s\n", least, most, text);
        exit(64);
    }
    return (unsigned)value;
}

/* Reads the command line, and takes as many descriptors as the process may have. */
static inline void model_begin(struct model *m, int argc, char **argv)
{
    struct rlimit files;
    int option;
    *m = (struct model){.port = 7000, .conns_max = 1000, .workers = 8, .idle_s = 60};
    while ((option = getopt(argc, argv, "p:c:w:i:")) != -1) {
        if (option == 'p')
            m->port = model_number(optarg, 0, 65535);
        else if (option == 'c')
            m->conns_max = model_number(optarg, 1, 1000000);
        else if (option == 'w')
            m->workers = model_number(optarg, 1, 10000);
        else if (option == 'i')
            m->idle_s = model_number(optarg, 1, 86400);
        else
            exit(64);
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (m->conns_max + MODEL_SPARE_FDS > files.rlim_cur) {
        m->conns_max = (unsigned)files.rlim_cur - MODEL_SPARE_FDS;
        fprintf(stderr, "%u connections at most: the limit of descriptors\n", m->conns_max);
    }
    signal(SIGPIPE, SIG_IGN); /* a client that vanished is an error of write, not the end of us */
}

static inline void model_announce(unsigned port)
{
    printf("listening on 127.0.0.1:%u\n", port);
    fflush(stdout);
}

/* Opens the listener and, if it is the only one, says so; `flags` may be SOCK_NONBLOCK. Accepted
 * sockets inherit its options: no delay for small answers, and an end for peers that vanish
 * (keepalive) or take nothing (TCP_USER_TIMEOUT counts the time of a closed window too). */
static inline void model_listen(struct model *m, int flags)
{
    static const struct {
        int level, name, value;
    } options[] = {{SOL_SOCKET, SO_REUSEADDR, 1},         {IPPROTO_TCP, TCP_NODELAY, 1},
                   {SOL_SOCKET, SO_KEEPALIVE, 1},         {IPPROTO_TCP, TCP_KEEPIDLE, 30},
                   {IPPROTO_TCP, TCP_KEEPCNT, 3},         {IPPROTO_TCP, TCP_KEEPINTVL, 10},
                   {IPPROTO_TCP, TCP_USER_TIMEOUT, 30000}};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)m->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    m->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (m->shared && setsockopt(m->listener, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)) < 0)
        model_die("SO_REUSEPORT");
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (setsockopt(m->listener, options[i].level, options[i].name, &options[i].value,
                       sizeof options[i].value) < 0)
            model_die("setsockopt");
    if (bind(m->listener, (struct sockaddr *)&address, size) < 0 || listen(m->listener, 4096) < 0 ||
        getsockname(m->listener, (struct sockaddr *)&address, &size) < 0)
        model_die("cannot listen");
    m->port = ntohs(address.sin_port);
    if (!m->shared)
        model_announce(m->port);
}

/* The next connection, or MODEL_NONE; m->scarce tells when that is our fault. A client that went
 * while it waited, or whose network failed (accept(2)), is passed over. */
static inline int model_accept(struct model *m, int flags)
{
    for (;;) {
        int fd = accept4(m->listener, NULL, NULL, flags | SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
        switch (errno) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            m->scarce = true;
            return MODEL_NONE;
        case EAGAIN:
        case EINTR:
            return MODEL_NONE;
        case EBADF:
        case EINVAL:
        case ENOTSOCK:
            model_die("accept");
        }
    }
}
#endif
