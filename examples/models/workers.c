/* Reactor and worker threads: one thread does all reading and writing, the workers get requests and
 * give back answers, and never touch a socket. For work that computes or waits for a disk, which
 * would hold a reactor; with nothing but an echo to compute it only shows what the two hand-overs
 * cost. A connection with a request under way is not read, so both lists have an end. */
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>

#include "echo.h"

enum { EVENTS = 256, STACK_BYTES = 256 * 1024 };

struct job {
    struct echo echo;
    STAILQ_ENTRY(job) next;
};
STAILQ_HEAD(jobs, job);

static struct model m;
static int epoll, answered; /* an eventfd */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked = PTHREAD_COND_INITIALIZER;
static struct jobs requests = STAILQ_HEAD_INITIALIZER(requests);
static struct jobs answers = STAILQ_HEAD_INITIALIZER(answers);
static unsigned count;

static void *worker(void *arg)
{
    uint64_t one = 1;
    pthread_mutex_lock(&lock);
    for (;;) {
        struct job *job;
        while ((job = STAILQ_FIRST(&requests)) == NULL)
            pthread_cond_wait(&asked, &lock);
        STAILQ_REMOVE_HEAD(&requests, next);
        pthread_mutex_unlock(&lock);
        /* Here the work is done; the answer to an echo is the request. */
        pthread_mutex_lock(&lock);
        if (STAILQ_EMPTY(&answers) && write(answered, &one, sizeof one) < 0)
            model_die("eventfd");
        STAILQ_INSERT_TAIL(&answers, job, next);
    }
    return NULL;
}

/* ONESHOT: while a worker has it nothing is reported, not even a reset, which always would be. */
static bool arm(int operation, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    return epoll_ctl(epoll, operation, fd, &event) == 0;
}

static void wait_or_close(struct job *job, int operation, bool alive)
{
    struct echo *e = &job->echo;
    e->events = e->begin < e->end ? POLLOUT : POLLIN;
    if (alive && arm(operation, e->fd, (uint32_t)e->events | EPOLLONESHOT, job))
        return;
    close(e->fd);
    free(job);
    count--;
}

static void accept_one(void)
{
    int fd = model_accept(&m, SOCK_NONBLOCK);
    struct job *job = fd >= 0 ? malloc(sizeof *job) : NULL;
    if (job == NULL) {
        m.scarce |= fd >= 0;
        if (fd >= 0)
            close(fd);
        return;
    }
    job->echo.fd = fd;
    job->echo.begin = job->echo.end = 0;
    count++;
    wait_or_close(job, EPOLL_CTL_ADD, true);
}

static bool write_answer(struct echo *e)
{
    ssize_t n = send(e->fd, e->data + e->begin, e->end - e->begin, MSG_NOSIGNAL);
    if (n > 0)
        e->begin += (unsigned)n;
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static void ready(struct job *job)
{
    struct echo *e = &job->echo;
    if (e->begin < e->end) {
        wait_or_close(job, EPOLL_CTL_MOD, write_answer(e));
        return;
    }
    ssize_t n = recv(e->fd, e->data, sizeof e->data, 0);
    if (n <= 0) {
        wait_or_close(job, EPOLL_CTL_MOD, n < 0 && (errno == EAGAIN || errno == EINTR));
        return;
    }
    e->begin = 0;
    e->end = (unsigned)n;
    pthread_mutex_lock(&lock);
    STAILQ_INSERT_TAIL(&requests, job, next);
    pthread_cond_signal(&asked);
    pthread_mutex_unlock(&lock);
}

static void write_answers(void)
{
    struct jobs taken = STAILQ_HEAD_INITIALIZER(taken);
    struct job *job;
    uint64_t times;
    if (read(answered, &times, sizeof times) < 0)
        return;
    pthread_mutex_lock(&lock);
    STAILQ_CONCAT(&taken, &answers);
    pthread_mutex_unlock(&lock);
    while ((job = STAILQ_FIRST(&taken)) != NULL) {
        STAILQ_REMOVE_HEAD(&taken, next);
        wait_or_close(job, EPOLL_CTL_MOD, write_answer(&job->echo));
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    pthread_attr_t attributes;
    pthread_t thread;
    bool listening = true;
    model_begin(&m, argc, argv);
    const sigset_t waiting = echo_end_on_term();
    model_listen(&m, SOCK_NONBLOCK);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    answered = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (epoll < 0 || answered < 0 || !arm(EPOLL_CTL_ADD, m.listener, EPOLLIN, &m) ||
        !arm(EPOLL_CTL_ADD, answered, EPOLLIN, &answers))
        model_die("workers");
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (unsigned i = 0; i < m.workers; i++) {
        errno = pthread_create(&thread, &attributes, worker, NULL); /* TERM stays blocked there */
        if (errno != 0)
            model_die("pthread_create");
    }
    while (!model_ended) {
        bool room = count < m.conns_max && !m.scarce;
        if (room != listening && arm(EPOLL_CTL_MOD, m.listener, room ? EPOLLIN : 0, &m))
            listening = room;
        int n = epoll_pwait(epoll, events, EVENTS, m.scarce ? MODEL_PAUSE_MS : -1, &waiting);
        m.scarce = false;
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr == &m)
                accept_one();
            else if (events[i].data.ptr == &answers)
                write_answers();
            else
                ready(events[i].data.ptr);
    }
    model_end(); /* the workers end where they are */
}
