#include "cmd/option.h"

#include <stdio.h>
#include <string.h>

#include <weir/service.h>
#include <weir/units.h>

#include "cmd/command.h"

enum { NAMES_MAX = 64, NAME_BYTES = 64 };

struct reading {
    const struct option *table;
    const char *command;
    char *into;
};

static bool table_ended(const struct option *option)
{
    return option->name == NULL && option->help == NULL;
}

static int wrong(const struct reading *reading, const struct option *option, const char *text,
                 const char *more)
{
    fprintf(stderr, "weir %s: --%s%s%s\n", reading->command, option->name, text, more);
    return OPTIONS_WRONG;
}

static int unknown(const struct reading *reading, const char *word)
{
    const char *names[NAMES_MAX + 1];
    unsigned count = 0;
    size_t size = strcspn(word, "=");
    char name[NAME_BYTES];
    for (const struct option *o = reading->table; !table_ended(o) && count < NAMES_MAX; o++)
        if (o->name != NULL)
            names[count++] = o->name;
    names[count] = NULL;
    snprintf(name, sizeof name, "%.*s", (int)size, word);
    const char *like = suggestion(name + strspn(name, "-"), names);
    fprintf(stderr, "weir %s: unknown option %.*s%s%s%s (weir %s --help lists them)\n",
            reading->command, (int)size, word, like != NULL ? "; did you mean --" : "",
            like != NULL ? like : "", like != NULL ? "?" : "", reading->command);
    return OPTIONS_WRONG;
}

static const struct option *find_name(const struct option *table, const char *name, size_t size)
{
    for (; !table_ended(table); table++)
        if (table->name != NULL && strlen(table->name) == size &&
            memcmp(table->name, name, size) == 0)
            return table;
    return NULL;
}

static const struct option *find_letter(const struct option *table, char letter)
{
    for (; !table_ended(table); table++)
        if (table->name != NULL && table->letter == letter)
            return table;
    return NULL;
}

static int take_ms(const struct reading *reading, const struct option *option, const char *value,
                   uint32_t *out)
{
    char why[WEIR_UNITS_WHY_MAX];
    uint64_t ns;
    if (weir_duration_parse(value, &ns, why, sizeof why) < 0)
        return wrong(reading, option, ": ", why);
    if (ns == WEIR_NEVER && !option->never)
        return wrong(reading, option, ": it cannot be \"never\"", "");
    if (ns == WEIR_NEVER) {
        *out = WEIR_OFF;
        return OPTIONS_GO_ON;
    }
    /* 0 is the default in the library's options. */
    if (ns == 0)
        return wrong(reading, option, " cannot be 0",
                     option->never ? "; \"never\" turns it off" : "");
    if (ns % WEIR_MS != 0 || ns / WEIR_MS >= WEIR_OFF)
        return wrong(reading, option, ": from 1ms to 49d, in whole milliseconds", "");
    *out = (uint32_t)(ns / WEIR_MS);
    return OPTIONS_GO_ON;
}

static int take_size(const struct reading *reading, const struct option *option, const char *value,
                     uint64_t *out)
{
    char why[WEIR_UNITS_WHY_MAX], least[WEIR_UNITS_TEXT_MAX];
    uint64_t bytes;
    if (weir_size_parse(value, &bytes, why, sizeof why) < 0)
        return wrong(reading, option, ": ", why);
    if (bytes < option->least) {
        weir_size_format(option->least, least, sizeof least);
        return wrong(reading, option, " must be at least ", least);
    }
    *out = bytes;
    return OPTIONS_GO_ON;
}

static int take_number(const struct reading *reading, const struct option *option,
                       const char *value, uint32_t *out)
{
    char why[WEIR_UNITS_WHY_MAX];
    uint64_t number;
    if (weir_number_parse(value, option->least, option->most, &number, why, sizeof why) < 0)
        return wrong(reading, option, ": ", why);
    *out = (uint32_t)number;
    return OPTIONS_GO_ON;
}

/* The choice of that name, or NULL, which was said. */
static const struct option_choice *find_choice(const struct reading *reading,
                                               const struct option *option, const char *value)
{
    char known[256] = "";
    const char *names[NAMES_MAX + 1];
    unsigned count = 0;
    for (const struct option_choice *c = option->choices; c->name != NULL; c++) {
        if (strcmp(c->name, value) == 0)
            return c;
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", count != 0 ? ", " : "", c->name);
        if (count < NAMES_MAX)
            names[count++] = c->name;
    }
    names[count] = NULL;
    const char *like = suggestion(value, names);
    fprintf(stderr, "weir %s: --%s: \"%s\" is none of %s%s%s%s\n", reading->command, option->name,
            value, known, like != NULL ? "; did you mean " : "", like != NULL ? like : "",
            like != NULL ? "?" : "");
    return NULL;
}

static int take_choice(const struct reading *reading, const struct option *option,
                       const char *value, void *place)
{
    const struct option_choice *choice = find_choice(reading, option, value);
    if (choice == NULL)
        return OPTIONS_WRONG;
    if (option->kind == OPTION_NAME)
        *(const char **)place = choice->name;
    else
        *(int *)place = choice->value;
    return OPTIONS_GO_ON;
}

