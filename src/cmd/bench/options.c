/* From the command line to the options of a load. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/bench/secure.h"

#define FILE_MAX (64ull << 20) /* of a body, or of a request, from a file */

bool bench_number(const char *text, double *out)
{
    char *end;
    if (!isdigit((unsigned char)*text) && *text != '.')
        return false;
    double number = strtod(text, &end);
    static const char units[] = "kmg";
    const char *unit = *end != '\0' ? strchr(units, tolower((unsigned char)*end)) : NULL;
    for (const char *step = units; unit != NULL && step <= unit; step++)
        number *= 1e3;
    end += unit != NULL;
    *out = number;
    return *end == '\0' && number >= 0 && number <= 1e15;
}

bool bench_duration(const char *text, uint64_t *ns)
{
    char seconds[32];
    size_t size = strlen(text);
    if (size != 0 && size < sizeof seconds - 1 && strspn(text, "0123456789.") == size) {
        snprintf(seconds, sizeof seconds, "%ss", text); /* as wrk has it */
        text = seconds;
    }
    return weir_duration_parse(text, ns, NULL, 0) == 0 && *ns != WEIR_NEVER;
}

static int take_number(const char *option, const char *text, double least, double most, double *out)
{
    if (text == NULL)
        return EX_OK;
    if (!bench_number(text, out) || *out < least || *out > most)
        return say(EX_USAGE, "bench: --%s %s: a number from %g to %g, as 100, 10k, 1.5M", option,
                   text, least, most);
    return EX_OK;
}

static int take_whole(const char *option, const char *text, double most, unsigned *out)
{
    double number = 0;
    int code = take_number(option, text, 1, most, &number);
    if (code == EX_OK && text != NULL)
        *out = (unsigned)number;
    return code;
}

static int take_duration(const char *option, const char *text, uint64_t *out)
{
    if (text == NULL)
        return EX_OK;
    if (!bench_duration(text, out) || *out == 0)
        return say(EX_USAGE, "bench: --%s %s: a time, as 10s, 250ms, 1m30s", option, text);
    return EX_OK;
}

static int take_numbers(struct bench *bench)
{
    weir_load_options *load = &bench->load;
    double requests = 0, rate = 0, conn_rate = 0;
    int code = take_whole("connections", bench->conns, 4 << 20, &load->conns);
    if (code == EX_OK)
        code = take_whole("threads", bench->threads, 256, &load->loops);
    if (code == EX_OK)
        code = take_whole("pipeline", bench->pipeline, 1024, &load->pipeline);
    if (code == EX_OK)
        code = take_number("requests", bench->requests, 1, 1e15, &requests);
    if (code == EX_OK)
        code = take_number("rate", bench->rate, 0.001, 1e9, &rate);
    if (code == EX_OK)
        code = take_number("rate-per-conn", bench->conn_rate, 0.001, 1e9, &conn_rate);
    load->requests = (uint64_t)requests;
    load->rate = rate;
    load->rate_per_conn = conn_rate;
    return code;
}

static int take_times(struct bench *bench)
{
    weir_load_options *load = &bench->load;
    int code = take_duration("duration", bench->duration, &load->duration_ns);
    if (code == EX_OK)
        code = take_duration("warmup", bench->warmup, &load->warmup_ns);
    if (code == EX_OK)
        code = take_duration("ramp", bench->ramp, &load->ramp_ns);
    if (code == EX_OK)
        code = take_duration("timeout", bench->timeout, &load->timeout_ns);
    if (code == EX_OK)
        code = take_duration("interval", bench->interval, &load->interval_ns);
    return code;
}

int bench_file(const char *path, weir_view *out)
{
    struct stat facts;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return say(EX_NOINPUT, "bench: cannot read %s: %m", path);
    if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode) || (uint64_t)facts.st_size > FILE_MAX) {
        close(fd);
        return say(EX_NOINPUT, "bench: %s is no file of at most 64 MiB", path);
    }
    char *bytes = malloc((size_t)facts.st_size + 1); /* until the program ends */
    size_t had = 0;
    ssize_t got = 1;
    while (bytes != NULL && got > 0 && had < (size_t)facts.st_size) {
        got = read(fd, bytes + had, (size_t)facts.st_size - had);
        had += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    if (bytes == NULL || had != (size_t)facts.st_size) {
        free(bytes);
        return say(EX_IOERR, "bench: cannot read %s", path);
    }
    *out = weir_static(bytes, had);
    return EX_OK;
}

static int take_body(struct bench *bench)
{
    if (bench->body != NULL && bench->body_file != NULL)
        return say(EX_USAGE, "bench: --body or --body-file: choose one");
    if (bench->body_file != NULL)
        return bench_file(bench->body_file, &bench->load.body);
    if (bench->body != NULL && bench->body[0] == '@') /* as curl has it */
        return bench_file(bench->body + 1, &bench->load.body);
    if (bench->body != NULL)
        bench->load.body = weir_static(bench->body, strlen(bench->body));
    return EX_OK;
}

