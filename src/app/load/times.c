/* Sums, quantiles and the names of counts. */
#include "app/load/load.h"

#include <stddef.h>

#define COUNT_ROW(field, unit, what) \
    {#field, unit, what, (uint32_t)offsetof(weir_load_counts, field), false},
#define ERROR_ROW(field, what) \
    {#field, "errors", what, (uint32_t)offsetof(weir_load_counts, error_##field), true},
static const weir_load_count_row rows[] = {WEIR_LOAD_COUNTS(COUNT_ROW) WEIR_LOAD_ERRORS(ERROR_ROW)};
#undef COUNT_ROW
#undef ERROR_ROW
enum { ROWS = sizeof rows / sizeof *rows };
_Static_assert(sizeof(weir_load_counts) == ROWS * sizeof(uint64_t), "nothing but counts");

const weir_load_count_row *weir_load_count_rows(unsigned *count)
{
    *count = ROWS;
    return rows;
}

void load_counts_add(weir_load_counts *sum, const weir_load_counts *counts, int sign)
{
    uint64_t *into = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)counts;
    for (unsigned i = 0; i < ROWS; i++)
        into[i] = sign > 0 ? into[i] + from[i] : into[i] - from[i];
}

uint64_t weir_load_errors(const weir_load_counts *counts)
{
    const uint64_t *all = (const uint64_t *)counts;
    uint64_t sum = 0;
    for (unsigned i = 0; i < ROWS; i++)
        sum += rows[i].error ? all[i] : 0;
    return sum;
}

/* The square root, by Newton; the library is not linked with that of mathematics. */
static uint64_t root(double square)
{
    double guess = square > 1 ? square : 1;
    for (int i = 0; i < 200; i++) {
        double better = (guess + square / guess) / 2;
        if (better >= guess)
            break;
        guess = better;
    }
    return (uint64_t)guess;
}

static uint64_t deviation_of(const struct histogram *from, uint64_t mean)
{
    double sum = 0;
    uint32_t last = histogram_cell_of(from->max);
    for (uint32_t i = histogram_cell_of(from->min); i <= last; i++) {
        if (from->cells[i] == 0)
            continue;
        double apart = (double)histogram_cell_end(i) - (double)mean;
        sum += apart * apart * (double)from->cells[i];
    }
    return root(sum / (double)from->count);
}

void load_times_of(const struct histogram *from, weir_load_times *out)
{
    *out = (weir_load_times){0};
    if (from->count == 0)
        return;
    out->count = from->count;
    out->min = from->min;
    out->max = from->max;
    out->mean = from->sum / from->count;
    out->deviation = deviation_of(from, out->mean);
    out->p50 = histogram_quantile(from, 0.5);
    out->p75 = histogram_quantile(from, 0.75);
    out->p90 = histogram_quantile(from, 0.9);
    out->p95 = histogram_quantile(from, 0.95);
    out->p99 = histogram_quantile(from, 0.99);
    out->p999 = histogram_quantile(from, 0.999);
    out->p9999 = histogram_quantile(from, 0.9999);
    out->p99999 = histogram_quantile(from, 0.99999);
}

static const struct histogram *histogram_of(const weir_load_result *result,
                                            enum weir_load_which which)
{
    const struct load_times *times = &((const struct load_result *)(const void *)result)->times;
    switch (which) {
    case WEIR_LOAD_RESPONSE:
        return &times->response;
    case WEIR_LOAD_CONNECT:
        return &times->connect;
    case WEIR_LOAD_HANDSHAKE:
        return &times->handshake;
    case WEIR_LOAD_SERVICE:
        break;
    }
    return &times->service;
}

uint64_t weir_load_quantile(const weir_load_result *result, enum weir_load_which which,
                            double quantile)
{
    return histogram_quantile(histogram_of(result, which), quantile);
}

void weir_load_cells(const weir_load_result *result, enum weir_load_which which,
                     weir_load_cell_fn *fn, void *arg)
{
    const struct histogram *from = histogram_of(result, which);
    uint32_t last = histogram_cell_of(from->max);
    for (uint32_t i = histogram_cell_of(from->min); i <= last && from->count != 0; i++)
        if (from->cells[i] != 0)
            fn(histogram_cell_end(i), from->cells[i], arg);
}
