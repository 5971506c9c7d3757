/* Prefork with descriptor passing: the master accepts, and gives each connection to a worker that
 * is free, over a unix socket (SCM_RIGHTS, unix(7)). It knows who is busy, so the order and the
 * choice are its own; each connection costs two messages for that. */
#include <poll.h>

#include "blocking.h"
#include "children.h"

struct seat {
    int fd; /* to its worker, or -1: empty */
    bool busy;
};

static bool pass(int to, int fd)
{
    char byte = 0;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof fd)];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof fd),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    *(int *)(void *)CMSG_DATA(&control.header) = fd;
    return sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

/* The descriptor that came, -1: none came, -2: the master is gone. */
static int receive(int from)
{
    char byte;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    ssize_t n = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n < 0 && errno == EINTR ? -1 : -2;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header == NULL || header->cmsg_type != SCM_RIGHTS)
        return -1; /* our table of descriptors is full: the client sees an end */
    return *(int *)(void *)CMSG_DATA(header);
}

static void worker(const struct model *m, int master)
{
    int fd;
    while ((fd = receive(master)) != -2) {
        if (fd >= 0)
            blocking_serve(m, fd);
        if (write(master, "", 1) != 1) /* free again */
            break;
    }
    _exit(0);
}

/* A worker must not hold the master's ends of others: their end would never be seen. */
static bool seat_worker(const struct model *m, struct children *children, struct seat *seats,
                        struct seat *seat)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return false;
    pid_t pid = children_fork(children);
    if (pid == 0) {
        for (unsigned i = 0; i < m->workers; i++)
            if (seats[i].fd >= 0)
                close(seats[i].fd);
        close(pair[0]);
        close(m->listener);
        worker(m, pair[1]);
    }
    close(pair[1]);
    if (pid < 0)
        close(pair[0]);
    *seat = (struct seat){.fd = pid < 0 ? -1 : pair[0]};
    return pid > 0;
}

/* What worker `seat` says: that it is free, or by its end that it died. */
static void hear(struct seat *seat)
{
    char byte;
    if (recv(seat->fd, &byte, 1, MSG_DONTWAIT) == 1) {
        seat->busy = false;
        return;
    }
    close(seat->fd);
    *seat = (struct seat){.fd = -1};
    nanosleep(&model_pause, NULL); /* one that dies at once does not make us spin */
}

int main(int argc, char **argv)
{
    struct model m;
    struct children children;
    model_begin(&m, argc, argv);
    children_begin(&children, m.workers);
    model_listen(&m, SOCK_NONBLOCK);
    struct seat *seats = calloc(m.workers, sizeof *seats);
    struct pollfd *polls = calloc(m.workers + 1, sizeof *polls);
    if (seats == NULL || polls == NULL)
        model_die("calloc");
    for (unsigned i = 0; i < m.workers; i++)
        seats[i].fd = -1;
    while (!model_ended) {
        struct seat *idle = NULL;
        while (children_reap(&children, NULL) != 0)
            ;
        for (unsigned i = 0; i < m.workers; i++) {
            if (seats[i].fd < 0 && children.count < children.max &&
                !seat_worker(&m, &children, seats, &seats[i]))
                m.scarce = true;
            if (seats[i].fd >= 0 && !seats[i].busy)
                idle = &seats[i];
            polls[i] = (struct pollfd){.fd = seats[i].fd, .events = POLLIN};
        }
        polls[m.workers] = (struct pollfd){.fd = idle ? m.listener : -1, .events = POLLIN};
        int ready = ppoll(polls, m.workers + 1, m.scarce ? &model_pause : NULL, &children.waiting);
        m.scarce = false;
        for (unsigned i = 0; ready > 0 && i < m.workers; i++)
            if (polls[i].revents != 0)
                hear(&seats[i]);
        int fd = ready > 0 && polls[m.workers].revents != 0 ? model_accept(&m, 0) : MODEL_NONE;
        if (fd >= 0) {
            idle->busy = idle->fd >= 0 && pass(idle->fd, fd);
            close(fd); /* the worker has its own by now, or the client sees an end */
        }
    }
    children_end(&children);
    model_end();
}
