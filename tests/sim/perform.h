/* File operations of the simulated machine: real files, read at once, with faults and delays. */
#ifndef WEIR_TESTS_SIM_PERFORM_H
#define WEIR_TESTS_SIM_PERFORM_H

struct io_file;
/* The result of an operation, as its event has it. */
int file_perform(struct io_file *file);

#endif
