/* The master's workers: forked, buried, started again. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/master.h"

enum {
    LOOK_MS = 100, /* without pidfd_open */
    NUDGES = 3,
    NUDGE_MS = 25 /* 25, 125, 525 ms behind a worker's death */
};

static int pid_open(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0);
#else
    return -1;
#endif
}

/* In the new process: everything that is the master's is closed. */
static int become_worker(struct master *m, unsigned number)
{
    int closing[RUN_LOOPS_MAX + 4];
    unsigned count = 0;
    struct run *run = m->run;
    closing[count++] = m->signal_fd;
    closing[count++] = m->told[0];
    closing[count++] = m->go[1];
    for (unsigned i = 0; i < run->workers; i++)
        if (m->workers[i].pid != 0)
            closing[count++] = m->workers[i].pid_fd;
    run->go_fd = m->go[0];
    return run_worker(run, number, closing, count);
}

/* 0, a negative error; -EOWNERDEAD in a process that is not the master. */
static int spawn(struct master *m, unsigned number)
{
    struct worker *w = &m->workers[number];
    struct seat *seat = &m->run->shared->seats[number];
    sigset_t all, former;
    atomic_store(&seat->result, 0);
    atomic_store(&seat->left, false);
    atomic_store(&seat->state, SEAT_STARTING);
    atomic_fetch_add(&seat->starts, 1);
    fflush(NULL); /* what is in a stream's buffer would be written by both */
    master_signals(&all);
    pthread_sigmask(SIG_BLOCK, &all, &former); /* the child must not run a handler of ours */
    pid_t pid = fork();
    if (pid == 0) {
        if (!m->run->signals_held)
            m->run->mask = former;
        m->run->signals_held = true;
        return become_worker(m, number);
    }
    int error = -errno;
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    w->began_ns = weir__clock_now_ns();
    w->leaving = false;
    if (pid < 0) {
        atomic_store(&seat->state, SEAT_EMPTY);
        weir__log(WEIR_LOG_ERROR, error, 0, "cannot fork worker %u: %s%s", number,
                  weir_error_text(error),
                  error == -EAGAIN ? " (raise the limit of processes: ulimit -u)" : "");
        return error;
    }
    w->pid = pid;
    w->pid_fd = pid_open(pid);
    atomic_store(&seat->pid, pid);
    return 0;
}

int crew_start(struct master *m)
{
    int result = 0;
    for (unsigned i = 0; i < m->run->workers && result == 0; i++)
        if (m->workers[i].pid == 0)
            result = spawn(m, i);
    return result;
}

/* How long a worker that ended by itself for the n-th time in a row is not started again. */
static uint64_t pause_ms(unsigned crashes)
{
    uint64_t ms =
        crashes < 2 ? 0 : (uint64_t)RUN_CRASH_PAUSE_MS << (crashes < 20 ? crashes - 2 : 18);
    return ms < RUN_CRASH_PAUSE_MAX_MS ? ms : RUN_CRASH_PAUSE_MAX_MS;
}

static void how_text(int status, bool known, int32_t result, char *out, size_t size)
{
    if (known && WIFSIGNALED(status))
        snprintf(out, size, "was killed by SIG%s%s", sigabbrev_np(WTERMSIG(status)),
                 WCOREDUMP(status) ? " (core dumped)" : "");
    else if (result < 0)
        snprintf(out, size, "ended: %s", weir_error_text(result));
    else if (known)
        snprintf(out, size, "ended with exit code %d", WEXITSTATUS(status));
    else
        snprintf(out, size, "ended");
}

/* A connection that comes to a socket of several processes wakes one of them. If that one is dying,
 * nobody else is told, and the client waits until another one comes. A ring that dies is taken
 * apart by the kernel in its own time (seen on 6.18: tens of milliseconds behind the end of its
 * process). So the others are asked to look at the queue, a few times. */
static void nudges_begin(struct master *m)
{
    m->nudges = NUDGES;
    m->nudge_ns = weir__clock_now_ns() + NUDGE_MS * WEIR_MS;
}

static void nudges_give(struct master *m)
{
    uint64_t now_ns = weir__clock_now_ns();
    if (m->nudges == 0 || now_ns < m->nudge_ns)
        return;
    m->nudges--;
    m->nudge_ns = now_ns + ((uint64_t)NUDGE_MS << 2 * (NUDGES - m->nudges)) * WEIR_MS;
    for (unsigned i = 0; i < m->run->workers; i++)
        if (m->workers[i].pid != 0)
            kill(m->workers[i].pid, SIGUSR2);
}

/* Gone without having been told to. */
static void crashed(struct master *m, unsigned number, const char *how, pid_t pid)
{
    struct worker *w = &m->workers[number];
    uint64_t now_ns = weir__clock_now_ns();
    nudges_begin(m);
    if (now_ns - w->began_ns >= RUN_CRASH_LIVED_MS * WEIR_MS)
        w->crashes = 0;
    w->crashes++;
    uint64_t wait_ms = pause_ms(w->crashes);
    w->due_ns = now_ns + wait_ms * WEIR_MS;
    atomic_fetch_add(&m->run->shared->crashes, 1);
    weir__log(WEIR_LOG_WARN, 0, 0,
              "worker %u (process %d) %s; it is started again %s%.0" PRIu64 "%s", number, (int)pid,
              how, wait_ms == 0 ? "at once" : "in ", wait_ms, wait_ms == 0 ? "" : " ms");
}

/* The end: a worker that was told to leave before it could know of the end (TERM to the whole
 * group, or WINCH) has left to another one who waits in its queue. Once, whatever it tells. */
