/* Faults: each is on or off for a run and has a rate. Which, and how high, the seed draws: a random
 * subset is on in each run (swarm testing), because one kind of fault often hides what another
 * would have shown. */
#include "core.h"

const char *const sim_operation_names[SIM_OPERATIONS] = {
    "-",      "accept", "connect", "recv",   "send",   "move",  "close",  "poll",  "file",
    "cancel", "wait",   "socket",  "listen", "packet", "alloc", "thread", "clock",
};

uint64_t chance(uint64_t bound)
{
    return random_below(&world.random, bound);
}

uint64_t chance_between(uint64_t least, uint64_t most)
{
    return least + chance(most - least + 1);
}

/* Each order of magnitude is as likely as any other. */
static uint64_t size_of(struct random *random, uint64_t most)
{
    unsigned bits = 0;
    uint64_t top;
    while (bits < 63 && most >> bits > 1)
        bits++;
    top = 1ull << random_below(random, bits + 1);
    top += random_below(random, top);
    return top < most ? top : most;
}

uint64_t chance_size(uint64_t most)
{
    return size_of(&world.random, most);
}

#define AT(operation) (1u << OP_##operation)

/* To which operations each kind can happen, and why to no other. */
static const struct {
    uint32_t operations;
    const char *nowhere_else;
} places[SIM_FAULT_COUNT] = {
    [SIM_FAULT_SHORT_READ] = {AT(RECV), "nothing else reads a stream"},
    [SIM_FAULT_SHORT_WRITE] = {AT(SEND) | AT(MOVE), "nothing else writes to a stream"},
    [SIM_FAULT_RESET] = {AT(PACKET), "the network does it, at any byte on its way"},
    [SIM_FAULT_FIN_RESET] = {AT(PACKET), "a reset right behind the peer's end"},
    [SIM_FAULT_DELAY] = {AT(PACKET), "a fault of the network"},
    [SIM_FAULT_SPLIT] = {AT(PACKET), "a fault of the network"},
    [SIM_FAULT_SMALL_WINDOW] = {AT(SOCKET), "a socket has its buffers from the beginning"},
    [SIM_FAULT_LOSS] = {AT(PACKET), "a fault of the network"},
    [SIM_FAULT_CONNECT_ERROR] = {AT(CONNECT), "its errors are those of connect(2)"},
    [SIM_FAULT_ACCEPT_ERROR] = {AT(ACCEPT), "its errors are those of accept(2)"},
    [SIM_FAULT_SOCKET_ERROR] = {AT(SOCKET) | AT(LISTEN), "socket(2) and bind(2); once it is bound "
                                                         "a listener listens"},
    [SIM_FAULT_SEND_ERROR] = {AT(SEND), "sendfile(2) of a broken socket is told what the break "
                                        "left: RESET"},
    [SIM_FAULT_RECV_ERROR] = {AT(RECV), "its errors are those of recv(2)"},
    [SIM_FAULT_NO_MEMORY] = {AT(ALLOC), "all memory comes from one place; a kernel's want of it is "
                                        "the error of the call"},
    [SIM_FAULT_NO_BUFFERS] = {AT(RECV), "only receives take blocks"},
    [SIM_FAULT_LATE] = {AT(CLOSE) | AT(WAIT) | AT(SEND), "what is late is told late, by the wait; "
                                                         "but a close and room for a send are "
                                                         "late by themselves"},
    [SIM_FAULT_ORDER] = {AT(WAIT), "one wait brings several completions"},
    [SIM_FAULT_CANCEL_RACE] = {AT(CANCEL) | AT(FILE), "a race of the cancel with what it cancels; "
                                                      "of a file with a worker"},
    [SIM_FAULT_SHOT_ENDS] = {AT(RECV) | AT(ACCEPT), "no other operation is multishot"},
    [SIM_FAULT_QUEUE_FULL] = {AT(ACCEPT) | AT(CONNECT) | AT(RECV) | AT(SEND) | AT(MOVE) |
                                  AT(CLOSE) | AT(POLL) | AT(FILE) | AT(CANCEL),
                              "the others are no verbs of a back end, or cannot be refused"},
    [SIM_FAULT_CQ_OVERFLOW] = {AT(WAIT), "the wait brings what fits"},
    [SIM_FAULT_SPURIOUS] = {AT(RECV) | AT(ACCEPT) | AT(POLL) | AT(WAIT) | AT(THREAD),
                            "nothing else is done because somebody told that it can be"},
    [SIM_FAULT_EINTR] = {AT(RECV) | AT(ACCEPT) | AT(SEND) | AT(MOVE) | AT(WAIT),
                         "nothing else of the library is interrupted: a connect that does not wait "
                         "is not, nor is a close"},
    [SIM_FAULT_STALL] = {AT(WAIT), "a loop is held between two turns"},
    [SIM_FAULT_SWITCH] = {AT(THREAD), "where threads meet: locks, posts, wake-ups"},
    [SIM_FAULT_THREAD_ERROR] = {AT(THREAD), "only pthread_create(3) starts threads"},
    [SIM_FAULT_FILE_ERROR] = {AT(MOVE) | AT(FILE), "nothing else reads files"},
    [SIM_FAULT_FILE_SHORT] = {AT(MOVE) | AT(FILE), "nothing else reads files"},
    [SIM_FAULT_FILE_SLOW] = {AT(MOVE) | AT(FILE), "nothing else reads files"},
    [SIM_FAULT_CLOCK_STEP] = {AT(CLOCK), "the wall clock is looked at in one place"},
    [SIM_FAULT_BACKLOG] = {AT(LISTEN) | AT(CONNECT), "a short queue is made by listen(2), and met "
                                                     "by connect(2)"},
    [SIM_FAULT_DUPLICATE] = {AT(PACKET), "a fault of the network"},
    [SIM_FAULT_PORTS] = {AT(CONNECT), "only connects take a port by themselves"},
};

