/* Non-blocking, busy poll: asks every connection again and again whether there is something. No
 * call ever waits, and the CPU never rests. */
#include "echo.h"

enum { ACCEPTS = 64 }; /* in a round */

int main(int argc, char **argv)
{
    struct model m;
    unsigned count = 0;
    model_begin(&m, argc, argv);
    const sigset_t unused = echo_end_on_term();
    sigprocmask(SIG_SETMASK, &unused, NULL); /* nothing ever waits: the flag is enough */
    model_listen(&m, SOCK_NONBLOCK);
    struct echo **conns = calloc(m.conns_max, sizeof *conns);
    if (conns == NULL)
        model_die("calloc");
    while (!model_ended) {
        for (unsigned i = 0; i < ACCEPTS && count < m.conns_max; i++) {
            conns[count] = echo_accept(&m);
            if (conns[count] == NULL)
                break;
            count++;
        }
        for (unsigned i = 0; i < count;) {
            if (echo_ready(conns[i])) {
                i++;
            } else {
                echo_close(conns[i]);
                conns[i] = conns[--count];
            }
        }
    }
    model_end();
}
