/* weir bench iperf3: tests with the iperf3 of others at the other end. */
#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <weir/error.h>
#include <weir/iperf.h>

#include "cmd/bench/kinds.h"
#include "cmd/bench/tables.h"

struct iperf3 {
    const char *host, *bind, *backend, *features, *time, *omit, *interval, *rate, *length, *bytes;
    const char *blocks, *window, *congestion, *title, *tos, *timeout;
    uint32_t port, streams;
    bool server, udp, reverse, both, json, one_off, counters64, server_output, nodelay, four, six;
};

#define TEXT(letter_, name_, value_, field_, help_)                                  \
    {                                                                                \
        .letter = letter_, .name = name_, .kind = OPTION_TEXT, .value_name = value_, \
        .offset = offsetof(struct iperf3, field_), .help = help_                     \
    }
#define FLAG(letter_, name_, field_, help_)                      \
    {                                                            \
        .letter = letter_, .name = name_, .kind = OPTION_FLAG,   \
        .offset = offsetof(struct iperf3, field_), .help = help_ \
    }

static const struct option options[] = {
    FLAG('s', "server", server, "be the server"),
    TEXT('c', "client", "HOST", host, "be the client of this server"),
    {.letter = 'p',
     .name = "port",
     .kind = OPTION_NUMBER,
     .value_name = "PORT",
     .least = 1,
     .most = 65535,
     .offset = offsetof(struct iperf3, port),
     .help = "to listen on, or of the server; 5201"},
    TEXT('B', "bind", "ADDRESS", bind, "listen on, or come from, this address"),
    FLAG('4', "version4", four, "IPv4 only"),
    FLAG('6', "version6", six, "IPv6 only"),
    TEXT('i', "interval", "TIME", interval, "between two reports; 1s. 0: only the last"),
    FLAG('J', "json", json, "report in JSON, with iperf3's fields"),
    FLAG('1', "one-off", one_off, "server: end after one test"),
    BENCH_HEADING("Client"),
    FLAG('u', "udp", udp, "UDP in place of TCP"),
    {.letter = 'P',
     .name = "parallel",
     .kind = OPTION_NUMBER,
     .value_name = "NUMBER",
     .least = 1,
     .most = WEIR_IPERF_STREAMS_MAX,
     .offset = offsetof(struct iperf3, streams),
     .help = "streams; 1"},
    FLAG('R', "reverse", reverse, "the server sends"),
    FLAG(0, "bidir", both, "both send"),
    TEXT('t', "time", "TIME", time, "of the test; 10s"),
    TEXT('n', "bytes", "SIZE", bytes, "end after so many bytes in all instead: 100M"),
    TEXT('k', "blockcount", "NUMBER", blocks, "end after so many writes or datagrams instead"),
    TEXT('O', "omit", "TIME", omit, "do not count the first seconds"),
    TEXT('b', "bitrate", "BITS[/BURST]", rate,
         "a second, of each stream: 100M; UDP: 1M, 0: as fast as it goes; sent in bursts of so "
         "many datagrams"),
    TEXT('l', "length", "SIZE", length, "of a write, 128K; of a datagram, as the path takes it"),
    TEXT('w', "window", "SIZE", window, "of the sockets' buffers"),
    TEXT('C', "congestion", "NAME", congestion, "TCP congestion control of this side"),
    TEXT('S', "tos", "NUMBER", tos, "the IP type of service, as 0x10"),
    TEXT('T', "title", "TEXT", title, "stands in the JSON of both sides"),
    FLAG('N', "no-delay", nodelay, "TCP: small pieces are not held back"),
    FLAG(0, "udp-counters-64bit", counters64, "count datagrams in 64 bits"),
    FLAG(0, "get-server-output", server_output, "show the server's report too"),
    BENCH_HEADING("Both"),
    TEXT(0, "connect-timeout", "TIME", timeout, "for connecting, and for each answer; 10s"),
    {.name = "backend",
     .kind = OPTION_NAME,
     .value_name = "NAME",
     .choices = bench_backends,
     .offset = offsetof(struct iperf3, backend),
     .help = "auto, uring, epoll, poll or select"},
    TEXT(0, "features", "LIST", features, "features of the back end: see weir backends"),
    {0}};

