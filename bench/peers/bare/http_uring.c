/* Bare io_uring HTTP: the lower bound for HTTP/1.1 on a ring. All requests that came in one receive
 * are answered by one send (answers.h), and the buffer goes back at once. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answers.h"
#include "listen.h"
#include "ring.h"

enum {
    WAITING = 4
}; /* answers behind the one that is being sent: a client waits for its answers */

struct conn {
    struct answer answers[WAITING]; /* the first one is being sent */
    unsigned count, tail_size;
    bool ended;
    struct iovec parts[2];
    struct msghdr message;
    char tail[ANSWERS_HEAD_MAX]; /* the beginning of a head, until the rest is there */
};

static struct conn *conns[RING_FDS];

/* What is sent with MSG_MORE leaves with the end of the stream, in one segment. */
static void send_first(int fd)
{
    struct conn *conn = conns[fd];
    struct answer *answer = &conn->answers[0];
    struct io_uring_sqe *sqe = ring_get();

    if (answer->large) {
        conn->parts[0] = (struct iovec){(char *)(uintptr_t)answer->data, answer->size};
        conn->parts[1] = (struct iovec){answers_body, ANSWERS_LARGE};
        conn->message = (struct msghdr){.msg_iov = conn->parts, .msg_iovlen = 2};
        io_uring_prep_sendmsg(sqe, fd, &conn->message, MSG_NOSIGNAL | MSG_WAITALL);
    } else {
        io_uring_prep_send(sqe, fd, answer->data, answer->size,
                           MSG_NOSIGNAL | MSG_WAITALL | (answer->closing ? MSG_MORE : 0));
    }
    sqe->user_data = ring_name(RING_SEND, fd);
}

static void answer_all(int fd, const char *data, size_t size)
{
    struct conn *conn = conns[fd];
    struct answer answer;
    size_t done = 0, taken;

    while (done < size && (taken = answers_for(data + done, size - done, &answer)) > 0) {
        done += taken;
        if (conn->count == WAITING)
            bench_die("the client does not wait for its answers");
        conn->answers[conn->count++] = answer;
        if (conn->count == 1)
            send_first(fd);
    }
    if (size - done > sizeof(conn->tail))
        bench_die("a head is too long");
    conn->tail_size = (unsigned)(size - done);
    memmove(conn->tail, data + done, size - done);
}

static void read_some(int fd, const char *bytes, size_t size)
{
    static char whole[ANSWERS_HEAD_MAX + (1 << 20)];
    struct conn *conn = conns[fd];
    size_t had = conn->tail_size;

    if (had == 0) {
        answer_all(fd, bytes, size);
        return;
    }
    memcpy(whole, conn->tail, had);
    memcpy(whole + had, bytes, size);
    answer_all(fd, whole, had + size);
}

static void received(int fd, const struct io_uring_cqe *cqe)
{
    unsigned block;
    char *bytes;

    if (cqe->res == -ENOBUFS) {
        ring_starved(fd);
        return;
    }
    if (cqe->res <= 0) {
        conns[fd]->ended = true;
        if (conns[fd]->count == 0)
            close(fd);
        return;
    }
    bytes = ring_bytes(cqe, &block);
    read_some(fd, bytes, (size_t)cqe->res);
    ring_done(block);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        ring_arm(fd);
}

static void sent(int fd, int result)
{
    struct conn *conn = conns[fd];
    bool closing = conn->answers[0].closing || result < 0;

    conn->count--;
    memmove(conn->answers, conn->answers + 1, conn->count * sizeof(conn->answers[0]));
    if (closing)
        conn->count = 0;
    if (conn->count > 0)
        send_first(fd);
    else if (conn->ended)
        close(fd);
    else if (closing)
        shutdown(fd, SHUT_RDWR); /* ends the receive, whose completion closes */
}

static void accepted(int fd)
{
    if (fd < 0 || fd >= RING_FDS)
        bench_die("accept");
    if (conns[fd] == NULL)
        conns[fd] = malloc(sizeof(*conns[fd]));
    if (conns[fd] == NULL)
        bench_die("malloc");
    conns[fd]->count = conns[fd]->tail_size = 0;
    conns[fd]->ended = false;
    ring_arm(fd);
}

static void dispatch(const struct io_uring_cqe *cqe)
{
    int fd = ring_fd_of(cqe);

    answers_make();
    switch (ring_kind_of(cqe)) {
    case RING_ACCEPT:
        accepted(cqe->res);
        if (!(cqe->flags & IORING_CQE_F_MORE))
            ring_accept(fd);
        break;
    case RING_RECV:
        received(fd, cqe);
        break;
    case RING_SEND:
        sent(fd, cqe->res);
        break;
    }
}

int main(int argc, char **argv)
{
    int listener = bench_listen(argc, argv);

    ring_make();
    ring_accept(listener);
    ring_run(dispatch);
}
