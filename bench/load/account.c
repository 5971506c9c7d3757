#include "account.h"

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t account_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

unsigned account_parse(const char *text, pid_t *pids)
{
    unsigned count = 0;
    char *end;

    while (*text != '\0') {
        long pid = strtol(text, &end, 10);

        if (pid <= 0 || count == ACCOUNT_PIDS_MAX || (*end != ',' && *end != '\0')) {
            fprintf(stderr, "wrong list of processes: %s\n", text);
            exit(64);
        }
        pids[count++] = (pid_t)pid;
        text = *end == ',' ? end + 1 : end;
    }
    return count;
}

static bool slurp(const char *path, char *buffer, size_t size)
{
    FILE *file = fopen(path, "re");
    size_t n;

    if (file == NULL)
        return false;
    n = fread(buffer, 1, size - 1, file);
    buffer[n] = '\0';
    fclose(file);
    return n > 0;
}

static uint64_t field(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* schedstat's first number is the thread's time on a CPU in nanoseconds
 * (Documentation/scheduler/sched-stats.rst): stat's utime and stime have ticks of 10 ms. */
static void add_thread(const char *folder, const char *thread, struct account *out)
{
    char path[128], text[4096];

    snprintf(path, sizeof(path), "%s/%.20s/schedstat", folder, thread);
    if (slurp(path, text, sizeof(text)))
        out->cpu_ns += strtoull(text, NULL, 10);
    snprintf(path, sizeof(path), "%s/%.20s/status", folder, thread);
    if (slurp(path, text, sizeof(text)))
        out->switches += field(text, "\nvoluntary_ctxt_switches:") +
                         field(text, "\nnonvoluntary_ctxt_switches:");
}

static void add_resident(pid_t pid, struct account *out)
{
    char path[64], text[4096];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (slurp(path, text, sizeof(text)))
        out->rss_kb += field(text, "\nVmRSS:");
}

static void add_cpu(unsigned cpu, struct account *out)
{
    uint64_t n[8] = {0}, tick = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    char name[16], text[16384];
    const char *line;

    snprintf(name, sizeof(name), "\ncpu%u ", cpu);
    if (!slurp("/proc/stat", text, sizeof(text)) || (line = strstr(text, name)) == NULL)
        return;
    /* user nice system idle iowait irq softirq steal */
    sscanf(line + strlen(name), "%lu %lu %lu %lu %lu %lu %lu %lu", &n[0], &n[1], &n[2], &n[3],
           &n[4], &n[5], &n[6], &n[7]);
    out->busy_ns = (n[0] + n[1] + n[2] + n[5] + n[6]) * tick;
    out->softirq_ns = n[6] * tick;
}

/* Every thread of the processes has this tracer. */
static bool all_traced(const pid_t *pids, unsigned count, pid_t tracer)
{
    bool all = true;

    for (unsigned i = 0; i < count && all; i++) {
        char path[128], text[4096];
        struct dirent *entry;
        DIR *threads;

        snprintf(path, sizeof(path), "/proc/%d/task", (int)pids[i]);
        threads = opendir(path);
        while (threads != NULL && all && (entry = readdir(threads)) != NULL) {
            snprintf(path, sizeof(path), "/proc/%d/task/%.20s/status", (int)pids[i], entry->d_name);
            if (entry->d_name[0] != '.' && slurp(path, text, sizeof(text)))
                all = field(text, "\nTracerPid:") == (uint64_t)tracer;
        }
        if (threads != NULL)
            closedir(threads);
    }
    return all;
}

/* Returns when the processes have nothing left to do, or after some seconds: what was asked of them
 * is answered then. */
static void wait_idle(const pid_t *pids, unsigned count)
{
    struct account first, last;

    for (unsigned tries = 0; tries < 25; tries++) {
        account_read(pids, count, 0, &first);
        usleep(200 * 1000);
        account_read(pids, count, 0, &last);
        if (last.cpu_ns - first.cpu_ns < 2000000)
            return;
    }
}

pid_t account_trace(const pid_t *pids, unsigned count, const char *path)
{
    char list[ACCOUNT_PIDS_MAX * 12] = "";
    size_t used = 0;
    pid_t tracer;

    for (unsigned i = 0; i < count; i++)
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%d", i > 0 ? "," : "",
                                 (int)pids[i]);
    tracer = fork();
    if (tracer < 0) {
        perror("fork");
        exit(1);
    }
    if (tracer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* a load that fails leaves nobody behind */
        execlp("strace", "strace", "-q", "-c", "-f", "-o", path, "-p", list, NULL);
        perror("strace");
        _exit(127);
    }
    for (unsigned tries = 0; tries < 1000 && !all_traced(pids, count, tracer); tries++)
        usleep(10 * 1000);
    wait_idle(pids, count); /* or calls for what was asked before would be counted */
    return tracer;
}

void account_trace_end(pid_t tracer, const pid_t *pids, unsigned count)
{
    int status;

    wait_idle(pids, count); /* as many as were pending at the beginning */
    kill(tracer, SIGINT);
    if (waitpid(tracer, &status, 0) < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 127)) {
        fprintf(stderr, "strace could not count\n");
        exit(1);
    }
}

void account_read(const pid_t *pids, unsigned count, unsigned cpu, struct account *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < count; i++) {
        char folder[64];
        struct dirent *entry;
        DIR *threads;

        snprintf(folder, sizeof(folder), "/proc/%d/task", (int)pids[i]);
        threads = opendir(folder);
        if (threads == NULL)
            continue;
        add_resident(pids[i], out);
        while ((entry = readdir(threads)) != NULL)
            if (entry->d_name[0] != '.')
                add_thread(folder, entry->d_name, out);
        closedir(threads);
    }
    add_cpu(cpu, out);
}
