/* The programs on real kernels: sim.h with threads for hosts, 127.0.0.0/8 for their network, and no
 * faults but what a kernel does by itself. One lock lets one host run at a time, as the programs
 * expect; it is given away while a loop sleeps.
 *
 *     WEIR_BACKEND=uring sim.real [PROGRAM [SEED [COUNT]]]
 *
 * ctest: timeout=300 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sim/sim.h"

struct sim_host {
    const char *name;
    int (*main)(void *arg);
    void *arg;
    pthread_t thread;
    bool started, running, killed;
    int result;
    weir_loop *loop;
    void (*each_turn)(weir_loop *loop, void *arg);
    void *each_turn_arg;
    unsigned loops; /* started so far */
};

static struct {
    pthread_mutex_t lock;
    uint64_t seed, state, began_ns;
    char folder[64];
    const char *program;
    unsigned net;
    bool trace;
} real = {.lock = PTHREAD_MUTEX_INITIALIZER};

static __thread sim_host *self;

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * WEIR_S + (uint64_t)t.tv_nsec;
}

/* --- what prog.c asks for --------------------------------------------------------------------- */

void sim_real_loop(weir_loop *loop);
void sim_real_run(weir_loop *loop);
void sim_real_address(char *text, size_t size, unsigned host);

void sim_real_loop(weir_loop *loop)
{
    self->loop = loop;
}

void sim_real_address(char *text, size_t size, unsigned host)
{
    snprintf(text, size, "127.%u.%u.%u", 1 + real.net / 250 % 250, real.net % 250, host);
}

/* Sleeps as a host does that has the loop in its own poll: without the lock. */
static void sleep_unlocked(weir_loop *loop)
{
    enum { MOST_MS = 20 };
    struct pollfd fd = {.fd = weir_loop_fd(loop), .events = POLLIN};
    weir_time due = weir_loop_due(loop), now = weir_now();
    int ms = due <= now                      ? 0
             : due - now > MOST_MS * WEIR_MS ? MOST_MS
                                             : (int)((due - now) / WEIR_MS);
    pthread_mutex_unlock(&real.lock);
    if (fd.fd >= 0)
        poll(&fd, 1, ms);
    else if (ms != 0)
        usleep(200);
    pthread_mutex_lock(&real.lock);
}

void sim_real_run(weir_loop *loop)
{
    int result = 0;
    while (result == 0) {
        sleep_unlocked(loop);
        result = weir_loop_turn(loop, 0);
        if (self->each_turn != NULL)
            self->each_turn(loop, self->each_turn_arg);
    }
    self->loop = NULL;
    sim_check(result == WEIR_ESTOPPED, "K9.run: a loop runs until it is stopped; %s",
              weir_error_name(result));
}

/* --- sim.h ------------------------------------------------------------------------------------ */

const char *sim_folder(void)
{
    return real.folder;
}

uint64_t sim_random(uint64_t bound)
{
    real.state += 0x9e3779b97f4a7c15ull;
    uint64_t z = real.state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    return bound != 0 ? z % bound : 0;
}

bool sim_chance(uint64_t of, uint64_t in)
{
    return sim_random(in) < of;
}

uint64_t sim_between(uint64_t least, uint64_t most)
{
    return least + sim_random(most - least + 1);
}

uint64_t sim_size(uint64_t most)
{
    unsigned bits = 0;
    while (bits < 63 && most >> bits != 0)
        bits++;
    uint64_t size = 1 + sim_random(1ull << sim_random(bits + 1));
    return size < most ? size : most;
}

uint64_t sim_seed(void)
{
    return real.seed;
}

uint64_t sim_now(void)
{
    return clock_ns() - real.began_ns;
}

/* A run must not take as long as its virtual time. */
static void sleep_ns(uint64_t ns)
{
    enum { MOST_MS = 20 };
    if (ns > MOST_MS * WEIR_MS)
        ns = MOST_MS * WEIR_MS;
    pthread_mutex_unlock(&real.lock);
    usleep((useconds_t)(ns / 1000 + 1));
    pthread_mutex_lock(&real.lock);
}

void sim_sleep(uint64_t ns)
{
    sleep_ns(ns);
}

void sim_stall(uint64_t ns)
{
    usleep((useconds_t)((ns > 20 * WEIR_MS ? 20 * WEIR_MS : ns) / 1000));
}

sim_host *sim_host_new(const char *name, const char *addresses, int (*main)(void *arg), void *arg)
{
    sim_host *host = calloc(1, sizeof *host);
    if (host == NULL)
        abort();
    host->name = name;
    host->main = main;
    host->arg = arg;
    return host;
}

