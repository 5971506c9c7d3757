/* Datagrams in the ring. They are received by multishot recvmsg into whole blocks of a group of
 * their own: in an incremental block the kernel takes a message apart from its head (liburing issue
 * 1433). One alone is sent by the ring; more of them by one sendmmsg, which costs less than as many
 * entries and completions. */
#include "io/uring.h"

#include <errno.h>
#include <poll.h>
#include <stdalign.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/assert.h"

enum {
    BLOCKS = IO_MESSAGES_MOST,
    HEAD_SIZE = sizeof(struct io_uring_recvmsg_out) + IO_MESSAGE_NAME + IO_MESSAGE_CONTROL,
    MESSAGE_ROOM = HEAD_SIZE + IO_MESSAGE_BYTES,
    COLOUR = 128,
    STRIDE = (MESSAGE_ROOM + COLOUR + 15) & ~15,
    RING_BYTES = BLOCKS * sizeof(struct io_uring_buf)
};
_Static_assert((BLOCKS & (BLOCKS - 1)) == 0, "the kernel wants a power of two");
_Static_assert(sizeof(struct io_uring_recvmsg_out) == 16 && IO_MESSAGE_NAME % 16 == 0,
               "name and control are aligned");

void uring_message_lend(struct uring *ring, unsigned number)
{
    struct uring_messages *messages = ring->messages;
    struct io_uring_buf *entry = &messages->entry[messages->tail & (BLOCKS - 1)];
    unsigned index = number - URING_MESSAGE_BASE;

    WEIR_ASSERT(index < BLOCKS);
    entry->addr = (uintptr_t)(messages->memory + (size_t)index * STRIDE);
    entry->len = MESSAGE_ROOM;
    entry->bid = (uint16_t)number;
    messages->tail++;
    __atomic_store_n(&messages->entry[0].resv, messages->tail, __ATOMIC_RELEASE);
}

void uring_messages_return(struct uring *ring)
{
    for (unsigned i = 0; i < ring->messages_held; i++)
        uring_message_lend(ring, ring->messages->held[i]);
    ring->messages_held = 0;
}

/* In a forked child the entries are not mapped: as in uring_buffers_close. */
void uring_messages_close(struct uring *ring)
{
    struct uring_messages *messages = ring->messages;

    weir__inbox_free(ring->inbox);
    ring->inbox = NULL;
    if (!messages)
        return;
    if (messages->entry && !ring->forked)
        weir__pages_free(messages->entry, RING_BYTES);
    if (messages->memory)
        weir__pages_free(messages->memory, (size_t)BLOCKS * STRIDE);
    weir__free(messages);
    ring->messages = NULL;
}

