/* The whole public API under simulation, driven by bytes: what the program of tests/sim/programs/
 * api.c and the simulated world draw is taken from the input while it lasts, then from its hash. A
 * run changes the library's variables for good, so each has a process of its own, which leaves the
 * fuzzer's counters in shared memory. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "one.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern const struct sim_program *const __start_sim_programs[];

/* The counters of a fuzzing build; an ordinary one has none. */
extern uint8_t __start___sancov_cntrs[] __attribute__((weak, visibility("hidden")));
extern uint8_t __stop___sancov_cntrs[] __attribute__((weak, visibility("hidden")));

static char folder[64];
static struct sim_outcome *outcome;
static uint8_t *counters;
static struct {
    const uint8_t *at;
    size_t left;
} input;

/* --- what is drawn ---------------------------------------------------------------------------- */

uint64_t __real_random_next(struct random *random);
uint64_t __wrap_random_next(struct random *random);
uint64_t __real_random_below(struct random *random, uint64_t bound);
uint64_t __wrap_random_below(struct random *random, uint64_t bound);

static uint64_t bytes_take(size_t size)
{
    uint64_t value = 0;

    while (size-- > 0 && input.left > 0) {
        value = value << 8 | *input.at++;
        input.left--;
    }
    return value;
}

static bool from_input(const struct random *random)
{
    return input.left > 0 && (random == &world.random || random == &world.program_random);
}

/* The high bits are what faults look at. */
uint64_t __wrap_random_next(struct random *random)
{
    return from_input(random) ? bytes_take(2) << 48 : __real_random_next(random);
}

uint64_t __wrap_random_below(struct random *random, uint64_t bound)
{
    if (!from_input(random) || bound == 0)
        return __real_random_below(random, bound);
    return bytes_take(bound <= 256 ? 1 : bound <= 65536 ? 2 : 8) % bound;
}

/* --- one run ---------------------------------------------------------------------------------- */

static size_t counters_size(void)
{
    return __start___sancov_cntrs != NULL ? (size_t)(__stop___sancov_cntrs - __start___sancov_cntrs)
                                          : 0;
}

static uint64_t hash_of(const uint8_t *data, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325ull;

    while (size-- > 0)
        hash = (hash ^ *data++) * 0x100000001b3ull;
    return hash;
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *where)
{
    return remove(path);
}

/* What else would run at exit, the fuzzer's own, calls what the simulator gives, outside of it. */
static void end(void)
{
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    fflush(NULL);
    _exit(0);
}

static void *shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        abort();
    return memory;
}

static void begin(void)
{
    const struct sim_program *program = __start_sim_programs[0];
    char own[512];

    outcome = shared(sizeof(*outcome));
    counters = shared(counters_size() + 1);
    strcpy(folder, "/tmp/weir-fuzz-XXXXXX");
    if (mkdtemp(folder) == NULL)
        abort();
    one_folder(own, sizeof(own), folder, program);
    if (mkdir(own, 0755) < 0)
        abort();
    if (program->setup != NULL)
        program->setup(own);
    atexit(end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pid_t child;
    int status;

    if (outcome == NULL)
        begin();
    memset(outcome, 0, offsetof(struct sim_outcome, report));
    memset(outcome->report, 0, 1);
    child = fork();
    if (child == 0) {
        input.at = data;
        input.left = size;
        one_run(__start_sim_programs[0], hash_of(data, size), folder, false, outcome);
        if (counters_size() > 0)
            memcpy(counters, __start___sancov_cntrs, counters_size());
        _exit(0);
    }
    if (child < 0)
        abort();
    while (waitpid(child, &status, 0) != child) { /* the fuzzer's timer interrupts */
        if (errno != EINTR)
            abort();
    }
    if (status != 0 || outcome->failed || !outcome->done) {
        fprintf(stderr, "status %d: %.*s\n", status, (int)outcome->report_size, outcome->report);
        abort();
    }
    if (counters_size() > 0)
        memcpy(__start___sancov_cntrs, counters, counters_size());
    return 0;
}
