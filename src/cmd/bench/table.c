/* The table at the end. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/bench/bench.h"

static const char *s_of(unsigned count)
{
    return count == 1 ? "" : "s";
}

static void head(const struct bench *bench, const weir_load_result *result)
{
    static const char *const ways[] = {"to the server", "from the server", "both ways"};
    bool open = result->rate > 0;
    printf("weir bench %s  %s%s\n", bench->mode, bench->shown,
           bench->load.urls[1] != NULL ? " …" : "");
    if (bench_is_dgram(bench))
        table_dgram_head(bench, result);
    else if (bench->load.kind == WEIR_LOAD_STREAM)
        printf("%u stream%s %s", result->conns, s_of(result->conns), ways[bench->load.way]);
    else if (bench->load.hold && !open)
        printf("%u connection%s held", result->conns, s_of(result->conns));
    else if (open)
        printf("open loop: %.6g requests a second%s, %u connection%s", result->rate,
               bench->poisson ? " at random times" : "", result->conns, s_of(result->conns));
    else
        printf("closed loop: as fast as %u connection%s go%s", result->conns, s_of(result->conns),
               result->conns == 1 ? "es" : "");
    if (bench->close)
        printf(", a new connection for each request");
    else if (result->pipeline > 1)
        printf(", %s%u requests in flight on each", open && bench_is_dgram(bench) ? "up to " : "",
               result->pipeline);
    printf(", %u thread%s (%s), %.2f s%s\n\n", result->loops, s_of(result->loops),
           result->loop_rows[0].backend, (double)result->measured_ns / 1e9,
           result->interrupted ? ", interrupted" : "");
}

static void stream_rates(const weir_load_result *result)
{
    const weir_load_counts *counts = &result->counts;
    char size[16];
    if (counts->sent_bytes != 0)
        printf("sent       %12s   %.3f Gbit/s\n", show_size((double)counts->sent_bytes, size),
               per_second(counts->sent_bytes, result) * 8 / 1e9);
    if (counts->received_bytes != 0)
        printf("received   %12s   %.3f Gbit/s\n", show_size((double)counts->received_bytes, size),
               per_second(counts->received_bytes, result) * 8 / 1e9);
    if (result->server_bytes != 0)
        printf("server     %12s   received, by its own count, warm-up too\n",
               show_size((double)result->server_bytes, size));
}

static void rates(const struct bench *bench, const weir_load_result *result)
{
    const weir_load_counts *counts = &result->counts;
    char size[16], rate[16];
    if (bench_is_dgram(bench)) {
        table_dgram_rates(bench, result);
        return;
    }
    if (bench->load.kind == WEIR_LOAD_STREAM) {
        stream_rates(result);
        return;
    }
    printf("requests   %12" PRIu64 "   %.1f/s\n", counts->requests,
           per_second(counts->requests, result));
    printf("received   %12s   %s/s", show_size((double)counts->received_bytes, size),
           show_size(per_second(counts->received_bytes, result), rate));
    if (counts->body_bytes != 0)
        printf("   of it bodies %s", show_size((double)counts->body_bytes, size));
    printf("\nsent       %12s   %s/s\n", show_size((double)counts->sent_bytes, size),
           show_size(per_second(counts->sent_bytes, result), rate));
    if (counts->connects != 0)
        printf("connected  %12" PRIu64 "   %.1f/s\n", counts->connects,
               per_second(counts->connects, result));
    if (bench->load.hold)
        printf("held       %12" PRIu64 "   of %u, opened in %.2f s, %.0f/s\n", result->open_conns,
               result->conns, (double)result->connect_phase_ns / 1e9,
               (double)result->connect.count * 1e9 / (double)result->connect_phase_ns);
    if (bench->load.kind != WEIR_LOAD_HTTP)
        return;
    printf("answers   ");
    static const char *const classes[] = {"2xx", "3xx", "4xx", "5xx", "other"};
    const uint64_t by_class[] = {counts->status_2xx, counts->status_3xx, counts->status_4xx,
                                 counts->status_5xx, counts->status_other};
    bool any = false;
    for (unsigned i = 0; i < 5; i++)
        if (by_class[i] != 0) {
            printf("   %s %" PRIu64, classes[i], by_class[i]);
            any = true;
        }
    puts(any ? "" : "   none");
}

static void secured(const weir_load_result *result)
{
    const weir_load_counts *counts = &result->counts;
    for (unsigned i = 0; i < result->secured_rows; i++) {
        const weir_load_secured_row *row = &result->secured[i];
        printf("%-10s %12" PRIu64 "   handshakes, %" PRIu64
               " of them resumed: TLS %s, %s%s%s%s%s\n",
               i == 0 ? "tls" : "", row->count, row->resumed, show_version(row->what.version),
               row->what.cipher, row->what.group[0] != '\0' ? ", " : "", row->what.group,
               row->what.alpn[0] != '\0' ? ", " : "", row->what.alpn);
    }
    if (counts->handshakes + counts->resumed != 0)
        printf("           %12.1f   handshakes a second\n",
               per_second(counts->handshakes + counts->resumed, result));
}

static void failures(const weir_load_result *result)
{
    unsigned rows;
    const weir_load_count_row *table = weir_load_count_rows(&rows);
    printf("errors     %12" PRIu64 "\n", weir_load_errors(&result->counts));
    for (unsigned i = 0; i < rows; i++) {
        uint64_t count;
        memcpy(&count, (const char *)&result->counts + table[i].offset, sizeof count);
        if (table[i].error && count != 0)
            printf("           %12" PRIu64 "   %s%s%s\n", count, table[i].what,
                   strcmp(table[i].name, "malformed") == 0 ? ": " : "",
                   strcmp(table[i].name, "malformed") == 0 ? result->malformed : "");
    }
    if (result->counts.closed != 0)
        printf("           %12" PRIu64 "   connections ended by the server between two requests\n",
               result->counts.closed);
    if (result->counts.resent != 0)
        printf("           %12" PRIu64
               "   requests sent again: their connection had been announced "
               "to end\n",
               result->counts.resent);
}

static void time_row(const char *name, const weir_load_times *times)
{
    char text[10][16];
    if (times->count == 0)
        return;
    printf("%-10s %8s %8s %8s %8s %8s %8s %8s %8s %8s %8s\n", name, show_time(times->mean, text[0]),
           show_time(times->deviation, text[1]), show_time(times->p50, text[2]),
           show_time(times->p75, text[3]), show_time(times->p90, text[4]),
           show_time(times->p99, text[5]), show_time(times->p999, text[6]),
           show_time(times->p9999, text[7]), show_time(times->p99999, text[8]),
           show_time(times->max, text[9]));
}

static void times(const weir_load_result *result)
{
    printf("\n%-10s %8s %8s %8s %8s %8s %8s %8s %8s %8s %8s\n", "", "mean", "stdev", "p50", "p75",
           "p90", "p99", "p99.9", "p99.99", "p99.999", "max");
    time_row("response", &result->response);
    time_row("service", &result->service);
    time_row("connect", &result->connect);
    time_row("handshake", &result->handshake);
    if (result->response.count != 0)
        puts("response: from the time at which a request was due; service: from its sending");
}

static void schedule(const weir_load_result *result)
{
    const weir_load_counts *counts = &result->counts;
    if (result->rate <= 0)
        return;
    printf("\nschedule   %" PRIu64 " sent, %.2f %% of the rate answered\n", counts->sent,
           100 * per_second(counts->requests, result) / result->rate);
    if (counts->waited != 0)
        printf("           %12" PRIu64 "   sent late because every connection was busy\n",
               counts->waited);
    if (counts->late != 0)
        printf("           %12" PRIu64 "   sent over 1 ms late by the generator's fault\n",
               counts->late);
    if (counts->missed != 0)
        printf("           %12" PRIu64 "   missed: due, and never sent; in the response times with "
               "what they had waited\n",
               counts->missed);
    if (counts->unfinished != 0)
        printf("           %12" PRIu64 "   unanswered at the end; likewise\n", counts->unfinished);
}

/* Of streams that we send: while there is something to send, who takes no more? */
static void limits(const struct bench *bench, const weir_load_tcp *tcp)
{
    char rate[16];
    if (bench->load.kind != WEIR_LOAD_STREAM || tcp->busy_ms == 0)
        return;
    uint64_t age_ms = tcp->age_ms > tcp->busy_ms ? tcp->age_ms : tcp->busy_ms;
    uint64_t waited_ms = tcp->receiver_limited_ms + tcp->buffer_limited_ms;
    uint64_t network_ms = tcp->busy_ms > waited_ms ? tcp->busy_ms - waited_ms : 0;
    double whole = (double)age_ms / 100;
    printf("limited    by the network %.0f %%, the receiver's window %.0f %%, our send buffer %.0f "
           "%%; "
           "nothing to send %.0f %%\n",
           (double)network_ms / whole, (double)tcp->receiver_limited_ms / whole,
           (double)tcp->buffer_limited_ms / whole, (double)(age_ms - tcp->busy_ms) / whole);
    printf("           delivery rate %s/s a stream%s\n",
           show_size((double)tcp->delivery_bytes_s, rate),
           tcp->app_limited * 2 > tcp->samples ? ", which is what there was to send" : "");
}

