/* JSON; docs/bench-json.md describes it. Whole numbers only: counts, bytes, nanoseconds. */
#include <errno.h>
#include <string.h>

#include "cmd/bench/bench.h"

#define DOCUMENT_MAX (1ull << 30) /* a run of a day has 86 400 intervals */

static void counts_object(weir_json_writer *out, const char *name, const weir_load_counts *counts)
{
    unsigned rows;
    const weir_load_count_row *table = weir_load_count_rows(&rows);
    for (int errors = 0; errors < 2; errors++) {
        weir_json_object(out, errors ? "errors" : name);
        for (unsigned i = 0; i < rows; i++) {
            uint64_t count;
            memcpy(&count, (const char *)counts + table[i].offset, sizeof count);
            if (table[i].error == (errors != 0))
                weir_json_number(out, table[i].name, count);
        }
        if (errors)
            weir_json_number(out, "all", weir_load_errors(counts));
        weir_json_end(out);
    }
}

static void times_object(weir_json_writer *out, const char *name, const weir_load_times *times)
{
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"count", times->count},        {"min_ns", times->min},      {"mean_ns", times->mean},
        {"stdev_ns", times->deviation}, {"p50_ns", times->p50},      {"p75_ns", times->p75},
        {"p90_ns", times->p90},         {"p95_ns", times->p95},      {"p99_ns", times->p99},
        {"p99_9_ns", times->p999},      {"p99_99_ns", times->p9999}, {"p99_999_ns", times->p99999},
        {"max_ns", times->max},
    };
    if (times->count == 0) {
        weir_json_text(out, name, NULL);
        return;
    }
    weir_json_object(out, name);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        weir_json_number(out, rows[i].name, rows[i].value);
    weir_json_end(out);
}

static void progress_fields(weir_json_writer *out, const weir_load_progress *progress)
{
    static const char *const phases[] = {"connecting", "warm-up", "measuring", "ending"};
    weir_json_text(out, "phase", phases[progress->phase]);
    weir_json_number(out, "begin_ns", progress->begin_ns);
    weir_json_number(out, "end_ns", progress->end_ns);
    weir_json_number(out, "open_conns", progress->open_conns);
    counts_object(out, "counts", &progress->counts);
    times_object(out, "times", &progress->times);
    times_object(out, "handshake", &progress->handshake);
}

static void loops_array(weir_json_writer *out, const weir_load_result *result)
{
    weir_json_array(out, "loops");
    for (unsigned i = 0; i < result->loops; i++) {
        const weir_load_loop *row = &result->loop_rows[i];
        weir_json_object(out, NULL);
        weir_json_text(out, "backend", row->backend);
        weir_json_number(out, "requests", row->requests);
        weir_json_number(out, "cpu_ns", row->cpu_ns);
        weir_json_number(out, "runqueue_ns", row->runqueue_ns);
        weir_json_number(out, "slip_max_ns", row->slip_max_ns);
        weir_json_number(out, "turns", row->turns);
        weir_json_number(out, "syscalls", row->syscalls);
        weir_json_end(out);
    }
    weir_json_end(out);
}

static void tcp_object(weir_json_writer *out, const weir_load_tcp *tcp)
{
    weir_json_object(out, "tcp");
    weir_json_number(out, "samples", tcp->samples);
    weir_json_number(out, "rtt_us", tcp->rtt_us);
    weir_json_number(out, "rtt_max_us", tcp->rtt_max_us);
    weir_json_number(out, "rttvar_us", tcp->rttvar_us);
    weir_json_number(out, "cwnd_segments", tcp->cwnd_segments);
    weir_json_number(out, "delivery_bytes_s", tcp->delivery_bytes_s);
    weir_json_number(out, "resent_segments", tcp->resent_segments);
    weir_json_number(out, "age_ms", tcp->age_ms);
    weir_json_number(out, "busy_ms", tcp->busy_ms);
    weir_json_number(out, "receiver_limited_ms", tcp->receiver_limited_ms);
    weir_json_number(out, "buffer_limited_ms", tcp->buffer_limited_ms);
    weir_json_number(out, "app_limited", tcp->app_limited);
    weir_json_end(out);
}

