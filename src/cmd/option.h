/* Options of the command line: one table for each subcommand is parser and help in one. */
#ifndef WEIR_CMD_OPTION_H
#define WEIR_CMD_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_HEADING, /* no option: a line of the help */
    OPTION_FLAG,    /* bool */
    OPTION_COUNT,   /* uint32_t: how often it was given */
    OPTION_TEXT,    /* const char * */
    OPTION_TEXTS,   /* struct option_texts: each one given */
    OPTION_NUMBER,  /* uint32_t, from .least to .most */
    OPTION_SIZE,    /* uint64_t: bytes, from .least to .most */
    OPTION_MS,      /* uint32_t: milliseconds; "never", when .never, is WEIR_OFF */
    OPTION_CHOICE,  /* int: the value of one of .choices */
    OPTION_NAME     /* const char *: the name of one of .choices */
};

enum { OPTION_TEXTS_MAX = 64 };

struct option_texts {
    const char *items[OPTION_TEXTS_MAX + 1]; /* NULL-terminated; they point into argv */
    unsigned count;
};

struct option_choice {
    const char *name; /* NULL ends the list */
    int value;
};

struct option {
    const char *name;       /* without its dashes; NULL with help NULL ends the table */
    const char *value_name; /* in help: URL */
    const char *help;       /* wrapped by the printer */
    size_t offset;          /* of its value in the struct that the table fills */
    uint64_t least, most;
    const struct option_choice *choices;
    enum option_kind kind;
    char letter; /* -v, -c 64; 0: none */
    bool never;
};

enum { OPTIONS_GO_ON = -1, OPTIONS_HELP = -2, OPTIONS_WRONG = -3 };

/* Reads argv[1] and what follows by the table. Operands are moved to argv[1] and on, *operands of
 * them. OPTIONS_GO_ON, OPTIONS_HELP (--help was given), or OPTIONS_WRONG, which was said on
 * standard error in the name of `command`. */
int options_read(const struct option *table, const char *command, int argc, char **argv, void *into,
                 int *operands);

/* Prints the table for --help. */
void options_print(const struct option *table);

/* Prints text wrapped at 80 columns, `indent` blanks before each line but the first, which begins
 * at column `at`. A newline in the text begins a line; one that begins with a blank is printed as
 * it is. */
void print_wrapped(const char *text, int at, int indent);

#endif
