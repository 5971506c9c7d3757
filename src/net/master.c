/* What the master does: waits for signals and for its workers. */
#include "net/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

void run_master_wake(struct run *run)
{
    int error = errno;
    char byte = 0;
    ssize_t wrote = write(run->told_fd, &byte, 1); /* a full pipe wakes as well */
    (void)wrote;
    errno = error;
}

void master_signals(sigset_t *set)
{
    static const int numbers[] = {SIGTERM, SIGQUIT, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH};
    sigemptyset(set);
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(set, numbers[i]);
}

/* Blocked by signals_hold already. */
static int signals_open(struct master *m)
{
    sigset_t set;
    master_signals(&set);
    m->signal_fd = -1;
    if (m->run->options.keep_signals)
        return 0;
    m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return m->signal_fd >= 0 ? 0 : -errno;
}

static int master_open(struct master *m, struct run *run)
{
    m->run = run;
    m->signal_fd = m->told[0] = m->told[1] = m->go[0] = m->go[1] = -1;
    if (loop_current() != NULL) {
        weir__log(WEIR_LOG_ERROR, WEIR_EMISUSE, 0,
                  "shape processes forks, which no loop of this process survives: end it first");
        return WEIR_EMISUSE;
    }
    m->workers = weir__zalloc(run->workers * sizeof *m->workers);
    m->polls = weir__zalloc((MASTER_POLLS + run->workers) * sizeof *m->polls);
    run->shared = shared_new(run->workers);
    if (m->workers == NULL || m->polls == NULL || run->shared == NULL)
        return WEIR_ENOMEM;
    for (unsigned i = 0; i < run->workers; i++)
        m->workers[i].pid_fd = -1;
    run->master_pid = getpid();
    run->log_level = -1;
    int result =
        privileges_find(&run->privileges, run->options.worker_user, run->options.worker_group);
    if (result == 0)
        result = signals_open(m);
    if (result == 0 &&
        (pipe2(m->told, O_CLOEXEC | O_NONBLOCK) != 0 || pipe2(m->go, O_CLOEXEC) != 0))
        result = -errno;
    run->told_fd = m->told[1];
    return result;
}

static void fd_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void master_close(struct master *m)
{
    fd_end(&m->signal_fd);
    fd_end(&m->told[0]);
    m->run->told_fd = -1;
    fd_end(&m->told[1]);
    fd_end(&m->go[0]);
    fd_end(&m->go[1]);
    weir__free(m->workers);
    weir__free(m->polls);
}

static void serving_begin(struct master *m)
{
    m->phase = MASTER_SERVING;
    atomic_store(&m->run->shared->go, true);
    fd_end(&m->go[1]);
}

/* Workers end when they hear that nobody says go. */
static void start_failed(struct master *m)
{
    m->phase = MASTER_ENDING;
    fd_end(&m->go[1]);
    crew_tell(m, SIGTERM);
    m->kill_ns = weir__clock_now_ns() + RUN_KILL_MS * WEIR_MS;
}

/* The first stop drains; those who are not there are started, for somebody may wait in a queue of
 * theirs. The second aborts. */
static void stops_look(struct master *m)
{
    struct run *run = m->run;
    int stops = atomic_load(&run->stops) +
                (int)(atomic_load(&run->shared->stops) + atomic_load(&run->early_stops));
    uint64_t now_ns = weir__clock_now_ns();
    if (stops == m->stops)
        return;
    if (m->phase == MASTER_STARTING) {
        m->stops = stops;
        start_failed(m);
        return;
    }
    if (m->stops == 0) {
        m->phase = MASTER_ENDING;
        atomic_store(&run->shared->ending, true);
        run_tell_manager(run, "STOPPING=1");
        if (stops == 1)
            crew_start_missing(m);
        if (m->result == -EOWNERDEAD)
            return;
        crew_tell(m, SIGTERM);
        m->kill_ns = now_ns + (run->options.drain_ms + (uint64_t)RUN_KILL_MS) * WEIR_MS;
        if (run->options.drain_ms == UINT32_MAX)
            m->kill_ns = UINT64_MAX;
    }
    if (stops >= 2 && m->stops < 2) {
        crew_tell(m, SIGINT);
        m->kill_ns = now_ns + RUN_KILL_MS * WEIR_MS;
    }
    m->stops = stops;
}

static void rest(struct master *m)
{
    if (m->phase != MASTER_SERVING)
        return;
    m->phase = MASTER_RESTING;
    weir__log(WEIR_LOG_INFO, 0, 0, "WINCH: the workers finish; HUP starts new ones");
    crew_tell(m, SIGTERM);
}

