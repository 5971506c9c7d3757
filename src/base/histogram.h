/* Log-linear histogram: 3 significant digits from 1 to 2^40, fixed memory (248 KiB, of which only
 * the pages are touched where values fall, if it lies in fresh ones), mergeable. Not shared. */
#ifndef WEIR_BASE_HISTOGRAM_H
#define WEIR_BASE_HISTOGRAM_H

#include <stdint.h>

/* A cell is named by the highest 11 bits of a value: it is at most 1/1024 of the value wide. */
enum { HISTOGRAM_SUB_BITS = 11, HISTOGRAM_MAX_BITS = 40 };
enum {
    HISTOGRAM_CELLS = ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) << (HISTOGRAM_SUB_BITS - 1)) +
                      (1 << (HISTOGRAM_SUB_BITS - 1))
};

struct histogram {
    uint64_t count, sum, min, max; /* exact; min is UINT64_MAX when empty */
    uint64_t cells[HISTOGRAM_CELLS];
};

void histogram_init(struct histogram *histogram);
/* Empties one that was in use; touches only the cells that have been. Of memory that is all zero it
 * makes an empty one. */
void histogram_clear(struct histogram *histogram);
/* Values beyond 2^40 - 1 share the last cell; count, sum, min and max know them exactly. */
void histogram_add(struct histogram *histogram, uint64_t value);
/* The same value so many times. */
void histogram_add_many(struct histogram *histogram, uint64_t value, uint64_t times);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The cell that a value falls into, and the largest value that does. */
uint32_t histogram_cell_of(uint64_t value);
uint64_t histogram_cell_end(uint32_t cell);
/* The value below or at which `quantile` (0 to 1) of the values lie, at most 1/1024 too high, never
 * too low, never beyond max (which 1 gives exactly); 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);

#endif