static int messages_open(struct uring *ring)
{
    struct uring_messages *messages = weir__zalloc(sizeof(*messages));
    struct uring_pbuf_reg reg = {.bgid = URING_MESSAGE_GROUP, .ring_entries = BLOCKS};
    int result = -ENOMEM;

    ring->messages = messages;
    if (messages) {
        messages->memory = weir__pages_alloc((size_t)BLOCKS * STRIDE);
        messages->entry = weir__pages_alloc(RING_BYTES);
    }
    if (messages && messages->memory && messages->entry) {
        reg.ring_addr = (uintptr_t)messages->entry;
        result = madvise(messages->entry, RING_BYTES, MADV_DONTFORK) < 0 ? -errno : 0;
        if (result == 0)
            result =
                io_uring_register((unsigned)ring->setup_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
    }
    if (result < 0) {
        uring_messages_close(ring);
        return result;
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        uring_message_lend(ring, URING_MESSAGE_BASE + i);
    return 0;
}

/* Without multishot the ring waits until there is something, and recvmmsg takes it. */
static int wait_for_messages(struct uring *ring, struct io_fd *fd, uint64_t token)
{
    struct io_uring_sqe *sqe;

    if (!ring->inbox)
        ring->inbox = weir__inbox_new();
    if (!ring->inbox)
        return -ENOMEM;
    sqe = uring_sqe(ring);
    if (!sqe)
        return -ENOBUFS;
    sqe->opcode = IORING_OP_POLL_ADD;
    uring_sqe_fd(sqe, fd);
    sqe->poll32_events = uring_poll_mask(POLLIN);
    sqe->user_data = token;
    ring->in_flight++;
    return IO_PENDING;
}

int uring_recvmsg(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct uring *ring = uring_of(io);
    struct io_uring_sqe *sqe;
    struct msghdr *header;
    int result;

    if (!ring->multishot_message || fd->flags & IO_FD_ONCE)
        return wait_for_messages(ring, fd, token);
    if (!ring->messages) {
        result = messages_open(ring);
        if (result < 0)
            return result;
    }
    header = uring_arena(ring, sizeof(*header));
    sqe = header ? uring_sqe(ring) : NULL;
    if (!sqe)
        return -ENOBUFS;
    *header = (struct msghdr){.msg_namelen = IO_MESSAGE_NAME, .msg_controllen = IO_MESSAGE_CONTROL};
    sqe->opcode = IORING_OP_RECVMSG;
    uring_sqe_fd(sqe, fd);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_MESSAGE_GROUP;
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->addr = (uintptr_t)header;
    sqe->len = 1;
    /* MSG_TRUNC: the length is that of the message, also when it did not fit. */
    sqe->msg_flags = MSG_TRUNC | MSG_CMSG_CLOEXEC;
    sqe->user_data = token;
    ring->in_flight++;
    return IO_PENDING;
}

/* One message, as the kernel laid it out: head, name, control, bytes. The lengths in the head are
 * what there was, not what found room. */
static void take(struct uring *ring, const struct io_uring_cqe *cqe, unsigned at)
{
    struct uring_messages *messages = ring->messages;
    unsigned number = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    uint8_t *block = messages->memory + (size_t)(number - URING_MESSAGE_BASE) * STRIDE;
    const struct io_uring_recvmsg_out *out = (const struct io_uring_recvmsg_out *)(void *)block;

    WEIR_ASSERT(number - URING_MESSAGE_BASE < BLOCKS && cqe->res >= HEAD_SIZE);
    messages->held[at] = (uint16_t)number;
    messages->message[at] = (struct io_message){
        .name = block + sizeof(*out),
        .control = block + sizeof(*out) + IO_MESSAGE_NAME,
        .data = block + HEAD_SIZE,
        .full = out->payloadlen,
        .size = out->payloadlen < IO_MESSAGE_BYTES ? out->payloadlen : IO_MESSAGE_BYTES,
        .name_size = out->namelen < IO_MESSAGE_NAME ? out->namelen : IO_MESSAGE_NAME,
        .control_size = out->controllen < IO_MESSAGE_CONTROL ? out->controllen : IO_MESSAGE_CONTROL,
        .flags = out->flags,
    };
}

/* The poll has ended: there is something, or an error. */
static void take_waited(struct uring *ring, const struct io_uring_cqe *cqe, struct io_event *event)
{
    const struct io_fd *fd = ring->config.find(ring->config.owner, event->token);
    int got = fd && fd->fd >= 0 ? weir__inbox_receive(ring->inbox, fd->fd) : -EAGAIN;

    ring->io.stats.syscalls++;
    event->messages = ring->inbox->message;
    event->flags = IO_MESSAGES;
    if (cqe->res & POLLERR)
        event->flags |= IO_ERRORS;
    if (got < 0 && got != -EAGAIN && got != -EINTR)
        event->flags = 0; /* an error */
    else if (got < 0)
        got = 0;
    event->result = got;
}

void uring_messages_next(struct uring *ring, const struct io_uring_cqe *cqe, struct io_event *event)
{
    unsigned count = 0;

    if (!(cqe->flags & IORING_CQE_F_BUFFER)) {
        take_waited(ring, cqe, event);
        return;
    }
    for (;;) {
        const struct io_uring_cqe *next;

        take(ring, cqe, count++);
        if (!(cqe->flags & IORING_CQE_F_MORE) || count == IO_MESSAGES_MOST ||
            ring->cq_head == ring->harvest)
            break;
        next = &ring->cqes[ring->cq_head & ring->cq_mask];
        if (next->user_data != event->token || next->res <= 0 ||
            !(next->flags & IORING_CQE_F_BUFFER))
            break;
        cqe = next;
        ring->cq_head++;
    }
    ring->messages_held = count;
    event->messages = ring->messages->message;
    event->result = (int32_t)count;
    event->flags = IO_MESSAGES;
    if (cqe->flags & IORING_CQE_F_MORE)
        event->flags |= IO_MORE;
}

static int wait_for_room(struct uring *ring, struct io_fd *fd, uint64_t token)
{
    struct io_uring_sqe *sqe = uring_sqe(ring);

    if (!sqe)
        return -ENOBUFS;
    sqe->opcode = IORING_OP_POLL_ADD;
    uring_sqe_fd(sqe, fd);
    sqe->poll32_events = uring_poll_mask(POLLOUT);
    sqe->user_data = token;
    ring->in_flight++;
    return IO_PENDING;
}

/* The kernel copies header, vector and name when it takes the entry. */
static int send_one(struct uring *ring, struct io_fd *fd, const struct msghdr *message,
                    uint64_t token)
{
    size_t vectors = message->msg_iovlen * sizeof(*message->msg_iov);
    struct msghdr *header = uring_arena(ring, sizeof(*header) + vectors + message->msg_namelen);
    struct io_uring_sqe *sqe = header ? uring_sqe(ring) : NULL;
    struct iovec *iov = (struct iovec *)(void *)(header + 1);

    if (!sqe)
        return -ENOBUFS;
    *header = *message;
    header->msg_iov = memcpy(iov, message->msg_iov, vectors);
    if (message->msg_namelen != 0)
        header->msg_name =
            memcpy((uint8_t *)iov + vectors, message->msg_name, message->msg_namelen);
    sqe->opcode = IORING_OP_SENDMSG;
    uring_sqe_fd(sqe, fd);
    sqe->addr = (uintptr_t)header;
    sqe->len = 1;
    sqe->msg_flags = MSG_NOSIGNAL;
    sqe->user_data = token;
    ring->in_flight++;
    return IO_PENDING;
}

int uring_sendmsg(struct io *io, struct io_fd *fd, struct mmsghdr *messages, unsigned count,
                  unsigned flags, uint64_t token, int *result)
{
    struct uring *ring = uring_of(io);

    if (count == 1 && !(flags & IO_SEND_NOWAIT)) {
        *result = 1;
        return send_one(ring, fd, &messages->msg_hdr, token);
    }
    *result = -EAGAIN;
    if (count != 0) {
        io->stats.syscalls++;
        *result = weir__messages_send(fd->fd, messages, count);
    }
    if (*result != -EAGAIN || flags & IO_SEND_NOWAIT)
        return IO_DONE;
    *result = 0;
    return wait_for_room(ring, fd, token);
}
