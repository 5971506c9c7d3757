/* Values below 2^SUB_BITS have a cell each. Above, the highest SUB_BITS bits of a value name its
 * cell: half of the numbers of SUB_BITS bits (the highest bit is set), once for each shift. */
#include "base/histogram.h"

#include <string.h>

enum { HALF = 1 << (HISTOGRAM_SUB_BITS - 1) };

#define VALUE_MAX ((1ull << HISTOGRAM_MAX_BITS) - 1)

uint32_t histogram_cell_of(uint64_t value)
{
    if (value > VALUE_MAX)
        value = VALUE_MAX;
    uint32_t bits = 64 - (uint32_t)__builtin_clzll(value | 1);
    uint32_t shift = bits > HISTOGRAM_SUB_BITS ? bits - HISTOGRAM_SUB_BITS : 0;
    return shift * HALF + (uint32_t)(value >> shift);
}

uint64_t histogram_cell_end(uint32_t cell)
{
    if (cell < 2 * HALF)
        return cell;
    uint32_t shift = cell / HALF - 1;
    return ((uint64_t)(cell - shift * HALF + 1) << shift) - 1;
}

void histogram_init(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
    histogram->min = UINT64_MAX;
}

void histogram_clear(struct histogram *histogram)
{
    if (histogram->count != 0) {
        uint32_t first = histogram_cell_of(histogram->min),
                 last = histogram_cell_of(histogram->max);
        memset(&histogram->cells[first], 0, (last - first + 1) * sizeof *histogram->cells);
    }
    histogram->count = histogram->sum = histogram->max = 0;
    histogram->min = UINT64_MAX;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram_add_many(histogram, value, 1);
}

void histogram_add_many(struct histogram *histogram, uint64_t value, uint64_t times)
{
    if (times == 0)
        return;
    histogram->cells[histogram_cell_of(value)] += times;
    histogram->count += times;
    histogram->sum += value * times;
    if (value < histogram->min)
        histogram->min = value;
    if (value > histogram->max)
        histogram->max = value;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    uint32_t first = histogram_cell_of(from->min), last = histogram_cell_of(from->max);
    for (uint32_t i = first; i <= last && from->count != 0; i++)
        if (from->cells[i] != 0) /* pages in which nothing falls are not touched */
            into->cells[i] += from->cells[i];
    into->count += from->count;
    into->sum += from->sum;
    if (from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
}

/* How many values, rounded up, make this share of them; at least one, and never more than all. */
static uint64_t rank_of(uint64_t count, double quantile)
{
    if (!(quantile > 0)) /* NaN too */
        return 1;
    if (quantile >= 1)
        return count;
    double exact = quantile * (double)count;
    uint64_t rank = (uint64_t)exact;
    /* 0.99 * 100 is a little more than 99 in binary: that must not become the 100th. */
    if (exact - (double)rank > 1e-9 * exact)
        rank++;
    return rank < 1 ? 1 : rank > count ? count : rank;
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
    if (histogram->count == 0)
        return 0;
    uint64_t rank = rank_of(histogram->count, quantile), seen = 0;
    if (rank == histogram->count)
        return histogram->max; /* exact, and right for values beyond the last cell */
    for (uint32_t i = histogram_cell_of(histogram->min); i < HISTOGRAM_CELLS; i++) {
        seen += histogram->cells[i];
        if (seen < rank)
            continue;
        uint64_t value = i == HISTOGRAM_CELLS - 1 ? histogram->max : histogram_cell_end(i);
        return value > histogram->max   ? histogram->max
               : value < histogram->min ? histogram->min
                                        : value;
    }
    return histogram->max;
}
