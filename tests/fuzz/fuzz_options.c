/* The command line of weir serve, one word a line: whatever is taken keeps to its bounds, header
 * fields are judged as the server judges them, and operands are words that were given.
 *
 * fuzz-with: src/cmd/option.c src/cmd/command.c src/cmd/serve/options.c */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/serve/serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS = 80 };

static void expect(bool holds)
{
    if (!holds)
        abort();
}

static void no_log(const weir_log_line *line, void *arg)
{
}

static int split(char *text, char **argv)
{
    static char name[] = "serve";
    int argc = 0;

    argv[argc++] = name;
    while (argc < WORDS) {
        char *end = strchr(text, '\n');

        argv[argc++] = text;
        if (end == NULL)
            break;
        *end = '\0';
        text = end + 1;
    }
    argv[argc] = NULL;
    return argc;
}

static bool chosen(const struct option *option, const struct serve *serve)
{
    const char *place = (const char *)serve + option->offset;

    for (const struct option_choice *c = option->choices; c->name != NULL; c++) {
        if (option->kind == OPTION_NAME ? *(const char *const *)place == c->name
                                        : *(const int *)place == c->value)
            return true;
    }
    return false;
}

/* What stands in a value's place is 0, as it was, or within the option's bounds. */
static void check_values(const struct serve *serve)
{
    for (const struct option *o = serve_options; o->name != NULL || o->help != NULL; o++) {
        const char *place = (const char *)serve + o->offset;
        uint64_t value;

        switch (o->kind) {
        case OPTION_NUMBER:
            value = *(const uint32_t *)place;
            expect(value == 0 || (value >= o->least && value <= o->most));
            break;
        case OPTION_SIZE:
            value = *(const uint64_t *)place;
            expect(value == 0 || value >= o->least);
            break;
        case OPTION_MS:
            expect(*(const uint32_t *)place != WEIR_OFF || o->never);
            break;
        case OPTION_CHOICE:
            expect(*(const int *)place == 0 || chosen(o, serve));
            break;
        case OPTION_NAME:
            expect(*(const char *const *)place == NULL || chosen(o, serve));
            break;
        default:
            break;
        }
    }
    expect(serve->listen.count <= OPTION_TEXTS_MAX && serve->headers.count <= OPTION_TEXTS_MAX);
}

static void make_app(const struct serve *serve)
{
    weir_http_options options = {
        .header_ms = serve->header_ms,
        .body_ms = serve->body_ms,
        .idle_ms = serve->idle_ms,
        .body_max_bytes = serve->max_body,
        .headers = serve->headers.items,
    };
    weir_http_app *app = weir_http_app_new(&options);

    weir_http_app_free(app);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *nowhere;
    char *text = malloc(size + 1), *argv[WORDS + 1];
    struct serve *serve = calloc(1, sizeof *serve);
    FILE *former = stderr;
    int argc, operands, result;

    if (nowhere == NULL)
        nowhere = fopen("/dev/null", "w");
    expect(text != NULL && serve != NULL && nowhere != NULL);
    weir_log_set(no_log, NULL, WEIR_LOG_ERROR);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    argc = split(text, argv);
    stderr = nowhere; /* where complaints go */
    result = options_read(serve_options, "serve", argc, argv, serve, &operands);
    stderr = former;
    expect(result == OPTIONS_GO_ON || result == OPTIONS_HELP || result == OPTIONS_WRONG);
    expect(operands >= 0 && operands < argc);
    for (int i = 1; i <= operands; i++)
        expect(argv[i] >= text && argv[i] <= text + size);
    check_values(serve);
    if (result == OPTIONS_GO_ON)
        make_app(serve);
    free(serve);
    free(text);
    return 0;
}
