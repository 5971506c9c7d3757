/* For models that never wait in read and write: a connection, and one step of it. */
#ifndef ECHO_H
#define ECHO_H

#include <poll.h>

#include "model.h"

enum echo_next {
    ECHO_END,   /* the client has finished or is gone: close */
    ECHO_READ,  /* nothing to read now */
    ECHO_WRITE, /* the client does not take more now; until it does, nothing is read */
    ECHO_MORE   /* the rounds are used up: others first */
};

struct echo {
    int fd;
    short events; /* what is being waited for: POLLIN or POLLOUT */
    unsigned begin, end;
    char data[MODEL_BYTES]; /* all that is ever held of a connection */
};

/* At most `rounds` times: reads, and writes what was read. */
static inline enum echo_next echo_step(struct echo *e, unsigned rounds)
{
    for (; rounds > 0; rounds--) {
        if (e->begin == e->end) {
            ssize_t n = recv(e->fd, e->data, sizeof e->data, 0);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return n < 0 && errno == EAGAIN ? ECHO_READ : ECHO_END;
            e->begin = 0;
            e->end = (unsigned)n;
        }
        ssize_t n = send(e->fd, e->data + e->begin, e->end - e->begin, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? ECHO_WRITE : ECHO_END;
        e->begin += (unsigned)n;
        if (e->begin < e->end) /* a short write: the rest when the client takes more */
            return ECHO_WRITE;
    }
    return ECHO_MORE;
}

/* The same for models that are told as long as something is there: false at the end; otherwise
 * e->events is what to wait for. One round, so that a flood on one connection starves no other. */
static inline bool echo_ready(struct echo *e)
{
    if (echo_step(e, 1) == ECHO_END)
        return false;
    e->events = e->begin < e->end ? POLLOUT : POLLIN;
    return true;
}

/* The next connection, or NULL. */
static inline struct echo *echo_accept(struct model *m)
{
    int fd = model_accept(m, SOCK_NONBLOCK);
    if (fd < 0)
        return NULL;
    struct echo *e = malloc(sizeof *e);
    if (e == NULL) {
        m->scarce = true;
        close(fd);
        return NULL;
    }
    e->fd = fd;
    e->events = POLLIN;
    e->begin = e->end = 0;
    return e;
}

static inline void echo_close(struct echo *e)
{
    close(e->fd);
    free(e);
}

static inline void echo_note_end(int number)
{
    model_ended = 1;
}

/* TERM and INT arrive only where the program waits with the returned mask, so that none can slip in
 * between looking at the flag and beginning to wait. */
static inline sigset_t echo_end_on_term(void)
{
    struct sigaction action = {.sa_handler = echo_note_end};
    sigset_t ends, waiting;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, &waiting);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigdelset(&waiting, SIGTERM);
    sigdelset(&waiting, SIGINT);
    return waiting;
}
#endif
