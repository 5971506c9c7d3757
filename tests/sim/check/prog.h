/* What the programs share: a checked loop on a host, its end, addresses that exist in both worlds.
 * A program runs under simulation, and with sim.real on real kernels: see real/real.c. */
#ifndef WEIR_TESTS_SIM_PROG_H
#define WEIR_TESTS_SIM_PROG_H

#include "sim/sim.h"

#include "sim/check/check.h"

/* A loop on this host, checked at every turn; SIGTERM stops it. NULL: it could not start, which is
 * a failure unless something may fail. */
struct check_loop *prog_loop(struct check *check, const weir_loop_options *options);
/* Makes it current, for verbs outside of handlers; and the former one again. */
void prog_enter(struct check_loop *cl);
void prog_leave(void);
/* Turns it until it is stopped; then frees it. */
void prog_run(struct check_loop *cl);
/* The two halves of it, for who has threads to wait for between them. */
void prog_turn(struct check_loop *cl);
void prog_free(struct check_loop *cl);
/* From a handler: the loop ends after this turn. */
void prog_stop(struct check_loop *cl);
/* To be called first by a director: in a third of the runs nothing fails for good, so that all must
 * come to its end, however slow, cut and refused it is on the way. */
void prog_begin(void);
/* Options of a loop as the seed draws them: small receive blocks, few of them; little memory,
 * unless nobody may be kept waiting for it. */
weir_loop_options prog_options(bool patient);
/* Fills in limits and deadlines of a service as the seed draws them. `patient`: deadlines that a
 * peer who only is slow does not meet. */
void prog_service(weir_service *service, const weir_loop_options *options, bool patient);

/* How much a client sends: of any order of magnitude, as the network bears it. */
size_t prog_size(struct check *check);
/* "tcp://ADDRESS:PORT" of the host with this address (10.0.0.N); of another network in reality. */
const char *prog_url(char *text, size_t size, unsigned host, unsigned port);
/* Makes a host 10.0.0.N. */
sim_host *prog_host(const char *name, unsigned number, int (*main)(void *arg), void *arg);
/* Starts a host without faults, and waits until *ready is true. */
void prog_start(sim_host *host, const bool *ready);
/* Waits for hosts that end by themselves; fails when one does not. */
void prog_wait(sim_host *host, uint64_t ns);
/* Kills a host; what it owes is forgiven. */
void prog_kill(struct check *check, sim_host *host, enum sim_kill how);
/* Ends a server in order, by SIGTERM. */
void prog_end(sim_host *host);
/* On a real kernel: what is timed there is judged by nobody. */
bool prog_real(void);

#endif