static void pass_on(struct master *m, int number)
{
    if (m->run->options.on_master_signal != NULL)
        m->run->options.on_master_signal(number, m->run->options.user);
    crew_tell(m, number);
    if (number == SIGHUP && m->phase == MASTER_RESTING)
        m->phase = MASTER_SERVING; /* crew_look starts them */
}

static void signal_take(struct master *m, const struct signalfd_siginfo *info)
{
    int number = (int)info->ssi_signo;
    switch (number) {
    case SIGTERM:
    case SIGQUIT:
        atomic_fetch_add(&m->run->stops, 1);
        break;
    case SIGINT:
        atomic_fetch_add(&m->run->stops, 2);
        break;
    case SIGWINCH:
        if (info->ssi_code <= 0) /* somebody's; a terminal tells of its size by the same number */
            rest(m);
        break;
    case SIGHUP:
    case SIGUSR1:
        pass_on(m, number);
        break;
    case SIGUSR2:
        weir__log(WEIR_LOG_WARN, 0, 0, "USR2 is ignored: there is no upgrade yet");
        break;
    default:
        break;
    }
}

static void signals_take(struct master *m)
{
    struct signalfd_siginfo info;
    while (m->signal_fd >= 0 && read(m->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        signal_take(m, &info);
}

static int wait_ms(const struct master *m)
{
    uint64_t due_ns = crew_due_ns(m), now_ns = weir__clock_now_ns();
    if (m->phase == MASTER_ENDING && m->kill_ns != 0 && m->kill_ns < due_ns)
        due_ns = m->kill_ns;
    if (due_ns == UINT64_MAX)
        return -1;
    uint64_t ms = due_ns > now_ns ? (due_ns - now_ns) / WEIR_MS + 1 : 0;
    return ms < INT32_MAX ? (int)ms : INT32_MAX;
}

static void sleep_now(struct master *m)
{
    char bytes[256];
    unsigned count = MASTER_POLLS;
    m->polls[0] = (struct pollfd){.fd = m->signal_fd, .events = POLLIN};
    m->polls[1] = (struct pollfd){.fd = m->told[0], .events = POLLIN};
    for (unsigned i = 0; i < m->run->workers; i++)
        if (m->workers[i].pid != 0 && m->workers[i].pid_fd >= 0)
            m->polls[count++] = (struct pollfd){.fd = m->workers[i].pid_fd, .events = POLLIN};
    poll(m->polls, count, wait_ms(m));
    /* Once, or a worker that does not stop writing would keep us here; what is left wakes again. */
    ssize_t taken = read(m->told[0], bytes, sizeof bytes);
    (void)taken;
}

static void kill_late(struct master *m)
{
    if (m->phase != MASTER_ENDING || m->kill_ns == 0 || weir__clock_now_ns() < m->kill_ns)
        return;
    weir__log(WEIR_LOG_WARN, 0, 0, "%u workers do not end and are killed", crew_living(m));
    crew_tell(m, SIGKILL);
    m->kill_ns = 0;
}

/* One round, after something has happened. */
static void round_make(struct master *m)
{
    signals_take(m);
    crew_look(m);
    if (m->phase == MASTER_STARTING && m->result < 0)
        start_failed(m);
    if (m->phase == MASTER_STARTING && crew_all_in(m, SEAT_READY))
        serving_begin(m);
    if (m->phase == MASTER_SERVING && !m->told_serving && crew_all_in(m, SEAT_SERVING)) {
        m->told_serving = true;
        run_tell_manager(m->run, "READY=1");
        if (m->run->options.on_serving != NULL)
            m->run->options.on_serving(m->run->options.user);
    }
    if (m->result == -EOWNERDEAD)
        return;
    stops_look(m);
    kill_late(m);
}

int run_master(struct run *run)
{
    struct master *m = weir__zalloc(sizeof *m);
    if (m == NULL)
        return WEIR_ENOMEM;
    run->master = m;
    int result = master_open(m, run);
    if (result == 0) {
        m->result = crew_start(m);
        if (m->result < 0 && m->result != -EOWNERDEAD)
            start_failed(m);
        while (m->result != -EOWNERDEAD && (m->phase != MASTER_ENDING || crew_living(m) != 0)) {
            sleep_now(m);
            round_make(m);
        }
        result = m->result;
        if (result == -EOWNERDEAD)
            return result; /* all of this is the parent's: left to the end of the process */
    }
    master_close(m);
    run->master = NULL;
    weir__free(m);
    return result;
}

bool run_shared(struct shared_view *view)
{
    struct run *run = atomic_load(&run_running);
    if (run == NULL || run->shared == NULL)
        return false;
    *view =
        (struct shared_view){.shared = run->shared,
                             .seats = run->workers,
                             .own = run->seat != NULL ? (int)(run->seat - run->shared->seats) : -1,
                             .master = run->master_pid};
    return true;
}
