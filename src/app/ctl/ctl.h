/* The inside of the control socket: requests, and what is asked of every loop. */
#ifndef WEIR_APP_CTL_CTL_H
#define WEIR_APP_CTL_CTL_H

#include <stdatomic.h>

#include <weir/json.h>
#include <weir/stats.h>

#include "loop/loop.h"

enum {
    CTL_REQUEST_MAX = 4096, /* bytes of a request line */
    CTL_CONNS_MAX = 16,     /* connections to the control socket, on a loop */
    CTL_LIST_MAX = 10000,   /* connections listed in one answer */
    CTL_LIST = 1000,        /* and when the request names no limit */
    CTL_ANSWER_MS = 1000,   /* waiting for all loops */
    CTL_VALUES_MAX = 32     /* JSON values in a request */
};

struct request {
    const weir_json_value *values; /* the first one is the request's object */
};

struct gather;
struct part;

struct ctl_command {
    const char *name;
    const char *what;
    /* Answers at once: adds to the answer's object. 0, or a negative error with the answer begun by
     * ctl_refuse. */
    int (*answer)(const struct request *request, weir_json_writer *out);
    /* Or asks every loop: `collect` runs on each, `tell` on the asking one when all is there. */
    void (*collect)(weir_loop *loop, struct part *part);
    void (*tell)(const struct gather *gather, weir_json_writer *out);
    void (*after)(void); /* once the answer is queued */
};

struct ctl_row { /* one connection */
    weir_conn conn;
    const char *listen; /* its service's addresses; the program's text */
    char *peer;
    weir_conn_stats stats;
    enum weir_conn_state state;
    uint32_t age_ms, idle_ms;
};

/* What one loop told. Its own thread writes it, the asking one reads it once it has come home. */
struct part {
    struct loop_mail mail;
    struct gather *gather;
    uint32_t loop_id;
    bool asked, answered, more;
    const char *backend; /* static */
    int thread;          /* its number in the system, for top -H */
    weir_loop_stats stats;
    weir_http_stats http;
    struct ctl_row *rows;
    unsigned row_count, row_room;
};

struct gather {
    const struct ctl_command *command;
    weir_conn conn;
    uint32_t home_id;
    unsigned limit; /* connections to be listed, by each loop and in all */
    weir_timer timer;
    _Atomic unsigned refs; /* the asking side, and each part under way */
    unsigned waiting;
    bool done; /* answered, or nobody is left to be answered; on the asking loop */
    unsigned count;
    struct part parts[];
};

struct ctl_session {
    struct gather *gather; /* an answer being gathered, or NULL */
    bool ended;            /* the client has nothing more to ask */
};

extern const struct ctl_command ctl_commands[];
const struct ctl_command *ctl_command_named(const char *name); /* NULL: none */

/* Begins an answer: opens its object. ctl_refuse makes it an error with a fix. */
void ctl_begin(weir_json_writer *out);
int ctl_refuse(weir_json_writer *out, const char *error, const char *fix);
/* Closes the object and sends it; aborts the connection when that fails. */
void ctl_answer(weir_conn conn, weir_json_writer *out);

/* gather.c: asks all loops of the process; answers the connection when they have told. 0, or a
 * negative error when nothing was begun. */
int gather_begin(weir_conn conn, const struct ctl_command *command, unsigned limit);
/* The connection is gone. */
void gather_abandon(struct gather *gather);

/* collect.c, tell.c */
void collect_stats(weir_loop *loop, struct part *part);
void collect_conns(weir_loop *loop, struct part *part);
void part_end(struct part *part); /* frees what was collected */
void tell_stats(const struct gather *gather, weir_json_writer *out);
void tell_loops(const struct gather *gather, weir_json_writer *out);
void tell_conns(const struct gather *gather, weir_json_writer *out);
/* tell_workers.c: the same for shape processes, where the loops are the workers'. False: this is no
 * worker of it. `all`: every counter, and their sum. */
bool tell_workers(const struct gather *gather, bool all, weir_json_writer *out);
/* tell.c */
void tell_counters(const weir_loop_stats *loop, const weir_http_stats *http, weir_json_writer *out);
void tell_busy(const weir_loop_stats *stats, weir_json_writer *out);
int answer_plan(const struct request *request, weir_json_writer *out);
int answer_limits(const struct request *request, weir_json_writer *out);

#endif
