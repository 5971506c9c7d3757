/* What a program under simulation sees beside the public API of weir.
 *
 * A program is a file tests/sim/programs/NAME.c that ends with SIM_PROGRAM(NAME, ...): the build
 * and the runner find it there. Its `run` function is the director: it makes hosts, starts them,
 * kills and signals them, waits for them and judges. It and the main function of every host are
 * plain blocking code on an actor (a thread, simulated) of its own; exactly one actor runs at a
 * time, and who runs next, what the network does and which calls fail are drawn from the seed.
 *
 * Each host is a process of its own: it has its own addresses, descriptors, signals and memory, and
 * its own copy of weir's static variables, so that each may call weir_run. What a program keeps
 * outside of weir is shared by all hosts: keep it in one struct made by the director, never in
 * static variables that a handler changes, and never in anything that depends on addresses.
 *
 * A host's main may use all of <weir/weir.h>, unchanged, and beside it plain calls on sockets:
 * socket, bind, listen, accept, connect, send, recv, shutdown, close, setsockopt, getsockname,
 * poll, blocking unless SOCK_NONBLOCK says otherwise (peers that are no weir programs: one that
 * never reads, or sends a byte at a time), pthread_create and its family, sched_yield. They act on
 * the simulated network. Time is weir_now, sim_now and sim_sleep; never time() or nanosleep(). */
#ifndef WEIR_TESTS_SIM_H
#define WEIR_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/weir.h>

/* --- programs --------------------------------------------------------------------------------- */

struct sim_program {
    const char *name;
    const char *what;  /* one line for --help */
    void (*run)(void); /* the director; the run ends when it returns */
    /* Once a process, before the first run: makes files in an empty folder that is the program's
     * (read-only from then on; its path: sim_folder()). May be NULL. */
    void (*setup)(const char *folder);
    uint64_t limit_ns; /* virtual time a run may take; 0: an hour. More is a hang */
};

#define SIM_PROGRAM(program, ...)                                                            \
    static const struct sim_program sim_program_##program = {.name = #program, __VA_ARGS__}; \
    static const struct sim_program *const sim_program_at_##program                          \
        __attribute__((used, section("sim_programs"))) = &sim_program_##program

/* The files that setup() made. */
const char *sim_folder(void);

/* --- chance and time -------------------------------------------------------------------------- */

/* Uniform in [0, bound), from the run's seed; bound 0 gives 0. The program's draws are a stream of
 * their own: what the simulator draws does not change with them. */
uint64_t sim_random(uint64_t bound);
/* True in `of` out of `in` cases. */
bool sim_chance(uint64_t of, uint64_t in);
/* Uniform in [least, most]. */
uint64_t sim_between(uint64_t least, uint64_t most);
/* A size from 1 to `most` of any order of magnitude: small ones are as likely as large ones. */
uint64_t sim_size(uint64_t most);
uint64_t sim_seed(void);

/* Virtual nanoseconds since the start of the run. What weir_now says is this plus a constant, but
 * in a turn it stands still. */
uint64_t sim_now(void);
/* Lets virtual time pass for this actor. Not in a handler of weir: see sim_stall. */
void sim_sleep(uint64_t ns);
/* In a handler: holds this loop for so long, as a computation would; the world goes on. */
void sim_stall(uint64_t ns);

/* --- hosts ------------------------------------------------------------------------------------ */

typedef struct sim_host sim_host;

/* A machine that runs main(arg). `addresses` are IP addresses with spaces between ("10.0.0.1
 * fd00::1"); 127.0.0.1 and ::1 are every host's own. Names are for traces. Made by the director,
 * before or while others run; lives until the run ends. */
sim_host *sim_host_new(const char *name, const char *addresses, int (*main)(void *arg), void *arg);
/* Starts it, also again after it has ended or was killed. */
void sim_host_start(sim_host *host);

enum sim_kill {
    SIM_KILL_PROCESS, /* kill -9: the kernel closes its sockets (FIN, or RST where input is unread)
                       */
    SIM_KILL_RESET, /* the machine restarts: what it hears of old connections it answers with RST */
    SIM_KILL_VANISH, /* the machine is gone without a word, until it is started again */
};
/* Ends it at once, whatever it was doing. Not the caller's own host. */
void sim_host_kill(sim_host *host, enum sim_kill how);
/* Sends it a signal, as kill(1) does: the handler that it set runs, soon; without one, SIGTERM,
 * SIGINT and SIGQUIT kill the process. */
void sim_host_signal(sim_host *host, int number);
bool sim_host_running(const sim_host *host);
/* Waits until its main has returned and its threads have ended, or it was killed: true; false when
 * that did not happen within `ns`. When a host ended by itself, everything that weir allocated on
 * it must have been freed and every descriptor closed: that is checked here by the simulator. */
bool sim_host_wait(sim_host *host, uint64_t ns);
/* What main returned last; -1 when it was killed. */
int sim_host_result(const sim_host *host);
/* The host whose code is running. */
sim_host *sim_host_self(void);
const char *sim_host_name(const sim_host *host);

/* fn(loop, arg) is called on the host before each sleep of each of its loops, for what must hold at
 * every turn. It may look, and must change nothing. One a host. */
void sim_host_each_turn(sim_host *host, void (*fn)(weir_loop *loop, void *arg), void *arg);

