/* weir bench udp: requests, answers and streams in datagrams. */
#include "cmd/bench/kinds.h"
#include "cmd/bench/tables.h"

static const struct option options[] = {
    BENCH_HEADING("How much"),
    BENCH_TEXT('c', "connections", "NUMBER", conns, "sockets in all; 1"),
    BENCH_TEXT('d', "duration", "TIME", duration, "measured time; 10s"),
    BENCH_TEXT('n', "requests", "NUMBER", requests, "end after so many requests instead"),
    BENCH_TEXT('t', "threads", "NUMBER", threads, "loops, each in a thread; half of the CPUs"),
    BENCH_TEXT('w', "warmup", "TIME", warmup, "run so long before measuring begins"),
    BENCH_TEXT(0, "ramp", "TIME", ramp, "open the sockets over so long"),
    BENCH_TEXT(0, "timeout", "TIME", timeout, "an answer that has not come by then is lost; 1s"),
    BENCH_RATE_OPTIONS,
    BENCH_HEADING("Requests (rr)"),
    BENCH_TEXT('s', "size", "BYTES", size, "of a request; 64. Of a stream's datagram; 1400"),
    BENCH_TEXT(0, "answer", "BYTES", answer, "of an answer; as many as of a request"),
    BENCH_TEXT('p', "pipeline", "NUMBER", pipeline,
               "requests in flight on each socket; 1, with a rate 1024"),
    BENCH_FLAG(0, "plain", plain, "the server is any echo server, or takes any datagrams"),
    BENCH_HEADING("Streams"),
    BENCH_TEXT('P', "parallel", "NUMBER", conns, "streams; 1"),
    BENCH_FLAG('r', "reverse", reverse, "the server sends"),
    BENCH_FLAG(0, "bidir", both, "both send"),
    BENCH_TEXT(0, "bytes", "SIZE", bytes, "end after so many bytes on each stream"),
    BENCH_TEXT(0, "bitrate", "BITS", bitrate,
               "bits a second on each stream: 100M, 2.5G; as fast as they go without"),
    BENCH_HEADING("Sockets"),
    BENCH_TEXTS(0, "source", "ADDRESS", sources,
                "send from this address, or a range: 127.0.0.0/16; repeatable"),
    BENCH_RESULT_OPTIONS,
    {0}};

const struct command bench_udp = {
    .name = "bench udp",
    .summary = "the same in datagrams, over UDP: loss, order and jitter",
    .usage = "rr|stream [OPTIONS] [ADDRESS...]",
    .about =
        "rr: a datagram there and one back, again and again. An answer that does not come in time "
        "is lost; what comes behind its time, twice, or out of order is counted. stream: datagrams "
        "as fast as they go, or at --bitrate; both ends count, so that loss, reordering and the "
        "jitter of RFC 3550 are known. The server is weir bench serve (without an address the one "
        "on udp://127.0.0.1:5301); for rr any echo server will do. Nothing slows a stream down but "
        "--bitrate: use it on a network that is not yours alone.",
    .examples = "  weir bench serve &\n"
                "  weir bench udp rr                         round trips of 64 bytes\n"
                "  weir bench udp rr -R 10k -c 16 --timeout 200ms\n"
                "  weir bench udp stream --bitrate 100M -s 1400\n"
                "  weir bench udp stream --reverse -P 4 --bitrate 50M udp://192.0.2.7:5301\n"
                "  weir bench udp rr --fail-if 'lost>0.1%' --fail-if 'p99>2ms'\n"
                "  weir bench udp rr --plain udp://127.0.0.1:7    any echo server\n",
    .options = options,
    .run = bench_bytes_run,
};
