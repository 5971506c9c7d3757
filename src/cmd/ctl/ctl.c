/* weir ctl: the requests, and how each is asked and told. */
#include "cmd/ctl/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <weir/loop.h>

#include "cmd/command.h"

#define AT(member) .offset = offsetof(struct ctl, member)
static const struct option options[] = {
    {.name = "socket",
     .kind = OPTION_TEXT,
     .value_name = "PATH",
     AT(socket),
     .help = "the control socket of the server, or its name in $XDG_RUNTIME_DIR/weir, as "
             "127.0.0.1:8080; default the one that there is"},
    {.name = "json", .kind = OPTION_FLAG, AT(json), .help = "print the server's answer as it is"},
    {.name = "limit",
     .kind = OPTION_NUMBER,
     .value_name = "N",
     AT(limit),
     .least = 1,
     .most = 10000,
     .help = "with connections: at most so many; default 1000"},
    {.name = "interval",
     .kind = OPTION_MS,
     .value_name = "TIME",
     AT(interval_ms),
     .help = "with stats: ask twice, so long apart, and print what happened per second"},
    {0}};

struct ask {
    const char *name;
    void (*print)(const struct answer *answer);
    const char *said; /* printed when there is nothing to print */
};

static void print_level(const struct answer *answer)
{
    char former[16] = "", level[16] = "";
    weir_json_to_text(weir_json_find(answer->values, answer->values, "former"), former,
                      sizeof former);
    weir_json_to_text(weir_json_find(answer->values, answer->values, "level"), level, sizeof level);
    if (strcmp(former, level) == 0)
        puts(level);
    else
        printf("%s (was %s)\n", level, former);
}

static void print_sums(const struct answer *answer)
{
    print_stats(NULL, answer);
}

static const struct ask asks[] = {{"stats", print_sums, NULL},
                                  {"connections", print_connections, NULL},
                                  {"loops", print_loops, NULL},
                                  {"plan", print_plan, NULL},
                                  {"limits", print_limits, NULL},
                                  {"log-level", print_level, NULL},
                                  {"drain", NULL, "the server finishes what is in progress"},
                                  {0}};

static const struct ask *find(const char *name)
{
    for (const struct ask *ask = asks; ask->name != NULL; ask++)
        if (strcmp(ask->name, name) == 0)
            return ask;
    return NULL;
}

static int unknown(const char *name)
{
    const char *names[sizeof asks / sizeof *asks];
    unsigned count = 0;
    for (const struct ask *ask = asks; ask->name != NULL; ask++)
        names[count++] = ask->name;
    names[count] = NULL;
    const char *like = suggestion(name, names);
    return say(EX_USAGE, "unknown request %s%s%s%s (weir ctl --help lists them)", name,
               like != NULL ? "; did you mean " : "", like != NULL ? like : "",
               like != NULL ? "?" : "");
}

/* The request line for the words of the command line. */
static int request_of(const struct ctl *ctl, int count, char **words, weir_json_writer *out)
{
    weir_json_object(out, NULL);
    weir_json_text(out, "command", words[0]);
    if (ctl->limit != 0)
        weir_json_number(out, "limit", ctl->limit);
    if (count > 1)
        weir_json_text(out, "level", words[1]);
    weir_json_end(out);
    return weir_json_done(out);
}

static int rates(const struct ctl *ctl, const char *request)
{
    struct answer before, now;
    struct timespec pause = {ctl->interval_ms / 1000, (long)(ctl->interval_ms % 1000) * 1000000};
    int code = ctl_call(ctl, request, &before);
    if (code != EX_OK)
        return code;
    while (nanosleep(&pause, &pause) != 0)
        continue;
    code = ctl_call(ctl, request, &now);
    if (code == EX_OK) {
        print_stats(&before, &now);
        answer_end(&now);
    }
    answer_end(&before);
    return code;
}

static int call(const struct ctl *ctl, const struct ask *ask, const char *request)
{
    struct answer answer;
    if (ask->print == print_sums && ctl->interval_ms != 0 && !ctl->json)
        return rates(ctl, request);
    int code = ctl_call(ctl, request, &answer);
    if (code != EX_OK)
        return code;
    if (ctl->json)
        fputs(answer.line, stdout);
    else if (ask->print != NULL)
        ask->print(&answer);
    else
        puts(ask->said);
    answer_end(&answer);
    return EX_OK;
}

static int ctl_run(const struct command *self, int argc, char **argv)
{
    struct ctl ctl = {0};
    weir_json_writer request = {0};
    int operands, code = command_options(self, argc, argv, &ctl, &operands);
    if (code >= 0)
        return code;
    if (operands == 0)
        return say(EX_USAGE, "ctl needs a request: weir ctl --help lists them");
    const struct ask *ask = find(argv[1]);
    if (ask == NULL)
        return unknown(argv[1]);
    if (operands > 1 + (ask->print == print_level))
        return say(EX_USAGE, "ctl %s takes no argument \"%s\"", argv[1], argv[operands]);
    code = request_of(&ctl, operands, argv + 1, &request) == 0 ? call(&ctl, ask, request.data)
                                                               : say(EX_OSERR, "out of memory");
    weir_json_free(&request);
    return code;
}

const struct command command_ctl = {
    .name = "ctl",
    .summary = "ask or tell a running server",
    .usage = "[OPTIONS] REQUEST",
    .about = "Talks to a running server over its control socket and prints the "
             "answer.\n\nRequests\n"
             "  stats              counters of each loop, and their sum\n"
             "  connections        the living connections\n"
             "  loops              the loops, and how busy they are\n"
             "  plan               the back end in use, its features, and the reasons\n"
             "  limits             the bounds in force\n"
             "  log-level [LEVEL]  the log level, or a new one: error, warn, info, debug, off\n"
             "  drain              finish what is in progress, then exit, as TERM does",
    .examples = "  weir ctl stats --interval 1s               what happens per second\n"
                "  weir ctl connections --limit 20\n"
                "  weir ctl --socket 127.0.0.1:8080 log-level debug\n"
                "  weir ctl --json loops | jq '.loops[].conns'\n",
    .options = options,
    .run = ctl_run,
};
