/* The inside of the simulator: actors, events, hosts, descriptors, the record of events.
 *
 * Everything runs on one thread of the real machine, in a process that serves one run only: the
 * runner forks for every seed, so that nothing of one run is left for the next, and a crash or a
 * hang is one seed's. Memory of the simulator itself is therefore never freed. */
#ifndef WEIR_TESTS_SIM_CORE_H
#define WEIR_TESTS_SIM_CORE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/random.h"
#include "co/sanitize.h"
#include "co/switch.h"
#include "sim.h"

#define SIM_FOREVER      UINT64_MAX
#define SIM_WALL_BASE_NS 1700000000000000000ull /* the wall clock as a run begins */

/* --- events of the world ---------------------------------------------------------------------- */

/* Something that happens at a time; embedded in what it happens to. */
struct sim_event {
    uint64_t at_ns, order;
    void (*fn)(struct sim_event *event);
    uint32_t place; /* in the heap, from 1; 0: not planned */
};
void event_plan(struct sim_event *event, uint64_t at_ns, void (*fn)(struct sim_event *event));
void event_cancel(struct sim_event *event);

/* --- actors ----------------------------------------------------------------------------------- */

enum actor_state { ACTOR_READY, ACTOR_WAITS, ACTOR_ENDED };

struct sim_actor {
    switch_context context;
    struct sanitize_flow flow;
    char *stack;
    sim_host *host;
    uint32_t id;
    enum actor_state state;
    bool begun, timed_out;
    uint32_t place; /* among the ready ones */
    struct sim_event timer;
    const char *waits_for;        /* for the record of a hang */
    uint64_t woke_ns, held_ns;    /* of its loop: the end of the last wait; see sim_held */
    struct sim_actor *queue_next; /* of those who wait for the same mutex or condition */
    void *queue;
    char *locals;         /* weir's thread-local variables while another actor runs */
    void *openssl_errors; /* and OpenSSL's queue of errors, unless it is empty */
    int saved_errno;
    void *(*fn)(void *arg);
    void *arg, *result;
    struct sim_actor *host_next;
    struct sim_actor *joiner;
};

struct sim_actor *actor_new(sim_host *host, void *(*fn)(void *arg), void *arg);
/* The actor that runs now; NULL while an event of the world happens. */
extern struct sim_actor *actor_now;
/* Leaves until actor_wake, or a time: false when that came first. */
bool actor_wait(uint64_t until_ns, const char *what);
void actor_wake(struct sim_actor *actor);
/* Others may run, and time passes. */
void actor_yield(void);
/* A point where a real thread could be preempted. */
void actor_point(void);
void actor_end(struct sim_actor *actor); /* killed */
/* Computing takes time: everybody's. */
void actor_spend(uint64_t ns);
/* Runs actors and events until the director has returned. */
void world_run(void (*director)(void));
void actors_describe(void (*line)(const char *text));

/* --- the world -------------------------------------------------------------------------------- */

struct fault_state {
    uint32_t rate; /* of 65536 */
    bool forbidden;
};

enum sim_operation {
    OP_NONE,
    OP_ACCEPT,
    OP_CONNECT,
    OP_RECV,
    OP_SEND,
    OP_MOVE,
    OP_CLOSE,
    OP_POLL,
    OP_FILE,
    OP_CANCEL,
    OP_WAIT,
    OP_SOCKET,
    OP_LISTEN,
    OP_PACKET,
    OP_ALLOC,
    OP_THREAD,
    OP_CLOCK,
    SIM_OPERATIONS
};
extern const char *const sim_operation_names[SIM_OPERATIONS];

/* What a run leaves for the runner, in memory shared with it. */
struct sim_outcome {
    bool done, failed;
    uint64_t hash, virtual_ns, records, switches;
    uint32_t faults[SIM_FAULT_COUNT][SIM_OPERATIONS];
    uint32_t report_size;
    char report[64 * 1024];
};

enum face { FACE_COMPLETION, FACE_READINESS };

struct world {
    uint64_t seed;
    struct random random, program_random, library_random;
    uint64_t now_ns, limit_ns, turn_cost_ns;
    bool quiet, stopped; /* no faults in this run; none from now on */
    bool trace, ended;
    struct fault_state faults[SIM_FAULT_COUNT];
    const struct sim_program *program;
    struct sim_outcome *outcome;
    sim_host *hosts, *host_now;
    sim_host *director_host;
    struct sim_actor *director;
    uint64_t latency_ns, latency_spread_ns;
    int64_t wall_offset_ns;
    uint32_t small_window;
};
extern struct world world;