static int take(const struct reading *reading, const struct option *option, const char *value)
{
    void *place = reading->into + option->offset;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)place = true;
        return OPTIONS_GO_ON;
    case OPTION_COUNT:
        ++*(uint32_t *)place;
        return OPTIONS_GO_ON;
    case OPTION_TEXT:
        if (*value == '\0')
            return wrong(reading, option, " cannot be empty", "");
        *(const char **)place = value;
        return OPTIONS_GO_ON;
    case OPTION_TEXTS: {
        struct option_texts *texts = place;
        if (texts->count == OPTION_TEXTS_MAX)
            return wrong(reading, option, " was given too often: at most 64 times", "");
        texts->items[texts->count++] = value;
        return OPTIONS_GO_ON;
    }
    case OPTION_NUMBER:
        return take_number(reading, option, value, place);
    case OPTION_SIZE:
        return take_size(reading, option, value, place);
    case OPTION_MS:
        return take_ms(reading, option, value, place);
    case OPTION_CHOICE:
    case OPTION_NAME:
        return take_choice(reading, option, value, place);
    case OPTION_HEADING:
        break;
    }
    return OPTIONS_WRONG;
}

static bool has_value(const struct option *option)
{
    return option->kind != OPTION_FLAG && option->kind != OPTION_COUNT;
}

/* "--name", "--name=value", "--name value". */
static int read_long(const struct reading *reading, int argc, char **argv, int *at)
{
    const char *word = argv[*at] + 2;
    size_t size = strcspn(word, "=");
    if (size == 4 && memcmp(word, "help", 4) == 0)
        return OPTIONS_HELP;
    const struct option *option = find_name(reading->table, word, size);
    if (option == NULL)
        return unknown(reading, argv[*at]);
    const char *value = word[size] == '=' ? word + size + 1 : NULL;
    if (!has_value(option) && value != NULL)
        return wrong(reading, option, " takes no value", "");
    if (has_value(option) && value == NULL) {
        if (*at + 1 == argc)
            return wrong(reading, option, " needs a value: ", option->value_name);
        value = argv[++*at];
    }
    return take(reading, option, value);
}

/* "-v", "-vv", and with a value "-c 64" and "-c64". */
static int read_letters(const struct reading *reading, int argc, char **argv, int *at)
{
    const char *word = argv[*at];
    for (const char *letter = word + 1; *letter != '\0'; letter++) {
        const struct option *option = find_letter(reading->table, *letter);
        if (option == NULL)
            return *letter == 'h' ? OPTIONS_HELP : unknown(reading, word);
        const char *value = NULL;
        if (has_value(option)) {
            value = letter[1] != '\0' ? letter + 1 : *at + 1 < argc ? argv[++*at] : NULL;
            if (value == NULL)
                return wrong(reading, option, " needs a value: ", option->value_name);
        }
        int result = take(reading, option, value);
        if (result != OPTIONS_GO_ON || value != NULL)
            return result;
    }
    return OPTIONS_GO_ON;
}

int options_read(const struct option *table, const char *command, int argc, char **argv, void *into,
                 int *operands)
{
    const struct reading reading = {table, command, into};
    int result = OPTIONS_GO_ON;
    bool ended = false;
    *operands = 0;
    for (int at = 1; at < argc && result == OPTIONS_GO_ON; at++) {
        if (ended || argv[at][0] != '-' || argv[at][1] == '\0')
            argv[++*operands] = argv[at];
        else if (strcmp(argv[at], "--") == 0)
            ended = true;
        else if (argv[at][1] == '-')
            result = read_long(&reading, argc, argv, &at);
        else
            result = read_letters(&reading, argc, argv, &at);
    }
    return result;
}

void print_wrapped(const char *text, int at, int indent)
{
    enum { COLUMNS = 80 };
    bool begun = false;
    while (*text != '\0') {
        if (!begun && *text == ' ') { /* a line that is laid out already */
            int whole = (int)strcspn(text, "\n");
            printf("%.*s", whole, text);
            text += whole;
            begun = true;
            continue;
        }
        if (*text == '\n' || *text == ' ') {
            if (*text++ == '\n') {
                printf("\n%*s", *text == '\n' ? 0 : indent, "");
                at = indent;
                begun = false;
            }
            continue;
        }
        int size = (int)strcspn(text, " \n");
        if (begun && at + 1 + size > COLUMNS) {
            printf("\n%*s", indent, "");
            at = indent;
            begun = false;
        }
        at += printf("%s%.*s", begun ? " " : "", size, text);
        begun = true;
        text += size;
    }
    putchar('\n');
}

void options_print(const struct option *table)
{
    enum { INDENT = 26 };
    for (; !table_ended(table); table++) {
        if (table->kind == OPTION_HEADING) {
            printf("\n%s\n", table->help);
            continue;
        }
        int at = printf("  %c%c%s--%s", table->letter != 0 ? '-' : ' ',
                        table->letter != 0 ? table->letter : ' ', table->letter != 0 ? ", " : "  ",
                        table->name);
        if (has_value(table))
            at += printf(" %s", table->value_name);
        if (at > INDENT - 2) {
            putchar('\n');
            at = 0;
        }
        printf("%*s", INDENT - at, "");
        print_wrapped(table->help, INDENT, INDENT);
    }
    printf("      --help%*s%s\n", INDENT - 12, "", "this text");
}
