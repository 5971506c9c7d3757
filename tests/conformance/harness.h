/* What the tests of the contracts share: a loop that is driven turn by turn, services whose
 * handlers only note what they see (and do what the test asks for beyond that), plain sockets at
 * the other end, and the checks that hold in every test: the order of a connection's events (K4),
 * no handler inside a verb or another handler (K3), and nothing left when the loop is gone. */
#ifndef WEIR_TESTS_CONFORMANCE_HARNESS_H
#define WEIR_TESTS_CONFORMANCE_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <weir/weir.h>

#include "support/skip.h"

enum { WORLD_RECS = 2048, WORLD_PEERS = 2048, REC_LOG = 32, KEPT_MAX = 1 << 20 };

struct world;
struct side;

/* A connection as its handlers saw it. */
struct rec {
    struct side *side;
    weir_conn conn;
    unsigned number; /* of its side, from 0 */
    int opens, datas, ends, drains, closes, frames;
    int idles[4]; /* by enum weir_idle */
    weir_end end;
    uint64_t received; /* bytes */
    uint64_t sent;     /* bytes that the test has sent with rec_send_pattern */
    bool in_pattern;   /* all of them were rig_pattern's, in order */
    uint8_t *kept;     /* the first KEPT_MAX of them */
    size_t kept_size;
    size_t largest; /* view or frame */
    uint64_t opened_ns, closed_ns, last_ns;
    char log[REC_LOG]; /* "ODERC": open, data (once for several), end, drain, close */
    int mark;          /* the test's own */
    void *note;        /* the test's own */
};

/* A service and what its handlers do beyond noting. The functions may be NULL. */
struct side {
    struct world *world;
    weir_service service; /* to be changed before side_listen or the first side_connect */
    void (*open)(struct rec *r);
    void (*data)(struct rec *r, weir_view data);
    void (*frame)(struct rec *r, weir_view frame);
    void (*end)(struct rec *r); /* NULL: the service has no on_end */
    void (*drain)(struct rec *r);
    void (*idle)(struct rec *r, enum weir_idle which);
    void (*close)(struct rec *r);
    weir_listener listener;
    weir_address address;
    struct rec *recs[WORLD_RECS];
    unsigned count;  /* of recs */
    unsigned opened; /* on_open was called, on_close not yet */
    unsigned closed;
    bool early_close_fine; /* on_close without on_open may come: filters, failed connects */
    void *note;
    struct side *next;
};

/* A socket that is not weir's, at the other end. It does not block; world_turn moves its bytes. */
struct peer {
    struct world *world;
    struct rec *rec; /* the connection at the other end, when known */
    int fd;
    bool reads;       /* default true */
    uint64_t to_send; /* bytes of the pattern to send */
    uint64_t sent;
    size_t piece; /* at most so many bytes in a send or receive; 0: no limit */
    bool finish;  /* shutdown(SHUT_WR) when all is sent */
    bool finished;
    uint64_t received;
    bool in_pattern; /* what was received is the pattern from its beginning */
    bool ended;      /* the end came */
    int error;       /* errno of a receive or send */
    uint8_t *kept;   /* the first KEPT_MAX bytes received */
    size_t kept_size;
    uint64_t ended_ns;
};

struct world {
    weir_loop *loop;
    const char *backend;
    struct side *sides;
    struct peer *peers[WORLD_PEERS];
    unsigned peer_count;
    uint64_t turns;
    int in_handler, in_verb;
    char broken[256]; /* the first rule that was seen broken */
    uint64_t alloc_before;
    int fds_before;
    bool check_leaks;
    weir_loop *former;
};

/* Makes a loop on the back end that WEIR_BACKEND names; skips the test where there is none.
 * `options` may be NULL. */