static void flow_object(weir_json_writer *out, const char *name, const weir_load_flow *flow)
{
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"streams", flow->streams},
        {"silent", flow->silent},
        {"sent", flow->sent},
        {"received", flow->received},
        {"lost", flow->lost},
        {"reordered", flow->reordered},
        {"duplicates", flow->duplicates},
        {"jitter_ns", flow->jitter_ns},
        {"jitter_max_ns", flow->jitter_max_ns},
        {"sent_s", flow->sent_s},
        {"received_s", flow->received_s},
        {"sent_bytes_s", flow->sent_bytes_s},
        {"received_bytes_s", flow->received_bytes_s},
    };
    if (flow->streams + flow->silent == 0) {
        weir_json_text(out, name, NULL);
        return;
    }
    weir_json_object(out, name);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        weir_json_number(out, rows[i].name, rows[i].value);
    weir_json_end(out);
}

/* The first three numbers are there to be compared: of requests and of streams they are the same
 * question. */
static void datagrams_object(weir_json_writer *out, const struct bench *bench,
                             const weir_load_result *result)
{
    const weir_load_flow *up = &result->up, *down = &result->down;
    if (!bench_is_dgram(bench)) {
        weir_json_text(out, "datagrams", NULL);
        return;
    }
    uint64_t arrived_s = bench->load.kind == WEIR_LOAD_DGRAM_STREAM
                             ? up->received_s + down->received_s
                             : (uint64_t)per_second(result->counts.received_datagrams, result);
    weir_json_object(out, "datagrams");
    weir_json_number(out, "arrived_s", arrived_s);
    weir_json_number(out, "lost", result->counts.lost);
    weir_json_number(out, "jitter_ns",
                     up->jitter_ns > down->jitter_ns ? up->jitter_ns : down->jitter_ns);
    weir_json_number(out, "bytes", result->datagram_bytes);
    weir_json_number(out, "wire_bytes", result->wire_bytes);
    weir_json_number(out, "answer_bytes", result->answer_bytes);
    weir_json_number(out, "answer_wire_bytes", result->answer_wire_bytes);
    flow_object(out, "up", up);
    flow_object(out, "down", down);
    weir_json_end(out);
}

static void tls_object(weir_json_writer *out, const weir_load_result *result)
{
    uint64_t all = 0, resumed = 0;
    for (unsigned i = 0; i < result->secured_rows; i++) {
        all += result->secured[i].count;
        resumed += result->secured[i].resumed;
    }
    if (all == 0) {
        weir_json_text(out, "tls", NULL);
        return;
    }
    weir_json_object(out, "tls");
    weir_json_number(
        out, "handshakes_s",
        (uint64_t)per_second(result->counts.handshakes + result->counts.resumed, result));
    weir_json_number(out, "full", all - resumed);
    weir_json_number(out, "resumed", resumed);
    weir_json_array(out, "settled");
    for (unsigned i = 0; i < result->secured_rows; i++) {
        const weir_load_secured_row *row = &result->secured[i];
        weir_json_object(out, NULL);
        weir_json_text(out, "version", show_version(row->what.version));
        weir_json_text(out, "cipher", row->what.cipher);
        weir_json_text(out, "group", row->what.group);
        weir_json_text(out, "alpn", row->what.alpn);
        weir_json_number(out, "handshakes", row->count);
        weir_json_number(out, "resumed", row->resumed);
        weir_json_end(out);
    }
    weir_json_end(out);
    weir_json_end(out);
}

