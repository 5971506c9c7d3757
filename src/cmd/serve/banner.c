/* What weir serve says when it has started: where, how, within which bounds, and what to try. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weir/limits.h>

#include "cmd/serve/secure.h"
#include "cmd/serve/serve.h"

enum { LIMITS_MAX = 256 };

/* A default of the library by its name, so that what is said here is what holds. */
static uint64_t limit_named(const char *group, const char *name)
{
    weir_limit_row limits[LIMITS_MAX];
    unsigned count = weir_limits(limits, LIMITS_MAX);
    for (unsigned i = 0; i < count && i < LIMITS_MAX; i++)
        if (strcmp(limits[i].group, group) == 0 && strcmp(limits[i].name, name) == 0)
            return limits[i].value;
    return 0;
}

static const char *ms_text(char *out, uint32_t given_ms, const char *group, const char *name)
{
    uint64_t ms = given_ms != 0 ? given_ms : limit_named(group, name);
    weir_duration_format(ms == WEIR_OFF ? WEIR_NEVER : ms * WEIR_MS, out, WEIR_UNITS_TEXT_MAX);
    return out;
}

/* In the largest unit that leaves a whole number worth reading: "5.8GiB". */
static const char *memory_text(char *out, uint64_t bytes)
{
    static const char units[] = "KMGTPE";
    unsigned unit = 0;
    double amount = (double)bytes;
    while (amount >= 1024 && unit < 6) {
        amount /= 1024;
        unit++;
    }
    if (unit == 0)
        snprintf(out, WEIR_UNITS_TEXT_MAX, "%" PRIu64 "B", bytes);
    else
        snprintf(out, WEIR_UNITS_TEXT_MAX, amount < 10 ? "%.1f%ciB" : "%.0f%ciB", amount,
                 units[unit - 1]);
    return out;
}

static void say_addresses(const struct serve *serve)
{
    weir_address address;
    char url[WEIR_ADDRESS_TEXT_MAX];
    for (unsigned i = 0; weir_run_address(i, &address) == 0; i++)
        if (weir_address_format(&address, url, sizeof url) > 0)
            fprintf(stderr, "%s %s", i == 0 ? " on" : "", url);
    fputc('\n', stderr);
}

static void say_loops(const struct serve *serve)
{
    static const char *const how[] = {[WEIR_SHAPE_SINGLE] = "one thread",
                                      [WEIR_SHAPE_THREADS] = "each accepts for itself",
                                      [WEIR_SHAPE_ACCEPTOR] = "and one that accepts for them",
                                      [WEIR_SHAPE_PROCESSES] = "each in a process of its own"};
    static const char *const names[] = {[WEIR_SHAPE_SINGLE] = "single",
                                        [WEIR_SHAPE_THREADS] = "threads",
                                        [WEIR_SHAPE_ACCEPTOR] = "acceptor",
                                        [WEIR_SHAPE_PROCESSES] = "processes"};
    fprintf(stderr, "  loops     %u, %s (%s)%s%s%s\n", serve->serving, how[serve->shape],
            names[serve->shape], serve->pin ? ", each on its CPU" : "",
            serve->user != NULL ? ", as user " : "", serve->user != NULL ? serve->user : "");
}

static void say_limits(const struct serve *serve)
{
    char idle[WEIR_UNITS_TEXT_MAX], header[WEIR_UNITS_TEXT_MAX], body[WEIR_UNITS_TEXT_MAX];
    char memory[WEIR_UNITS_TEXT_MAX], write[WEIR_UNITS_TEXT_MAX];
    uint64_t most = limit_named("core", "conns_max") * serve->serving;
    uint64_t conns = serve->conns != 0 && serve->conns < most ? serve->conns : most;
    bool few = conns != serve->max_conns && conns < most;
    weir_size_format(serve->max_body != 0 ? serve->max_body : limit_named("http", "body_max_bytes"),
                     body, sizeof body);
    fprintf(stderr,
            "  limits    %" PRIu64
            " connections%s, idle %s, header %s, write %s, body %s, memory %s\n",
            conns, few ? " (ulimit -n)" : "", ms_text(idle, serve->idle_ms, "http", "idle_ms"),
            ms_text(header, serve->header_ms, "http", "header_ms"),
            ms_text(write, serve->write_ms, "core", "write_ms"), body,
            memory_text(memory, serve->memory != 0 ? serve->memory
                                                   : limit_named("core", "memory_max_bytes")));
}

/* The address that a client on this host would use for the first listener. */
static void say_next(const struct serve *serve)
{
    weir_address address;
    char url[WEIR_ADDRESS_TEXT_MAX];
    if (weir_run_address(0, &address) < 0 || weir_address_format(&address, url, sizeof url) < 0)
        return;
    fputs("  try       ", stderr);
    if (address.transport == WEIR_TRANSPORT_UNIX)
        fprintf(stderr, "curl -i --unix-socket %s http://localhost/\n", url + strlen("unix:"));
    else if (address.scheme == WEIR_SCHEME_HTTPS && serve->tls)
        fprintf(stderr, "curl -i --cacert %s %s/\n", serve->local.ca, url);
    else
        fprintf(stderr, "curl -i %s/\n", url);
    if (serve->ctl_url[0] != '\0')
        fputs("            weir ctl stats\n", stderr);
    fputs("            Ctrl-C ends it; kill -TERM lets requests finish first\n", stderr);
}

void serve_banner(const struct serve *serve)
{
    weir_plan plan;
    if (weir_loop_current() != NULL)
        weir_plan_of(weir_loop_current(), &plan);
    else /* the master, which has none: what its workers chose on the same kernel */
        weir_plan_probe(serve->backend, serve->features, &plan);
    fprintf(stderr, "weir %s serves %s", weir_version(),
            serve->directory != NULL ? serve->directory : "its page of welcome");
    say_addresses(serve);
    fprintf(stderr, "  back end  %s: %s\n", plan.backend, plan.why);
    say_loops(serve);
    secure_banner(serve);
    say_limits(serve);
    if (serve->ctl_url[0] != '\0')
        fprintf(stderr, "  control   %s\n", serve->ctl_url + strlen("unix:"));
    if (isatty(STDERR_FILENO))
        say_next(serve);
}
