/* POSIX AIO: aio_read and aio_write begin an operation, a queued signal tells of its end, and a
 * signalfd makes that readable. glibc does it with a thread for each operation under way (aio(7)),
 * so an idle connection costs a thread that waits in read: thread per connection in disguise. */
#include <aio.h>
#include <poll.h>
#include <sys/signalfd.h>

#include "model.h"

struct conn {
    struct aiocb operation; /* the one under way */
    unsigned begin, end;
    char data[MODEL_BYTES];
};

static struct model m;
static unsigned count;

static void close_conn(struct conn *c)
{
    close(c->operation.aio_fildes); /* only now, when nothing of it is under way */
    free(c);
    count--;
}

static void begin_next(struct conn *c)
{
    bool writing = c->begin < c->end;
    c->operation.aio_buf = c->data + (writing ? c->begin : 0);
    c->operation.aio_nbytes = writing ? c->end - c->begin : sizeof c->data;
    if ((writing ? aio_write(&c->operation) : aio_read(&c->operation)) < 0)
        close_conn(c);
}

/* The operation has ended; which one it was is seen by whether there is something to write. */
static void done(struct conn *c)
{
    int error = aio_error(&c->operation);
    ssize_t n = aio_return(&c->operation);
    if (error != EINTR) {
        if (n <= 0) { /* an end, a reset, or EAGAIN: silent for too long */
            close_conn(c);
            return;
        }
        if (c->begin < c->end) {
            c->begin += (unsigned)n;
        } else {
            c->begin = 0;
            c->end = (unsigned)n;
        }
    }
    begin_next(c);
}

static void accept_one(void)
{
    struct timeval patience = {.tv_sec = m.idle_s};
    int fd = model_accept(&m, 0); /* blocking: a thread of glibc's waits in it */
    struct conn *c = fd >= 0 ? calloc(1, sizeof *c) : NULL;
    if (c == NULL) {
        m.scarce = m.scarce || fd >= 0;
        if (fd >= 0)
            close(fd);
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    c->operation.aio_fildes = fd;
    c->operation.aio_sigevent = (struct sigevent){
        .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_ptr = c};
    count++;
    begin_next(c);
}

/* Each connection may have a signal in the queue, and a thread. */
static int prepare(void)
{
    struct rlimit queue;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL); /* the threads inherit it */
    getrlimit(RLIMIT_SIGPENDING, &queue);
    if (m.conns_max > queue.rlim_cur / 2) {
        m.conns_max = (unsigned)(queue.rlim_cur / 2);
        fprintf(stderr, "%u connections at most: the limit of queued signals\n", m.conns_max);
    }
    aio_init(&(struct aioinit){.aio_threads = (int)m.conns_max, .aio_num = 64, .aio_idle_time = 1});
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(int argc, char **argv)
{
    struct signalfd_siginfo signals[64];
    model_begin(&m, argc, argv);
    int ends = prepare();
    if (ends < 0)
        model_die("signalfd");
    model_listen(&m, SOCK_NONBLOCK);
    for (;;) {
        struct pollfd polls[2] = {{.fd = ends, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
        if (count < m.conns_max && !m.scarce)
            polls[1].fd = m.listener;
        int ready = poll(polls, 2, m.scarce ? MODEL_PAUSE_MS : -1);
        m.scarce = false;
        ssize_t n = ready > 0 ? read(ends, signals, sizeof signals) : 0;
        for (size_t i = 0; n > 0 && i < (size_t)n / sizeof *signals; i++) {
            if (signals[i].ssi_signo != (uint32_t)SIGRTMIN)
                model_end(); /* TERM; what is under way ends with the process */
            done((struct conn *)(uintptr_t)signals[i].ssi_ptr);
        }
        if (ready > 0 && polls[1].revents != 0)
            accept_one();
    }
}
