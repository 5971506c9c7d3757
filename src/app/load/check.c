/* The load looks at itself: when it was the bottleneck, its figures tell nothing about the server.
 */
#include "app/load/dgram.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* Above these shares the figures are the generator's. */
#define BUSY_SHARE     0.95  /* of a loop's time on its CPU */
#define RUNQUEUE_SHARE 0.10  /* of a loop's time ready and without a CPU */
#define LATE_SHARE     0.01  /* of requests sent late by our fault */
#define BEHIND_SHARE   0.03  /* of a bit rate that was asked for and not reached */
#define DROPPED_SHARE  0.001 /* of datagrams that came and found our buffer full */

/* The second number of schedstat: nanoseconds that this thread was ready and waited for a CPU
 * (Documentation/scheduler/sched-stats.rst). 0 where the kernel does not tell. */
static uint64_t runqueue_ns(void)
{
    char text[96];
    int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0)
        return 0;
    text[size] = '\0';
    const char *second = strchr(text, ' ');
    return second != NULL ? strtoull(second, NULL, 10) : 0;
}

void load_mark_take(struct load_loop *loop, struct load_mark *mark)
{
    mark->at_ns = weir__clock_now_ns();
    mark->cpu_ns = weir__clock_thread_cpu_ns();
    mark->runqueue_ns = runqueue_ns();
    if (weir_loop_stats_get(loop->loop, &mark->stats) < 0)
        mark->stats = (weir_loop_stats){0};
}

static void add(struct load_result *result, const char *format, ...) WEIR_PRINTF(2, 3);

static void add(struct load_result *result, const char *format, ...)
{
    va_list args;
    if (result->told.invalid == WEIR_LOAD_REASONS_MAX)
        return;
    va_start(args, format);
    vsnprintf(result->told.reasons[result->told.invalid++], WEIR_LOAD_REASON_BYTES, format, args);
    va_end(args);
}

static void check_loops(const struct load *load, struct load_result *result)
{
    double busiest = 0, waiting = 0;
    for (unsigned i = 0; i < load->loop_count; i++) {
        const struct load_loop *loop = load->loops[i];
        uint64_t wall_ns = loop->ended.at_ns - loop->begun.at_ns;
        if (wall_ns == 0)
            continue;
        double busy = (double)result->rows[i].cpu_ns / (double)wall_ns;
        double queued = (double)result->rows[i].runqueue_ns / (double)wall_ns;
        busiest = busy > busiest ? busy : busiest;
        waiting = queued > waiting ? queued : waiting;
    }
    /* Datagrams without a rate leave as fast as we can send: that is what was asked for. */
    const weir_load_options *options = &load->options;
    bool flood = options->kind == WEIR_LOAD_DGRAM_STREAM && options->way == WEIR_LOAD_UP &&
                 options->stream_rate == 0;
    if (busiest > BUSY_SHARE && !flood)
        add(result,
            "the generator used its whole CPU (%.0f %%): give it more threads (-t), or fewer "
            "requests",
            busiest * 100);
    if (waiting > RUNQUEUE_SHARE)
        add(result,
            "the generator was ready and waited for a CPU %.0f %% of the time: others use it; "
            "fewer threads (-t), or another machine for the load",
            waiting * 100);
}

/* Loss that is ours must not pass for the network's. */
static void check_dgrams(const struct load *load, struct load_result *result)
{
    const weir_load_options *options = &load->options;
    const weir_load_counts *counts = &result->told.counts;
    double came = (double)(counts->received_datagrams + counts->dropped);
    if ((double)counts->dropped > DROPPED_SHARE * came)
        add(result,
            "%llu datagrams were lost here, because a receive buffer was full: fewer of them, more "
            "threads (-t), or a larger net.core.rmem_default",
            (unsigned long long)counts->dropped);
    /* A unix peer that is slow makes its senders wait, a UDP peer does not. */
    double asked = (double)options->stream_rate * options->conns;
    double sent = (double)result->told.up.sent_bytes_s;
    if (options->way != WEIR_LOAD_DOWN && result->told.wire_bytes != 0 && asked > 0 && sent > 0 &&
        result->told.up.silent == 0 && sent < (1 - BEHIND_SHARE) * asked)
        add(result,
            "%.1f %% less was sent than the bit rate asks for: the generator is too slow for it",
            100 * (1 - sent / asked));
}

void load_check(const struct load *load, struct load_result *result)
{
    const weir_load_counts *counts = &result->told.counts;
    check_loops(load, result);
    if (load_is_dgram(&load->options))
        check_dgrams(load, result);
    if ((double)counts->late > LATE_SHARE * (double)counts->sent)
        add(result,
            "%.1f %% of the requests left more than 1 ms late though a connection was free: the "
            "generator is too slow for this rate",
            100 * (double)counts->late / (double)(counts->sent != 0 ? counts->sent : 1));
    if (counts->error_ports != 0)
        add(result,
            "the local ports ran out %llu times: more source addresses (--source), a wider "
            "net.ipv4.ip_local_port_range, or --reset",
            (unsigned long long)counts->error_ports);
    if (counts->error_descriptors != 0)
        add(result, "descriptors ran out %llu times: raise the limit of open files (ulimit -n)",
            (unsigned long long)counts->error_descriptors);
}
