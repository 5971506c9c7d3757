/* Answers of a server as tables. What it did not tell is 0 or "?". */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/loop.h>
#include <weir/stats.h>
#include <weir/units.h>

#include "cmd/command.h"
#include "cmd/ctl/ctl.h"

enum { TEXT_MAX = 384, COLUMNS_MAX = 8 };

static const weir_json_value *member(const struct answer *answer, const weir_json_value *object,
                                     const char *name)
{
    return weir_json_find(answer->values, object != NULL ? object : answer->values, name);
}

static uint64_t number(const struct answer *answer, const weir_json_value *object, const char *name)
{
    uint64_t value = 0;
    weir_json_to_number(member(answer, object, name), &value);
    return value;
}

static bool truth(const struct answer *answer, const weir_json_value *object, const char *name)
{
    const weir_json_value *value = member(answer, object, name);
    return value != NULL && value->kind == WEIR_JSON_BOOL && value->truth;
}

/* A text without what could move the cursor. */
static const char *text(const struct answer *answer, const weir_json_value *object,
                        const char *name, char out[TEXT_MAX])
{
    if (weir_json_to_text(member(answer, object, name), out, TEXT_MAX) < 0)
        strcpy(out, "?");
    for (char *c = out; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return out;
}

#define EACH(value, answer, bracket)                                           \
    const weir_json_value *value = weir_json_first((answer)->values, bracket); \
    value != NULL;                                                             \
    value = weir_json_next((answer)->values, bracket, value)

/* ---- stats ---- */

/* The objects with the counters: the sum first, then each loop's. */
struct columns {
    const weir_json_value *stats[COLUMNS_MAX];
    uint64_t loops[COLUMNS_MAX]; /* 0: the sum */
    unsigned count;
};

static void columns_find(const struct answer *answer, struct columns *columns)
{
    const weir_json_value *loops = member(answer, NULL, "loops");
    *columns = (struct columns){.count = 1};
    columns->stats[0] = member(answer, NULL, "sum");
    for (EACH(loop, answer, loops)) {
        if (columns->count == COLUMNS_MAX || loops->count == 1)
            break;
        columns->loops[columns->count] = number(answer, loop, "loop");
        columns->stats[columns->count++] = member(answer, loop, "stats");
    }
}

struct rows {
    const struct answer *before, *now;
    struct columns before_columns, now_columns;
    uint64_t elapsed_ns;
};

static void print_value(const struct rows *rows, const weir_stat *row, unsigned column)
{
    uint64_t value = number(rows->now, rows->now_columns.stats[column], row->field);
    if (rows->before == NULL || row->kind != WEIR_STAT_COUNTER || rows->elapsed_ns == 0) {
        printf(" %15" PRIu64, value);
        return;
    }
    uint64_t former = number(rows->before, rows->before_columns.stats[column], row->field);
    double rate = (double)(value - former) * 1e9 / (double)rows->elapsed_ns;
    printf(rate < 100 ? " %15.1f" : " %15.0f", rate);
}

static void print_table(const struct rows *rows, const weir_stat *table, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        bool rate = rows->before != NULL && table[i].kind == WEIR_STAT_COUNTER;
        printf("%-20s", table[i].field);
        for (unsigned column = 0; column < rows->now_columns.count; column++)
            print_value(rows, &table[i], column);
        printf("  %s%s\n", table[i].unit, rate ? "/s" : "");
    }
}

static void print_silent(const struct answer *answer)
{
    char why[TEXT_MAX];
    for (EACH(loop, answer, member(answer, NULL, "loops")))
        if (!truth(answer, loop, "answered"))
            printf("loop %" PRIu64 ": %s\n", number(answer, loop, "loop"),
                   text(answer, loop, "error", why));
}

void print_stats(const struct answer *before, const struct answer *now)
{
    struct rows rows = {.before = before, .now = now};
    unsigned count;
    columns_find(now, &rows.now_columns);
    if (before != NULL) {
        columns_find(before, &rows.before_columns);
        rows.elapsed_ns = number(now, NULL, "time_ns") - number(before, NULL, "time_ns");
    }
    printf("%-20s", "");
    for (unsigned column = 0; column < rows.now_columns.count; column++) {
        char head[32] = "sum";
        if (column != 0)
            snprintf(head, sizeof head, "loop %" PRIu64, rows.now_columns.loops[column]);
        printf(" %15s", head);
    }
    putchar('\n');
    const weir_stat *table = weir_loop_stats_table(&count);
    print_table(&rows, table, count);
    table = weir_http_stats_table(&count);
    print_table(&rows, table, count);
    print_silent(now);
}

/* ---- the others ---- */

