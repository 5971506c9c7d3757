/* Log-linear histogram: 3 significant digits from 1 to 2^40, fixed memory, mergeable. */
#ifndef WEIR_BASE_HISTOGRAM_H
#define WEIR_BASE_HISTOGRAM_H

#include <stdint.h>

/* 10 bits of mantissa: relative error at most 1/1024. */
enum { HISTOGRAM_SUB_BITS = 10, HISTOGRAM_MAX_BITS = 40 };
enum {
    HISTOGRAM_CELLS =
        ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) << (HISTOGRAM_SUB_BITS - 1)) +
        (1 << (HISTOGRAM_SUB_BITS - 1))
};

struct histogram {
    uint64_t count, sum, min, max;
    uint64_t cells[HISTOGRAM_CELLS];
};

void histogram_init(struct histogram *histogram);
void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value below or at which `quantile` (0 to 1) of the values lie; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);

#endif
