/* weir bench: what it was told, what it measured, and the ways to tell it. */
#ifndef WEIR_CMD_BENCH_BENCH_H
#define WEIR_CMD_BENCH_BENCH_H

#include <stdio.h>

#include <weir/load.h>
#include <weir/weir.h>

#include "cmd/command.h"
#include "cmd/option.h"

enum { BENCH_URLS_MAX = 64, BENCH_RUNS_MAX = 100, BENCH_CONDITIONS_MAX = 16 };

/* Exit codes of its own beside those of sysexits.h. */
enum { BENCH_FAILED = 1 }; /* a condition of --fail-if came true */

/* "p99<5ms", "errors>1%", "rps<1000". */
struct condition {
    const char *text;
    int metric;      /* enum metric in condition.c */
    double quantile; /* of pNN */
    double value;    /* nanoseconds, a second, or a number */
    bool percent;    /* of all requests */
    bool less, equal;
};

struct bench {
    /* the command line, as text where it has forms of its own */
    const char *threads, *conns, *duration, *warmup, *ramp, *timeout, *requests, *rate, *conn_rate;
    const char *interval, *pipeline, *weights, *method, *body, *body_file, *unix_socket;
    const char *size, *answer, *end_marker, *end_file, *life, *beat, *bytes, *bitrate;
    const char *json, *json_stream, *hgrm, *svg, *find, *backend, *features;
    const char *ca_file, *cert_file, *key_file, *server_name, *alpn, *hgrm_handshake; /* of TLS */
    struct option_texts headers, fail_if, sources, pins;
    int tls_min, tls_max;
    uint32_t repeat;
    bool insecure, resume; /* of TLS */
    bool prove, close, reset, poisson, quiet, plain, latency, reverse, both, strict;

    /* made of it */
    const char *mode;  /* "http", "tcp rr", … */
    const char *shown; /* the first URL */
    weir_load_options load;
    const char *urls[BENCH_URLS_MAX + 1];
    char url_texts[BENCH_URLS_MAX][300];
    uint32_t weight_list[BENCH_URLS_MAX];
    struct condition conditions[BENCH_CONDITIONS_MAX];
    unsigned condition_count;
    struct condition goal; /* of --find */
    FILE *stream;          /* of --json-stream */
    weir_load_result *runs[BENCH_RUNS_MAX];
    unsigned run_count, chosen; /* the one that the table tells of: the median by rate */
    int run;                    /* the one that is running, from 1; 0: there is only one */
    struct live *live;
    struct weir_tls *secure; /* NULL: nothing of TLS */
};

/* ---- options.c ---- */

static inline bool bench_is_dgram(const struct bench *bench)
{
    return bench->load.kind == WEIR_LOAD_DGRAM_RR || bench->load.kind == WEIR_LOAD_DGRAM_STREAM;
}

/* Of bytes, and not of requests. */
static inline bool bench_is_stream(const struct bench *bench)
{
    return bench->load.kind == WEIR_LOAD_STREAM || bench->load.kind == WEIR_LOAD_DGRAM_STREAM;
}

/* Makes load options of what was given. An exit code, EX_OK to go on. */
int bench_options(struct bench *bench, int operands, char **argv);
/* Reads a file of at most 64 MiB; an exit code. The bytes stay until the program ends. */
int bench_file(const char *path, weir_view *out);
/* "64", "10k", "1.5M". False: it is none. */
bool bench_number(const char *text, double *out);
/* "10s", "250ms", "10" seconds. */
bool bench_duration(const char *text, uint64_t *ns);

/* ---- condition.c ---- */

bool condition_read(const char *text, struct condition *out, char *why, size_t why_size);
bool condition_holds(const struct condition *condition, const weir_load_result *result);
/* It allows for some loss. */
bool condition_is_of_loss(const struct condition *condition);
/* Its metric's value, written for people. */
void condition_value(const struct condition *condition, const weir_load_result *result, char *out,
                     size_t size);

/* ---- telling ---- */

/* Times and sizes as people read them: "512.3us", "1.23ms", "12.3 MiB". */
const char *show_time(uint64_t ns, char out[16]);
const char *show_size(double bytes, char out[16]);
const char *show_version(unsigned version); /* of TLS: "1.3" */
double per_second(uint64_t count, const weir_load_result *result);
/* What the median of the open loop's or closed loop's times is taken from. */
enum weir_load_which bench_which(const weir_load_result *result);

void table_print(const struct bench *bench, const weir_load_result *result);
void table_runs(const struct bench *bench);
/* table_dgram.c: what is said of datagrams in place of what is said of connections. */
void table_dgram_head(const struct bench *bench, const weir_load_result *result);
void table_dgram_rates(const struct bench *bench, const weir_load_result *result);
void json_result(weir_json_writer *out, const struct bench *bench, const weir_load_result *result);
int json_file(const struct bench *bench, const char *path);
void json_stream(const struct bench *bench, const weir_load_progress *progress);
int hgrm_file(const weir_load_result *result, enum weir_load_which which, const char *path);
int svg_files(const weir_load_result *result, const char *path, const char *title);

/* live.c: on standard error; on a terminal one line that is written again and again. */
void live_begin(struct bench *bench);
void live_show(struct bench *bench, const weir_load_progress *progress);
void live_end(struct bench *bench);

/* ---- running ---- */

/* tcp.c: bench tcp, udp and unix. */
int bench_bytes_run(const struct command *self, int argc, char **argv);

/* Runs the load once, several times, or looks for a rate; tells; an exit code. */
int bench_perform(struct bench *bench);
int bench_once(struct bench *bench, weir_load_result **out);
int find_rate(struct bench *bench);

#endif
