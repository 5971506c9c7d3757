/* One run, in a process of its own. */
#include "one.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "wrap.h"

static char folder[512];

const char *sim_folder(void)
{
    return folder;
}

void one_folder(char *out, size_t size, const char *base, const struct sim_program *program)
{
    snprintf(out, size, "%s/%s", base, program->name);
}

static void crashed(int number)
{
    if (number == SIGPROF || number == SIGALRM)
        sim_fail("the run took more than %d s of %s time: a spin, or too much for one run",
                 number == SIGPROF ? ONE_SECONDS : ONE_REAL_SECONDS,
                 number == SIGPROF ? "processor" : "real");
    sim_fail("crash: signal %d (%s)", number, strsignal(number));
}

/* Where a crash is told even when a stack has run over. */
static void handlers_set(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGPROF, SIGALRM};
    enum { ALTERNATE_BYTES = 256 * 1024 };
    stack_t stack = {.ss_sp = world_alloc(ALTERNATE_BYTES), .ss_size = ALTERNATE_BYTES};
    struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_ONSTACK | SA_RESETHAND};
    const struct itimerval limit = {.it_value.tv_sec = ONE_SECONDS};
    sigaltstack(&stack, NULL);
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (!WEIR_ASAN || numbers[i] >= SIGALRM || numbers[i] == SIGABRT)
            __real_sigaction(numbers[i], &action, NULL);
    setitimer(ITIMER_PROF, &limit, NULL);
    alarm(ONE_REAL_SECONDS);
}

static uint64_t name_hash(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    for (; *name != 0; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3ull;
    return hash;
}

static void world_make(const struct sim_program *program, uint64_t seed,
                       struct sim_outcome *outcome)
{
    enum { LATENCY_MOST_NS = 30000000, TURN_MOST_NS = 20000 };
    uint64_t of_program = name_hash(program->name);
    world.seed = seed;
    world.program = program;
    world.outcome = outcome;
    world.limit_ns = program->limit_ns != 0 ? program->limit_ns : 3600000000000ull;
    random_seed(&world.random, seed ^ of_program);
    random_seed(&world.program_random, (seed ^ of_program) + 1);
    random_seed(&world.library_random, (seed ^ of_program) + 2);
    if (sim_openssl_seed != NULL)
        sim_openssl_seed((seed ^ of_program) + 3);
    faults_draw();
    world.latency_ns = chance_size(LATENCY_MOST_NS);
    world.latency_spread_ns = chance(2) == 0 ? 0 : chance(world.latency_ns);
    world.turn_cost_ns = 500 + chance_size(TURN_MOST_NS);
}

void one_run(const struct sim_program *program, uint64_t seed, const char *base, bool trace,
             struct sim_outcome *outcome)
{
    one_folder(folder, sizeof(folder), base, program);
    world_make(program, seed, outcome);
    world.trace = trace;
    handlers_set();
    wrap_install();
    world.director_host = sim_host_new("world", "192.0.2.1", NULL, NULL);
    world.director_host->running = true;
    world_run(program->run);
    for (const sim_host *host = world.hosts; host != NULL; host = host->next)
        sim_check(host == world.director_host || !host->running,
                  "the director returned while host %s runs", host->name);
    outcome->virtual_ns = world.now_ns;
    outcome->done = true;
}