/* What people type for an address: 8080, :8080, host:8080, /run/x.sock. */
static void complete_url(const char *scheme, const char *given, char *out, size_t size)
{
    if (strstr(given, "://") != NULL || strncmp(given, "unix:", 5) == 0 ||
        strncmp(given, "unix-dgram:", 11) == 0)
        snprintf(out, size, "%s", given);
    else if (given[0] == '/')
        snprintf(out, size, "unix:%s", given);
    else if (given[0] != '\0' && strspn(given, "0123456789") == strlen(given))
        snprintf(out, size, "%s127.0.0.1:%s", scheme, given);
    else
        snprintf(out, size, "%s%s%s", scheme, given[0] == ':' ? "127.0.0.1" : "", given);
}

static int take_urls(struct bench *bench, int operands, char **argv)
{
    const char *scheme = bench->load.kind == WEIR_LOAD_HTTP ? "http://"
                         : bench_is_dgram(bench)            ? "udp://"
                                                            : "tcp://";
    if (operands == 0)
        return say(EX_USAGE, "bench %s needs %s to ask (weir bench %s --help)", bench->mode,
                   bench->load.kind == WEIR_LOAD_HTTP ? "a URL" : "an address", bench->mode);
    if (operands > BENCH_URLS_MAX)
        return say(EX_USAGE, "bench: at most %d URLs", BENCH_URLS_MAX);
    for (int i = 0; i < operands; i++) {
        if (strlen(argv[i]) + 16 > sizeof bench->url_texts[i]) {
            bench->urls[i] = argv[i];
            continue;
        }
        complete_url(scheme, argv[i], bench->url_texts[i], sizeof bench->url_texts[i]);
        bench->urls[i] = bench->url_texts[i];
    }
    bench->load.urls = bench->urls;
    bench->shown = bench->urls[0];
    return EX_OK;
}

/* "3,1": a number for each URL. */
static int take_weights(struct bench *bench, int operands)
{
    const char *at = bench->weights;
    for (int i = 0; at != NULL && i < operands; i++) {
        char *end;
        long weight = strtol(at, &end, 10);
        if (end == at || weight < 1 || weight > 1024 || *end != (i + 1 < operands ? ',' : '\0'))
            return say(EX_USAGE,
                       "bench: --weights %s: a number from 1 to 1024 for each of the %d URLs, with "
                       "commas between them",
                       bench->weights, operands);
        bench->weight_list[i] = (uint32_t)weight;
        at = end + 1;
    }
    bench->load.weights = bench->weights != NULL ? bench->weight_list : NULL;
    return EX_OK;
}

static int take_conditions(struct bench *bench)
{
    char why[400];
    for (unsigned i = 0; i < bench->fail_if.count; i++) {
        if (bench->condition_count == BENCH_CONDITIONS_MAX)
            return say(EX_USAGE, "bench: at most %d conditions", BENCH_CONDITIONS_MAX);
        if (!condition_read(bench->fail_if.items[i], &bench->conditions[bench->condition_count++],
                            why, sizeof why))
            return say(EX_USAGE, "bench: --fail-if: %s", why);
    }
    if (bench->find != NULL && !condition_read(bench->find, &bench->goal, why, sizeof why))
        return say(EX_USAGE, "bench: --find: %s", why);
    if (bench->find != NULL && bench->repeat > 1)
        return say(EX_USAGE, "bench: --find and --repeat: choose one");
    if (bench->find != NULL && bench->requests != NULL)
        return say(EX_USAGE, "bench: --find needs a duration for each try (-d), not a number of "
                             "requests");
    return EX_OK;
}

static int open_stream(struct bench *bench)
{
    if (bench->json_stream == NULL)
        return EX_OK;
    bench->stream = strcmp(bench->json_stream, "-") == 0 ? stdout : fopen(bench->json_stream, "we");
    return bench->stream != NULL ? EX_OK
                                 : say(EX_CANTCREAT, "cannot write %s: %m", bench->json_stream);
}

static void take_flags(struct bench *bench)
{
    weir_load_options *load = &bench->load;
    static char unix_url[WEIR_ADDRESS_TEXT_MAX];
    load->close = load->close || bench->close;
    load->reset = bench->reset;
    load->prove = bench->prove;
    load->poisson = bench->poisson;
    load->plain = bench->plain;
    load->method = bench->method;
    load->headers = bench->headers.count != 0 ? bench->headers.items : NULL;
    load->sources = bench->sources.count != 0 ? bench->sources.items : NULL;
    load->loop.backend = bench->backend;
    load->loop.features = bench->features;
    if (bench->unix_socket != NULL) {
        complete_url("unix:", bench->unix_socket, unix_url, sizeof unix_url);
        load->unix_socket = unix_url;
    }
}

int bench_options(struct bench *bench, int operands, char **argv)
{
    int code = take_urls(bench, operands, argv);
    if (code == EX_OK)
        code = take_numbers(bench);
    if (code == EX_OK)
        code = take_times(bench);
    if (code == EX_OK)
        code = take_body(bench);
    if (code == EX_OK)
        code = take_weights(bench, operands);
    if (code == EX_OK)
        code = take_conditions(bench);
    take_flags(bench);
    if (code == EX_OK)
        code = bench_secure(bench);
    return code == EX_OK ? open_stream(bench) : code;
}
