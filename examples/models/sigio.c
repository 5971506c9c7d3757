/* Signal-driven: O_ASYNC makes the kernel send a signal when a descriptor becomes ready, F_SETSIG a
 * queued one that tells which (fcntl(2)). It is an edge: read until EAGAIN. The queue has an end
 * (RLIMIT_SIGPENDING); beyond it a plain SIGIO comes, which says that something was lost: then
 * everybody is asked. */
#include <fcntl.h>

#include "echo.h"

enum { ROUNDS = 16 };

static struct model m;
static struct echo **conns; /* by descriptor */
static int fds_max;
static unsigned count;
static bool knocked; /* clients may be waiting: at the limit nobody tells us again */
static bool lost;    /* signals: ask everybody */

static bool watch(int fd, int flags)
{
    return fcntl(fd, F_SETSIG, SIGRTMIN) == 0 && fcntl(fd, F_SETOWN, getpid()) == 0 &&
           fcntl(fd, F_SETFL, flags | O_NONBLOCK | O_ASYNC) == 0;
}

static void serve(int fd)
{
    struct echo *e = fd >= 0 && fd < fds_max ? conns[fd] : NULL;
    if (e == NULL) /* a signal of a connection that is closed; one of its descriptor's next owner */
        return;    /* does no harm: there is nothing to read */
    enum echo_next next = echo_step(e, ROUNDS);
    if (next == ECHO_MORE) /* behind those who are waiting */
        lost |= sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = fd}) < 0;
    if (next != ECHO_END)
        return;
    conns[fd] = NULL;
    count--;
    echo_close(e);
}

static void accept_all(void)
{
    knocked = true;
    while (count < m.conns_max) {
        struct echo *e = echo_accept(&m);
        if (e == NULL) {
            knocked = m.scarce;
            return;
        }
        if (e->fd >= fds_max || !watch(e->fd, O_RDWR)) {
            echo_close(e);
            continue;
        }
        conns[e->fd] = e;
        count++;
        serve(e->fd); /* what came before O_ASYNC gave no signal */
    }
}

static void ask_everybody(void)
{
    lost = false;
    accept_all();
    for (int fd = 0; fd < fds_max; fd++)
        serve(fd);
}

int main(int argc, char **argv)
{
    static const struct timespec now = {0};
    sigset_t set;
    siginfo_t info;
    model_begin(&m, argc, argv);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGIO);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL); /* taken one by one below; no handler runs */
    fds_max = (int)m.conns_max + MODEL_SPARE_FDS;
    conns = calloc((size_t)fds_max, sizeof *conns);
    if (conns == NULL)
        model_die("calloc");
    model_listen(&m, SOCK_NONBLOCK);
    if (!watch(m.listener, O_RDWR))
        model_die("fcntl");
    accept_all();
    for (;;) {
        int number = sigtimedwait(&set, &info, lost ? &now : m.scarce ? &model_pause : NULL);
        m.scarce = false;
        if (number == SIGTERM || number == SIGINT)
            model_end();
        if (number == SIGIO || (number < 0 && lost))
            ask_everybody();
        else if (number == SIGRTMIN && info.si_code != SI_QUEUE && info.si_fd == m.listener)
            knocked = true;
        else if (number == SIGRTMIN)
            serve(info.si_code == SI_QUEUE ? info.si_value.sival_int : info.si_fd);
        if (knocked && count < m.conns_max)
            accept_all();
    }
}
