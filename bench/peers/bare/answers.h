/* What the bare HTTP servers share: a trivial parser, and the answers. A head ends at an empty
 * line, "close" is looked for in it, and nothing is checked. An answer has the fields and the size
 * of nginx's and weir's, its date made once a second. GET /1k gets 1 KiB and GET /1m 1 MiB, from
 * memory. */
#ifndef BENCH_ANSWERS_H
#define BENCH_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>

enum { ANSWERS_LARGE = 1 << 20, ANSWERS_HEAD_MAX = 1024 };

struct answer {
    const char *data;
    size_t size;
    bool closing; /* the last one of its connection */
    bool large;   /* answers_body follows, ANSWERS_LARGE bytes */
};

extern char answers_body[ANSWERS_LARGE];

/* Makes the answers anew when the second has changed. */
void answers_make(void);

/* One answer for as many whole requests in `data` as can be answered by one send; returns how many
 * bytes they had, 0 when there is no whole one. */
size_t answers_for(const char *data, size_t size, struct answer *out);

#endif
