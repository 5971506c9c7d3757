/* Options that several kinds of load share. */
#ifndef WEIR_CMD_BENCH_TABLES_H
#define WEIR_CMD_BENCH_TABLES_H

#include "cmd/bench/bench.h"

extern const struct option_choice bench_backends[], bench_tls_versions[];

#define BENCH_TEXT(letter_, name_, value_, field_, help_)                            \
    {                                                                                \
        .letter = letter_, .name = name_, .kind = OPTION_TEXT, .value_name = value_, \
        .offset = offsetof(struct bench, field_), .help = help_                      \
    }
#define BENCH_FLAG(letter_, name_, field_, help_)               \
    {                                                           \
        .letter = letter_, .name = name_, .kind = OPTION_FLAG,  \
        .offset = offsetof(struct bench, field_), .help = help_ \
    }
#define BENCH_TEXTS(letter_, name_, value_, field_, help_)                            \
    {                                                                                 \
        .letter = letter_, .name = name_, .kind = OPTION_TEXTS, .value_name = value_, \
        .offset = offsetof(struct bench, field_), .help = help_                       \
    }
#define BENCH_HEADING(help_)                  \
    {                                         \
        .kind = OPTION_HEADING, .help = help_ \
    }

#define BENCH_LOAD_OPTIONS                                                                     \
    BENCH_HEADING("How much"),                                                                 \
        BENCH_TEXT('c', "connections", "NUMBER", conns,                                        \
                   "connections in all; 64 (tcp, unix: 1; conns: 1000)"),                      \
        BENCH_TEXT('d', "duration", "TIME", duration, "measured time; 10s"),                   \
        BENCH_TEXT('n', "requests", "NUMBER", requests, "end after so many requests instead"), \
        BENCH_TEXT('t', "threads", "NUMBER", threads,                                          \
                   "loops, each in a thread; half of the CPUs"),                               \
        BENCH_TEXT('w', "warmup", "TIME", warmup, "run so long before measuring begins"),      \
        BENCH_TEXT(0, "ramp", "TIME", ramp, "open the connections over so long"),              \
        BENCH_TEXT(0, "timeout", "TIME", timeout, "for connecting, and for an answer; 10s")

#define BENCH_RATE_OPTIONS                                                              \
    BENCH_HEADING("Open loop: requests leave at their time, whatever the server does"), \
        BENCH_TEXT('R', "rate", "NUMBER", rate, "requests a second in all"),            \
        BENCH_TEXT(0, "rate-per-conn", "NUMBER", conn_rate,                             \
                   "requests a second on each connection"),                             \
        BENCH_FLAG(0, "poisson", poisson, "at random times instead of even ones"),      \
        BENCH_TEXT(0, "find", "CONDITION", find,                                        \
                   "look for the highest rate at which it holds: 'p99<5ms'")

#define BENCH_CONN_OPTIONS                                                                     \
    BENCH_FLAG(0, "reset", reset, "end connections by a reset: their ports are free at once"), \
        BENCH_TEXTS(0, "source", "ADDRESS", sources,                                           \
                    "connect from this address, or a range: 127.0.0.0/16; repeatable")

#define BENCH_TLS_OPTIONS                                                                        \
    BENCH_HEADING("TLS: https:// and tls://"),                                                   \
        BENCH_TEXT(0, "cacert", "FILE", ca_file, "whom to trust, PEM; whom the system trusts"),  \
        BENCH_FLAG('k', "insecure", insecure, "do not verify the server's certificate"),         \
        BENCH_TEXTS(0, "pin", "sha256//BASE64", pins, "a key that it must have; repeatable"),    \
        BENCH_TEXT(0, "server-name", "NAME", server_name,                                        \
                   "the name that its certificate must have; the URL's"),                        \
        BENCH_FLAG(0, "resume", resume,                                                          \
                   "go on with earlier sessions; else each handshake is a whole one"),           \
        {.name = "tls-min",                                                                      \
         .kind = OPTION_CHOICE,                                                                  \
         .value_name = "VERSION",                                                                \
         .choices = bench_tls_versions,                                                          \
         .offset = offsetof(struct bench, tls_min),                                              \
         .help = "the oldest version: 1.2 (default) or 1.3"},                                    \
        {.name = "tls-max",                                                                      \
         .kind = OPTION_CHOICE,                                                                  \
         .value_name = "VERSION",                                                                \
         .choices = bench_tls_versions,                                                          \
         .offset = offsetof(struct bench, tls_max),                                              \
         .help = "the newest"},                                                                  \
        BENCH_TEXT(0, "alpn", "NAME,NAME…", alpn, "protocols to offer; http: http/1.1"),         \
        BENCH_TEXT(0, "cert", "FILE", cert_file, "a certificate of ours, when it asks for one"), \
        BENCH_TEXT(0, "key", "FILE", key_file, "its key, when that stands in another file"),     \
        BENCH_TEXT(0, "hgrm-handshake", "FILE", hgrm_handshake,                                  \
                   "write the handshakes' times in HdrHistogram's format")

#define BENCH_RESULT_OPTIONS                                                                    \
    BENCH_HEADING("Results"),                                                                   \
        {.name = "repeat",                                                                      \
         .kind = OPTION_NUMBER,                                                                 \
         .value_name = "NUMBER",                                                                \
         .least = 1,                                                                            \
         .most = BENCH_RUNS_MAX,                                                                \
         .offset = offsetof(struct bench, repeat),                                              \
         .help = "run so often, and tell the median run and the spread"},                       \
        BENCH_TEXTS(0, "fail-if", "CONDITION", fail_if,                                         \
                    "exit with 1 when it is so: 'p99>5ms', 'errors>0', 'rps<10k'; repeatable"), \
        BENCH_FLAG(0, "strict", strict, "exit with 75 when the result is INVALID"),             \
        BENCH_TEXT(0, "json", "FILE", json, "write the result as JSON; - is standard output"),  \
        BENCH_TEXT(0, "json-stream", "FILE", json_stream, "write a line of JSON an interval"),  \
        BENCH_TEXT(0, "hgrm", "FILE", hgrm, "write the latencies in HdrHistogram's format"),    \
        BENCH_TEXT(0, "svg", "FILE", svg, "draw latency and throughput"),                       \
        BENCH_TEXT('i', "interval", "TIME", interval, "between two lines of progress; 1s"),     \
        BENCH_FLAG('L', "latency", latency, "nothing: latencies are always told (wrk has it)"), \
        BENCH_FLAG('q', "quiet", quiet, "no progress"),                                         \
        {.name = "backend",                                                                     \
         .kind = OPTION_NAME,                                                                   \
         .value_name = "NAME",                                                                  \
         .choices = bench_backends,                                                             \
         .offset = offsetof(struct bench, backend),                                             \
         .help = "auto, uring, epoll, poll or select"},                                         \
        BENCH_TEXT(0, "features", "LIST", features, "features of the back end: see weir backends")

#endif
