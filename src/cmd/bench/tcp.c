/* weir bench tcp, udp and unix: requests and answers of bytes, and streams; what of it is in
 * datagrams has its own table of options in udp.c. */
#include <string.h>

#include <weir/load_datagram.h>

#include "cmd/bench/kinds.h"
#include "cmd/bench/tables.h"

#define BYTES_OPTIONS                                                                         \
    BENCH_LOAD_OPTIONS, BENCH_RATE_OPTIONS, BENCH_HEADING("Requests (rr, crr)"),              \
        BENCH_TEXT('s', "size", "BYTES", size,                                                \
                   "of a request; 64. Of a stream: of each write; 256K"),                     \
        BENCH_TEXT(0, "answer", "BYTES", answer, "of an answer; as many as of a request"),    \
        BENCH_TEXT('p', "pipeline", "NUMBER", pipeline,                                       \
                   "requests in flight on each connection; 1"),                               \
        BENCH_FLAG(0, "plain", plain, "the server is any echo server, or takes any bytes"),   \
        BENCH_HEADING("Streams"), BENCH_TEXT('P', "parallel", "NUMBER", conns, "streams; 1"), \
        BENCH_FLAG('r', "reverse", reverse, "the server sends"),                              \
        BENCH_FLAG(0, "bidir", both, "both send"),                                            \
        BENCH_TEXT(0, "bytes", "SIZE", bytes, "end after so many bytes on each stream"),      \
        BENCH_TEXT(0, "bitrate", "BITS", bitrate,                                             \
                   "bits a second on each stream and way: 100M, 2.5G"),                       \
        BENCH_HEADING("Connections"), BENCH_CONN_OPTIONS

static const struct option tcp_options[] = {
    BYTES_OPTIONS, BENCH_TLS_OPTIONS, BENCH_RESULT_OPTIONS, {0}};
static const struct option unix_options[] = {BYTES_OPTIONS, BENCH_RESULT_OPTIONS, {0}};

static int take_size(const char *name, const char *text, uint64_t least, uint64_t most,
                     uint64_t *out)
{
    char why[WEIR_UNITS_WHY_MAX];
    if (text == NULL)
        return EX_OK;
    if (weir_size_parse(text, out, why, sizeof why) < 0)
        return say(EX_USAGE, "bench: --%s: %s", name, why);
    if (*out < least || *out > most)
        return say(EX_USAGE, "bench: --%s %s: from %llu to %llu bytes", name, text,
                   (unsigned long long)least, (unsigned long long)most);
    return EX_OK;
}

static int take_sizes(struct bench *bench)
{
    weir_load_options *load = &bench->load;
    double bits = 0;
    bool dgram = bench_is_dgram(bench), stream = bench_is_stream(bench);
    uint64_t least = dgram ? WEIR_LOAD_HEAD_BYTES : 1;
    int code = take_size("size", bench->size, least, dgram ? WEIR_LOAD_DATAGRAM_MAX : 1u << 30,
                         &load->request_bytes);
    if (code == EX_OK && !(dgram && stream))
        code = take_size("answer", bench->answer, least,
                         dgram ? WEIR_LOAD_DATAGRAM_MAX : 1ull << 40, &load->answer_bytes);
    if (code == EX_OK)
        code = take_size("bytes", bench->bytes, 1, 1ull << 60, &load->stream_bytes);
    if (code == EX_OK && bench->bitrate != NULL &&
        (!bench_number(bench->bitrate, &bits) || bits < 8000 || bits > 1e15))
        return say(EX_USAGE, "bench: --bitrate %s: bits a second, 8k to 1000000G, as 100M or 2.5G",
                   bench->bitrate);
    load->stream_rate = (uint64_t)(bits / 8);
    if (code == EX_OK && bench->reverse && bench->both)
        return say(EX_USAGE, "bench: --reverse or --bidir: choose one");
    load->way = bench->reverse ? WEIR_LOAD_DOWN : bench->both ? WEIR_LOAD_BOTH : WEIR_LOAD_UP;
    if (code == EX_OK && !stream && (bench->bytes != NULL || bits > 0 || load->way != WEIR_LOAD_UP))
        return say(EX_USAGE, "bench: --reverse, --bidir, --bytes and --bitrate are for streams");
    if (code == EX_OK && stream && load->way != WEIR_LOAD_UP && bench->plain)
        return say(EX_USAGE, "bench: --plain is for streams that we send");
    /* A number of bytes ends a stream, so the time need not. */
    if (code == EX_OK && bench->bytes != NULL && bench->duration == NULL)
        load->duration_ns = WEIR_NEVER;
    return code;
}

