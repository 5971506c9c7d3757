#include "cmd/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <weir/error.h>

int say(int exit_code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("weir: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return exit_code;
}

int json_print(weir_json_writer *out)
{
    int result = weir_json_done(out);
    if (result == 0)
        fwrite(out->data, 1, out->size, stdout);
    weir_json_free(out);
    return result == 0 ? EX_OK : say(EX_SOFTWARE, "cannot write JSON: %s", weir_error_text(result));
}

int exit_code_of(int error)
{
    switch (error) {
    case 0:
        return EX_OK;
    case WEIR_EADDRESS:
    case WEIR_EINVALID:
        return EX_USAGE;
    case WEIR_ENOTSUP:
    case -EINVAL:
        return EX_CONFIG;
    case -EADDRINUSE:
    case -EADDRNOTAVAIL:
    case -ECONNREFUSED:
        return EX_UNAVAILABLE;
    case -EACCES:
    case -EPERM:
    case -EROFS:
        return EX_NOPERM;
    case -ENOENT:
    case -ENOTDIR:
    case -ELOOP:
        return EX_NOINPUT;
    default:
        return EX_OSERR;
    }
}

void command_help(const struct command *self)
{
    printf("usage: weir %s %s\n\n", self->name, self->usage);
    print_wrapped(self->about, 0, 0);
    if (self->options->kind != OPTION_HEADING)
        puts("\nOptions");
    options_print(self->options);
    printf("\nExamples\n%s", self->examples);
}

int command_options(const struct command *self, int argc, char **argv, void *into, int *operands)
{
    int result = options_read(self->options, self->name, argc, argv, into, operands);
    if (result == OPTIONS_GO_ON)
        return -1;
    if (result != OPTIONS_HELP)
        return EX_USAGE;
    command_help(self);
    return EX_OK;
}

/* How many letters must be inserted, deleted, changed or swapped with their neighbour to make one
 * word of the other: the restricted distance of Damerau and Levenshtein. */
static unsigned distance(const char *left, const char *right)
{
    enum { WORD_MAX = 32 };
    unsigned rows[3][WORD_MAX + 1] = {{0}};
    size_t lefts = strlen(left), rights = strlen(right);
    if (lefts > WORD_MAX || rights > WORD_MAX)
        return WORD_MAX;
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];
    for (unsigned j = 0; j <= rights; j++)
        row[j] = j;
    for (unsigned i = 1; i <= lefts; i++) {
        unsigned *spare = before;
        before = above;
        above = row;
        row = spare;
        row[0] = i;
        for (unsigned j = 1; j <= rights; j++) {
            unsigned best = above[j - 1] + (left[i - 1] != right[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
    }
    return row[rights];
}

const char *suggestion(const char *word, const char *const *names)
{
    const char *found = NULL;
    size_t size = strlen(word);
    unsigned best = size < 4 ? 2 : 3; /* a short word is like too many others */
    for (; *names != NULL; names++) {
        unsigned apart = distance(word, *names);
        if (size >= 3 && strncmp(word, *names, size) == 0)
            apart = 1; /* the beginning of it */
        if (apart < best) {
            best = apart;
            found = *names;
        }
    }
    return found;
}