struct world *world_open(const weir_loop_options *options);
/* Ends the loop and everything, and looks for what is left. */
void world_end(struct world *w);
/* One turn that sleeps at most `ms`; the peers' bytes are moved before it. */
void world_turn_ms(struct world *w, unsigned ms);
void world_turn(struct world *w);
/* Runs for so many milliseconds. */
void world_run_ms(struct world *w, unsigned ms);
/* Notes that a rule is broken; the test fails at the end of the turn. Any handler may call it. */
void world_broke(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool world_is(const struct world *w, const char *backend);
/* Whether WEIR_FEATURES holds this text. */
bool world_feature(const char *text);
/* Skips, on select, what needs descriptors beyond FD_SETSIZE; and what direct ones cannot. */
bool world_direct(const struct world *w);

uint64_t now_ns(void);
/* Numbers of open descriptors. */
int fds_open(void);

/* Fails, and says in what state the connections are. */
void world_vain(struct world *w, const char *condition);

/* How many times slower than usual this machine is, as WEIR_TEST_SLOWNESS says: emulated ones are.
 * For what tests say of time. */
unsigned slowness(void);

/* Turns until the condition holds; fails after a minute, which is a hang on the slowest machine. */
#define UNTIL(w, condition)                          \
    do {                                             \
        uint64_t until_ = now_ns() + 60000000000ull; \
        while (!(condition)) {                       \
            if (now_ns() > until_)                   \
                world_vain(w, #condition);           \
            world_turn(w);                           \
        }                                            \
    } while (0)

/* A verb called from outside of a handler: the loop is made current around it, and no handler may
 * run within it. */
#define V(w, call) (verb_begin(w), verb_end((w), (call)))
void verb_begin(struct world *w);
int verb_end(struct world *w, int result);
/* The same in a handler. */
#define H(r, call) (h_begin((r)->side->world), h_end((r)->side->world, (call)))
void h_begin(struct world *w);
int h_end(struct world *w, int result);

struct side *side_new(struct world *w);
/* Listens on `url`, or on a free TCP port of 127.0.0.1 when it is NULL. */
void side_listen(struct side *s, const char *url);
/* Connects to an address or URL with this side's service; the handle. */
weir_conn side_connect(struct side *s, const char *url);
struct rec *side_rec(struct side *s, weir_conn conn);
/* Where a side listens, as text. */
const char *side_url(struct side *s);

/* Handlers that many tests use. */
void do_echo(struct rec *r, weir_view data);
void do_close(struct rec *r);
void do_abort(struct rec *r);
void do_nothing(struct rec *r);

/* Connects a peer to a side, with buffers of the kernel as small as asked for (0: as they are), and
 * waits until the connection is open. */
struct peer *peer_connect(struct side *s);
struct peer *peer_connect_small(struct side *s, int receive_bytes, int send_bytes);
/* The same without waiting for anything: rec is not set. */
struct peer *peer_start(struct side *s);
/* Takes a descriptor as a peer. */
struct peer *peer_of(struct world *w, int fd);
void peer_close(struct peer *p);
void peer_reset(struct peer *p);
/* Sends these bytes now; they must fit into the kernel's buffer. */
void peer_say(struct peer *p, const void *data, size_t size);
/* Whether exactly these bytes were received. */
bool peer_heard(const struct peer *p, const char *text);

/* The stream that patterns are cut from. */
void pattern_fill(void *data, uint64_t offset, size_t size);
bool pattern_is(const void *data, uint64_t offset, size_t size);
/* Sends the next `size` bytes of the pattern from a handler or between V()s: the verb's result. */
int rec_send_pattern(struct rec *r, size_t size);

/* A raw listener on 127.0.0.1 whose queue takes `backlog`; *url gets its address. */
int raw_listener(int backlog, char *url, size_t size);

/* Lines that the log got since world_open, and the last of them. */
unsigned log_lines(void);
const char *log_last(void);
unsigned log_count(const char *part);

/* The loop's counters and those of its back end. */
uint64_t world_syscalls(const struct world *w);
/* Bytes of output and held input that the loop holds. */
uint64_t world_memory(const struct world *w);

#define K_MAIN(...)                                       \
    int main(void)                                        \
    {                                                     \
        const struct CMUnitTest tests[] = {__VA_ARGS__};  \
        return cmocka_run_group_tests(tests, NULL, NULL); \
    }
#define T(function) cmocka_unit_test(function)

#endif