static int run(struct bench *bench, const char *what, bool dgram, int operands, char **argv)
{
    static char tcp_server[] = "tcp://127.0.0.1:5301", udp_server[] = "udp://127.0.0.1:5301";
    static char *server[] = {tcp_server, NULL};
    bool stream = strcmp(what, "stream") == 0;
    bench->close = strcmp(what, "crr") == 0;
    if (dgram && bench->close)
        return say(EX_USAGE, "bench: datagrams have no connection to make: rr or stream");
    bench->load.kind = dgram    ? stream ? WEIR_LOAD_DGRAM_STREAM : WEIR_LOAD_DGRAM_RR
                       : stream ? WEIR_LOAD_STREAM
                                : WEIR_LOAD_RR;
    server[0] = dgram ? udp_server : tcp_server;
    if (bench->conns == NULL)
        bench->conns = "1";
    if (operands == 0) {
        argv = server;
        operands = 1;
    }
    int code = bench_options(bench, operands, argv);
    if (code == EX_OK)
        code = take_sizes(bench);
    return code == EX_OK ? bench_perform(bench) : code;
}

int bench_bytes_run(const struct command *self, int argc, char **argv)
{
    static struct bench bench;
    static const char *const names[] = {"rr", "crr", "stream", NULL};
    static char mode[24];
    int operands, code = command_options(self, argc, argv, &bench, &operands);
    if (code >= 0)
        return code;
    bool udp = strcmp(self->name, "bench udp") == 0;
    bool dgram = udp || (operands > 1 && strncmp(argv[2], "unix-dgram:", 11) == 0);
    const char *known = udp ? "rr or stream" : "rr, crr or stream";
    if (operands == 0)
        return say(EX_USAGE, "%s what? %s (weir %s --help)", self->name, known, self->name);
    for (unsigned i = 0; names[i] != NULL; i++) {
        if (strcmp(argv[1], names[i]) != 0)
            continue;
        snprintf(mode, sizeof mode, "%s %s", self->name + strlen("bench "), names[i]);
        bench.mode = mode;
        if (strncmp(mode, "unix", 4) == 0 && operands == 1)
            return say(EX_USAGE, "bench %s needs an address: unix:PATH or unix-dgram:PATH", mode);
        return run(&bench, names[i], dgram, operands - 1, argv + 2);
    }
    const char *like = suggestion(argv[1], names);
    return say(EX_USAGE, "%s: \"%s\" is none of %s%s%s%s", self->name, argv[1], known,
               like != NULL ? "; did you mean " : "", like != NULL ? like : "",
               like != NULL ? "?" : "");
}

#define ABOUT                                                                                     \
    "rr: so many bytes there and so many back, again and again. crr: the same with a connection " \
    "for each. stream: bytes as fast as they go. The server is weir bench serve (without an "     \
    "address the one on tcp://127.0.0.1:5301); for rr any echo server will do."

const struct command bench_tcp = {
    .name = "bench tcp",
    .summary = "requests and answers of bytes, and streams, over TCP",
    .usage = "rr|crr|stream [OPTIONS] [ADDRESS...]",
    .about = ABOUT,
    .examples = "  weir bench serve &\n"
                "  weir bench tcp rr                         round trips of 64 bytes\n"
                "  weir bench tcp rr -c 100 -p 16 -s 1K tcp://127.0.0.1:5301\n"
                "  weir bench tcp crr -d 5s                  connect, ask, close\n"
                "  weir bench tcp stream -P 4                throughput, four streams\n"
                "  weir bench tcp stream --reverse --bytes 10G\n"
                "  weir bench tcp crr --resume tls://127.0.0.1:5302   over TLS, with sessions\n"
                "  weir bench tcp rr --plain -R 1000 tcp://127.0.0.1:7    any echo server\n",
    .options = tcp_options,
    .run = bench_bytes_run,
};

const struct command bench_unix = {
    .name = "bench unix",
    .summary = "the same over unix sockets, and in unix datagrams",
    .usage = "rr|crr|stream [OPTIONS] ADDRESS...",
    .about = ABOUT,
    .examples = "  weir bench serve --listen unix:/tmp/bench.sock &\n"
                "  weir bench unix rr /tmp/bench.sock\n"
                "  weir bench unix stream -P 2 unix:/tmp/bench.sock\n"
                "  weir bench serve --listen unix-dgram:/tmp/d.sock &\n"
                "  weir bench unix rr unix-dgram:/tmp/d.sock    in datagrams: see weir bench udp\n",
    .options = unix_options,
    .run = bench_bytes_run,
};
