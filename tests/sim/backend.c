/* What the two faces share: operations, the contract, sleeping and waking. */
#include "backend.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "io/features.h"
#include "loop/loop.h"

static uint32_t ids;

static const char *const verbs[] = {"-",    "accept", "connect", "recv", "send",
                                    "move", "close",  "poll",    "file", "cancel"};

/* --- the contract ----------------------------------------------------------------------------- */

void contract_thread(struct sim_io *sio, const char *verb)
{
    if (actor_now == NULL || actor_now->host != sio->host)
        sim_fail("contract: %s from another process", verb);
    if (sio->owner != NULL && sio->owner != actor_now)
        sim_fail("contract: %s on a back end of thread %u by thread %u", verb, sio->owner->id,
                 actor_now->id);
}

struct sim_file *backend_file(struct sim_io *sio, const struct io_fd *fd)
{
    if (fd->flags & IO_FD_DIRECT)
        return fd->fd >= 0 && fd->fd < DIRECT_SLOTS ? sio->direct[fd->fd] : NULL;
    return file_of(fd->fd);
}

static void contract_token(struct sim_io *sio, const struct io_fd *fd, uint64_t token,
                           unsigned kind)
{
    if (token == 0 || IO_TOKEN_OP(token) != kind)
        sim_fail("contract: %s with the token of another verb", verbs[kind]);
    if (kind == IO_OP_CLOSE || kind == IO_OP_FILE)
        return;
    if (sio->config.find(sio->config.owner, token) != fd)
        sim_fail("contract: the token of %s does not name its descriptor", verbs[kind]);
}

struct sim_sock *contract_fd(struct sim_io *sio, struct io_fd *fd, uint64_t token, unsigned kind)
{
    struct sim_file *file;
    contract_thread(sio, verbs[kind]);
    if (fd->fd < 0)
        sim_fail("contract: %s on a closed descriptor", verbs[kind]);
    contract_token(sio, fd, token, kind);
    file = backend_file(sio, fd);
    if (file == NULL)
        sim_fail("contract: %s on a descriptor that is not open", verbs[kind]);
    if (sio->io.eager && fd->flags & (IO_FD_ONCE | IO_FD_DIRECT))
        sim_fail("contract: %s: a flag that this back end does not have is set", verbs[kind]);
    return file->sock;
}

static bool rivals(unsigned a, unsigned b)
{
    bool sends_a = a == IO_OP_SEND || a == IO_OP_MOVE || a == IO_OP_CONNECT;
    bool sends_b = b == IO_OP_SEND || b == IO_OP_MOVE || b == IO_OP_CONNECT;
    return a == b || (sends_a && sends_b) || (a == IO_OP_CONNECT && b == IO_OP_RECV) ||
           (a == IO_OP_RECV && b == IO_OP_CONNECT);
}

/* --- operations ------------------------------------------------------------------------------- */

struct sim_op *op_find(struct sim_io *sio, uint64_t token)
{
    struct sim_op *op = sio->all;
    while (op != NULL && op->token != token)
        op = op->all_next;
    return op;
}

static void contract_alone(struct sim_io *sio, const struct io_fd *fd, const struct sim_sock *sock,
                           unsigned kind)
{
    for (struct sim_op *op = sock != NULL ? sock->operations : NULL; op != NULL; op = op->sock_next)
        if (op->io == sio && op->fd == fd && rivals(op->kind, kind))
            sim_fail("contract: %s while a %s is in flight on socket %u", verbs[kind],
                     verbs[op->kind], sock->id);
}

struct sim_op *op_new(struct sim_io *sio, struct io_fd *fd, struct sim_sock *sock, uint64_t token,
                      unsigned kind)
{
    struct sim_op *op = sio->free_ops;
    contract_alone(sio, fd, sock, kind);
    if (op != NULL)
        sio->free_ops = op->queue_next;
    else
        op = world_alloc(sizeof(*op));
    *op = (struct sim_op){.token = token, .kind = kind, .io = sio, .fd = fd, .sock = sock};
    op->serial = ++sio->serials;
    op->all_next = sio->all;
    sio->all = op;
    sio->in_flight++;
    if (sock != NULL) {
        op->sock_next = sock->operations;
        sock->operations = op;
    }
    return op;
}

/* It was not tried, or was short for want of something else: no send has asked to be told. */
static void op_room_wanted(const struct sim_op *op)
{
    bool sends = op->kind == IO_OP_SEND || op->kind == IO_OP_MOVE ||
                 (op->kind == IO_OP_POLL && op->mask & POLLOUT);
    if (sends && op->sock != NULL)
        sock_room_wanted(op->sock);
}