void json_result(weir_json_writer *out, const struct bench *bench, const weir_load_result *result)
{
    weir_json_object(out, NULL);
    weir_json_text(out, "loop", result->rate > 0 ? "open" : "closed");
    weir_json_number(out, "rate_milli", (uint64_t)(result->rate * 1000));
    weir_json_number(out, "measured_ns", result->measured_ns);
    weir_json_number(out, "requests_s", (uint64_t)(per_second(result->counts.requests, result)));
    weir_json_number(out, "connect_phase_ns", result->connect_phase_ns);
    weir_json_number(out, "open_conns", result->open_conns);
    weir_json_number(out, "server_bytes", result->server_bytes);
    weir_json_bool(out, "interrupted", result->interrupted);
    weir_json_bool(out, "valid", result->invalid == 0);
    weir_json_array(out, "invalid");
    for (unsigned i = 0; i < result->invalid; i++)
        weir_json_text(out, NULL, result->reasons[i]);
    weir_json_end(out);
    counts_object(out, "counts", &result->counts);
    weir_json_text(out, "malformed", result->malformed[0] != '\0' ? result->malformed : NULL);
    times_object(out, "response", &result->response);
    times_object(out, "service", &result->service);
    times_object(out, "connect", &result->connect);
    times_object(out, "handshake", &result->handshake);
    tls_object(out, result);
    loops_array(out, result);
    tcp_object(out, &result->tcp);
    datagrams_object(out, bench, result);
    weir_json_array(out, "intervals");
    for (unsigned i = 0; i < result->interval_count; i++) {
        weir_json_object(out, NULL);
        progress_fields(out, &result->intervals[i]);
        weir_json_end(out);
    }
    weir_json_end(out);
    weir_json_end(out);
}

static void document(weir_json_writer *out, const struct bench *bench)
{
    weir_json_object(out, NULL);
    weir_json_text(out, "schema", "weir-bench-1");
    weir_json_text(out, "weir", weir_version());
    weir_json_text(out, "mode", bench->mode);
    weir_json_array(out, "urls");
    for (const char *const *url = bench->load.urls; *url != NULL; url++)
        weir_json_text(out, NULL, *url);
    weir_json_end(out);
    weir_json_number(out, "conns", bench->runs[0]->conns);
    weir_json_number(out, "threads", bench->runs[0]->loops);
    weir_json_number(out, "pipeline", bench->runs[0]->pipeline);
    weir_json_bool(out, "close", bench->close);
    weir_json_number(out, "chosen", bench->chosen);
    weir_json_array(out, "runs");
    for (unsigned i = 0; i < bench->run_count; i++)
        json_result(out, bench, bench->runs[i]);
    weir_json_end(out);
    weir_json_end(out);
}

/* Writes the text and frees it; "-" is standard output. */
static int finish(weir_json_writer *out, FILE *file, const char *path)
{
    int result = weir_json_done(out), code = EX_OK;
    if (result == 0)
        fwrite(out->data, 1, out->size, file);
    else
        code = say(EX_SOFTWARE, "cannot write JSON: %s", weir_error_text(result));
    weir_json_free(out);
    if (fflush(file) != 0 || ferror(file) != 0)
        code = say(EX_IOERR, "cannot write %s: %m", path);
    return code;
}

int json_file(const struct bench *bench, const char *path)
{
    weir_json_writer out = {.indent = true, .limit = DOCUMENT_MAX};
    document(&out, bench);
    if (strcmp(path, "-") == 0)
        return finish(&out, stdout, "standard output");
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        weir_json_free(&out);
        return say(EX_CANTCREAT, "cannot write %s: %m", path);
    }
    int code = finish(&out, file, path);
    if (fclose(file) != 0 && code == EX_OK)
        code = say(EX_IOERR, "cannot write %s: %m", path);
    return code;
}

void json_stream(const struct bench *bench, const weir_load_progress *progress)
{
    weir_json_writer out = {0};
    weir_json_object(&out, NULL);
    if (bench->run != 0)
        weir_json_number(&out, "run", (uint64_t)bench->run);
    progress_fields(&out, progress);
    weir_json_end(&out);
    finish(&out, bench->stream, "--json-stream");
}
