/* weir: finds the subcommand and runs it. */
#include <stdio.h>
#include <string.h>

#include <weir/version.h>

#include "cmd/command.h"

static const struct command *const commands[] = {
    &command_serve,    &command_bench,  &command_ctl,     &command_cert,
    &command_backends, &command_limits, &command_version,
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void usage(FILE *out)
{
    fputs("usage: weir COMMAND [OPTIONS]\n\n"
          "A network I/O framework at work: serves files over HTTP, measures servers, and shows\n"
          "what the kernel offers and which limits hold.\n\nCommands\n",
          out);
    for (unsigned i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "  %-10s %s\n", "help", "the help of a command: weir help serve");
    fputs("\nweir COMMAND --help explains each, with examples; weir --version tells the version.\n"
          "\nExamples\n"
          "  weir serve                      a page of welcome on http://127.0.0.1:8080\n"
          "  weir serve --listing ~/public   the files of a folder\n",
          out);
}

static const struct command *find(const char *name)
{
    for (unsigned i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int unknown(const char *name)
{
    const char *names[COMMANDS + 2];
    for (unsigned i = 0; i < COMMANDS; i++)
        names[i] = commands[i]->name;
    names[COMMANDS] = "help";
    names[COMMANDS + 1] = NULL;
    const char *like = suggestion(name + strspn(name, "-"), names);
    return say(EX_USAGE, "unknown %s %s%s%s%s (weir --help lists them)",
               *name == '-' ? "option" : "command", name, like != NULL ? "; did you mean " : "",
               like != NULL ? like : "", like != NULL ? "?" : "");
}

static int help(int argc, char **argv)
{
    if (argc < 2) {
        usage(stdout);
        return EX_OK;
    }
    const struct command *command = find(argv[1]);
    if (command == NULL)
        return unknown(argv[1]);
    command_help(command);
    return EX_OK;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return EX_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help(argc - 1, argv + 1);
    if (strcmp(name, "--version") == 0) {
        printf("weir %s\n", weir_version());
        return EX_OK;
    }
    const struct command *command = find(name);
    return command != NULL ? command->run(command, argc - 1, argv + 1) : unknown(name);
}

int main(int argc, char **argv)
{
    int code = dispatch(argc, argv);
    /* What could not be written was not done: /dev/full, a closed descriptor. */
    if (fflush(stdout) != 0 || ferror(stdout) != 0)
        return code != EX_OK ? code : say(EX_IOERR, "cannot write to standard output: %m");
    return code;
}
