/* weir bench compare: two results of --json, side by side. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/bench/kinds.h"

enum { VALUES_MAX = 1 << 20, RUNS_MAX = BENCH_RUNS_MAX };
#define TEXT_MAX (64u << 20)

/* One document, read. */
struct document {
    const char *path;
    char *text;
    weir_json_value *values;
    const weir_json_value *runs[RUNS_MAX];
    unsigned run_count;
    char mode[32];
};

struct compare {
    bool json;
};

static const struct option options[] = {{.name = "json",
                                         .kind = OPTION_FLAG,
                                         .offset = offsetof(struct compare, json),
                                         .help = "print JSON"},
                                        {0}};

static int load_text(struct document *document, size_t *size)
{
    FILE *file = fopen(document->path, "re");
    if (file == NULL)
        return say(EX_NOINPUT, "bench compare: cannot read %s: %m", document->path);
    document->text = malloc(TEXT_MAX);
    *size = document->text != NULL ? fread(document->text, 1, TEXT_MAX, file) : 0;
    bool bad = ferror(file) != 0 || *size == 0 || *size == TEXT_MAX;
    fclose(file);
    return bad ? say(EX_DATAERR, "bench compare: %s is empty, or larger than 64 MiB",
                     document->path)
               : EX_OK;
}

static int read_document(struct document *document)
{
    size_t size = 0;
    char schema[32];
    int code = load_text(document, &size);
    if (code != EX_OK)
        return code;
    document->values = malloc(VALUES_MAX * sizeof *document->values);
    if (document->values == NULL)
        return say(EX_OSERR, "out of memory");
    const weir_json_value *values = document->values, *root = values;
    if (weir_json_read(document->text, size, document->values, VALUES_MAX) < 0 ||
        root->kind != WEIR_JSON_OBJECT ||
        weir_json_to_text(weir_json_find(values, root, "schema"), schema, sizeof schema) < 0 ||
        strcmp(schema, "weir-bench-1") != 0)
        return say(EX_DATAERR, "bench compare: %s was not written by weir bench --json",
                   document->path);
    if (weir_json_to_text(weir_json_find(values, root, "mode"), document->mode,
                          sizeof document->mode) < 0)
        document->mode[0] = '\0';
    const weir_json_value *runs = weir_json_find(values, root, "runs");
    if (runs == NULL || runs->kind != WEIR_JSON_ARRAY)
        return say(EX_DATAERR, "bench compare: %s has no runs", document->path);
    for (const weir_json_value *run = weir_json_first(values, runs);
         run != NULL && document->run_count < RUNS_MAX; run = weir_json_next(values, runs, run))
        document->runs[document->run_count++] = run;
    return document->run_count != 0
               ? EX_OK
               : say(EX_DATAERR, "bench compare: %s has no runs", document->path);
}

/* ---- what is compared ---- */

struct row {
    const char *name, *object, *field;
    bool time, more_is_better;
};

static const struct row rows[] = {
    {"requests/s", NULL, "requests_s", false, true},
    {"response p50", "response", "p50_ns", true, false},
    {"response p99", "response", "p99_ns", true, false},
    {"response p99.9", "response", "p99_9_ns", true, false},
    {"service mean", "service", "mean_ns", true, false},
    {"service p50", "service", "p50_ns", true, false},
    {"service p90", "service", "p90_ns", true, false},
    {"service p99", "service", "p99_ns", true, false},
    {"service p99.9", "service", "p99_9_ns", true, false},
    {"service max", "service", "max_ns", true, false},
    {"handshakes/s", "tls", "handshakes_s", false, true},
    {"handshake p50", "handshake", "p50_ns", true, false},
    {"handshake p99", "handshake", "p99_ns", true, false},
    {"errors", "errors", "all", false, false},
    {"datagrams/s", "datagrams", "arrived_s", false, true},
    {"lost", "datagrams", "lost", false, false},
    {"jitter", "datagrams", "jitter_ns", true, false},
};
enum { ROWS = sizeof rows / sizeof *rows };

/* The values of all runs, in order; 0: it is not in every one. */
static unsigned take(const struct document *document, const struct row *row, uint64_t *out)
{
    for (unsigned i = 0; i < document->run_count; i++) {
        const weir_json_value *at = document->runs[i];
        if (row->object != NULL)
            at = weir_json_find(document->values, at, row->object);
        if (at == NULL || at->kind != WEIR_JSON_OBJECT ||
            weir_json_to_number(weir_json_find(document->values, at, row->field), &out[i]) < 0)
            return 0;
    }
    return document->run_count;
}