static void *host_thread(void *arg)
{
    pthread_mutex_lock(&real.lock);
    self = arg;
    self->result = self->main(self->arg);
    self->running = false;
    pthread_mutex_unlock(&real.lock);
    return NULL;
}

void sim_host_start(sim_host *host)
{
    if (host->started)
        pthread_join(host->thread, NULL);
    host->started = host->running = true;
    host->killed = false;
    if (pthread_create(&host->thread, NULL, host_thread, host) != 0)
        abort();
}

/* A thread cannot be killed: its loop is freed, which resets its connections. */
void sim_host_kill(sim_host *host, enum sim_kill how)
{
    host->killed = true;
    while (host->running) {
        if (host->loop != NULL)
            weir_loop_stop(host->loop);
        sleep_ns(WEIR_MS);
    }
}

void sim_host_signal(sim_host *host, int number)
{
    if (host->loop != NULL && (number == SIGTERM || number == SIGINT))
        weir_loop_stop(host->loop);
}

bool sim_host_running(const sim_host *host)
{
    return host->running;
}

bool sim_host_wait(sim_host *host, uint64_t ns)
{
    enum { MOST_S = 60 };
    uint64_t until = clock_ns() + (ns < MOST_S * WEIR_S ? ns : MOST_S * WEIR_S);
    while (host->running && clock_ns() < until)
        sleep_ns(WEIR_MS);
    return !host->running;
}

int sim_host_result(const sim_host *host)
{
    return host->killed ? -1 : host->result;
}

sim_host *sim_host_self(void)
{
    return self;
}

const char *sim_host_name(const sim_host *host)
{
    return host != NULL ? host->name : "director";
}

void sim_host_each_turn(sim_host *host, void (*fn)(weir_loop *loop, void *arg), void *arg)
{
    host->each_turn = fn;
    host->each_turn_arg = arg;
}

/* What is late there is judged loosely by itself. */
uint64_t sim_held(void)
{
    return 0;
}

void sim_net_cut(sim_host *a, sim_host *b, bool cut)
{
}

bool sim_quiet(void)
{
    return true;
}

bool sim_fault_on(enum sim_fault fault)
{
    return false;
}

bool sim_can_break(void)
{
    return false;
}

void sim_faults_stop(void)
{
}

void sim_faults_go_on(void)
{
}

void sim_fault_forbid(enum sim_fault fault)
{
}

void sim_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s, seed %llu, on %s: ", real.program, (unsigned long long)real.seed,
            getenv("WEIR_BACKEND") != NULL ? getenv("WEIR_BACKEND") : "auto");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    if (getenv("SIM_ABORT") != NULL)
        abort();
    exit(1);
}

void sim_note(const char *format, ...)
{
    va_list args;
    if (!real.trace)
        return;
    va_start(args, format);
    fprintf(stderr, "%10.3f ms %s: ", (double)sim_now() / 1e6, sim_host_name(self));
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

/* --- the driver ------------------------------------------------------------------------------- */

extern const struct sim_program *const __start_sim_programs[], *const __stop_sim_programs[];

static void run_one(const struct sim_program *program, uint64_t seed)
{
    real.seed = real.state = seed;
    real.began_ns = clock_ns();
    real.net++;
    program->run();
}

static void folder_remove(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", real.folder);
    if (strncmp(real.folder, "/tmp/weir-", 10) == 0 && system(command) != 0)
        fprintf(stderr, "%s is left over\n", real.folder);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "all";
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    uint64_t count = argc > 3 ? strtoull(argv[3], NULL, 0) : 10;
    real.trace = getenv("SIM_TRACE") != NULL;
    real.net = (unsigned)getpid() * 61; /* what another has just left may be taken for a while */
    pthread_mutex_lock(&real.lock);
    for (const struct sim_program *const *p = __start_sim_programs; p < __stop_sim_programs; p++) {
        if (strcmp(name, "all") != 0 && strcmp(name, (*p)->name) != 0)
            continue;
        real.program = (*p)->name;
        snprintf(real.folder, sizeof real.folder, "/tmp/weir-XXXXXX");
        if (mkdtemp(real.folder) == NULL)
            return 1;
        if ((*p)->setup != NULL)
            (*p)->setup(real.folder);
        for (uint64_t i = 0; i < count; i++)
            run_one(*p, seed + i);
        folder_remove();
        printf("%s: %llu runs passed\n", (*p)->name, (unsigned long long)count);
    }
    return 0;
}
