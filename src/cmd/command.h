/* The subcommands of weir, and what they share: how they are called and how they speak. */
#ifndef WEIR_CMD_COMMAND_H
#define WEIR_CMD_COMMAND_H

#include <sysexits.h>

#include <weir/json.h>

#include "cmd/option.h"

struct command {
    const char *name;
    const char *summary;          /* one line, for the list of commands */
    const char *usage;            /* behind "weir NAME " */
    const char *about;            /* what it does; paragraphs are wrapped by the printer */
    const char *examples;         /* lines */
    const struct option *options; /* ends with a row that has no name and no help */
    /* argv[0] is the command's name. Returns an exit code of sysexits.h. */
    int (*run)(const struct command *self, int argc, char **argv);
};

extern const struct command command_serve, command_bench, command_ctl, command_cert,
    command_backends, command_limits, command_version;

/* Says "weir: TEXT" on standard error and returns `exit_code`. */
int say(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the text, prints it on standard output and frees it. Returns an exit code. */
int json_print(weir_json_writer *out);

/* The exit code for an error of the library. */
int exit_code_of(int error);

/* Reads a command's options into the struct at `into`, and moves what is none of them to the front
 * of argv: *operands says how many. Returns -1 to go on, or the exit code to end with: help was
 * printed, or an error. */
int command_options(const struct command *self, int argc, char **argv, void *into, int *operands);

/* Prints the help of a command on standard output. */
void command_help(const struct command *self);

/* The one of `names` (NULL ends them) that is most like `word`, or NULL when none is like it. */
const char *suggestion(const char *word, const char *const *names);

#endif