static int by_number(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

/* Better, worse, or not to be told apart: the runs of one must all lie on one side of those of the
 * other; with fewer than three each nothing but the numbers is said. */
static const char *verdict(const struct row *row, const uint64_t *a, unsigned a_count,
                           const uint64_t *b, unsigned b_count)
{
    if (a_count < 3 || b_count < 3)
        return "";
    if (b[0] > a[a_count - 1])
        return row->more_is_better ? "better" : "worse";
    if (b[b_count - 1] < a[0])
        return row->more_is_better ? "worse" : "better";
    return "within the noise";
}

static void show(const struct row *row, uint64_t value, char out[16])
{
    if (row->time)
        show_time(value, out);
    else
        snprintf(out, 16, "%" PRIu64, value);
}

static void compare_row(const struct row *row, const struct document *before,
                        const struct document *after, weir_json_writer *json)
{
    uint64_t a[RUNS_MAX], b[RUNS_MAX];
    unsigned a_count = take(before, row, a), b_count = take(after, row, b);
    char left[16], right[16];
    if (a_count == 0 || b_count == 0)
        return;
    qsort(a, a_count, sizeof *a, by_number);
    qsort(b, b_count, sizeof *b, by_number);
    uint64_t x = a[a_count / 2], y = b[b_count / 2];
    double change = x != 0 ? 100 * ((double)y - (double)x) / (double)x : 0;
    const char *said = verdict(row, a, a_count, b, b_count);
    if (json == NULL) {
        show(row, x, left);
        show(row, y, right);
        printf("%-16s %12s %12s  %+8.1f %%  %s\n", row->name, left, right, change, said);
        return;
    }
    weir_json_object(json, NULL);
    weir_json_text(json, "name", row->name);
    weir_json_number(json, "before", x);
    weir_json_number(json, "after", y);
    weir_json_signed(json, "change_permille", (int64_t)(change * 10));
    weir_json_text(json, "verdict", said[0] != '\0' ? said : NULL);
    weir_json_end(json);
}

static unsigned invalid_runs(const struct document *document)
{
    unsigned count = 0;
    for (unsigned i = 0; i < document->run_count; i++) {
        const weir_json_value *valid = weir_json_find(document->values, document->runs[i], "valid");
        count += valid == NULL || valid->kind != WEIR_JSON_BOOL || !valid->truth;
    }
    return count;
}

static void print_text(const struct document *before, const struct document *after)
{
    const struct document *both[] = {before, after};
    printf("%-16s %12s %12s\n", "", "before", "after");
    for (unsigned i = 0; i < ROWS; i++)
        compare_row(&rows[i], before, after, NULL);
    for (unsigned i = 0; i < 2; i++)
        if (invalid_runs(both[i]) != 0)
            printf("INVALID    %u of %u runs in %s: the generator was the limit\n",
                   invalid_runs(both[i]), both[i]->run_count, both[i]->path);
    if (before->run_count < 3 || after->run_count < 3)
        puts("a change may be noise: --repeat 5 on both sides would tell");
}

static int print_json(const struct document *before, const struct document *after)
{
    weir_json_writer out = {.indent = true};
    weir_json_object(&out, NULL);
    weir_json_text(&out, "schema", "weir-bench-compare-1");
    weir_json_number(&out, "invalid_before", invalid_runs(before));
    weir_json_number(&out, "invalid_after", invalid_runs(after));
    weir_json_array(&out, "rows");
    for (unsigned i = 0; i < ROWS; i++)
        compare_row(&rows[i], before, after, &out);
    weir_json_end(&out);
    weir_json_end(&out);
    return json_print(&out);
}

static int compare_run(const struct command *self, int argc, char **argv)
{
    struct compare given = {0};
    struct document documents[2] = {0};
    int operands, code = command_options(self, argc, argv, &given, &operands);
    if (code >= 0)
        return code;
    if (operands != 2)
        return say(EX_USAGE, "bench compare needs two files of weir bench --json: before, after");
    for (int i = 0; i < 2 && code < EX_USAGE; i++) {
        documents[i].path = argv[1 + i];
        code = read_document(&documents[i]);
    }
    if (code == EX_OK && strcmp(documents[0].mode, documents[1].mode) != 0)
        code = say(EX_DATAERR, "bench compare: %s is of bench %s, %s of bench %s",
                   documents[0].path, documents[0].mode, documents[1].path, documents[1].mode);
    if (code == EX_OK && given.json)
        code = print_json(&documents[0], &documents[1]);
    else if (code == EX_OK)
        print_text(&documents[0], &documents[1]);
    for (int i = 0; i < 2; i++) {
        free(documents[i].text);
        free(documents[i].values);
    }
    return code;
}

const struct command bench_compare = {
    .name = "bench compare",
    .summary = "two results of --json, side by side",
    .usage = "[OPTIONS] BEFORE.json AFTER.json",
    .about = "Compares two results that --json wrote: the median run of each. With three runs or "
             "more on both sides (--repeat) it says whether a change is more than noise: all runs "
             "of one side must lie beyond all of the other.",
    .examples = "  weir bench http --repeat 5 --json before.json http://127.0.0.1:8080/\n"
                "  weir bench http --repeat 5 --json after.json http://127.0.0.1:8081/\n"
                "  weir bench compare before.json after.json\n",
    .options = options,
    .run = compare_run,
};