static int take_time(const char *name, const char *text, uint64_t *out)
{
    if (text == NULL)
        return EX_OK;
    if (!bench_duration(text, out))
        return say(EX_USAGE, "bench iperf3: --%s %s: a time, as 10s or 500ms", name, text);
    return EX_OK;
}

static int take_times(const struct iperf3 *given, weir_iperf_options *out)
{
    uint64_t timeout_ns = 0;
    int code = take_time("time", given->time, &out->time_ns);
    if (code == EX_OK)
        code = take_time("omit", given->omit, &out->omit_ns);
    if (code == EX_OK)
        code = take_time("interval", given->interval, &out->interval_ns);
    if (code == EX_OK)
        code = take_time("connect-timeout", given->timeout, &timeout_ns);
    if (code == EX_OK && given->interval != NULL && out->interval_ns == 0)
        out->interval_ns = WEIR_NEVER;
    if (timeout_ns / WEIR_MS > 3600 * 1000)
        return say(EX_USAGE, "bench iperf3: --connect-timeout: at most an hour");
    out->connect_ms = (uint32_t)(timeout_ns / WEIR_MS);
    return code;
}

static int take_size(const char *name, const char *text, uint64_t most, uint64_t *out)
{
    char why[WEIR_UNITS_WHY_MAX];
    if (text == NULL)
        return EX_OK;
    if (weir_size_parse(text, out, why, sizeof why) < 0)
        return say(EX_USAGE, "bench iperf3: --%s: %s", name, why);
    if (*out == 0 || *out > most)
        return say(EX_USAGE, "bench iperf3: --%s %s: from 1 to %llu bytes", name, text,
                   (unsigned long long)most);
    return EX_OK;
}

static int take_sizes(const struct iperf3 *given, weir_iperf_options *out)
{
    uint64_t length = 0, window = 0;
    double blocks = 0;
    int code = take_size("length", given->length, 1 << 20, &length);
    if (code == EX_OK)
        code = take_size("window", given->window, 512 << 20, &window);
    if (code == EX_OK)
        code = take_size("bytes", given->bytes, 1ull << 52, &out->bytes);
    if (code == EX_OK && given->blocks != NULL &&
        (!bench_number(given->blocks, &blocks) || blocks < 1 || blocks > 1e15))
        code = say(EX_USAGE, "bench iperf3: --blockcount %s: a number from 1 on", given->blocks);
    out->block_bytes = (uint32_t)length;
    out->window_bytes = (uint32_t)window;
    out->blocks = (uint64_t)blocks;
    return code;
}

/* "100M", "1G/10", "0". */
static int take_rate(const struct iperf3 *given, weir_iperf_options *out)
{
    char text[40];
    double bits = 0;
    uint64_t burst = 0;
    if (given->rate == NULL)
        return EX_OK;
    const char *slash = strchr(given->rate, '/');
    size_t size = slash != NULL ? (size_t)(slash - given->rate) : strlen(given->rate);
    snprintf(text, sizeof text, "%.*s", (int)(size < sizeof text ? size : 0), given->rate);
    if (!bench_number(text, &bits) || (bits > 0 && bits < 1000) || bits > 1e15 ||
        (slash != NULL && weir_number_parse(slash + 1, 1, 1000, &burst, NULL, 0) < 0))
        return say(
            EX_USAGE,
            "bench iperf3: --bitrate %s: bits a second, at least 1k, as 100M or 2.5G; behind "
            "a slash datagrams in a burst, 1 to 1000",
            given->rate);
    out->rate_bits = bits > 0 ? (uint64_t)bits : WEIR_NEVER;
    out->burst = (uint32_t)burst;
    return EX_OK;
}