void op_attach(struct sim_op *op)
{
    op->state = OP_STATE_RUNS;
    op->attached = true;
    if (op_can(op))
        op_ready(op);
    else
        op_room_wanted(op);
}

void op_ready(struct sim_op *op)
{
    struct sim_io *sio = op->io;
    if (op->in_ready)
        return;
    if (sio->ready_count == sio->ready_room) {
        sio->ready_room = sio->ready_room != 0 ? sio->ready_room * 2 : 64;
        sio->ready = realloc(sio->ready, sio->ready_room * sizeof(struct sim_op *));
        if (sio->ready == NULL)
            abort();
    }
    op->in_ready = true;
    op->ready_place = sio->ready_count;
    sio->ready[sio->ready_count++] = op;
    if (sio->sleeping && sio->owner != NULL)
        actor_wake(sio->owner);
}

void op_unready(struct sim_op *op)
{
    struct sim_io *sio = op->io;
    struct sim_op *last;
    if (!op->in_ready)
        return;
    op->in_ready = false;
    last = sio->ready[--sio->ready_count];
    last->ready_place = op->ready_place;
    sio->ready[op->ready_place] = last;
}

static void detach(struct sim_op *op)
{
    op_unready(op);
    op->attached = false;
    event_cancel(&op->later);
    if (op->sock == NULL)
        return;
    for (struct sim_op **at = &op->sock->operations; *at != NULL; at = &(*at)->sock_next)
        if (*at == op) {
            *at = op->sock_next;
            break;
        }
    op->sock = NULL;
}

void op_free(struct sim_op *op)
{
    struct sim_io *sio = op->io;
    detach(op);
    for (struct sim_op **at = &sio->all; *at != NULL; at = &(*at)->all_next)
        if (*at == op) {
            *at = op->all_next;
            break;
        }
    free(op->iov);
    sio->in_flight--;
    op->queue_next = sio->free_ops;
    sio->free_ops = op;
}

bool op_can(const struct sim_op *op)
{
    unsigned ready;
    if (!op->attached || op->sock == NULL || op->delayed)
        return false;
    switch (op->kind) {
    case IO_OP_CONNECT:
        return op->sock->state != SOCK_CONNECTS;
    case IO_OP_ACCEPT:
        return op->sock->queue_first != NULL;
    case IO_OP_RECV:
        if (op->sock->state == SOCK_DATAGRAM)
            return udp_waits(op->sock);
        return (sock_ready(op->sock) & (POLLIN | POLLERR | POLLHUP | POLLRDHUP)) != 0;
    case IO_OP_SEND:
    case IO_OP_MOVE:
        return (sock_ready(op->sock) & (POLLOUT | POLLERR | POLLHUP)) != 0;
    case IO_OP_POLL:
        ready = sock_ready(op->sock);
        return (ready & (op->mask | POLLERR | POLLHUP)) != 0;
    default:
        return false;
    }
}

void sock_changed(struct sim_sock *sock, unsigned what)
{
    for (struct sim_op *op = sock->operations; op != NULL; op = op->sock_next)
        if (op_can(op))
            op_ready(op);
    for (int i = 0; i < SOCK_SLEEPERS; i++)
        if (sock->sleepers[i] != NULL)
            actor_wake(sock->sleepers[i]);
    if (sock->entries != NULL)
        entries_told(sock, what);
}

/* --- events ----------------------------------------------------------------------------------- */

void op_complete(struct sim_op *op, int result, unsigned flags, uint8_t *data, unsigned block)
{
    struct sim_io *sio = op->io;
    bool over = (flags & IO_MORE) == 0;
    if (sio->cq_count == sio->cq_room) {
        uint32_t room = sio->cq_room != 0 ? sio->cq_room * 2 : 128;
        struct completion *cq = malloc(room * sizeof(*cq));
        if (cq == NULL)
            abort();
        for (uint32_t i = 0; i < sio->cq_count; i++)
            cq[i] = sio->cq[(sio->cq_head + i) & (sio->cq_room - 1)];
        free(sio->cq);
        sio->cq = cq;
        sio->cq_room = room;
        sio->cq_head = 0;
    }
    sio->cq[(sio->cq_head + sio->cq_count++) & (sio->cq_room - 1)] = (struct completion){
        .event = {.token = op->token,
                  .data = data,
                  .result = result,
                  .flags = (uint16_t)flags,
                  .block = (uint16_t)block},
        .op = over ? op : NULL,
    };
    if (over) {
        op_unready(op);
        op->attached = false;
        op->state = OP_STATE_OVER;
        event_cancel(&op->later);
    }
    if (sio->sleeping && sio->owner != NULL)
        actor_wake(sio->owner);
}

