/* Runs a program once for each n and each error, each time in a process of its own, and tells what
 * was wrong.
 *
 *     nth.PROGRAM            the back end of WEIR_BACKEND, with WEIR_FEATURES
 *     nth.PROGRAM KIND N V   one run (KIND 0: memory, 1: calls, 2: entries, 3: completions)
 *
 * Without WEIR_NTH_FULL it strides: WEIR_NTH_RUNS runs of each kind (default 100), spread over all
 * calls, with another error each time; WEIR_NTH_SEED says where it begins. */
#include "layer.h"
#include "nth.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/weir.h>

#include "base/alloc.h"

enum { HANG_S = 20, MOST_WRONG = 12, MOST_CALLS = 200000, SKIPPED = 77 };

struct nth_run *nth_run;

static const char *const kinds[NTH_KINDS] = {"memory", "calls", "entries", "completions"};
static uint64_t clean_calls;

void nth_step(const char *step)
{
    snprintf(nth_run->step, sizeof(nth_run->step), "%s", step);
}

void nth_wrong(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(nth_run->verdict, sizeof(nth_run->verdict), format, arguments);
    va_end(arguments);
    _exit(1);
}

/* --- what the programs share ------------------------------------------------------------------ */

int nth_tcp(void)
{
    return __real_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Connects to a port of 127.0.0.1; the handshake needs nobody. */
int nth_dial(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = nth_tcp();

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || (__real_connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 &&
                   errno != EINPROGRESS))
        nth_wrong("the peer cannot connect: %s", strerror(errno));
    return fd;
}

