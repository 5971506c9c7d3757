/* The runner: a process for every seed, as many at a time as there are processors. */
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "one.h"
#include "tally.h"
#include "wrap.h"

extern const struct sim_program *const __start_sim_programs[];
extern const struct sim_program *const __stop_sim_programs[];

enum { JOBS_MOST = 64, PROGRAMS_MOST = 64, KEPT_MOST = 4096, FAILURES_SHOWN = 5 };

struct kept { /* a seed that once failed */
    const struct sim_program *program;
    uint64_t seed;
};

struct job {
    pid_t pid;
    const struct sim_program *program;
    uint64_t seed;
    struct sim_outcome *outcome;
    bool again; /* the second run of the same seed */
    uint64_t first_hash;
};

static struct {
    const struct sim_program *programs[PROGRAMS_MOST];
    unsigned program_count;
    uint64_t seeds, base, one_seed;
    const char *json;
    bool has_seed, trace, twice, hashes, here, keep_going;
    double minutes;
    unsigned jobs;
    struct kept kept[KEPT_MOST];
    unsigned kept_count;
} options = {.seeds = 0, .base = 1};

static struct tally totals;
static struct timespec began;

static struct job jobs[JOBS_MOST];
static char folder[64];

static double seconds_since(const struct timespec *then)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) * 1e-9;
}

/* --- help ------------------------------------------------------------------------------------- */

static void usage(FILE *out)
{
    fputs("usage: tests/sim/run [OPTIONS]\n"
          "\n"
          "Runs whole programs on a simulated network, with faults; everything in a run is drawn\n"
          "from its seed. Seeds that once failed are always run first.\n"
          "\n"
          "  --program P     this program only (may be given several times)\n"
          "  --seeds N       so many runs, shared out among the programs (default 1000)\n"
          "  --seed S        this seed only; a number as a failure prints it\n"
          "  --minutes M     runs for so long\n"
          "  --trace         prints every event (with --seed)\n"
          "  --base B        where the seeds begin (default: the commit's)\n"
          "  --jobs J        processes at a time (default: one a processor)\n"
          "  --twice         runs each seed twice and compares every event\n"
          "  --hashes        prints the hash of each run's events\n"
          "  --keep-going    goes on after failures\n"
          "  --here          runs --seed in this process, for a debugger\n"
          "  --kept FILE     a file of seeds that once failed: lines of PROGRAM SEED\n"
          "  --json FILE     writes what the runs came to, also as JSON (-: only that, to stdout)\n"
          "  --list          the programs\n"
          "\n"
          "examples\n"
          "  ./dev sim --seeds 20000\n"
          "  ./dev sim --program echo --minutes 5\n"
          "  ./dev sim --program echo --seed 0x1234abcd --trace | tail -50\n"
          "\n"
          "exit codes: 0 all passed, 1 a run failed, 64 the arguments are wrong\n",
          out);
}

static void list_programs(void)
{
    for (const struct sim_program *const *at = __start_sim_programs; at < __stop_sim_programs; at++)
        printf("%-12s %s\n", (*at)->name, (*at)->what);
}

static const struct sim_program *program_named(const char *name)
{
    for (const struct sim_program *const *at = __start_sim_programs; at < __stop_sim_programs; at++)
        if (strcmp((*at)->name, name) == 0)
            return *at;
    fprintf(stderr, "sim: no program \"%s\"; --list shows them\n", name);
    exit(64);
}

static uint64_t number_of(const char *text)
{
    char *end;
    errno = 0;
    uint64_t number = strtoull(text, &end, 0);
    if (errno != 0 || end == text || *end != 0) {
        fprintf(stderr, "sim: no number: \"%s\"\n", text);
        exit(64);
    }
    return number;
}

static void kept_read(const char *path)
{
    char line[512], name[64], seed[64];
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "sim: cannot read %s: %s\n", path, strerror(errno));
        exit(64);
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (line[0] == '#' || sscanf(line, "%63s %63s", name, seed) != 2)
            continue;
        if (options.kept_count < KEPT_MOST)
            options.kept[options.kept_count++] =
                (struct kept){program_named(name), number_of(seed)};
    }
    fclose(file);
}