void print_loops(const struct answer *answer)
{
    char backend[TEXT_MAX];
    printf("%4s %8s %-7s %9s %9s %9s %6s %12s %7s\n", "loop", "thread", "back", "conns", "active",
           "listeners", "busy", "turns", "stalls");
    for (EACH(loop, answer, member(answer, NULL, "loops"))) {
        if (!truth(answer, loop, "answered"))
            continue;
        double handled = (double)number(answer, loop, "handled_ns");
        double waited = (double)number(answer, loop, "waited_ns");
        printf("%4" PRIu64 " %8" PRIu64 " %-7s %9" PRIu64 " %9" PRIu64 " %9" PRIu64
               " %5.1f%% %12" PRIu64 " %7" PRIu64 "\n",
               number(answer, loop, "loop"), number(answer, loop, "thread"),
               text(answer, loop, "backend", backend), number(answer, loop, "conns"),
               number(answer, loop, "conns_active"), number(answer, loop, "listeners"),
               handled + waited > 0 ? 100 * handled / (handled + waited) : 0.0,
               number(answer, loop, "turns"), number(answer, loop, "stalls"));
    }
    print_silent(answer);
}

static const char *age_text(uint64_t ms, char *out)
{
    if (ms < 10000)
        snprintf(out, WEIR_UNITS_TEXT_MAX, "%.1fs", (double)ms / 1000);
    else
        weir_duration_format(ms / 1000 * WEIR_S, out, WEIR_UNITS_TEXT_MAX);
    return out;
}

void print_connections(const struct answer *answer)
{
    const weir_json_value *list = member(answer, NULL, "connections");
    char id[TEXT_MAX], peer[TEXT_MAX], state[TEXT_MAX];
    char age[WEIR_UNITS_TEXT_MAX], idle[WEIR_UNITS_TEXT_MAX];
    printf("%-14s %4s %-28s %8s %8s %12s %12s %-9s %9s\n", "id", "loop", "peer", "age", "idle",
           "in", "out", "state", "queued");
    for (EACH(conn, answer, list))
        printf("%-14s %4" PRIu64 " %-28s %8s %8s %12" PRIu64 " %12" PRIu64 " %-9s %9" PRIu64 "\n",
               text(answer, conn, "id", id), number(answer, conn, "loop"),
               text(answer, conn, "peer", peer), age_text(number(answer, conn, "age_ms"), age),
               age_text(number(answer, conn, "idle_ms"), idle),
               number(answer, conn, "received_bytes"), number(answer, conn, "sent_bytes"),
               text(answer, conn, "state", state), number(answer, conn, "queued_bytes"));
    if (truth(answer, NULL, "more"))
        printf("%u of %" PRIu64 " connections (--limit shows more)\n",
               list != NULL ? list->count : 0, number(answer, NULL, "total"));
}

void print_plan(const struct answer *answer)
{
    char feature[TEXT_MAX], reason[TEXT_MAX];
    printf("%s: %s\n", text(answer, NULL, "backend", feature),
           text(answer, NULL, "reason", reason));
    for (EACH(row, answer, member(answer, NULL, "features"))) {
        printf("  %-3s %-20s ", truth(answer, row, "used") ? "yes" : "no",
               text(answer, row, "feature", feature));
        print_wrapped(text(answer, row, "reason", reason), 27, 27);
    }
}

/* "idle_ms": 60000 as "idle 1m"; the unit is the end of the name. */
static void print_limit(const struct answer *answer, const weir_json_value *object,
                        const weir_json_value *name)
{
    char label[TEXT_MAX], value[WEIR_UNITS_TEXT_MAX] = "no limit";
    uint64_t amount;
    if (weir_json_to_text(name, label, sizeof label) < 0)
        return;
    size_t size = strlen(label);
    if (weir_json_to_number(&answer->values[name->next], &amount) == 0) {
        if (size > 3 && strcmp(label + size - 3, "_ms") == 0)
            weir_duration_format(amount * WEIR_MS, value, sizeof value);
        else if (size > 6 && strcmp(label + size - 6, "_bytes") == 0)
            weir_size_format(amount, value, sizeof value);
        else
            snprintf(value, sizeof value, "%" PRIu64, amount);
    }
    printf("  %-20s %12s\n", label, value);
}

static void print_limits_of(const struct answer *answer, const weir_json_value *object)
{
    const weir_json_value *name = weir_json_first(answer->values, object);
    while (name != NULL) {
        print_limit(answer, object, name);
        name = weir_json_next(answer->values, object, &answer->values[name->next]);
    }
}

void print_limits(const struct answer *answer)
{
    char listen[TEXT_MAX];
    puts("each loop");
    print_limits_of(answer, member(answer, NULL, "loop"));
    for (EACH(service, answer, member(answer, NULL, "services"))) {
        printf("\n%s, on each loop\n", text(answer, service, "listen", listen));
        print_limits_of(answer, member(answer, service, "limits"));
    }
}
