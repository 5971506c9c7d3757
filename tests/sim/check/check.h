/* The checkers: a model of what weir promises, kept beside a running program from what it hands to
 * the public API and what its handlers are given. Every handler of a checked service and every verb
 * on its connections comes through here; a promise that does not hold ends the run, by sim_fail, as
 * "INVARIANT: what was expected; what was seen". Nothing of weir's inside is looked at.
 *
 * Both ends of a stream are in one process, so that bytes are compared with what was sent. The two
 * are paired by the first bytes of the connecting end: see check_hello.
 *
 * A check belongs to one run and is shared by its hosts; a check_loop belongs to a loop's thread.
 */
#ifndef WEIR_TESTS_SIM_CHECK_H
#define WEIR_TESTS_SIM_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/weir.h>

#include "sim/check/stream.h"
#include "sim/sim.h"

struct check;
struct check_loop;
struct check_side;

/* A connection as its handlers and verbs have shown it. Lives until the end of the run. */
struct check_conn {
    struct check_side *side;
    weir_conn conn;
    uint32_t number;            /* in the run */
    bool client;                /* made by check_connect */
    struct check_conn *peer;    /* the other end, when known */
    struct check_conn *coupled; /* by check_pipe */
    bool mailed;                /* mail is on its way: nothing else may be sent */
    uint64_t before_mail;       /* bytes of `out` before such as has come; UINT64_MAX: none has */
    bool beyond;         /* its peer is in a pipe: what this end gets, another one has sent */
    struct stream out;   /* what send took */
    struct stream early; /* what came before the other end was known */
    uint64_t received;
    unsigned listens; /* of its side, when it opened */
    int opens, ends, closes;
    bool paused, finish_called, close_called, abort_called, refused, gone_seen, piped, killed;
    bool pulled, pull_failed, torn; /* a source gave an error; a file was too short */
    bool drain_owed;                /* a send said that it waits */
    bool drain_may;                 /* on_drain may come without that: pull sources, many pieces */
    unsigned pieces;                /* queued since the output was last empty */
    weir_end end;
    weir_time made_ns, opened_ns, read_ns, write_ns, unsent_ns, stuck_ns, closing_ns, closed_ns;
    uint64_t stuck_bytes;        /* sent when stuck_ns was taken */
    uint64_t stuck_held_ns;      /* sim_held() then */
    const struct sim_sock *sock; /* of the simulated kernel, once somebody has asked for it */
    uint64_t taken_bytes;        /* of the other end's kernel, when stuck_ns was taken */
    weir_time told_ns[4];        /* on_idle, by enum weir_idle */
    weir_conn_stats stats;       /* as last looked at */
    uint64_t seen_received, seen_sent;
    bool frozen; /* weir is closing it; when it was active before that: */
    weir_time active_ns;
    weir_time progress_ns;          /* stuck_ns before its last change */
    uint32_t lent;                  /* buffers that went out with it and are not home */
    unsigned pulls;                 /* sources that are queued */
    enum weir_deadline closing_why; /* as on_close told */
    void *note;                     /* the program's own */
};

/* A service, and what its handlers do beyond being checked. The functions may be NULL. To be
 * filled in before the first check_listen or check_connect. */
struct check_side {
    struct check_loop *cl;
    const char *name;
    weir_service service; /* its handlers, user and conn_size are set by check_side_new */
    void (*open)(struct check_conn *cc);
    void (*data)(struct check_conn *cc, weir_view data);
    void (*frame)(struct check_conn *cc, weir_view frame);
    void (*end)(struct check_conn *cc); /* NULL: the service has no on_end */
    void (*drain)(struct check_conn *cc);
    void (*idle)(struct check_conn *cc, enum weir_idle which);
    void (*close)(struct check_conn *cc);
    bool hello;       /* its clients begin with check_hello */
    bool loose;       /* bytes and ends are not compared: the other end is no checked one */
    bool piped;       /* the other end is behind a proxy: what that does is no end's doing */
    bool error_fine;  /* connects may fail: their target may be gone */
    uint32_t served;  /* accepted ones that live, since check_listen was called last */
    unsigned listens; /* how often it was */
    bool sealed;      /* it has been used: no more changes */
    weir_listener listener;
    weir_address address;
    void *note; /* the program's own */
    struct check_side *next;
};

/* --- the run ---------------------------------------------------------------------------------- */

/* What is common to all hosts of a run. `seed`: of the draws that checkers make. */
struct check *check_new(uint64_t seed);
/* All hosts have ended: every connection had its one end, every buffer came home. Frees it. */
void check_end(struct check *check);
/* Makes the file that check_send_file sends: for a program's setup(). */
void check_setup(const char *folder);
/* What stands at an offset of that file. */
uint8_t check_file_byte(uint64_t at);
/* Whether connections may have ended through nobody's doing: faults, or want of something. */
bool check_may_break(const struct check *check);
/* Somebody was given up for taking too little. */
bool check_gave_up(const struct check *check);
/* How much was checked, for a summary: connections, bytes. */
void check_counts(const struct check *check, uint64_t *conns, uint64_t *bytes);
/* The host that these loops run on is about to be killed: what they owe is forgiven. */
void check_killed(struct check *check, sim_host *host);

