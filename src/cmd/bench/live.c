/* What is seen while a load runs: on standard error, a line an interval; on a terminal one line
 * that is written over, with a bar of the rates so far. The loops measure the same whether it is
 * shown or not: they hand over what they have once an interval, and this is another thread's work.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/bench/bench.h"

enum { RATES = 24 };

struct live {
    bool terminal;
    double rates[RATES];
    unsigned count;
};

void live_begin(struct bench *bench)
{
    const char *term = getenv("TERM");
    if (bench->quiet)
        return;
    if (bench->live == NULL)
        bench->live = calloc(1, sizeof *bench->live);
    if (bench->live == NULL)
        return;
    bench->live->count = 0;
    bench->live->terminal =
        isatty(STDERR_FILENO) == 1 && (term == NULL || strcmp(term, "dumb") != 0);
}

/* The last rates as blocks of eight heights. */
static void sparkline(const struct live *live, char *out, size_t size)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    unsigned shown = live->count < RATES ? live->count : RATES;
    double most = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < shown; i++)
        most = live->rates[i] > most ? live->rates[i] : most;
    for (unsigned i = live->count - shown; i < live->count && most > 0; i++) {
        int height = (int)(live->rates[i % RATES] / most * 7.99);
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s", blocks[height]);
    }
}

void live_show(struct bench *bench, const weir_load_progress *progress)
{
    struct live *live = bench->live;
    const weir_load_counts *counts = &progress->counts;
    double seconds = (double)(progress->end_ns - progress->begin_ns) / 1e9;
    double rate = (double)(bench->load.kind == WEIR_LOAD_DGRAM_STREAM
                               ? counts->sent + counts->received_datagrams
                               : counts->requests) /
                  seconds;
    uint64_t errors = weir_load_errors(counts);
    char p50[16], p99[16], most[16], bar[RATES * 4], run[16] = "", total[24] = "", size[16];

    if (live == NULL)
        return;
    live->rates[live->count++ % RATES] = rate;
    sparkline(live, bar, sizeof bar);
    if (bench->run != 0)
        snprintf(run, sizeof run, "run %d  ", bench->run);
    if (progress->total_ns != WEIR_NEVER)
        snprintf(total, sizeof total, "/%.0fs", (double)progress->total_ns / 1e9);
    fprintf(stderr, "%s%s%5.1fs%s  ", live->terminal ? "\r\033[K" : "", run,
            (double)progress->end_ns / 1e9, total);
    if (bench->load.kind == WEIR_LOAD_DGRAM_STREAM)
        fprintf(stderr, "sent %.0f datagrams/s  received %.0f/s  %s/s",
                (double)counts->sent / seconds, (double)counts->received_datagrams / seconds,
                show_size((double)(counts->sent_bytes + counts->received_bytes) / seconds, size));
    else if (bench->load.kind == WEIR_LOAD_STREAM)
        fprintf(stderr, "%s/s",
                show_size((double)(counts->sent_bytes + counts->received_bytes) / seconds, size));
    else
        fprintf(stderr, "%.0f/s  p50 %s  p99 %s  max %s", rate, show_time(progress->times.p50, p50),
                show_time(progress->times.p99, p99), show_time(progress->times.max, most));
    if (progress->open_conns != bench->load.conns && !bench->close)
        fprintf(stderr, "  %llu open", (unsigned long long)progress->open_conns);
    if (errors != 0)
        fprintf(stderr, "  %llu errors", (unsigned long long)errors);
    if (counts->lost != 0)
        fprintf(stderr, "  %llu lost", (unsigned long long)counts->lost);
    if (progress->phase == WEIR_LOAD_WARMING)
        fputs("  (warm-up)", stderr);
    if (live->terminal)
        fprintf(stderr, "  %s", bar);
    else
        fputc('\n', stderr);
}

void live_end(struct bench *bench)
{
    if (bench->live != NULL && bench->live->terminal)
        fputs("\r\033[K", stderr);
}