void completion_take(struct sim_io *sio, struct io_event *event)
{
    struct completion *completion = &sio->cq[sio->cq_head & (sio->cq_room - 1)];
    struct sim_op *op = completion->op;
    *event = completion->event;
    sio->cq_head++;
    sio->cq_count--;
    sio->io.stats.events++;
    record("event", (int64_t)IO_TOKEN_OP(event->token) << 8 | event->flags, event->result,
           (int64_t)IO_TOKEN_SLOT(event->token));
    if (IO_TOKEN_OP(event->token) != IO_OP_CLOSE &&
        sio->config.find(sio->config.owner, event->token) == NULL)
        sim_fail("contract: the record of an operation (%s) is gone before its event",
                 verbs[IO_TOKEN_OP(event->token)]);
    if (event->flags & IO_MESSAGES)
        messages_yield(sio, event);
    if (op != NULL)
        op_free(op);
}

/* --- sleeping --------------------------------------------------------------------------------- */

void backend_jobs(struct sim_io *sio)
{
    struct io_file *file = weir__pool_harvest(&sio->client);
    while (file != NULL) {
        struct io_file *next = file->next;
        struct sim_op *op = op_find(sio, file->token);
        sio->jobs--;
        op_complete(op, file->result, 0, NULL, 0);
        file = next;
    }
}

/* A loop with nothing due sleeps (K13): turn after turn that neither sleeps nor brings anything is
 * a spin. Where verbs are refused some turns are made to ask again. */
static void spin_check(struct sim_io *sio, int64_t timeout_ns)
{
    enum { MOST_QUIET = 32, MOST = 5000 };
    const struct loop_counters *counters = &((const weir_loop *)sio->config.owner)->counters;
    uint64_t done = sio->io.stats.events + counters->posts + counters->timers_fired;
    if (timeout_ns != 0 || done != sio->done_seen)
        sio->idle_turns = 0;
    sio->done_seen = done;
    if (++sio->idle_turns > (world.quiet ? MOST_QUIET : MOST))
        sim_fail("a spin: %llu turns of a loop without a sleep and without an event",
                 (unsigned long long)sio->idle_turns);
}

void refused_note(struct sim_io *sio, struct sim_sock *sock)
{
    if (!sock->refused_listed) {
        sock->refused_next = sio->refused;
        sio->refused = sock;
        sock->refused_listed = true;
    }
    sock->refused_turn = sio->io.stats.waits;
}

void refused_forget(struct sim_sock *sock)
{
    sock->refused_turn = 0; /* leaves the list at the next look */
}

static void refused_check(struct sim_io *sio)
{
    enum { TURNS_MOST = 3 };
    struct sim_sock **at = &sio->refused;
    while (*at != NULL) {
        struct sim_sock *sock = *at;
        if (sock->refused_turn == 0 || sock->closed) {
            sock->refused_listed = false;
            *at = sock->refused_next;
            continue;
        }
        sim_check(sio->io.stats.waits - sock->refused_turn <= TURNS_MOST,
                  "contract: a send on socket %u was refused and is not asked again", sock->id);
        at = &sock->refused_next;
    }
}

void backend_turn(struct sim_io *sio, int64_t timeout_ns)
{
    contract_thread(sio, "wait");
    if (sio->owner == NULL)
        sio->owner = actor_now;
    sio->io.stats.waits++;
    spin_check(sio, timeout_ns);
    refused_check(sio);
}

void backend_sleep(struct sim_io *sio, int64_t timeout_ns)
{
    if (timeout_ns != 0 && fault(SIM_FAULT_SPURIOUS, OP_WAIT))
        timeout_ns = 0;
    else if (timeout_ns != 0 && fault(SIM_FAULT_EINTR, OP_WAIT))
        timeout_ns = timeout_ns < 0 ? 1000 : timeout_ns / 2;
    if (timeout_ns != 0 && !sio->woken && sio->cq_count == 0 && sio->ready_count == 0) {
        uint64_t until_ns = timeout_ns < 0 ? SIM_FOREVER : world.now_ns + (uint64_t)timeout_ns;
        sio->io.stats.sleeps++;
        sio->sleeping = true;
        record("sleep", sio->id, timeout_ns, 0);
        actor_wait(until_ns, "its back end");
        sio->sleeping = false;
    } else {
        actor_yield(); /* the others run meanwhile, and packets arrive */
    }
    sio->woken = false;
    if (sio->jobs != 0)
        backend_jobs(sio);
}

