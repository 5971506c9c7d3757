/* One run of a program under one seed. */
#ifndef WEIR_TESTS_SIM_ONE_H
#define WEIR_TESTS_SIM_ONE_H

#include "core.h"

/* What a run may take: of the processor, and in all. */
enum { ONE_SECONDS = 20, ONE_REAL_SECONDS = 600 };

/* Runs it in this process, which has made no other run; a failure ends the process with 1. */
void one_run(const struct sim_program *program, uint64_t seed, const char *base, bool trace,
             struct sim_outcome *outcome);
/* Where the files of a program's setup are. */
void one_folder(char *out, size_t size, const char *base, const struct sim_program *program);

#endif
