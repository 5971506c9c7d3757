/* For models whose threads or processes wait in read and write: one connection from its beginning
 * to its end. */
#ifndef BLOCKING_H
#define BLOCKING_H

#include "model.h"

/* Waits for the next connection. Short of descriptors it waits a little instead of spinning. */
static inline int blocking_accept(struct model *m)
{
    for (;;) {
        int fd = model_accept(m, 0);
        if (fd >= 0)
            return fd;
        if (m->scarce)
            nanosleep(&model_pause, NULL);
        m->scarce = false;
    }
}

static inline bool blocking_write(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        data += n; /* a short write is no error: the rest goes next */
        size -= (size_t)n;
    }
    return true;
}

/* Echoes until the client has finished, is gone, or has kept us waiting for too long; closes. */
static inline void blocking_serve(const struct model *m, int fd)
{
    struct timeval patience = {.tv_sec = m->idle_s};
    char data[MODEL_BYTES];
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    for (;;) {
        ssize_t n = read(fd, data, sizeof data);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || !blocking_write(fd, data, (size_t)n))
            break;
    }
    close(fd);
}

static inline void blocking_exit(int number)
{
    model_end();
}

/* TERM ends the process wherever it is: there is nothing to put in order, and no moment between a
 * flag's check and a blocking call in which a signal could be lost. */
static inline void blocking_end_on_term(void)
{
    struct sigaction action = {.sa_handler = blocking_exit};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}
#endif
