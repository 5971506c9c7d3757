/* The io_uring back end: its table of verbs, birth and end, and the harvest. */
#include "io/uring.h"

#include <errno.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"

static struct uring *make(const struct io_config *config, const char **why, int *error)
{
    struct uring *ring = weir__zalloc(sizeof(*ring));

    *error = -ENOMEM;
    *why = "out of memory";
    if (!ring)
        return NULL;
    ring->io.ops = &weir__io_uring;
    ring->config = *config;
    ring->enter = uring_real_enter;
    ring->client.io = &ring->io;
    ring->finished_end = &ring->finished;
    atomic_store(&ring->host_fd, -1);
    ring->setup_fd = ring->wake_fd = ring->poll_fd = -1;
    *error = weir__io_features(&ring->features, config->features, why);
    if (*error == 0) {
        ring->arena = weir__alloc(URING_ARENA_BYTES);
        *error = ring->arena ? 0 : -ENOMEM;
    }
    if (*error < 0) {
        weir__free(ring);
        return NULL;
    }
    return ring;
}

/* What is used: what the kernel has, less what is switched off. */
static int decide(struct uring *ring, const struct uring_facts *facts, const char **why)
{
    const bool *on = ring->features.on;
    const struct io_config *config = &ring->config;

    ring->multishot_accept =
        !facts->multishot_accept && on[IO_SWITCH_multishot_accept] && !config->no_multishot;
    ring->multishot_recv =
        !facts->multishot_recv && on[IO_SWITCH_multishot_recv] && !config->no_multishot;
    ring->multishot_message = !facts->multishot_message && ring->multishot_recv;
    ring->poll_first = !facts->poll_first && on[IO_SWITCH_poll_first];
    ring->cancel_op = !facts->cancel_op && on[IO_SWITCH_cancel_op];
    ring->warm_move = on[IO_SWITCH_warm_move];
    /* Multishot receive on a unix socket can miss the end on some kernels (uring_quirks.c). */
    ring->oneshot_flags = IO_FD_ONCE | (facts->unix_end ? IO_FD_MAYBE_UNIX : 0);
    ring->io.direct =
        ring->features.named[IO_SWITCH_direct] ? on[IO_SWITCH_direct] : config->direct;
    if (!facts->no_iowait && on[IO_SWITCH_no_iowait])
        ring->wait_flags |= URING_ENTER_NO_IOWAIT;
    if (ring->io.direct && facts->direct) {
        *why = facts->direct;
        return -ENOSYS;
    }
    return 0;
}

/* Without these a ring costs what epoll does, or more. What was switched off by hand is wanted so.
 */
static const char *why_second(const struct uring *ring, const struct uring_facts *facts)
{
    const bool *on = ring->features.on;

    if (facts->multishot_recv)
        return facts->multishot_recv;
    if (!(ring->setup_flags & IORING_SETUP_DEFER_TASKRUN) && on[IO_SWITCH_defer_taskrun] &&
        on[IO_SWITCH_single_issuer])
        return "io_uring of this kernel cannot defer its completions (6.1 brought it)";
    return NULL;
}

static void end(struct uring *ring)
{
    if (!ring->forked) {
        weir__pool_quiet(&ring->client);
        uring_teardown(ring);
    }
    uring_messages_close(ring);
    uring_buffers_close(ring);
    weir__free(ring->arena);
    weir__free(ring->scratch);
    weir__free(ring->seats);
    weir__free(ring);
}

static int uring_open(struct io **io, const struct io_config *config, const char **why)
{
    const struct uring_facts *facts = uring_facts();
    struct uring *ring;
    int error = facts->error;

    *io = NULL;
    *why = facts->why;
    if (error < 0)
        return error;
    ring = make(config, why, &error);
    if (!ring)
        return error;
    error = decide(ring, facts, why);
    if (error == 0)
        error = uring_setup(ring, why);
    if (error == 0)
        error = uring_buffers_open(ring, facts, why);
    if (error < 0) {
        end(ring);
        return error;
    }
    ring->peeks = ring->setup_flags & IORING_SETUP_TASKRUN_FLAG ||
                  !(ring->setup_flags & IORING_SETUP_DEFER_TASKRUN);
    ring->io.second = why_second(ring, facts);
    uring_plan(ring, facts);
    *io = &ring->io;
    return 0;
}

static void uring_close(struct io *io)
{
    struct uring *ring = uring_of(io);

    WEIR_ASSERT(ring->in_flight == 0);
    end(ring);
}

