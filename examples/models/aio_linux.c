/* Linux AIO with an eventfd (io_submit(2)). Its reads and writes are asynchronous for files opened
 * with O_DIRECT; on sockets they would wait within io_submit. What it can do for sockets since 4.18
 * is IOCB_CMD_POLL: tell once, in the completion queue, that a descriptor is ready. */
#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "echo.h"

enum { EVENTS = 256 };

struct conn {
    struct iocb poll; /* the one operation of a connection that is under way */
    struct echo *echo;
};

static struct model m;
static aio_context_t context;
static int completed; /* an eventfd: counts completions */
static unsigned count;
static bool listening;

static bool submit(struct iocb *poll, int fd, short events, struct conn *c)
{
    *poll = (struct iocb){.aio_lio_opcode = IOCB_CMD_POLL,
                          .aio_fildes = (uint32_t)fd,
                          .aio_buf = (uint64_t)events,
                          .aio_data = (uintptr_t)c,
                          .aio_flags = IOCB_FLAG_RESFD,
                          .aio_resfd = (uint32_t)completed};
    return syscall(SYS_io_submit, context, 1, &poll) == 1;
}

/* Waits for the connection, or closes it. */
static void wait_or_close(struct conn *c, bool alive)
{
    if (alive && submit(&c->poll, c->echo->fd, c->echo->events, c))
        return;
    echo_close(c->echo);
    free(c);
    count--;
}

static void accept_one(void)
{
    struct echo *e = echo_accept(&m);
    struct conn *c = e != NULL ? malloc(sizeof *c) : NULL;
    if (c == NULL) {
        if (e != NULL)
            echo_close(e);
        return;
    }
    c->echo = e;
    count++;
    wait_or_close(c, true);
}

static void harvest(void)
{
    struct io_event events[EVENTS];
    long n;
    do {
        n = syscall(SYS_io_getevents, context, 0, EVENTS, events, NULL);
        for (long i = 0; i < n; i++) {
            struct conn *c = (struct conn *)(uintptr_t)events[i].data;
            if (c != NULL) {
                wait_or_close(c, echo_ready(c->echo));
            } else {
                listening = false;
                accept_one();
            }
        }
    } while (n == EVENTS || (n < 0 && errno == EINTR));
}

int main(int argc, char **argv)
{
    struct iocb accept_poll;
    uint64_t times;
    model_begin(&m, argc, argv);
    const sigset_t waiting = echo_end_on_term();
    completed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (completed < 0 || syscall(SYS_io_setup, m.conns_max + 1, &context) < 0) {
        perror("no Linux AIO here, or fs.aio-max-nr is used up");
        return 69;
    }
    model_listen(&m, SOCK_NONBLOCK);
    while (!model_ended) {
        if (!listening && count < m.conns_max && !m.scarce) {
            if (!submit(&accept_poll, m.listener, POLLIN, NULL))
                model_die("io_submit");
            listening = true;
        }
        struct pollfd poll = {.fd = completed, .events = POLLIN};
        int ready = ppoll(&poll, 1, m.scarce ? &model_pause : NULL, &waiting);
        m.scarce = false;
        if (ready > 0 && read(completed, &times, sizeof times) > 0)
            harvest();
    }
    model_end();
}