static void option_take(int option)
{
    switch (option) {
    case 'p':
        if (options.program_count < PROGRAMS_MOST)
            options.programs[options.program_count++] = program_named(optarg);
        break;
    case 'n':
        options.seeds = number_of(optarg);
        break;
    case 's':
        options.one_seed = number_of(optarg);
        options.has_seed = true;
        break;
    case 'm':
        options.minutes = strtod(optarg, NULL);
        break;
    case 'b':
        options.base = number_of(optarg);
        break;
    case 'j':
        options.jobs = (unsigned)number_of(optarg);
        break;
    case 'k':
        kept_read(optarg);
        break;
    case 'o':
        options.json = optarg;
        break;
    case 'l':
        list_programs();
        exit(0);
    case 'h':
        usage(stdout);
        exit(0);
    case '?':
        usage(stderr);
        exit(64);
    default: /* a switch: it is set already */
        break;
    }
}

static void options_read(int argc, char **argv)
{
    static int trace, twice, hashes, keep_going, here;
    static const struct option table[] = {
        {"program", 1, NULL, 'p'}, {"seeds", 1, NULL, 'n'},
        {"seed", 1, NULL, 's'},    {"minutes", 1, NULL, 'm'},
        {"trace", 0, &trace, 1},   {"base", 1, NULL, 'b'},
        {"jobs", 1, NULL, 'j'},    {"twice", 0, &twice, 1},
        {"hashes", 0, &hashes, 1}, {"keep-going", 0, &keep_going, 1},
        {"here", 0, &here, 1},     {"kept", 1, NULL, 'k'},
        {"json", 1, NULL, 'o'},    {"list", 0, NULL, 'l'},
        {"help", 0, NULL, 'h'},    {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1)
        option_take(option);
    if (optind != argc) {
        usage(stderr);
        exit(64);
    }
    options.trace = trace != 0;
    options.twice = twice != 0;
    options.hashes = hashes != 0;
    options.keep_going = keep_going != 0;
    options.here = here != 0;
}

/* --- files of the programs -------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    return remove(path);
}

static void folder_remove(void)
{
    enum { DEEP = 16 };
    nftw(folder, remove_one, DEEP, FTW_DEPTH | FTW_PHYS);
}

static void folders_make(void)
{
    snprintf(folder, sizeof(folder), "/tmp/weir-sim-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        perror("sim: mkdtemp");
        exit(70);
    }
    for (const struct sim_program *const *at = __start_sim_programs; at < __stop_sim_programs;
         at++) {
        char own[512];
        if ((*at)->setup == NULL)
            continue;
        one_folder(own, sizeof(own), folder, *at);
        mkdir(own, 0755);
        (*at)->setup(own);
    }
}

/* --- runs ------------------------------------------------------------------------------------- */

static void job_failed(const struct job *job, int status)
{
    struct sim_outcome *outcome = job->outcome;
    totals.failures++;
    if (totals.failures > FAILURES_SHOWN) {
        printf("FAILED %s 0x%llx: %.*s\n", job->program->name, (unsigned long long)job->seed,
               (int)strcspn(outcome->report, "\n"), outcome->report);
        return;
    }
    printf("\nFAILED: program %s, seed 0x%llx\n", job->program->name,
           (unsigned long long)job->seed);
    if (outcome->failed)
        printf("%.*s", (int)outcome->report_size, outcome->report);
    else
        printf("it ended by %s %d and said nothing\n", WIFSIGNALED(status) ? "signal" : "code",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    printf("to see it again: ./dev sim --program %s --seed 0x%llx --trace\n", job->program->name,
           (unsigned long long)job->seed);
    fflush(stdout);
}

static void job_start(struct job *job)
{
    memset(job->outcome, 0, offsetof(struct sim_outcome, report));
    fflush(stdout);
    job->pid = fork();
    if (job->pid == 0) {
        one_run(job->program, job->seed, folder, options.trace, job->outcome);
        _exit(0);
    }
}

/* True: its place is free. */
static bool job_ended(struct job *job, int status)
{
    struct sim_outcome *outcome = job->outcome;
    job->pid = 0;
    if (!outcome->done) {
        tally_add(&totals, outcome);
        job_failed(job, status);
        return true;
    }
    if (job->again && outcome->hash != job->first_hash) {
        outcome->failed = true;
        outcome->report_size = (uint32_t)snprintf(
            outcome->report, sizeof(outcome->report),
            "two runs of this seed were not the same: the hashes of their events differ\n");
        job_failed(job, status);
    } else if (options.twice && !job->again) {
        job->again = true;
        job->first_hash = outcome->hash;
        job_start(job);
        return false;
    }
    tally_add(&totals, outcome);
    if (options.hashes)
        printf("%s 0x%llx %016llx %llu\n", job->program->name, (unsigned long long)job->seed,
               (unsigned long long)outcome->hash, (unsigned long long)outcome->records);
    return true;
}

static void reap(void)
{
    int status;
    pid_t pid = waitpid(-1, &status, 0);
    for (unsigned i = 0; i < options.jobs; i++)
        if (pid > 0 && jobs[i].pid == pid)
            job_ended(&jobs[i], status);
}

static uint64_t spread(uint64_t word)
{
    word += 0x9e3779b97f4a7c15ull;
    word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9ull;
    word = (word ^ word >> 27) * 0x94d049bb133111ebull;
    return word ^ word >> 31;
}

/* What comes as number `n`: false when there is no more. */
static bool plan(uint64_t n, const struct sim_program **program, uint64_t *seed)
{
    if (n < options.kept_count && !options.has_seed) {
        *program = options.kept[n].program;
        *seed = options.kept[n].seed;
        return true;
    }
    if (!options.has_seed)
        n -= options.kept_count;
    *program = options.programs[n % options.program_count];
    *seed = options.has_seed ? options.one_seed : spread(options.base + n);
    if (options.has_seed)
        return n < options.program_count;
    if (options.minutes > 0)
        return seconds_since(&began) < options.minutes * 60;
    return n < options.seeds;
}

static void run_all(void)
{
    uint64_t n = 0;
    bool more = true;
    unsigned busy;
    do {
        busy = 0;
        for (unsigned i = 0; i < options.jobs; i++) {
            struct job *job = &jobs[i];
            if (job->pid == 0 && more && (totals.failures == 0 || options.keep_going)) {
                more = plan(n++, &job->program, &job->seed);
                job->again = false;
                if (more)
                    job_start(job);
            }
            busy += job->pid != 0;
        }
        if (busy != 0)
            reap();
    } while (busy != 0);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void summary(void)
{
    double seconds = seconds_since(&began);
    if (options.json == NULL || strcmp(options.json, "-") != 0)
        tally_print(&totals, seconds, options.base);
    if (options.json == NULL)
        return;
    FILE *out = strcmp(options.json, "-") == 0 ? stdout : fopen(options.json, "w");
    if (out == NULL) {
        fprintf(stderr, "sim: cannot write %s: %s\n", options.json, strerror(errno));
        exit(70);
    }
    tally_json(&totals, seconds, options.base, out);
    if (out != stdout)
        fclose(out);
}

static void run_here(void)
{
    one_run(options.programs[0], options.one_seed, folder, options.trace, jobs[0].outcome);
    exit(0);
}

int main(int argc, char **argv)
{
    options_read(argc, argv);
    if (options.program_count == 0)
        for (const struct sim_program *const *at = __start_sim_programs; at < __stop_sim_programs;
             at++)
            options.programs[options.program_count++] = *at;
    if (options.seeds == 0 && options.minutes <= 0)
        options.seeds = 1000;
    if (options.jobs == 0)
        options.jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    if (options.jobs > JOBS_MOST)
        options.jobs = JOBS_MOST;
    if (options.trace)
        options.jobs = 1;
    if (sim_openssl_begin != NULL)
        sim_openssl_begin();
    folders_make();
    for (unsigned i = 0; i < options.jobs; i++) {
        jobs[i].outcome = mmap(NULL, sizeof(struct sim_outcome), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (jobs[i].outcome == MAP_FAILED)
            return 70;
    }
    clock_gettime(CLOCK_MONOTONIC, &began);
    if (options.here && options.has_seed)
        run_here();
    run_all();
    if (!options.trace)
        summary();
    folder_remove();
    return totals.failures != 0 ? 1 : 0;
}