/* In the child the rings are not mapped and the registered descriptor is not there; the numbers
 * are copies, and closing them takes nothing from the parent. What is left to do is to close. */
static void uring_forked(struct io *io)
{
    struct uring *ring = uring_of(io);

    close(ring->setup_fd);
    close(ring->wake_fd);
    if (ring->poll_fd >= 0)
        close(ring->poll_fd);
    ring->forked = true;
    ring->in_flight = 0;
}

static unsigned uring_in_flight(struct io *io)
{
    return uring_of(io)->in_flight;
}

/* A completion of the ring's own. */
static void own_event(struct uring *ring, const struct io_uring_cqe *cqe)
{
    unsigned code = IO_TOKEN_OP(cqe->user_data);

    if (code > URING_OWN) {
        uring_cancel_missed(ring, cqe->user_data, cqe->res);
        return;
    }
    switch (IO_TOKEN_SLOT(cqe->user_data)) {
    case URING_OWN_WAKE:
        if (!(cqe->flags & IORING_CQE_F_MORE))
            ring->wake_armed = uring_arm_wake(ring) == 0;
        break;
    case URING_OWN_INSTALL:
        if (cqe->res >= 0)
            close(cqe->res); /* came too late for the call that wanted it */
        break;
    default:
        break;
    }
}

/* An operation whose cancel was asked for has ended. Kernels before 6.5 end a canceled multishot
 * receive with ENOBUFS (liburing issue 984). */
static void end_canceled(struct uring *ring, struct io_event *event)
{
    struct io_fd *fd = ring->config.find(ring->config.owner, event->token);
    unsigned op = IO_TOKEN_OP(event->token);

    if (!fd || !(fd->flags & URING_FD_CANCEL(op)))
        return;
    fd->flags &= (uint16_t)~URING_FD_CANCEL(op);
    ring->canceling--;
    if (op == IO_OP_RECV && event->result == -ENOBUFS)
        event->result = -ECANCELED;
}

/* Received bytes: finds them in the block, and settles whether the kernel is done with it. */
static inline void received(struct uring *ring, const struct io_uring_cqe *cqe,
                            struct io_event *event)
{
    struct uring_buffers *buffers = &ring->buffers;
    unsigned index = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    struct uring_block *block = &buffers->block[index];
    uint32_t size = (uint32_t)cqe->res, room;

    WEIR_ASSERT(index < buffers->count && size <= buffers->size - block->used && !block->mine);
    room = buffers->size - block->used;
    event->data = buffers->memory + (size_t)index * buffers->stride + block->used;
    event->block = (uint16_t)index;
    block->refs++;
    block->used += size;
    /* A block that is full is done with, and so is one of which the kernel says no more. The flag
     * counts only with bytes: it is missing at the end of a stream on some kernels, which use the
     * block all the same (liburing issue 1545). */
    if (size == room || !(cqe->flags & URING_CQE_F_BUF_MORE)) {
        block->mine = true;
        buffers->lent--;
    }
    event->flags |= IO_BUFFER;
    if (ring->event_max < room)
        room = ring->event_max; /* what a single receive asks for, and a capped one */
    /* Sockets other than TCP may say nothing of what is left; a receive that filled all it could
     * may have left something. */
    if (!(cqe->flags & IORING_CQE_F_SOCK_NONEMPTY) && size < room)
        event->flags |= IO_DRAINED;
}

/* Cuts a receive larger than an event may be; the rest comes with the next calls. */
static void cut(struct uring *ring, struct io_event *event)
{
    uint32_t most = ring->event_max;

    ring->carry = (struct uring_carry){.token = event->token,
                                       .data = event->data + most,
                                       .left = (uint32_t)event->result - most,
                                       .flags = event->flags,
                                       .block = event->block};
    event->result = (int32_t)most;
    event->flags = (uint16_t)((event->flags & ~IO_DRAINED) | IO_MORE);
    ring->buffers.block[event->block]
        .refs++; /* now: this event's may be given back before the rest */
}

static void carried(struct uring *ring, struct io_event *event)
{
    struct uring_carry *carry = &ring->carry;
    uint32_t most = ring->event_max;

    *event = (struct io_event){.token = carry->token,
                               .data = carry->data,
                               .result = (int32_t)carry->left,
                               .flags = carry->flags,
                               .block = carry->block};
    if (carry->left > most)
        cut(ring, event);
    else
        carry->left = 0;
    if (!(event->flags & IO_MORE))
        ring->in_flight--;
}

