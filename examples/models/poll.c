/* A poll loop: one array for all descriptors, without select's limit; the kernel still looks at
 * each of them at every call. */
#include "echo.h"

enum { ACCEPTS = 64 }; /* at a time, since each call costs as much as there are connections */

int main(int argc, char **argv)
{
    struct model m;
    unsigned count = 0;
    model_begin(&m, argc, argv);
    const sigset_t waiting = echo_end_on_term();
    model_listen(&m, SOCK_NONBLOCK);
    struct pollfd *polls = calloc(m.conns_max + 1, sizeof *polls); /* the last one: the listener */
    struct echo **conns = calloc(m.conns_max, sizeof *conns);
    if (polls == NULL || conns == NULL)
        model_die("calloc");
    while (!model_ended) {
        bool room = count < m.conns_max && !m.scarce;
        polls[count] = (struct pollfd){.fd = room ? m.listener : -1, .events = POLLIN};
        int ready = ppoll(polls, count + 1, m.scarce ? &model_pause : NULL, &waiting);
        m.scarce = false;
        if (ready <= 0)
            continue;
        bool knock = polls[count].revents != 0;
        for (unsigned i = count; i-- > 0;) { /* backwards: the last one takes the place of a gap */
            if (polls[i].revents == 0)
                continue;
            if (echo_ready(conns[i])) {
                polls[i].events = conns[i]->events;
                continue;
            }
            echo_close(conns[i]);
            conns[i] = conns[--count];
            polls[i] = polls[count];
        }
        for (unsigned i = 0; knock && i < ACCEPTS && count < m.conns_max; i++) {
            struct echo *e = echo_accept(&m);
            if (e == NULL)
                break;
            polls[count] = (struct pollfd){.fd = e->fd, .events = POLLIN};
            conns[count++] = e;
        }
    }
    model_end();
}