static void take_over(struct master *m, unsigned number)
{
    struct worker *w = &m->workers[number];
    if (m->phase != MASTER_ENDING || m->stops != 1 || m->kill_ns == 0 || w->again)
        return;
    w->again = true;
    int result = spawn(m, number);
    if (result == -EOWNERDEAD)
        m->result = result;
    else if (result == 0)
        kill(w->pid, SIGTERM);
}

static void bury(struct master *m, unsigned number, int status, bool known)
{
    struct worker *w = &m->workers[number];
    struct seat *seat = &m->run->shared->seats[number];
    char how[128];
    pid_t pid = w->pid;
    int32_t result = atomic_load(&seat->result);
    if (w->pid_fd >= 0)
        close(w->pid_fd);
    w->pid = 0;
    w->pid_fd = -1;
    w->due_ns = 0;
    atomic_store(&seat->pid, 0);
    atomic_store(&seat->state, SEAT_EMPTY);
    seat_bury(m->run->shared, seat);
    how_text(status, known, result, how, sizeof how);
    if (m->phase == MASTER_STARTING) { /* it said why by itself, unless it could not */
        m->result = result < 0 ? result : WEIR_ECANCELED;
        if (result >= 0)
            weir__log(WEIR_LOG_ERROR, m->result, 0, "worker %u (process %d) %s while it started",
                      number, (int)pid, how);
    } else if (m->phase == MASTER_SERVING && !w->leaving) {
        crashed(m, number, how, pid);
    } else if (known && WIFSIGNALED(status)) {
        weir__log(WEIR_LOG_WARN, 0, 0, "worker %u (process %d) %s while it drained", number,
                  (int)pid, how);
    }
    if (atomic_load(&seat->left))
        take_over(m, number);
}

static void bury_dead(struct master *m)
{
    for (unsigned i = 0; i < m->run->workers && m->result != -EOWNERDEAD; i++) {
        int status = 0;
        if (m->workers[i].pid == 0)
            continue;
        pid_t gone = waitpid(m->workers[i].pid, &status, WNOHANG);
        /* ECHILD: SIGCHLD is ignored, and the kernel has buried it. */
        if (gone == m->workers[i].pid || (gone < 0 && errno == ECHILD))
            bury(m, i, status, gone > 0);
    }
}

/* Nobody lives, and everybody has been tried often enough. */
static bool hopeless(const struct master *m)
{
    for (unsigned i = 0; i < m->run->workers; i++)
        if (m->workers[i].pid != 0 || m->workers[i].crashes < RUN_CRASHES_MAX)
            return false;
    return true;
}

void crew_look(struct master *m)
{
    bury_dead(m);
    if (m->result == -EOWNERDEAD)
        return;
    nudges_give(m);
    if (m->phase != MASTER_SERVING)
        return;
    if (hopeless(m)) {
        m->result = WEIR_ECANCELED;
        m->phase = MASTER_ENDING;
        weir__log(WEIR_LOG_ERROR, m->result, 0,
                  "every worker has ended %u times in a row within %u s of its start: the server "
                  "gives up; what they said before that tells why",
                  (unsigned)RUN_CRASHES_MAX, (unsigned)RUN_CRASH_LIVED_MS / 1000);
        return;
    }
    uint64_t now_ns = weir__clock_now_ns();
    for (unsigned i = 0; i < m->run->workers && m->result != -EOWNERDEAD; i++) {
        struct worker *w = &m->workers[i];
        if (w->pid != 0 || w->due_ns > now_ns)
            continue;
        int result = spawn(m, i);
        if (result == -EOWNERDEAD)
            m->result = result;
        else if (result < 0) /* the fork: tried again later */
            w->due_ns = now_ns + RUN_CRASH_PAUSE_MAX_MS * WEIR_MS / 10;
    }
}

void crew_start_missing(struct master *m)
{
    for (unsigned i = 0; i < m->run->workers; i++) {
        if (m->workers[i].pid != 0 || m->workers[i].crashes >= RUN_CRASHES_MAX)
            continue;
        if (spawn(m, i) == -EOWNERDEAD) {
            m->result = -EOWNERDEAD;
            return;
        }
    }
}

void crew_tell(struct master *m, int number)
{
    for (unsigned i = 0; i < m->run->workers; i++) {
        struct worker *w = &m->workers[i];
        if (w->pid == 0)
            continue;
        if (number != SIGHUP && number != SIGUSR1)
            w->leaving = true;
        kill(w->pid, number);
    }
}

unsigned crew_living(const struct master *m)
{
    unsigned count = 0;
    for (unsigned i = 0; i < m->run->workers; i++)
        count += m->workers[i].pid != 0;
    return count;
}

bool crew_all_in(const struct master *m, enum seat_state state)
{
    for (unsigned i = 0; i < m->run->workers; i++)
        if (atomic_load(&m->run->shared->seats[i].state) < (uint32_t)state)
            return false;
    return true;
}

uint64_t crew_due_ns(const struct master *m)
{
    uint64_t due_ns = m->nudges != 0 ? m->nudge_ns : UINT64_MAX;
    for (unsigned i = 0; i < m->run->workers; i++) {
        const struct worker *w = &m->workers[i];
        uint64_t one_ns = UINT64_MAX;
        if (w->pid != 0 && w->pid_fd < 0)
            one_ns = weir__clock_now_ns() + LOOK_MS * WEIR_MS;
        else if (w->pid == 0 && m->phase == MASTER_SERVING)
            one_ns = w->due_ns;
        due_ns = one_ns < due_ns ? one_ns : due_ns;
    }
    return due_ns;
}