/* True when the connection stands, or has failed; false while it moves into the ring's table. */
static bool connected(struct uring *ring, struct io_event *event)
{
    if (ring->io.direct && uring_seated(ring, event->token, event->result)) {
        event->result = 0;
        return true;
    }
    if (event->result == 0)
        event->result = uring_connect_result(ring, event->token);
    return event->result != 0 || !ring->io.direct || !uring_seat(ring, event->token);
}

/* A receive that brought no bytes, or any other operation. False: no event comes of it. */
static inline bool finish(struct uring *ring, const struct io_uring_cqe *cqe,
                          struct io_event *event)
{
    switch (IO_TOKEN_OP(cqe->user_data)) {
    case IO_OP_RECV:
        if (cqe->res == -ENOBUFS)
            ring->io.stats.buffer_outages++;
        if (cqe->flags & IORING_CQE_F_BUFFER &&
            cqe->flags >> IORING_CQE_BUFFER_SHIFT >= URING_MESSAGE_BASE) {
            uring_message_lend(ring, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        } else if (cqe->flags & IORING_CQE_F_BUFFER && !ring->buffers.incremental) {
            unsigned block = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

            ring->buffers.lent--;
            uring_block_return(&ring->buffers, block);
        }
        break;
    case IO_OP_POLL:
        ring->polls--;
        break;
    case IO_OP_CONNECT:
        return connected(ring, event);
    case IO_OP_MOVE:
        uring_move_event(ring, event);
        break;
    default:
        break;
    }
    return true;
}

/* A receive of a stream brings a block whose number has no top bit. Messages come in blocks whose
 * number has it, or, where the ring only waits for them, in none. */
#define MESSAGE_MASK (IORING_CQE_F_BUFFER | (unsigned)URING_MESSAGE_BASE << IORING_CQE_BUFFER_SHIFT)

static int uring_next(struct io *io, struct io_event *event)
{
    struct uring *ring = uring_of(io);
    unsigned head = ring->cq_head;

    if (__builtin_expect(ring->carry.left, 0)) {
        carried(ring, event);
        io->stats.events++;
        return 1;
    }
    if (__builtin_expect(ring->messages_held, 0))
        uring_messages_return(ring);
    while (head != ring->harvest) {
        const struct io_uring_cqe *cqe = &ring->cqes[head++ & ring->cq_mask];
        unsigned op = IO_TOKEN_OP(cqe->user_data);

        ring->cq_head = head;
        if (__builtin_expect(op >= URING_OWN, 0)) {
            own_event(ring, cqe);
            continue;
        }
        event->token = cqe->user_data;
        event->result = cqe->res;
        event->flags = cqe->flags & IORING_CQE_F_MORE ? IO_MORE : 0;
        if (op == IO_OP_RECV && cqe->res > 0 &&
            __builtin_expect((cqe->flags & MESSAGE_MASK) != IORING_CQE_F_BUFFER, 0))
            uring_messages_next(ring, cqe, event);
        else if (op == IO_OP_RECV && cqe->res > 0)
            received(ring, cqe, event);
        else if (!finish(ring, cqe, event))
            continue;
        if (!(event->flags & IO_MORE) && __builtin_expect(ring->canceling, 0))
            end_canceled(ring, event);
        if (__builtin_expect(event->result > (int32_t)ring->event_max, 0) &&
            event->flags & IO_BUFFER)
            cut(ring, event);
        if (!(event->flags & IO_MORE))
            ring->in_flight--;
        io->stats.events++;
        return 1;
    }
    __atomic_store_n(ring->cq_khead, head, __ATOMIC_RELEASE);
    if (__builtin_expect(ring->jobs || ring->finished, 0) && uring_file_finished(ring, event)) {
        io->stats.events++;
        return 1;
    }
    return 0;
}

const struct io_ops weir__io_uring = {
    .name = "uring",
    .open = uring_open,
    .close = uring_close,
    .wait = uring_wait,
    .next = uring_next,
    .wake = uring_wake,
    .poll_fd = uring_poll_fd,
    .accept = uring_accept,
    .connect = uring_connect,
    .recv = uring_recv,
    .recvmsg = uring_recvmsg,
    .sendmsg = uring_sendmsg,
    .send = uring_send,
    .move = uring_move,
    .shutdown = uring_shutdown,
    .close_fd = uring_close_fd,
    .cancel = uring_cancel,
    .poll = uring_poll,
    .file = uring_file,
    .hold = uring_hold,
    .release = uring_release,
    .blocks_free = uring_blocks_free,
    .number = uring_number,
    .number_done = uring_number_done,
    .forked = uring_forked,
    .in_flight = uring_in_flight,
};