static int take_tos(const struct iperf3 *given, weir_iperf_options *out)
{
    char *end;
    if (given->tos == NULL)
        return EX_OK;
    unsigned long tos = strtoul(given->tos, &end, 0);
    if (!isdigit((unsigned char)*given->tos) || *end != '\0' || tos > 255)
        return say(EX_USAGE, "bench iperf3: --tos %s: a number from 0 to 255, as 0x10", given->tos);
    out->tos = (uint8_t)tos;
    return EX_OK;
}

static int take(const struct iperf3 *given, weir_iperf_options *out)
{
    if (given->four && given->six)
        return say(EX_USAGE, "bench iperf3: -4 or -6: choose one");
    *out = (weir_iperf_options){.host = given->host,
                                .bind = given->bind,
                                .port = (uint16_t)given->port,
                                .family = given->four  ? 4
                                          : given->six ? 6
                                                       : 0,
                                .json = given->json,
                                .one_off = given->one_off,
                                .udp = given->udp,
                                .reverse = given->reverse,
                                .both = given->both,
                                .counters64 = given->counters64,
                                .server_output = given->server_output,
                                .nodelay = given->nodelay,
                                .streams = given->streams,
                                .congestion = given->congestion,
                                .title = given->title,
                                .loop = {.backend = given->backend, .features = given->features}};
    int code = take_times(given, out);
    if (code == EX_OK)
        code = take_sizes(given, out);
    if (code == EX_OK)
        code = take_rate(given, out);
    return code == EX_OK ? take_tos(given, out) : code;
}

static void on_print(const char *text, size_t size, void *user)
{
    fwrite(text, 1, size, stdout);
    fflush(stdout);
}

/* The first one ends the test with what it has; the second one ends the program. */
static void on_signal(int number)
{
    weir_iperf_stop();
}

static int exit_code(int error)
{
    switch (error) {
    case 0:
        return EX_OK;
    case WEIR_EINVALID:
        return EX_USAGE;
    case WEIR_EPROTO:
        return EX_PROTOCOL;
    case WEIR_EADDRESS:
        return EX_NOHOST;
    default:
        return exit_code_of(error) == EX_OSERR ? EX_UNAVAILABLE : exit_code_of(error);
    }
}

static int iperf3_run(const struct command *self, int argc, char **argv)
{
    static struct iperf3 given;
    weir_iperf_options out;
    char why[512];
    int operands, code = command_options(self, argc, argv, &given, &operands);
    if (code >= 0)
        return code;
    if (operands != 0)
        return say(EX_USAGE, "bench iperf3: what is \"%s\"? A server is named with -c", argv[1]);
    if (given.server == (given.host != NULL))
        return say(EX_USAGE, "bench iperf3: server or client? -s, or -c HOST (weir bench iperf3 "
                             "--help)");
    code = take(&given, &out);
    if (code != EX_OK)
        return code;
    out.print = on_print;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int error = given.server ? weir_iperf_serve(&out, why, sizeof why)
                             : weir_iperf_client(&out, why, sizeof why);
    if (error == 0)
        return ferror(stdout) ? say(EX_IOERR, "cannot write the report") : EX_OK;
    return say(exit_code(error), "bench iperf3: %s", why);
}

const struct command bench_iperf3 = {
    .name = "bench iperf3",
    .summary = "throughput, by iperf3's protocol, as server or client",
    .usage = "-s | -c HOST [OPTIONS]",
    .about = "Speaks iperf3's protocol: the other end is weir, or the iperf3 of somebody else. The "
             "options are iperf3's; reports too. The server serves any number of clients at the "
             "same time.",
    .examples = "  weir bench iperf3 -s                       a server on port 5201\n"
                "  weir bench iperf3 -c 192.0.2.7             10 seconds to the server\n"
                "  weir bench iperf3 -c 192.0.2.7 -R -P 4     from it, over four connections\n"
                "  weir bench iperf3 -c 192.0.2.7 --bidir -t 30s -O 3s\n"
                "  weir bench iperf3 -c 192.0.2.7 -u -b 500M -l 1400\n"
                "  weir bench iperf3 -c 192.0.2.7 -n 10G -J --get-server-output\n",
    .options = options,
    .run = iperf3_run,
};
