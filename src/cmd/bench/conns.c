/* weir bench conns: connections that are opened and held. */
#include <string.h>

#include "cmd/bench/kinds.h"
#include "cmd/bench/tables.h"

static const struct option options[] = {
    BENCH_LOAD_OPTIONS,
    BENCH_HEADING("While they are held"),
    BENCH_FLAG(0, "prove", prove, "ask on each as it opens, and once more when all are open"),
    BENCH_TEXT(0, "beat", "TIME", beat, "a request on each connection this often; none"),
    BENCH_TEXT('s', "size", "BYTES", size, "of such a request to a tcp: or unix: address; 64"),
    BENCH_TEXT(0, "life", "TIME", life, "close and reopen each connection after so long; never"),
    BENCH_HEADING("Connections"),
    BENCH_CONN_OPTIONS,
    BENCH_TLS_OPTIONS,
    BENCH_RESULT_OPTIONS,
    {0}};

static int conns_run(const struct command *self, int argc, char **argv)
{
    static struct bench bench;
    uint64_t beat_ns = 0, bytes = 64;
    int operands, code = command_options(self, argc, argv, &bench, &operands);
    if (code >= 0)
        return code;
    bench.mode = "conns";
    bool http = operands > 0 && strncmp(argv[1], "http", 4) == 0;
    bench.load.kind = http ? WEIR_LOAD_HTTP : WEIR_LOAD_RR;
    bench.load.hold = bench.load.plain = bench.plain = true;
    if (bench.conns == NULL)
        bench.conns = "1000";
    code = bench_options(&bench, operands, argv + 1);
    if (code != EX_OK)
        return code;
    if (bench.beat != NULL && (!bench_duration(bench.beat, &beat_ns) || beat_ns == 0))
        return say(EX_USAGE, "bench: --beat %s: a time, as 10s", bench.beat);
    if (bench.life != NULL &&
        (!bench_duration(bench.life, &bench.load.life_ns) || bench.load.life_ns == 0))
        return say(EX_USAGE, "bench: --life %s: a time, as 30s", bench.life);
    if (bench.size != NULL &&
        (weir_size_parse(bench.size, &bytes, NULL, 0) < 0 || bytes == 0 || bytes > 1u << 20))
        return say(EX_USAGE, "bench: --size %s: from 1 to 1M bytes", bench.size);
    bench.load.request_bytes = bytes;
    if (beat_ns != 0 && bench.prove)
        return say(EX_USAGE, "bench: --beat asks on every connection too: leave out --prove");
    if (beat_ns != 0)
        bench.load.rate_per_conn = 1e9 / (double)beat_ns;
    return bench_perform(&bench);
}

const struct command bench_conns = {
    .name = "bench conns",
    .summary = "open many connections and hold them",
    .usage = "[OPTIONS] ADDRESS...",
    .about =
        "Opens connections (1000 without -c) and holds them, silent but for --beat. It tells how "
        "fast they were opened, and which were lost. The address is http://, tcp:// or unix:; with "
        "tcp:// and a beat the server must send back what it gets, as weir bench serve "
        "does.\n\nOne "
        "address of this host has some 28 000 ports to one server: --source 127.0.0.0/16 gives "
        "more. More connections than the process may have descriptors need io_uring's own: "
        "--features +direct, and a loop (-t) for each 15 000 or so.",
    .examples = "  weir bench conns -c 10k http://127.0.0.1:8080/\n"
                "  weir bench conns -c 100k --ramp 10s -d 60s --beat 20s --source 127.0.0.0/16 \\\n"
                "      http://127.0.0.1:8080/\n",
    .options = options,
    .run = conns_run,
};