static void generator(const struct bench *bench, const weir_load_result *result)
{
    const weir_load_counts *counts = &result->counts;
    uint64_t cpu_ns = 0, queued_ns = 0, slip_ns = 0, calls = 0;
    bool datagrams = bench->load.kind == WEIR_LOAD_DGRAM_STREAM;
    uint64_t count = datagrams ? counts->sent + counts->received_datagrams : counts->requests;
    double busiest = 0, all = (double)(count != 0 ? count : 1);
    char slip[16];
    for (unsigned i = 0; i < result->loops; i++) {
        const weir_load_loop *row = &result->loop_rows[i];
        double busy =
            result->measured_ns != 0 ? 100 * (double)row->cpu_ns / (double)result->measured_ns : 0;
        cpu_ns += row->cpu_ns;
        queued_ns += row->runqueue_ns;
        calls += row->syscalls;
        slip_ns = row->slip_max_ns > slip_ns ? row->slip_max_ns : slip_ns;
        busiest = busy > busiest ? busy : busiest;
    }
    printf("\ngenerator  CPU %.0f %% of its busiest thread, %.2f us and %.2f system calls a %s;"
           "\n           waited %.1f %% of the time for a CPU; timers at most %s late\n",
           busiest, (double)cpu_ns / 1000 / all, (double)calls / all,
           datagrams ? "datagram" : "request",
           result->measured_ns != 0
               ? 100 * (double)queued_ns / (double)result->measured_ns / result->loops
               : 0.0,
           show_time(slip_ns, slip));
    if (result->tcp.samples != 0)
        printf("tcp        rtt %" PRIu64 " us (worst %" PRIu64 "), window %" PRIu64
               " segments, %" PRIu64 " segments sent again, over %" PRIu64 " connections\n",
               result->tcp.rtt_us, result->tcp.rtt_max_us, result->tcp.cwnd_segments,
               result->tcp.resent_segments, result->tcp.samples);
}

