/* io_uring, one operation at a time: accept, receive and send are entries in a queue that both
 * sides have in common, each is asked for once, and many go in and come back with one call. Buffers
 * belong to their connections; what io_uring can do beyond that is in proactor.c, by weir. */
#include <liburing.h>
#include <poll.h>
#include <sys/signalfd.h>

#include "model.h"

enum { ENTRIES = 1024 };

struct conn {
    int fd;
    unsigned begin, end; /* what is to be sent; nothing: it is receiving */
    char data[MODEL_BYTES];
};

static struct model m;
static struct io_uring ring;
static unsigned count;
static bool accepting;

/* When the queue is full, what is in it goes first. */
static struct io_uring_sqe *entry(void)
{
    struct io_uring_sqe *sqe;
    while ((sqe = io_uring_get_sqe(&ring)) == NULL) {
        int result = io_uring_submit(&ring);
        if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
            errno = -result;
            model_die("io_uring_submit");
        }
    }
    return sqe;
}

static void begin_next(struct conn *c)
{
    struct io_uring_sqe *sqe = entry();
    if (c->begin < c->end)
        io_uring_prep_send(sqe, c->fd, c->data + c->begin, c->end - c->begin, MSG_NOSIGNAL);
    else
        io_uring_prep_recv(sqe, c->fd, c->data, sizeof c->data, 0);
    io_uring_sqe_set_data(sqe, c);
}

static void done(struct conn *c, int result)
{
    if (result == -EINTR || result == -EAGAIN) {
        begin_next(c);
        return;
    }
    if (result <= 0) {
        close(c->fd); /* nothing of it is under way */
        free(c);
        count--;
        return;
    }
    if (c->begin < c->end) {
        c->begin += (unsigned)result; /* a short send: the rest goes next */
    } else {
        c->begin = 0;
        c->end = (unsigned)result;
    }
    begin_next(c);
}

/* Answers to what is no connection's: NULL is the listener, &ended the signals, &m the pause. */
static void accept_next(void)
{
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_accept(sqe, m.listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, NULL);
    accepting = true;
}

static void pause_accepting(void)
{
    static struct __kernel_timespec pause = {.tv_nsec = MODEL_PAUSE_MS * 1000000l};
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_timeout(sqe, &pause, 0, 0);
    io_uring_sqe_set_data(sqe, &m);
    m.scarce = true;
}

static void accepted(int fd)
{
    accepting = false;
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM)
        pause_accepting();
    if (fd < 0)
        return; /* it went while it waited */
    struct conn *c = malloc(sizeof *c);
    if (c == NULL) {
        pause_accepting();
        close(fd);
        return;
    }
    c->fd = fd;
    c->begin = c->end = 0;
    count++;
    begin_next(c);
}

static void harvest(int *ended)
{
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(&ring, &cqe) == 0) {
        void *data = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
        if (data == ended)
            model_end();
        else if (data == &m)
            m.scarce = false;
        else if (data == NULL)
            accepted(result);
        else
            done(data, result);
    }
}

int main(int argc, char **argv)
{
    sigset_t ends;
    model_begin(&m, argc, argv);
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL); /* a signal is one more thing that completes */
    int ended = signalfd(-1, &ends, SFD_CLOEXEC);
    int result = io_uring_queue_init(ENTRIES, &ring, 0);
    if (result < 0) {
        fprintf(stderr, "no io_uring here: error %d\n", -result);
        return 69;
    }
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_poll_add(sqe, ended, POLLIN);
    io_uring_sqe_set_data(sqe, &ended);
    model_listen(&m, 0);
    for (;;) {
        if (!accepting && !m.scarce && count < m.conns_max)
            accept_next();
        io_uring_submit_and_wait(&ring, 1); /* what it could not do it does next time */
        harvest(&ended);
    }
}
