/* A process per request, CGI's way: what has come is a request; a program is started for it, with
 * the request as its standard input and the client as its standard output, and ends with it. Here
 * the program is this one again, as "answer". -w bounds how many run at a time; a connection whose
 * request is being answered is not read. */
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>

#include "blocking.h"
#include "children.h"

enum { REQUEST_MAX = 65536 };

struct conn {
    int fd;
    int request; /* a file in memory: nobody reads it before it is written, and a pipe might be full
                  */
    pid_t pid;   /* of the program that answers it, or 0 */
};

/* The program: from standard input to standard output. */
static int answer(void)
{
    char data[REQUEST_MAX];
    ssize_t n;
    while ((n = read(STDIN_FILENO, data, sizeof data)) > 0)
        if (!blocking_write(STDOUT_FILENO, data, (size_t)n))
            return 1;
    return n < 0;
}

static pid_t run(const struct children *children, const struct conn *c)
{
    static char path[] = "/proc/self/exe", word[] = "answer";
    char *const argv[] = {path, word, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid = -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, c->request, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, c->fd, STDOUT_FILENO);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &children->waiting);
    if (posix_spawn(&pid, path, &actions, &attributes, argv, environ) != 0)
        pid = -1;
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return pid;
}

/* Reads a request and has it answered; false: the connection is to be closed. */
static bool begin(struct children *children, struct conn *c)
{
    static char data[REQUEST_MAX];
    ssize_t n = recv(c->fd, data, sizeof data, MSG_DONTWAIT); /* the program's writes may wait */
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0 || ftruncate(c->request, 0) < 0 || lseek(c->request, 0, SEEK_SET) < 0 ||
        !blocking_write(c->request, data, (size_t)n) || lseek(c->request, 0, SEEK_SET) < 0)
        return false;
    c->pid = run(children, c);
    if (c->pid > 0)
        children->pids[children->count++] = c->pid;
    return c->pid > 0;
}

/* Both descriptors or none, so that no connection is taken that could not be answered. */
static bool accept_one(struct model *m, struct conn *c)
{
    struct timeval patience = {.tv_sec = m->idle_s};
    *c = (struct conn){.request = memfd_create("request", MFD_CLOEXEC)};
    m->scarce = c->request < 0;
    c->fd = c->request < 0 ? MODEL_NONE : model_accept(m, 0);
    if (c->fd < 0) {
        if (c->request >= 0)
            close(c->request);
        return false;
    }
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* not for ever */
    return true;
}

static void close_conn(struct conn *conns, unsigned *count, unsigned index)
{
    close(conns[index].fd);
    close(conns[index].request);
    conns[index] = conns[--*count];
}

/* Programs that have ended; one that failed takes its connection with it. */
static void reap(struct children *children, struct conn *conns, unsigned *count)
{
    int status;
    pid_t pid;
    while ((pid = children_reap(children, &status)) != 0)
        for (unsigned i = 0; i < *count; i++)
            if (conns[i].pid == pid) {
                conns[i].pid = 0;
                if (status != 0)
                    close_conn(conns, count, i);
                break;
            }
}

int main(int argc, char **argv)
{
    struct model m;
    struct children children;
    unsigned count = 0;
    if (argc == 2 && argv[1][0] == 'a')
        return answer();
    model_begin(&m, argc, argv);
    children_begin(&children, m.workers);
    model_listen(&m, SOCK_NONBLOCK);
    struct conn *conns = calloc(m.conns_max, sizeof *conns);
    struct pollfd *polls = calloc(m.conns_max + 1, sizeof *polls);
    if (conns == NULL || polls == NULL)
        model_die("calloc");
    while (!model_ended) {
        reap(&children, conns, &count);
        bool full = children.count == children.max || m.scarce,
             room = count < m.conns_max && !m.scarce;
        for (unsigned i = 0; i < count; i++)
            polls[i] = (struct pollfd){.fd = full || conns[i].pid != 0 ? -1 : conns[i].fd,
                                       .events = POLLIN};
        polls[count] = (struct pollfd){.fd = room ? m.listener : -1, .events = POLLIN};
        int ready = ppoll(polls, count + 1, m.scarce ? &model_pause : NULL, &children.waiting);
        m.scarce = false;
        bool knock = ready > 0 && polls[count].revents != 0;
        for (unsigned i = count; ready > 0 && i-- > 0;)
            if (polls[i].revents != 0 && children.count < children.max &&
                !begin(&children, &conns[i]))
                close_conn(conns, &count, i);
        if (knock)
            count += accept_one(&m, &conns[count]);
    }
    children_end(&children);
    model_end();
}
