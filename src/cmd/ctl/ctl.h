/* weir ctl: asks a running server through its control socket. */
#ifndef WEIR_CMD_CTL_CTL_H
#define WEIR_CMD_CTL_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/json.h>

struct ctl {
    const char *socket;
    uint32_t limit, interval_ms;
    bool json;
};

struct answer {
    char *line; /* as it came, with its newline and a NUL */
    size_t size;
    weir_json_value *values; /* the first one is an object whose "ok" is true */
};

/* call.c: finds the server, sends a request line, reads and checks the answer. EX_OK with *answer
 * to be freed by answer_end, or the exit code, said. */
int ctl_call(const struct ctl *ctl, const char *request, struct answer *answer);
void answer_end(struct answer *answer);

/* print.c: answers as tables. */
void print_stats(const struct answer *before, const struct answer *now); /* before NULL: totals */
void print_loops(const struct answer *answer);
void print_connections(const struct answer *answer);
void print_plan(const struct answer *answer);
void print_limits(const struct answer *answer);

#endif
