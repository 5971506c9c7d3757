/* weir limits: every bound and default. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <weir/limits.h>
#include <weir/loop.h>
#include <weir/units.h>

#include "cmd/command.h"

enum { LIMITS_MAX = 256 };

struct limits {
    bool json;
};

static const struct option options[] = {{.name = "json",
                                         .kind = OPTION_FLAG,
                                         .offset = offsetof(struct limits, json),
                                         .help = "print JSON"},
                                        {0}};

static void limit_text(char *out, size_t size, uint64_t value, const char *unit)
{
    if (value == WEIR_NEVER)
        snprintf(out, size, "no limit");
    else if (strcmp(unit, "bytes") == 0)
        weir_size_format(value, out, size);
    else if (strcmp(unit, "ms") == 0)
        weir_duration_format(value * WEIR_MS, out, size);
    else
        snprintf(out, size, "%" PRIu64, value);
}

static void print_rows(const weir_limit_row *limits, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char value[WEIR_UNITS_TEXT_MAX];
        if (i == 0 || strcmp(limits[i].group, limits[i - 1].group) != 0)
            printf("%s%s\n", i != 0 ? "\n" : "", limits[i].group);
        limit_text(value, sizeof value, limits[i].value, limits[i].unit);
        printf("  %-20s %10s  ", limits[i].name, value);
        print_wrapped(limits[i].what, 35, 35);
    }
}

static int print_json(const weir_limit_row *limits, unsigned count)
{
    weir_json_writer out = {.indent = true};
    weir_json_array(&out, NULL);
    for (unsigned i = 0; i < count; i++) {
        weir_json_object(&out, NULL);
        weir_json_text(&out, "group", limits[i].group);
        weir_json_text(&out, "name", limits[i].name);
        if (limits[i].value == WEIR_NEVER)
            weir_json_text(&out, "default", NULL);
        else
            weir_json_number(&out, "default", limits[i].value);
        weir_json_text(&out, "unit", limits[i].unit);
        weir_json_text(&out, "what", limits[i].what);
        weir_json_end(&out);
    }
    weir_json_end(&out);
    return json_print(&out);
}

static int limits_run(const struct command *self, int argc, char **argv)
{
    struct limits given = {0};
    weir_limit_row limits[LIMITS_MAX];
    int operands, code = command_options(self, argc, argv, &given, &operands);
    if (code >= 0)
        return code;
    if (operands != 0)
        return say(EX_USAGE, "limits takes no argument \"%s\"", argv[1]);
    unsigned count = weir_limits(limits, LIMITS_MAX);
    if (count > LIMITS_MAX)
        return say(EX_SOFTWARE, "%u limits are more than this command can print", count);
    if (given.json)
        return print_json(limits, count);
    print_rows(limits, count);
    puts("\nweir serve --help tells which of them it can change; weir ctl limits, what a running\n"
         "server has.");
    return EX_OK;
}

const struct command command_limits = {
    .name = "limits",
    .summary = "every bound and its default",
    .usage = "[OPTIONS]",
    .about = "Prints every limit and deadline of the library with its default. Nothing in weir is "
             "unbounded.",
    .examples = "  weir limits\n"
                "  weir limits --json | jq '.[] | select(.group == \"http\")'\n",
    .options = options,
    .run = limits_run,
};
