/* Process per connection: fork behind accept. The children's ends are taken in as they come, so
 * that none stays a zombie, and -c bounds how many there are. */
#include <poll.h>

#include "blocking.h"
#include "children.h"

int main(int argc, char **argv)
{
    struct model m;
    struct children children;
    model_begin(&m, argc, argv);
    children_begin(&children, m.conns_max);
    model_listen(&m, SOCK_NONBLOCK);
    while (!model_ended) {
        while (children_reap(&children, NULL) != 0)
            ;
        bool room = children.count < children.max && !m.scarce;
        struct pollfd poll = {.fd = room ? m.listener : -1, .events = POLLIN};
        int ready = ppoll(&poll, 1, m.scarce ? &model_pause : NULL, &children.waiting);
        m.scarce = false;
        int fd = ready > 0 ? model_accept(&m, 0) : MODEL_NONE;
        if (fd < 0)
            continue;
        pid_t pid = children_fork(&children);
        if (pid == 0) {
            close(m.listener);
            blocking_serve(&m, fd);
            _exit(0);
        }
        m.scarce = pid < 0; /* no more processes now: this client is told by an end */
        close(fd);          /* the child has its own */
    }
    children_end(&children);
    model_end();
}
