#include "client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 64, OCTAVES = 40 };

static uint64_t batches;
static uint64_t histogram[OCTAVES * STEPS]; /* log-linear, 64 steps an octave: 1.6 % */

noreturn void client_die(const char *what)
{
    perror(what);
    exit(1);
}

void client_parse(int argc, char **argv, struct client_options *out)
{
    struct rlimit limit;
    int letter;

    *out = (struct client_options){
        .conns = 64, .size = 64, .depth = 1, .seconds = 1, .warm = 0.2, .path = "/"};
    while ((letter = getopt(argc, argv, "a:c:s:d:t:w:p:u:kfS:")) != -1) {
        switch (letter) {
        case 'a':
            out->port = (unsigned)atoi(optarg);
            break;
        case 'c':
            out->conns = (unsigned)atoi(optarg);
            break;
        case 's':
            out->size = (unsigned)atoi(optarg);
            break;
        case 'd':
            out->depth = (unsigned)atoi(optarg);
            break;
        case 't':
            out->seconds = atof(optarg);
            break;
        case 'w':
            out->warm = atof(optarg);
            break;
        case 'p':
            out->pid_count = account_parse(optarg, out->pids);
            break;
        case 'u':
            out->path = optarg;
            break;
        case 'k':
            out->close = true;
            break;
        case 'f':
            out->frames = true;
            break;
        case 'S':
            out->trace = optarg;
            break;
        default:
            exit(64);
        }
    }
    if (out->port == 0 || out->conns == 0 || out->size == 0 || out->depth == 0) {
        fprintf(stderr,
                "usage: %s -a PORT [-c CONNS] [-s SIZE] [-d DEPTH] [-t SECONDS]"
                " [-w WARM_UP_SECONDS] [-p PID,PID] [-u PATH] [-k] [-f] [-S FILE]\n",
                argv[0]);
        exit(64);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int client_connect(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *host = getenv("BENCH_HOST");
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (host != NULL && inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "BENCH_HOST is no IPv4 address: %s\n", host);
        exit(64);
    }
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        client_die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

void client_done(uint64_t ns)
{
    unsigned octave = ns < STEPS ? 0 : 63u - (unsigned)__builtin_clzll(ns) - 5u;
    unsigned at = octave == 0 ? (unsigned)ns
                              : octave * STEPS + (unsigned)((ns >> (octave - 1)) & (STEPS - 1));

    histogram[at < OCTAVES * STEPS ? at : OCTAVES * STEPS - 1]++;
    batches++;
}

static double quantile_us(double part)
{
    uint64_t seen = 0;

    for (unsigned i = 0; i < OCTAVES * STEPS; i++) {
        unsigned octave = i / STEPS;

        seen += histogram[i];
        if (batches > 0 && (double)seen >= part * (double)batches) {
            uint64_t ns = octave == 0 ? i : (uint64_t)(STEPS + i % STEPS) << (octave - 1);
            return (double)ns / 1000;
        }
    }
    return 0;
}

static uint64_t own_cpu(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void client_measure(const struct client_options *options, void (*run)(uint64_t end_ns))
{
    struct account from, to;
    uint64_t start, wall, own;
    pid_t tracer = 0;

    run(account_now() + (uint64_t)(options->warm * 1e9));
    memset(histogram, 0, sizeof(histogram));
    batches = 0;
    if (options->trace != NULL)
        tracer = account_trace(options->pids, options->pid_count, options->trace);
    account_read(options->pids, options->pid_count, 0, &from);
    start = account_now();
    own = own_cpu();
    run(start + (uint64_t)(options->seconds * 1e9));
    account_read(options->pids, options->pid_count, 0, &to);
    wall = account_now() - start;
    own = own_cpu() - own;
    if (options->trace != NULL)
        account_trace_end(tracer, options->pids, options->pid_count);
    printf("{\"requests\": %lu, \"wall_ns\": %lu, \"cpu_ns\": %lu, \"load_cpu_ns\": %lu,"
           " \"switches\": %lu, \"busy_ns\": %lu, \"softirq_ns\": %lu, \"rss_kb\": %lu,"
           " \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
           batches * options->depth, wall, to.cpu_ns - from.cpu_ns, own,
           to.switches - from.switches, to.busy_ns - from.busy_ns, to.softirq_ns - from.softirq_ns,
           to.rss_kb, quantile_us(0.5), quantile_us(0.99));
}
