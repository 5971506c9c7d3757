/* weir bench http */
#include "cmd/bench/kinds.h"
#include "cmd/bench/tables.h"

static const struct option options[] = {
    BENCH_LOAD_OPTIONS,
    BENCH_RATE_OPTIONS,
    BENCH_HEADING("Requests"),
    BENCH_TEXT('m', "method", "NAME", method, "GET, or POST with a body"),
    BENCH_TEXTS('H', "header", "'NAME: VALUE'", headers, "a field of each request; repeatable"),
    BENCH_TEXT('b', "body", "TEXT", body, "the body of each request; @FILE reads a file"),
    BENCH_TEXT(0, "body-file", "FILE", body_file, "the same from a file"),
    BENCH_TEXT('p', "pipeline", "NUMBER", pipeline, "requests in flight on each connection; 1"),
    BENCH_TEXT(0, "weights", "N,N,…", weights, "how often each URL is asked, against the others"),
    BENCH_HEADING("Connections"),
    BENCH_FLAG(0, "close", close, "a new connection for each request"),
    BENCH_CONN_OPTIONS,
    BENCH_TEXT(0, "unix", "PATH", unix_socket, "connect to this unix socket"),
    BENCH_TLS_OPTIONS,
    BENCH_RESULT_OPTIONS,
    {0}};

static int http_run(const struct command *self, int argc, char **argv)
{
    static struct bench bench;
    int operands, code = command_options(self, argc, argv, &bench, &operands);
    if (code >= 0)
        return code;
    bench.mode = "http";
    bench.load.kind = WEIR_LOAD_HTTP;
    code = bench_options(&bench, operands, argv + 1);
    return code == EX_OK ? bench_perform(&bench) : code;
}

const struct command bench_http = {
    .name = "bench http",
    .summary = "HTTP/1.1 requests",
    .usage = "[OPTIONS] URL...",
    .about =
        "Asks an HTTP/1.1 server as fast as it answers (closed loop), or at a given rate (open "
        "loop, -R), and tells how many requests a second it answers and how long they take. "
        "Numbers "
        "may be written 10k or 1.5M, times 10s or 250ms.\n\nIn the open loop the response time "
        "counts from the moment at which a request was due, so that a server which stops for a "
        "second does not hide what that second was to bring. INVALID in the result says that the "
        "load, not the server, was the limit.",
    .examples =
        "  weir bench http http://127.0.0.1:8080/             64 connections, 10 seconds\n"
        "  weir bench http -c 400 -d 30s -t 2 http://127.0.0.1:8080/\n"
        "  weir bench http --close https://127.0.0.1:8443/    a whole handshake for each request\n"
        "  weir bench http -R 20k -c 100 http://127.0.0.1:8080/    20 000 requests a second\n"
        "  weir bench http --find 'p99<5ms' http://127.0.0.1:8080/\n"
        "  weir bench http -m PUT -b @order.json -H 'Content-Type: application/json' URL\n"
        "  weir bench http --weights 9,1 http://127.0.0.1/ http://127.0.0.1/search?q=x\n"
        "  weir bench http -q --fail-if 'p99>20ms' --fail-if 'errors>0' --json out.json URL\n",
    .options = options,
    .run = http_run,
};
