/* What all runs of a call of the simulator come to. */
#ifndef WEIR_TESTS_SIM_TALLY_H
#define WEIR_TESTS_SIM_TALLY_H

#include <stdio.h>

#include "core.h"

struct tally {
    uint64_t runs, failures, virtual_ns, records, switches, quiet;
    uint64_t faults[SIM_FAULT_COUNT][SIM_OPERATIONS];
};

/* Adds what a run has left; its failure is the caller's to count. */
void tally_add(struct tally *tally, const struct sim_outcome *outcome);
/* The table of faults, by kind and by the operation that they happened to, and one of sums. */
void tally_print(const struct tally *tally, double seconds, uint64_t base);
/* The same for programs. `faults` has each cell that can occur, also with 0; `elsewhere` why a kind
 * can occur nowhere else. */
void tally_json(const struct tally *tally, double seconds, uint64_t base, FILE *out);

#endif
