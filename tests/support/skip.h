/* Skipping a cmocka case with its reason, which ./dev test lists at its end. */
#ifndef SUPPORT_SKIP_H
#define SUPPORT_SKIP_H

#include <stdio.h>

/* Leaves the case, which must be the calling function. Include after <cmocka.h>. */
#define skip_because(reason)                                 \
    do {                                                     \
        fprintf(stderr, "skip: %s: %s\n", __func__, reason); \
        skip();                                              \
    } while (0)

#endif