static int open_fds(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");

    if (folder == NULL)
        return -1;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* --- one run ---------------------------------------------------------------------------------- */

static void on_alarm(int number)
{
    static const char text[] = "it hangs";

    memcpy(nth_run->verdict, text, sizeof(text));
    _exit(1);
}

static void no_log(const weir_log_line *line, void *arg)
{
}

static void run_here(const char *backend)
{
    uint64_t blocks = weir__alloc_live();
    int64_t mapped = nth_mapped();
    int fds = open_fds();

    signal(SIGALRM, on_alarm);
    alarm(HANG_S);
    weir_log_set(no_log, NULL, WEIR_LOG_ERROR);
    nth_arm();
    nth_program.run(backend);
    nth_disarm();
    if (weir__alloc_live() != blocks)
        nth_wrong("%llu allocations are left", (unsigned long long)(weir__alloc_live() - blocks));
    if (nth_mapped() != mapped)
        nth_wrong("%lld mapped bytes are left", (long long)(nth_mapped() - mapped));
    if (open_fds() != fds)
        nth_wrong("%d descriptors are left", open_fds() - fds);
    if (clean_calls != 0 && nth_run->calls > 4 * clean_calls + 2000)
        nth_wrong("%llu calls, %llu without a fault: it spins", (unsigned long long)nth_run->calls,
                  (unsigned long long)clean_calls);
}

/* Runs in a child. False: something was wrong, and the verdict says what. */
static bool run_once(const char *backend, enum nth_kind kind, uint64_t n, unsigned variant)
{
    int status;
    pid_t child;

    memset(nth_run, 0, sizeof(*nth_run));
    nth_run->kind = kind;
    nth_run->n = n;
    nth_run->variant = variant;
    nth_run->fd = -1;
    fflush(stdout);
    child = fork();
    if (child == 0) {
        run_here(backend);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("fork");
        exit(2);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        exit(SKIPPED);
    if (WIFSIGNALED(status))
        snprintf(nth_run->verdict, sizeof(nth_run->verdict), "signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0 && nth_run->verdict[0] == '\0')
        snprintf(nth_run->verdict, sizeof(nth_run->verdict), "exit %d: a sanitizer's report",
                 WEXITSTATUS(status));
    return nth_run->verdict[0] == '\0';
}

static const char *error_of(const struct nth_run *run)
{
    const char *name = strerrorname_np(run->error);

    return run->error == NTH_SHORT ? "short" : name != NULL ? name : "fails";
}

static void tell(const char *program)
{
    bool many = nth_run->variants > 1 && nth_run->variant + 1 >= nth_run->variants;

    printf("WRONG: %s %d %llu %u (%s%s of %s, fd %d) while %s: %s\n", program, (int)nth_run->kind,
           (unsigned long long)nth_run->n, nth_run->variant, error_of(nth_run),
           many ? " many times" : "", nth_run->call, nth_run->fd, nth_run->step, nth_run->verdict);
}

/* --- all runs --------------------------------------------------------------------------------- */

struct sweep {
    unsigned runs, wrong;
};

static bool sweep_one(struct sweep *sweep, const char *backend, enum nth_kind kind, uint64_t n,
                      unsigned variant)
{
    sweep->runs++;
    if (run_once(backend, kind, n, variant))
        return true;
    tell(nth_program.name);
    sweep->wrong++;
    return false;
}

/* Every n, every error, until a run passes without reaching its n. */
static void sweep_all(struct sweep *sweep, const char *backend, enum nth_kind kind)
{
    for (uint64_t n = 1; sweep->wrong < MOST_WRONG; n++) {
        unsigned variant = 0;

        do
            sweep_one(sweep, backend, kind, n, variant);
        while (++variant < nth_run->variants && sweep->wrong < MOST_WRONG);
        if (!nth_run->fired)
            return;
    }
}

static void sweep_some(struct sweep *sweep, const char *backend, enum nth_kind kind, uint64_t count,
                       unsigned runs, unsigned seed)
{
    uint64_t stride = count > runs ? count / runs : 1;

    for (uint64_t n = 1 + seed % stride; n <= count + stride; n += stride)
        if (!sweep_one(sweep, backend, kind, n, (unsigned)(n + seed) % 13) &&
            sweep->wrong == MOST_WRONG)
            return;
}

static unsigned number_of(const char *variable, unsigned otherwise)
{
    const char *text = getenv(variable);

    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static bool sweep_kind(const char *backend, enum nth_kind kind)
{
    struct sweep sweep = {0, 0};
    uint64_t count;

    if (!sweep_one(&sweep, backend, kind, 0, 0))
        return false;
    count = nth_run->count;
    clean_calls = nth_run->calls;
    if (count == 0)
        return true;
    if (number_of("WEIR_NTH_FULL", 0) != 0)
        sweep_all(&sweep, backend, kind);
    else
        sweep_some(&sweep, backend, kind, count, number_of("WEIR_NTH_RUNS", 100),
                   number_of("WEIR_NTH_SEED", 0));
    printf("%s: %llu places, %u runs, %u wrong\n", kinds[kind], (unsigned long long)count,
           sweep.runs, sweep.wrong);
    return sweep.wrong == 0;
}

static void check_backend(const char *backend)
{
    weir_loop_options options = {.backend = backend};
    weir_loop *loop = NULL;
    pid_t child;
    int status;

    /* In a child: what the probe finds out is found out anew in each run. */
    child = fork();
    if (child == 0) {
        weir_log_set(no_log, NULL, WEIR_LOG_ERROR);
        _exit(weir_loop_new(&loop, &options) < 0 ? 1 : 0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        printf("skip: no back end %s here\n", backend);
        exit(SKIPPED);
    }
}

int main(int argc, char **argv)
{
    const char *backend = getenv("WEIR_BACKEND");
    bool fine = true;

    if (backend == NULL)
        backend = "epoll";
    nth_run =
        mmap(NULL, sizeof(*nth_run), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (nth_run == MAP_FAILED)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_DFL);
    check_backend(backend);
    if (nth_program.prepare != NULL)
        nth_program.prepare();
    if (argc == 4) {
        fine = run_once(backend, (enum nth_kind)atoi(argv[1]), strtoull(argv[2], NULL, 10),
                        (unsigned)atoi(argv[3]));
        tell(nth_program.name);
    } else {
        for (enum nth_kind kind = 0; kind < NTH_KINDS; kind++)
            fine &= sweep_kind(backend, kind);
    }
    if (nth_program.clean != NULL)
        nth_program.clean();
    return fine ? 0 : 1;
}