/* Whether this fault happens now; counted when it does. */
bool fault(enum sim_fault fault, enum sim_operation operation);
/* The same where few runs ever come: whenever the kind is on, it happens every other time. */
bool fault_rare(enum sim_fault fault, enum sim_operation operation);
/* Draws one that happens later, if it comes to that: it is counted by fault_count then. */
bool fault_drawn(enum sim_fault fault);
void fault_count(enum sim_fault fault, enum sim_operation operation);
/* Whether a kind can happen to an operation at all, and why it can to no other. */
bool fault_occurs(enum sim_fault fault, enum sim_operation operation);
const char *fault_nowhere_else(enum sim_fault fault);
void faults_draw(void);
uint64_t chance(uint64_t bound); /* the simulator's own stream */
uint64_t chance_between(uint64_t least, uint64_t most);
uint64_t chance_size(uint64_t most);

/* tls/openssl.c, where libweir-tls is. */
__attribute__((weak)) void sim_openssl_begin(void); /* before anything of OpenSSL */
__attribute__((weak)) void sim_openssl_seed(uint64_t seed);
__attribute__((weak)) void sim_openssl_switch(void **kept, bool enters);
__attribute__((weak)) void sim_openssl_thread_ends(void);
/* Adds to a text what a host has left of OpenSSL's. */
__attribute__((weak)) void sim_openssl_left(const sim_host *host, char *text, size_t size);

/* Memory that lives until the end of the run, zeroed. */
void *world_alloc(size_t size);

/* --- the record ------------------------------------------------------------------------------- */

/* One line: a name, the host and actor, and up to three numbers (no addresses). */
void record(const char *what, int64_t a, int64_t b, int64_t c);
void record_print(void (*line)(const char *text), unsigned most);

/* --- hosts ------------------------------------------------------------------------------------ */

enum { HOST_FILES = 512, HOST_ADDRESSES = 4, SIM_FD = 256, HOST_SIGNALS = 64 };

struct sim_file;
struct sim_epoll;
struct host_address {
    int family;
    uint8_t bytes[16];
};
struct sim_host {
    sim_host *next;
    const char *name;
    uint32_t id;
    int (*main)(void *arg);
    void *arg;
    struct host_address addresses[HOST_ADDRESSES];
    unsigned address_count;
    bool running, killed, vanished, unreachable;
    uint32_t generation; /* starts */
    int result;
    char *image; /* weir's static variables while another host runs */
    struct sim_actor *actors, *main_actor, *waiters;
    struct sim_file *files[HOST_FILES];
    uint32_t files_open, files_most, files_limit;
    uint32_t port_next, ports_used, ports_limit;
    uint64_t bytes_live, pages_live;
    struct sigaction signals[HOST_SIGNALS];
    uint64_t signals_pending;
    struct sim_event signal_event;
    void (*each_turn)(weir_loop *loop, void *arg);
    void *each_turn_arg;
    uint64_t cut_from; /* ids of hosts, bits */
    unsigned cpus;
    struct sim_io *ios;
};
/* Loads a host's copy of weir's variables. */
void host_enter(sim_host *host);
void host_main_ended(sim_host *host);
bool hosts_reach(const sim_host *a, const sim_host *b);
sim_host *host_by_address(const sim_host *from, const struct sockaddr *address);
bool host_has(const sim_host *host, const struct sockaddr *address, bool any);

/* --- descriptors ------------------------------------------------------------------------------ */

enum file_kind { FILE_SOCKET, FILE_EPOLL };
struct sim_file {
    enum file_kind kind;
    uint32_t references;
    bool nonblock;
    struct sim_sock *sock;
    struct sim_epoll *epoll;
};
static inline bool fd_is_sim(int fd)
{
    return fd >= SIM_FD;
}
/* A descriptor of the running host: NULL and EBADF when there is none. */
struct sim_file *file_of(int fd);
/* The lowest free number of the running host; -EMFILE. Takes the reference over. */
int file_install(struct sim_file *file);
struct sim_file *file_new(enum file_kind kind);
int file_close(int fd); /* 0 or -errno */
void file_drop(struct sim_file *file);
void epoll_drop(struct sim_epoll *epoll); /* poller.c */

#endif
