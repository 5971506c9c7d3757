/* weir version: of the command, and of what it was built with and runs on. */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include <weir/version.h>

#include "cmd/command.h"

struct version {
    bool json;
};

static const struct option options[] = {{.name = "json",
                                         .kind = OPTION_FLAG,
                                         .offset = offsetof(struct version, json),
                                         .help = "print JSON"},
                                        {0}};

static int version_run(const struct command *self, int argc, char **argv)
{
    struct version given = {0};
    struct utsname host = {.release = "unknown"};
    int operands, code = command_options(self, argc, argv, &given, &operands);
    if (code >= 0)
        return code;
    if (operands != 0)
        return say(EX_USAGE, "version takes no argument \"%s\"", argv[1]);
    uname(&host);
    const weir_build *build = weir_build_facts();
    if (!given.json) {
        printf("weir %s\ncompiler  %s\nliburing  %s\nkernel    %s %s\nfeatures  %s\n",
               weir_version(), build->compiler, build->liburing != NULL ? build->liburing : "none",
               host.release, host.machine, build->features);
        return EX_OK;
    }
    weir_json_writer out = {.indent = true};
    weir_json_object(&out, NULL);
    weir_json_text(&out, "version", weir_version());
    weir_json_text(&out, "compiler", build->compiler);
    weir_json_text(&out, "liburing", build->liburing);
    weir_json_text(&out, "kernel", host.release);
    weir_json_text(&out, "machine", host.machine);
    weir_json_text(&out, "features", build->features);
    weir_json_end(&out);
    return json_print(&out);
}

const struct command command_version = {
    .name = "version",
    .summary = "the version, and what it was built with and runs on",
    .usage = "[OPTIONS]",
    .about = "Prints the version, the compiler and the version of liburing that it was built with, "
             "the kernel that it runs on, and what was built in.",
    .examples = "  weir version --json\n",
    .options = options,
    .run = version_run,
};
