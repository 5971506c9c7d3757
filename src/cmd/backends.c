/* weir backends: what each back end would use on this kernel, and why not the rest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/error.h>
#include <weir/json.h>
#include <weir/plan.h>

#include "cmd/command.h"

struct backends {
    bool json, features;
};

static const struct option options[] = {
    {.name = "json",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct backends, json),
     .help = "print JSON"},
    {.name = "features",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct backends, features),
     .help = "print what WEIR_FEATURES and --features of weir serve take"},
    {0}};

static void print_plan(const weir_plan *plan, bool chosen)
{
    printf("%s: ", plan->backend);
    if (plan->error != 0) {
        printf("cannot be used: %s\n\n", plan->why);
        return;
    }
    puts(chosen ? "chosen" : "can be used");
    for (unsigned i = 0; i < plan->count; i++) {
        printf("  %-3s %-20s ", plan->rows[i].used ? "yes" : "no", plan->rows[i].feature);
        print_wrapped(plan->rows[i].reason, 27, 27);
    }
    putchar('\n');
}

static void json_plan(weir_json_writer *out, const weir_plan *plan)
{
    weir_json_object(out, NULL);
    weir_json_text(out, "backend", plan->backend);
    weir_json_bool(out, "usable", plan->error == 0);
    if (plan->error != 0) {
        weir_json_text(out, "error", weir_error_name(plan->error));
        weir_json_text(out, "reason", plan->why);
    }
    weir_json_array(out, "features");
    for (unsigned i = 0; i < plan->count; i++) {
        weir_json_object(out, NULL);
        weir_json_text(out, "feature", plan->rows[i].feature);
        weir_json_bool(out, "used", plan->rows[i].used);
        weir_json_text(out, "reason", plan->rows[i].reason);
        weir_json_end(out);
    }
    weir_json_end(out);
    weir_json_end(out);
}

static int print_features(bool json)
{
    unsigned count;
    const weir_feature *table = weir_features_table(&count);
    weir_json_writer out = {.indent = true};
    if (json)
        weir_json_array(&out, NULL);
    for (unsigned i = 0; i < count; i++) {
        if (!json) {
            printf("%c%-20s %s\n", table[i].on ? '+' : '-', table[i].name, table[i].what);
            continue;
        }
        weir_json_object(&out, NULL);
        weir_json_text(&out, "feature", table[i].name);
        weir_json_bool(&out, "default", table[i].on);
        weir_json_text(&out, "what", table[i].what);
        weir_json_end(&out);
    }
    if (json) {
        weir_json_end(&out);
        return json_print(&out);
    }
    puts("\nThe sign is the default. WEIR_FEATURES=\"-multishot_recv,+direct\" changes it;\n"
         "sizes are set by sq=N, cq=N, blocks=N, block=BYTES, each of them \"small\" too.");
    return EX_OK;
}

static int backends_run(const struct command *self, int argc, char **argv)
{
    struct backends given = {0};
    weir_plan chosen, plan;
    int operands, code = command_options(self, argc, argv, &given, &operands);
    if (code >= 0)
        return code;
    if (operands != 0)
        return say(EX_USAGE, "backends takes no argument \"%s\"", argv[1]);
    if (given.features)
        return print_features(given.json);
    int error = weir_plan_probe("auto", NULL, &chosen);
    weir_json_writer out = {.indent = true};
    if (given.json) {
        weir_json_object(&out, NULL);
        weir_json_text(&out, "chosen", error == 0 ? chosen.backend : NULL);
        weir_json_text(&out, "reason", chosen.why);
        weir_json_array(&out, "backends");
    } else if (error == 0) {
        printf("%s is chosen: %s\n\n", chosen.backend, chosen.why);
    }
    for (const char *const *name = weir_backend_names(); *name != NULL; name++) {
        weir_plan_probe(*name, NULL, &plan);
        if (given.json)
            json_plan(&out, &plan);
        else
            print_plan(&plan, error == 0 && strcmp(*name, chosen.backend) == 0);
    }
    if (given.json) {
        weir_json_end(&out);
        weir_json_end(&out);
        code = json_print(&out);
    }
    if (code > EX_OK)
        return code;
    if (error != 0)
        return say(exit_code_of(error), "no back end can be used: %s", chosen.why);
    return EX_OK;
}

const struct command command_backends = {
    .name = "backends",
    .summary = "what each back end would use on this kernel, and why not the rest",
    .usage = "[OPTIONS]",
    .about = "Tries out what this kernel offers, and prints the plan of each back end: which "
             "features it uses, the reason for each one that it leaves out, and which back end is "
             "chosen when none is named. WEIR_BACKEND and WEIR_FEATURES change the plan.",
    .examples = "  weir backends                            why io_uring is used, or not\n"
                "  weir backends --json | jq .chosen\n"
                "  WEIR_FEATURES=-multishot_recv weir backends\n",
    .options = options,
    .run = backends_run,
};
