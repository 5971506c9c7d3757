/* A select loop: three sets of bits for all descriptors go into the kernel and come back at each
 * call, and none may be FD_SETSIZE (1024) or more: FD_SET beyond it writes beyond the set. */
#include <sys/select.h>

#include "echo.h"

enum { ACCEPTS = 64 }; /* at a time */

static struct echo *conns[FD_SETSIZE]; /* by descriptor */
static unsigned count;

static void accept_some(struct model *m)
{
    for (unsigned i = 0; i < ACCEPTS && count < m->conns_max; i++) {
        struct echo *e = echo_accept(m);
        if (e == NULL)
            return;
        if (e->fd >= FD_SETSIZE) { /* descriptors that we inherited are in the way */
            echo_close(e);
            return;
        }
        conns[e->fd] = e;
        count++;
    }
}

static void serve(int fd)
{
    if (echo_ready(conns[fd]))
        return;
    echo_close(conns[fd]);
    conns[fd] = NULL;
    count--;
}

int main(int argc, char **argv)
{
    struct model m;
    model_begin(&m, argc, argv);
    if (m.conns_max > FD_SETSIZE - MODEL_SPARE_FDS) {
        m.conns_max = FD_SETSIZE - MODEL_SPARE_FDS;
        fprintf(stderr, "%u connections at most: select's limit\n", m.conns_max);
    }
    const sigset_t waiting = echo_end_on_term();
    model_listen(&m, SOCK_NONBLOCK);
    while (!model_ended) {
        fd_set reads, writes;
        int most = m.listener;
        FD_ZERO(&reads);
        FD_ZERO(&writes);
        if (count < m.conns_max && !m.scarce)
            FD_SET(m.listener, &reads);
        for (int fd = 0; fd < FD_SETSIZE; fd++)
            if (conns[fd] != NULL) {
                FD_SET(fd, conns[fd]->events == POLLIN ? &reads : &writes);
                most = fd > most ? fd : most;
            }
        int ready =
            pselect(most + 1, &reads, &writes, NULL, m.scarce ? &model_pause : NULL, &waiting);
        m.scarce = false;
        for (int fd = 0; ready > 0 && fd <= most; fd++) {
            if (!FD_ISSET(fd, &reads) && !FD_ISSET(fd, &writes))
                continue;
            ready--;
            if (fd == m.listener)
                accept_some(&m);
            else
                serve(fd);
        }
    }
    model_end();
}
