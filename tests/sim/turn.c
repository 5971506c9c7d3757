/* Turns of loops, whichever back end they wait with: each goes once through its back end's wait,
 * which is watched here. Before it the program looks at what must hold at every turn; how long the
 * loop could not look at what was due is kept beside it, for who judges deadlines. */
#include "backend.h"
#include "loop/loop.h"

enum { TABLES = 8 };

static struct watched {
    struct io_ops ops; /* as the back end's own, but for the wait */
    const struct io_ops *own;
} watched[TABLES];

/* A loop is about to wait: its invariants are looked at, time passes, perhaps much. */
static void turn_ends(weir_loop *loop)
{
    enum { STALL_MOST_NS = 2000000000 };
    const sim_host *host = world.host_now;
    actor_spend(world.turn_cost_ns);
    if (host->each_turn != NULL)
        host->each_turn(loop, host->each_turn_arg);
    if (fault(SIM_FAULT_STALL, OP_WAIT)) {
        uint64_t ns = chance_size(STALL_MOST_NS);
        record("stall", (int64_t)ns, 0, 0);
        actor_wait(world.now_ns + ns, "the end of a stall");
    }
}

/* Those of a back end that is watched lie in the table. */
static const struct watched *watched_of(const struct io_ops *ops)
{
    unsigned i = 0;
    while (i < TABLES && &watched[i].ops != ops)
        i++;
    sim_check(i < TABLES, "a back end whose wait is not watched");
    return &watched[i];
}

static int watched_wait(struct io *io, int64_t timeout_ns)
{
    const struct io_ops *own = watched_of(io->ops)->own;
    struct sim_actor *actor = actor_now;
    if (actor == NULL || weir__current == NULL)
        sim_fail("contract: a wait outside of a loop's turn");
    turn_ends(weir__current);
    if (actor->woke_ns != 0)
        actor->held_ns += world.now_ns - actor->woke_ns;
    uint64_t due_ns = timeout_ns < 0 ? SIM_FOREVER : world.now_ns + (uint64_t)timeout_ns;
    int result = own->wait(io, timeout_ns);
    if (world.now_ns > due_ns)
        actor->held_ns += world.now_ns - due_ns;
    actor->woke_ns = world.now_ns;
    return result;
}

void turns_watch(struct io *io)
{
    for (unsigned i = 0; i < TABLES; i++) {
        if (watched[i].own == NULL) {
            watched[i].own = io->ops;
            watched[i].ops = *io->ops;
            watched[i].ops.wait = watched_wait;
        }
        if (watched[i].own == io->ops) {
            io->ops = &watched[i].ops;
            return;
        }
    }
    sim_fail("more than %d back ends", TABLES);
}

uint64_t sim_held(void)
{
    return actor_now != NULL ? actor_now->held_ns : 0;
}