void table_print(const struct bench *bench, const weir_load_result *result)
{
    head(bench, result);
    rates(bench, result);
    secured(result);
    failures(result);
    if (result->service.count + result->connect.count != 0)
        times(result);
    schedule(result);
    generator(bench, result);
    limits(bench, &result->tcp);
    for (unsigned i = 0; i < result->invalid; i++)
        printf("%s    %s\n", i == 0 ? "INVALID" : "       ", result->reasons[i]);
}

static void spread_row(const char *name, const double *values, unsigned count, bool time)
{
    double least = values[0], most = values[0], sum = 0;
    char text[3][16];
    for (unsigned i = 0; i < count; i++) {
        least = values[i] < least ? values[i] : least;
        most = values[i] > most ? values[i] : most;
        sum += values[i];
    }
    double mean = sum / count, spread = mean > 0 ? 100 * (most - least) / mean : 0;
    if (time)
        printf("%-10s %12s %12s %12s %9.1f %%\n", name, show_time((uint64_t)least, text[0]),
               show_time((uint64_t)mean, text[1]), show_time((uint64_t)most, text[2]), spread);
    else
        printf("%-10s %12.1f %12.1f %12.1f %9.1f %%\n", name, least, mean, most, spread);
}

void table_runs(const struct bench *bench)
{
    double rate[BENCH_RUNS_MAX], p50[BENCH_RUNS_MAX], p99[BENCH_RUNS_MAX];
    for (unsigned i = 0; i < bench->run_count; i++) {
        const weir_load_result *result = bench->runs[i];
        enum weir_load_which which = bench_which(result);
        rate[i] = per_second(result->counts.requests, result);
        p50[i] = (double)weir_load_quantile(result, which, 0.5);
        p99[i] = (double)weir_load_quantile(result, which, 0.99);
    }
    printf("\n%u runs; the table above is that of the median rate, run %u\n%-10s %12s %12s %12s "
           "%11s\n",
           bench->run_count, bench->chosen + 1, "", "least", "mean", "most", "spread");
    spread_row("requests/s", rate, bench->run_count, false);
    spread_row("p50", p50, bench->run_count, true);
    spread_row("p99", p99, bench->run_count, true);
}
