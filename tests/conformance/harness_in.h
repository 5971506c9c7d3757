/* Between the files of the harness. */
#ifndef WEIR_TESTS_CONFORMANCE_HARNESS_IN_H
#define WEIR_TESTS_CONFORMANCE_HARNESS_IN_H

#include "conformance/harness.h"

/* Sends and receives what is to be; true when anything moved. */
bool peer_move(struct peer *p);

#endif
