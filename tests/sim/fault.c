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

void fault_count(enum sim_fault fault, enum sim_operation operation)
{
    world.outcome->faults[fault][operation]++;
}

bool fault(enum sim_fault fault, enum sim_operation operation)
{
    uint32_t rate = world.faults[fault].rate;
    if (rate == 0 || world.stopped || (random_next(&world.random) >> 48) >= rate)
        return false;
    fault_count(fault, operation);
    return true;
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
    case SIM_FAULT_CLOCK_STEP:
        return 1500;
    case SIM_FAULT_LOSS:
    case SIM_FAULT_CONNECT_ERROR:
    case SIM_FAULT_ACCEPT_ERROR:
    case SIM_FAULT_SOCKET_ERROR:
    case SIM_FAULT_FILE_ERROR:
    case SIM_FAULT_THREAD_ERROR:
    case SIM_FAULT_QUEUE_FULL:
        return 12000;
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
