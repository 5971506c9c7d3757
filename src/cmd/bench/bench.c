/* weir bench: finds the kind of load and runs it. */
#include <string.h>

#include "cmd/bench/kinds.h"
#include "cmd/bench/tables.h"

const struct option_choice bench_backends[] = {{"auto", 0}, {"uring", 0},  {"epoll", 0},
                                               {"poll", 0}, {"select", 0}, {0}};

static const struct command *const kinds[] = {&bench_http,  &bench_tcp,    &bench_udp,
                                              &bench_unix,  &bench_conns,  &bench_raw,
                                              &bench_serve, &bench_iperf3, &bench_compare};
const struct option_choice bench_tls_versions[] = {{"1.2", 0x0303}, {"1.3", 0x0304}, {0}};

enum { KINDS = sizeof kinds / sizeof *kinds };

static void usage(FILE *out)
{
    fputs("usage: weir bench KIND [OPTIONS] ADDRESS...\n\n"
          "Measures servers: how many requests a second, and how long each takes.\n\nKinds\n",
          out);
    for (unsigned i = 0; i < KINDS; i++)
        fprintf(out, "  %-10s %s\n", kinds[i]->name + strlen("bench "), kinds[i]->summary);
    fputs("\nweir bench KIND --help explains each, with examples.\n"
          "\nExamples\n"
          "  weir bench http http://127.0.0.1:8080/\n"
          "  weir bench serve &   weir bench tcp stream   weir bench udp rr\n"
          "  weir bench compare before.json after.json\n",
          out);
}

static int bench_run(const struct command *self, int argc, char **argv)
{
    const char *names[KINDS + 1] = {NULL};
    if (argc < 2) {
        usage(stderr);
        return EX_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return EX_OK;
    }
    for (unsigned i = 0; i < KINDS; i++) {
        names[i] = kinds[i]->name + strlen("bench ");
        if (strcmp(argv[1], names[i]) == 0)
            return kinds[i]->run(kinds[i], argc - 1, argv + 1);
    }
    if (strncmp(argv[1], "http://", 7) == 0 || strncmp(argv[1], "https://", 8) == 0)
        return say(EX_USAGE, "bench: which kind of load? weir bench http %s", argv[1]);
    const char *like = suggestion(argv[1] + strspn(argv[1], "-"), names);
    return say(EX_USAGE, "bench: unknown kind %s%s%s%s (weir bench --help lists them)", argv[1],
               like != NULL ? "; did you mean " : "", like != NULL ? like : "",
               like != NULL ? "?" : "");
}

static const struct option no_options[] = {{0}};

const struct command command_bench = {
    .name = "bench",
    .summary = "measure a server: requests a second and latencies",
    .usage = "KIND [OPTIONS] ADDRESS...",
    .about = "Measures servers: how many requests a second, and how long each takes. weir bench "
             "KIND --help explains each kind; weir bench --help lists them.",
    .examples = "  weir bench http http://127.0.0.1:8080/\n",
    .options = no_options,
    .run = bench_run,
};
