/* Conditions on a result: "p99<5ms", "errors>1%", "rps<100k". */
#include <stdlib.h>
#include <string.h>

#include "cmd/bench/bench.h"

enum metric {
    METRIC_QUANTILE,
    METRIC_MEAN,
    METRIC_JITTER,
    METRIC_MAX, /* the last that is a time */
    METRIC_RATE,
    METRIC_ERRORS,
    METRIC_BAD,
    METRIC_MISSED,
    METRIC_LATE,
    METRIC_LOST,
    METRIC_OVERDUE,
    METRIC_DUPLICATES,
    METRIC_REORDERED
};

enum unit { UNIT_TIME, UNIT_RATE, UNIT_COUNT };

static const struct {
    const char *name;
    enum metric metric;
    enum unit unit;
} table[] = {
    {"mean", METRIC_MEAN, UNIT_TIME},
    {"max", METRIC_MAX, UNIT_TIME},
    {"jitter", METRIC_JITTER, UNIT_TIME},
    {"rps", METRIC_RATE, UNIT_RATE},
    {"errors", METRIC_ERRORS, UNIT_COUNT},
    {"bad", METRIC_BAD, UNIT_COUNT},
    {"missed", METRIC_MISSED, UNIT_COUNT},
    {"late", METRIC_LATE, UNIT_COUNT},
    {"lost", METRIC_LOST, UNIT_COUNT},
    {"overdue", METRIC_OVERDUE, UNIT_COUNT},
    {"duplicates", METRIC_DUPLICATES, UNIT_COUNT},
    {"reordered", METRIC_REORDERED, UNIT_COUNT},
};
enum { ROWS = sizeof table / sizeof *table };

static int refuse(char *why, size_t size, const char *text)
{
    snprintf(why, size,
             "\"%s\" is no condition: METRIC<VALUE or METRIC>VALUE, as p99<5ms, p99.9>20ms, "
             "mean>1ms, max>1s, rps<10k, errors>0, errors>1%%, bad>0 (no 2xx or 3xx), missed>0; of "
             "datagrams lost>0.1%%, jitter>1ms, reordered>0, duplicates>0, overdue>0",
             text);
    return false;
}

/* "p50", "p99.999": from 0 to 100. */
static bool read_quantile(const char *name, size_t size, double *out)
{
    char digits[16], *end;
    if (size < 2 || size > sizeof digits || name[0] != 'p')
        return false;
    memcpy(digits, name + 1, size - 1);
    digits[size - 1] = '\0';
    double percent = strtod(digits, &end);
    *out = percent / 100;
    return *end == '\0' && percent >= 0 && percent <= 100;
}

bool condition_read(const char *text, struct condition *out, char *why, size_t why_size)
{
    size_t size = strcspn(text, "<>");
    const char *value = text + size;
    enum unit unit = UNIT_TIME;
    uint64_t ns;

    *out = (struct condition){.text = text, .less = *value == '<', .metric = -1};
    if (*value == '\0')
        return refuse(why, why_size, text);
    value++;
    out->equal = *value == '=';
    value += out->equal;
    while (*value == ' ')
        value++;
    while (size > 0 && text[size - 1] == ' ')
        size--;
    if (read_quantile(text, size, &out->quantile))
        out->metric = METRIC_QUANTILE;
    for (unsigned i = 0; i < ROWS; i++)
        if (strlen(table[i].name) == size && memcmp(table[i].name, text, size) == 0) {
            out->metric = (int)table[i].metric;
            unit = table[i].unit;
        }
    if (out->metric < 0)
        return refuse(why, why_size, text);
    if (unit == UNIT_TIME) {
        if (weir_duration_parse(value, &ns, NULL, 0) < 0)
            return refuse(why, why_size, text);
        out->value = (double)ns;
        return true;
    }
    char number[32];
    snprintf(number, sizeof number, "%s", value);
    size_t last = strlen(number);
    out->percent = unit == UNIT_COUNT && last > 0 && number[last - 1] == '%';
    if (out->percent)
        number[last - 1] = '\0';
    return bench_number(number, &out->value) || refuse(why, why_size, text);
}

/* The worse of both ways. */
static uint64_t jitter_of(const weir_load_result *result)
{
    return result->up.jitter_ns > result->down.jitter_ns ? result->up.jitter_ns
                                                         : result->down.jitter_ns;
}

/* What was sent of what may get lost: requests, or the datagrams of both ways. */
static double datagrams_of(const weir_load_result *result)
{
    uint64_t streamed = result->up.sent + result->down.sent;
    return (double)(streamed != 0 ? streamed : result->counts.sent);
}

static double metric_of(const struct condition *condition, const weir_load_result *result)
{
    const weir_load_counts *counts = &result->counts;
    enum weir_load_which which = bench_which(result);
    const weir_load_times *times =
        which == WEIR_LOAD_RESPONSE ? &result->response : &result->service;
    double count = 0, all = (double)(counts->sent + counts->missed + weir_load_errors(counts));
    switch ((enum metric)condition->metric) {
    case METRIC_QUANTILE:
        return (double)weir_load_quantile(result, which, condition->quantile);
    case METRIC_MEAN:
        return (double)times->mean;
    case METRIC_JITTER:
        return (double)jitter_of(result);
    case METRIC_MAX:
        return (double)times->max;
    case METRIC_RATE:
        return per_second(counts->requests, result);
    case METRIC_ERRORS:
        count = (double)weir_load_errors(counts);
        break;
    case METRIC_BAD:
        count = (double)(counts->status_4xx + counts->status_5xx + counts->status_other);
        break;
    case METRIC_MISSED:
        count = (double)counts->missed;
        break;
    case METRIC_LATE:
        count = (double)counts->late;
        break;
    case METRIC_LOST:
        count = (double)counts->lost;
        all = datagrams_of(result);
        break;
    case METRIC_OVERDUE:
        count = (double)counts->overdue;
        all = datagrams_of(result);
        break;
    case METRIC_DUPLICATES:
        count = (double)counts->duplicates;
        all = datagrams_of(result);
        break;
    case METRIC_REORDERED:
        count = (double)counts->reordered;
        all = datagrams_of(result);
        break;
    }
    return condition->percent ? (all > 0 ? 100 * count / all : 0) : count;
}

bool condition_is_of_loss(const struct condition *condition)
{
    return condition->metric == METRIC_LOST;
}

bool condition_holds(const struct condition *condition, const weir_load_result *result)
{
    double is = metric_of(condition, result), wanted = condition->value;
    if (condition->less)
        return condition->equal ? is <= wanted : is < wanted;
    return condition->equal ? is >= wanted : is > wanted;
}

void condition_value(const struct condition *condition, const weir_load_result *result, char *out,
                     size_t size)
{
    double is = metric_of(condition, result);
    char text[16];
    if (condition->metric <= METRIC_MAX)
        snprintf(out, size, "%s", show_time((uint64_t)is, text));
    else
        snprintf(out, size, "%.6g%s", is, condition->percent ? "%" : "");
}