/* For how long the loop of this thread has not looked at what is due, in all: the time between the
 * end of each wait and the begin of the next, and between the end that a wait was to have and its
 * own. What a deadline may be late by is what this grew by since its cause. */
uint64_t sim_held(void);

/* How many local ports and descriptors it has (0: as many as usual). Before it is started. */
void sim_host_limits(sim_host *host, unsigned ports, unsigned descriptors);

/* Cuts the network between two hosts (NULL: every other host): nothing gets through, silently, in
 * either direction; or heals it. */
void sim_net_cut(sim_host *a, sim_host *b, bool cut);

/* The TCP socket of the running host with these two names, to ask how many of its bytes the other
 * end's kernel has taken so far, in all. NULL: there is none. Sockets stay until the run ends. On
 * real kernels, where nobody judges what is timed, the functions are not there. */
struct sim_sock;
struct sockaddr;
__attribute__((weak)) const struct sim_sock *sim_net_find(const struct sockaddr *local,
                                                          const struct sockaddr *remote);
__attribute__((weak)) uint64_t sim_net_taken(const struct sim_sock *sock);

/* Datagrams that have found a receiver's buffer full, on all hosts. */
uint64_t sim_net_drops(void);

/* How much has happened in the world so far: lines of the record. A world in which nothing happens
 * only lets time pass. */
uint64_t sim_events(void);

/* --- faults ----------------------------------------------------------------------------------- */

/* Each is on or off for a run and has a rate, both drawn from the seed; some runs have none. */
#define SIM_FAULTS(FAULT)                                                                  \
    FAULT(SHORT_READ, "a read gives fewer bytes than are there")                           \
    FAULT(SHORT_WRITE, "a write takes fewer bytes than there is room for")                 \
    FAULT(RESET, "a connection is reset, at any byte, in either direction")                \
    FAULT(FIN_RESET, "the peer's end is followed by a reset")                              \
    FAULT(DELAY, "packets take long")                                                      \
    FAULT(SPLIT, "segments are cut small")                                                 \
    FAULT(SMALL_WINDOW, "socket buffers are small")                                        \
    FAULT(LOSS, "a packet is lost and sent again")                                         \
    FAULT(CONNECT_ERROR, "a connect fails: refused, unreachable, timed out, out of ports") \
    FAULT(ACCEPT_ERROR, "an accept fails: descriptors, memory, aborted")                   \
    FAULT(SOCKET_ERROR, "a call on a socket fails for want of descriptors or memory")      \
    FAULT(SEND_ERROR, "a send fails with an error of the network")                         \
    FAULT(RECV_ERROR, "a receive fails with an error of the network")                      \
    FAULT(NO_MEMORY, "an allocation fails")                                                \
    FAULT(NO_BUFFERS, "receive blocks are out")                                            \
    FAULT(LATE, "a completion comes later than it could")                                  \
    FAULT(ORDER, "completions come in another order")                                      \
    FAULT(CANCEL_RACE, "an operation completes while it is being canceled")                \
    FAULT(SHOT_ENDS, "a multishot operation ends without cause")                           \
    FAULT(QUEUE_FULL, "the submission queue is full: a verb is refused")                   \
    FAULT(CQ_OVERFLOW, "the completion queue runs over")                                   \
    FAULT(SPURIOUS, "readiness is told and nothing is there, a wait ends for nothing")     \
    FAULT(EINTR, "a call or a wait is interrupted")                                        \
    FAULT(STALL, "a loop is held for long")                                                \
    FAULT(SWITCH, "another thread runs at a point where it may")                           \
    FAULT(THREAD_ERROR, "a thread cannot be started")                                      \
    FAULT(FILE_ERROR, "a file cannot be opened, or read to its end")                       \
    FAULT(FILE_SHORT, "a file gives less than it has, or has become shorter")              \
    FAULT(FILE_SLOW, "a file takes long to read")                                          \
    FAULT(CLOCK_STEP, "the wall clock is set")                                             \
    FAULT(BACKLOG, "the queue of a listener is short")                                     \
    FAULT(PORTS, "local ports run out")                                                    \
    FAULT(DUPLICATE, "a datagram arrives twice")
enum sim_fault {
#define SIM_FAULT_NAME(name, text) SIM_FAULT_##name,
    SIM_FAULTS(SIM_FAULT_NAME)
#undef SIM_FAULT_NAME
        SIM_FAULT_COUNT
};

/* No fault at all in this run: everything must succeed, and finish. */
bool sim_quiet(void);
/* Whether a kind of fault may happen in this run: what a checker must allow. */
bool sim_fault_on(enum sim_fault fault);
/* Whether connections can break, or not come about, without either side's doing. */
bool sim_can_break(void);
/* From now on nothing fails any more: what still lives must finish. And the other way. */
void sim_faults_stop(void);
void sim_faults_go_on(void);
/* Says that this program cannot bear a kind of fault. Before anything is started. */
void sim_fault_forbid(enum sim_fault fault);

/* --- judging ---------------------------------------------------------------------------------- */

/* Ends the run as a failure: the invariant that broke, then the seed and the last events. */
__attribute__((noreturn, format(printf, 1, 2))) void sim_fail(const char *format, ...);
#define sim_check(condition, ...) \
    (__builtin_expect(!!(condition), 1) ? (void)0 : sim_fail(__VA_ARGS__))
/* A line of the program's own in the record of events. No addresses. */
__attribute__((format(printf, 1, 2))) void sim_note(const char *format, ...);

#endif