/* --- a loop ----------------------------------------------------------------------------------- */

/* Notes a loop that was made with these options, on the host that makes it. */
struct check_loop *check_loop_new(struct check *check, weir_loop *loop,
                                  const weir_loop_options *options);
/* It has connections that are not checked ones, or not yet: of HTTP, told that there is no room,
 * in a filter's handshake. */
void check_others(struct check_loop *cl);
/* Before each sleep of a loop, with it current or not: see sim_host_each_turn. */
void check_turn(struct check_loop *cl);
/* Frees the loop; what it owes has come when that is done. */
void check_loop_free(struct check_loop *cl);
/* The checked loop that this is, or NULL. */
struct check_loop *check_loop_named(const struct check *check, const weir_loop *loop);
/* A watch that lives as long as the loop, for its host's signal. */
weir_watch *check_watch(struct check_loop *cl);
weir_loop *check_loop_of(const struct check_loop *cl);
struct check *check_of(const struct check_loop *cl);

/* --- services and connections ----------------------------------------------------------------- */

struct check_side *check_side_new(struct check_loop *cl, const char *name);
/* 0 or the error. The address is in side->address. */
int check_listen(struct check_side *side, const char *url);
/* The connection, or NULL with *error set. */
struct check_conn *check_connect(struct check_side *side, const char *url, void *note, int *error);
/* The first thing that a connecting end sends, from its on_open: who it is. */
int check_hello(struct check_conn *cc);
enum { CHECK_HELLO = 9 }; /* bytes of it */

/* Each is the verb of that name, with the model following. */
int check_sendv(struct check_conn *cc, const weir_view *views, unsigned count);
int check_send(struct check_conn *cc, weir_view view);
int check_finish(struct check_conn *cc);
int check_close(struct check_conn *cc);
int check_abort(struct check_conn *cc);
int check_pause(struct check_conn *cc);
int check_resume(struct check_conn *cc);
/* Where both have met their peers, what goes through the pipe is followed from end to end; for that
 * neither peer may be in a pipe itself. */
int check_pipe(struct check_conn *a, struct check_conn *b);
int check_flush(struct check_conn *cc);
/* Mails `size` bytes of noise to a connection, from any thread of its host, with a loop or without;
 * not while another mail is on its way to that loop. */
void check_mail(struct check_conn *cc, size_t size);
/* Any living connection of a side, or NULL. */
struct check_conn *check_any(struct check_loop *cl, const struct check_side *side);
/* Whether the program may still do something with it, as far as it has been told. */
bool check_living(const struct check_conn *cc);

/* --- what can be sent ------------------------------------------------------------------------- */

/* `size` bytes that nobody else sends; from no more than 64 KiB of a table. */
void check_noise(struct check *check, void *data, size_t size);
/* Borrowed bytes, spoilt as soon as the verb has returned. */
int check_send_bytes(struct check_conn *cc, const void *data, size_t size);
/* The same bytes lent: they come home exactly once, unchanged. */
int check_send_lent(struct check_conn *cc, const void *data, size_t size);
/* Static ones: `size` bytes of a table that lives as long as the program. */
int check_send_static(struct check_conn *cc, size_t size);
/* A copy retained of a view and given back after it was sent. */
int check_send_kept(struct check_conn *cc, weir_view view);
/* `size` bytes from a file; `short_by` more are asked for than it has. */
int check_send_file(struct check_conn *cc, size_t size, size_t short_by);
/* `size` bytes from a pull source, which waits now and then; `fails`: with an error in the end. */
int check_send_pull(struct check_conn *cc, size_t size, bool fails);
/* `size` bytes in any of these ways; several calls, maybe. The first error, or the last result. */
int check_send_any(struct check_conn *cc, size_t size);

/* A view retained for later: its bytes stay as they are until it is released. */
struct check_kept;
struct check_kept *check_retain(struct check_loop *cl, weir_view view); /* NULL: no memory */
weir_view check_kept_view(const struct check_kept *kept);
void check_release(struct check_kept *kept);

/* --- timers and tasks ------------------------------------------------------------------------- */

/* A descriptor that is not weir's, watched; it is nobody else's. NULL: there is none to be had.
 * Lives as long as the loop. */
struct check_foreign;
struct check_foreign *check_foreign_new(struct check_loop *cl);
/* From now on it can be read: whoever watches it is told. */
void check_foreign_poke(struct check_foreign *foreign);
/* Watches it, or gives that up. */
void check_foreign_turn(struct check_foreign *foreign);

typedef void check_timer_fn(struct check_loop *cl, void *arg);
struct check_timer;
/* A timer of weir's, which must not be early nor lost; it is gone after it has fired. */
struct check_timer *check_timer(struct check_loop *cl, weir_time due, bool precise,
                                check_timer_fn *fn, void *arg);
void check_timer_move(struct check_timer *timer, weir_time due);
void check_timer_cancel(struct check_timer *timer);
/* A task for a loop, from any thread; in the order of posting of each thread. weir_post's result.
 */
int check_post(struct check_loop *from, struct check_loop *to, check_timer_fn *fn, void *arg);

/* --- chance ----------------------------------------------------------------------------------- */

uint64_t check_random(struct check *check, uint64_t bound);

#endif