void backend_wake(struct io *io)
{
    struct sim_io *sio = sim_io_of(io);
    if (sio->host->ios == NULL)
        sim_fail("contract: a wake-up of a back end that is closed");
    record("wake", sio->id, sio->sleeping, 0);
    sio->woken = true;
    if (sio->sleeping)
        actor_wake(sio->owner);
    actor_point();
}

int backend_poll_fd(struct io *io)
{
    return WEIR_ENOTSUP;
}

void backend_forked(struct io *io)
{
    sim_fail("fork is not simulated");
}

unsigned backend_in_flight(struct io *io)
{
    return sim_io_of(io)->in_flight;
}

/* --- birth and end ---------------------------------------------------------------------------- */

static bool switched_off(const struct io_config *config, enum io_switch_id which, bool *named)
{
    struct io_features features;
    const char *why;
    if (weir__io_features(&features, config->features, &why) != 0)
        return false;
    *named = features.named[which];
    return !features.on[which];
}

static void blocks_make(struct sim_io *sio)
{
    enum { BLOCKS_MOST = 64, BYTES_LEAST = 256, BYTES_MOST = 64 * 1024 };
    sio->block_bytes = (uint32_t)(BYTES_LEAST - 1 + chance_size(BYTES_MOST - BYTES_LEAST));
    sio->io.blocks = (uint32_t)(1 + chance_size(BLOCKS_MOST));
    if (sio->face == FACE_READINESS)
        sio->io.blocks = 1;
    sio->incremental = chance(2) == 0;
    sio->io.block_size = sio->block_bytes;
    sio->blocks = world_alloc(sio->io.blocks * sizeof(*sio->blocks));
    for (uint32_t i = 0; i < sio->io.blocks; i++) {
        sio->blocks[i].data = malloc(sio->block_bytes);
        if (sio->blocks[i].data == NULL)
            abort();
        sio->blocks[i].lent = true;
    }
    sio->hot = sio->blocks[0].data;
}

int backend_open(struct io **io, const struct io_config *config, const char **why)
{
    struct sim_io *sio;
    bool named = false, off;
    *why = NULL;
    if (fault(SIM_FAULT_NO_MEMORY, OP_ALLOC)) {
        *why = "the simulated machine has no memory for it";
        return -ENOMEM;
    }
    sio = world_alloc(sizeof(*sio));
    sio->config = *config;
    sio->id = ++ids;
    sio->host = world.host_now;
    sio->opener = actor_now;
    sio->client.io = &sio->io;
    sio->face = chance(3) != 0 ? FACE_COMPLETION : FACE_READINESS;
    sio->cq_entries = fault_drawn(SIM_FAULT_CQ_OVERFLOW) ? (uint32_t)chance_size(8) : 1024;
    sio->queue_room = 128;
    off = switched_off(config, IO_SWITCH_direct, &named);
    sio->io.direct = sio->face == FACE_COMPLETION && (named ? !off : chance(4) == 0);
    sio->multishot = chance(4) != 0;
    blocks_make(sio);
    if (sio->face == FACE_COMPLETION)
        completion_open(sio);
    else
        readiness_open(sio);
    sio->io.plan.backend = "sim";
    sio->host_next = sio->host->ios;
    sio->host->ios = sio;
    record("back end", sio->id, sio->face << 1 | sio->io.direct,
           (int64_t)sio->io.blocks << 32 | sio->block_bytes);
    *io = &sio->io;
    return 0;
}

void backend_close(struct io *io)
{
    struct sim_io *sio = sim_io_of(io);
    contract_thread(sio, "close");
    weir__pool_quiet(&sio->client);
    sim_check(sio->in_flight == 0, "contract: a back end is closed with %u operations in flight",
              sio->in_flight);
    for (uint32_t i = 0; i < sio->io.blocks; i++)
        sim_check(sio->blocks[i].refs == 0, "leak: receive block %u has %u references at the end",
                  i, sio->blocks[i].refs);
    for (int i = 0; i < DIRECT_SLOTS; i++)
        sim_check(sio->direct[i] == NULL, "leak: direct descriptor %d is open at the end", i);
    for (struct sim_io **at = &sio->host->ios; *at != NULL; at = &(*at)->host_next)
        if (*at == sio) {
            *at = sio->host_next;
            break;
        }
    record("back end closed", sio->id, 0, 0);
}