bool fault_occurs(enum sim_fault fault, enum sim_operation operation)
{
    return (places[fault].operations >> operation & 1) != 0;
}

const char *fault_nowhere_else(enum sim_fault fault)
{
    return places[fault].nowhere_else;
}

void fault_count(enum sim_fault fault, enum sim_operation operation)
{
    sim_check(fault_occurs(fault, operation), "fault %d at %s is not in the list of places", fault,
              sim_operation_names[operation]);
    world.outcome->faults[fault][operation]++;
}

bool fault_drawn(enum sim_fault fault)
{
    uint32_t rate = world.faults[fault].rate;
    return rate != 0 && !world.stopped && (random_next(&world.random) >> 48) < rate;
}

bool fault(enum sim_fault fault, enum sim_operation operation)
{
    bool happens = fault_drawn(fault);
    if (happens)
        fault_count(fault, operation);
    return happens;
}

bool fault_rare(enum sim_fault fault, enum sim_operation operation)
{
    bool happens = world.faults[fault].rate != 0 && !world.stopped && chance(2) == 0;
    if (happens)
        fault_count(fault, operation);
    return happens;
}

/* The most that a kind may happen, of 65536 chances: what ends connections or makes everything
 * slow is rarer than what only changes the way. */
static uint32_t rate_most(enum sim_fault fault)
{
    switch (fault) {
    case SIM_FAULT_RESET:
    case SIM_FAULT_SEND_ERROR:
    case SIM_FAULT_RECV_ERROR:
        return 2500;
    case SIM_FAULT_NO_MEMORY:
    case SIM_FAULT_STALL:
        return 1500;
    case SIM_FAULT_LOSS:
    case SIM_FAULT_CONNECT_ERROR:
    case SIM_FAULT_ACCEPT_ERROR:
        return 12000;
    case SIM_FAULT_SOCKET_ERROR:
    case SIM_FAULT_FILE_ERROR:
    case SIM_FAULT_QUEUE_FULL:
        return 18000;
    case SIM_FAULT_EINTR:
    case SIM_FAULT_SPURIOUS:
    case SIM_FAULT_NO_BUFFERS:
    case SIM_FAULT_CQ_OVERFLOW:
        return 24000;
    default:
        return 45000;
    }
}

void faults_draw(void)
{
    enum { QUIET_IN = 12, LOUD_IN = 16 };
    bool loud;
    world.quiet = chance(QUIET_IN) == 0;
    loud = chance(LOUD_IN) == 0; /* everything at once */
    for (int i = 0; i < SIM_FAULT_COUNT; i++) {
        uint32_t rate = (uint32_t)chance_size(rate_most((enum sim_fault)i));
        bool on = loud || chance(5) < 2;
        world.faults[i].rate = world.quiet || !on ? 0 : rate;
    }
}

bool sim_quiet(void)
{
    return world.quiet;
}

bool sim_fault_on(enum sim_fault fault)
{
    return world.faults[fault].rate != 0;
}

bool sim_can_break(void)
{
    static const enum sim_fault breaking[] = {
        SIM_FAULT_RESET,        SIM_FAULT_FIN_RESET,  SIM_FAULT_CONNECT_ERROR,
        SIM_FAULT_ACCEPT_ERROR, SIM_FAULT_SEND_ERROR, SIM_FAULT_RECV_ERROR,
        SIM_FAULT_NO_MEMORY,    SIM_FAULT_PORTS,      SIM_FAULT_SOCKET_ERROR,
        SIM_FAULT_THREAD_ERROR, SIM_FAULT_BACKLOG,    SIM_FAULT_LOSS,
        SIM_FAULT_STALL,        SIM_FAULT_DELAY,      SIM_FAULT_FILE_SLOW,
    };
    for (unsigned i = 0; i < sizeof(breaking) / sizeof(*breaking); i++)
        if (sim_fault_on(breaking[i]))
            return true;
    return false;
}

void sim_faults_stop(void)
{
    world.stopped = true;
    record("faults stop", 0, 0, 0);
}

void sim_faults_go_on(void)
{
    world.stopped = false;
    record("faults go on", 0, 0, 0);
}

void sim_fault_forbid(enum sim_fault fault)
{
    world.faults[fault].rate = 0;
}

/* --- what programs draw ----------------------------------------------------------------------- */

uint64_t sim_random(uint64_t bound)
{
    return random_below(&world.program_random, bound);
}

bool sim_chance(uint64_t of, uint64_t in)
{
    return random_below(&world.program_random, in) < of;
}

uint64_t sim_between(uint64_t least, uint64_t most)
{
    return least + random_below(&world.program_random, most - least + 1);
}

uint64_t sim_size(uint64_t most)
{
    return size_of(&world.program_random, most);
}

uint64_t sim_seed(void)
{
    return world.seed;
}
