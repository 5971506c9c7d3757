/* Between the files of the checkers. */
#ifndef WEIR_TESTS_SIM_CHECK_IN_H
#define WEIR_TESTS_SIM_CHECK_IN_H

#include "sim/sim.h"

#include "sim/check/check.h"

enum { CHECK_STALE = 64, CHECK_LOOPS = 64, CHECK_TURNS = 5, CHECK_NOISE = 1 << 16 };

struct check {
    uint64_t state; /* of check_random */
    struct check_conn **conns;
    uint32_t conn_count, conn_room;
    struct check_loop *loops;
    uint64_t bytes; /* compared */
    bool gave_up;   /* a peer took less than a kilobyte within the write time-out */
    bool scarce;    /* one ended for want of room in the back end, or of its file */
};

struct check_mail;
struct check_loop {
    struct check *check;
    weir_loop *loop;
    sim_host *host;
    struct check_side *sides;
    struct check_conn **conns; /* those that live */
    uint32_t conn_count, conn_room;
    uint32_t segments_max, progress_bytes; /* limits of the library, by its own table */
    unsigned in_handler, in_verb;
    bool lent_early_fine; /* weir_own may give back at once */
    bool view_used;       /* the view of the running handler was passed on */
    weir_conn stale[CHECK_STALE];
    unsigned stale_count;
    weir_time turned_ns;
    weir_time turns_ns[CHECK_TURNS]; /* of the last turns */
    unsigned turn;
    weir_time judged_ns; /* the oldest of them: what was due then has happened */
    uint64_t slack_ns;   /* what cannot be judged more exactly */
    weir_loop_options options;
    weir_loop_stats stats;
    struct check_timer *timers;
    struct check_foreign *foreigns;
    bool mailing;                                           /* mail is on its way to it */
    const struct check_mail *untold;                        /* the last whose sender waits */
    unsigned number;                                        /* in the run */
    uint64_t posted_to[CHECK_LOOPS], ran_from[CHECK_LOOPS]; /* tasks, by the other's number */
    uint32_t lent_out;                                      /* lent buffers that are not home */
    uint32_t pulls_out; /* pull sources that were not told their end */
    uint32_t kept_out;  /* retained views */
    bool others;        /* has connections that are not checked: HTTP, refusals */
    struct check_loop *next;
    weir_watch watch;
    bool ended, freeing;
    bool freed_early; /* with living connections */
};

/* Ends the run: an invariant does not hold. */
#define check_that(condition, invariant, ...)      \
    do {                                           \
        if (__builtin_expect(!(condition), 0))     \
            check_broke((invariant), __VA_ARGS__); \
    } while (0)
__attribute__((noreturn, format(printf, 2, 3))) void check_broke(const char *invariant,
                                                                 const char *format, ...);

/* Around a verb; no handler may run within. */
void verb_begin(struct check_loop *cl);
void verb_end(struct check_loop *cl);
/* Around what weir calls. */
void handler_begin(struct check_loop *cl, const char *what);
void handler_end(struct check_loop *cl);

/* Who a connection is, in failures. */
const char *check_name(const struct check_conn *cc);

/* conn.c */
void conn_look(struct check_conn *cc); /* stats and limits; the loop is current */
void conns_free(struct check *check);
void conn_deadlines(struct check_conn *cc, weir_time now);
void conn_deadline_end(struct check_conn *cc, weir_time now);
void conn_idle_event(struct check_conn *cc, enum weir_idle which, weir_time now);
void conn_activity(struct check_conn *cc, weir_time now);
/* timer.c */
void timers_check(struct check_loop *cl, weir_time now);
void timers_forget(struct check_loop *cl);
/* foreign.c */
void foreigns_check(struct check_loop *cl);
void foreigns_end(struct check_loop *cl);
/* send.c */
const uint8_t *noise_table(void);

#endif
