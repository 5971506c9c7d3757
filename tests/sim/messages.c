/* Datagrams on both faces of the simulated back end: received ones are taken from the socket when
 * it is their turn, and lie in memory of the back end from the event that tells of them to the next
 * one; sent ones go at once, or wait for room. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backend.h"

enum {
    STRIDE = IO_MESSAGE_BYTES + IO_MESSAGE_NAME + IO_MESSAGE_CONTROL,
    POISON = 0xee,
    SHOTS_MOST = 16
};

struct sim_inbox {
    struct io_message message[IO_MESSAGES_MOST];
    uint8_t *memory;
    unsigned used;
};

static struct sim_inbox *inbox_of(struct sim_io *sio)
{
    struct sim_inbox *inbox = sio->inbox;
    if (inbox != NULL)
        return inbox;
    inbox = sio->inbox = world_alloc(sizeof(*inbox));
    inbox->memory = mmap(NULL, (size_t)STRIDE * IO_MESSAGES_MOST, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (inbox->memory == MAP_FAILED)
        abort();
    for (unsigned i = 0; i < IO_MESSAGES_MOST; i++) {
        uint8_t *data = inbox->memory + (size_t)STRIDE * i;
        inbox->message[i] = (struct io_message){
            .data = data,
            .name = data + IO_MESSAGE_BYTES,
            .control = data + IO_MESSAGE_BYTES + IO_MESSAGE_NAME,
        };
    }
    return inbox;
}

void messages_forget(struct sim_io *sio)
{
    struct sim_inbox *inbox = sio->inbox;
    for (unsigned i = 0; inbox != NULL && i < inbox->used; i++) {
        memset(inbox->message[i].data, POISON, inbox->message[i].size);
        memset(inbox->message[i].name, POISON, IO_MESSAGE_NAME + IO_MESSAGE_CONTROL);
    }
    if (inbox != NULL)
        inbox->used = 0;
}

void messages_yield(struct sim_io *sio, struct io_event *event)
{
    struct sim_inbox *inbox = inbox_of(sio);
    struct dgram_in *in = (struct dgram_in *)(void *)event->data;
    event->messages = inbox->message;
    for (; in != NULL; inbox->used++) {
        struct io_message *message = &inbox->message[inbox->used];
        struct dgram_in *next = in->next;
        memcpy(message->data, in->bytes, in->size);
        memcpy(message->name, &in->name, in->name_size);
        memcpy(message->control, in->control, in->control_size);
        message->size = message->full = in->size;
        message->name_size = in->name_size;
        message->control_size = in->control_size;
        message->flags = 0;
        free(in);
        in = next;
    }
}

int messages_take(struct sim_io *sio, struct sim_sock *sock, struct dgram_in **list)
{
    int most = chance(2) == 0 ? IO_MESSAGES_MOST : (int)chance_size(IO_MESSAGES_MOST), got = 0;
    struct dgram_in **end = list;
    sio->io.stats.syscalls++;
    *list = NULL;
    while (got < most) {
        int result = udp_take(sock, end);
        if (result < 0 && got == 0)
            return result;
        if (result < 0) {
            if (result != -EAGAIN)
                sock->error = -result; /* told next */
            *end = NULL;
            break;
        }
        end = &(*end)->next;
        got++;
    }
    return got;
}

void messages_contract(struct sim_io *sio, const struct io_fd *fd, const struct sim_sock *sock,
                       bool sends, unsigned count)
{
    sim_check(sock->state == SOCK_DATAGRAM && fd->spare & IO_FD_MESSAGES,
              "contract: a verb of messages on socket %u, which has none", sock->id);
    sim_check(count <= IO_MESSAGES_MOST, "contract: %u messages at once", count);
    for (const struct sim_op *op = sock->operations; op != NULL; op = op->sock_next)
        sim_check(!sends || op->io != sio || op->fd != fd || op->kind != IO_OP_SEND ||
                      op->state == OP_STATE_OVER,
                  "contract: a send while another one is in flight on socket %u", sock->id);
}

int messages_send(struct sim_io *sio, struct sim_sock *sock, struct mmsghdr *messages,
                  unsigned count)
{
    sio->io.stats.syscalls++;
    return udp_send_all(sock, messages, count);
}

/* --- as a ring does it ---------------------------------------------------------------------------
 */

void messages_go(struct sim_op *op)
{
    for (int shot = 0; shot < SHOTS_MOST && op_can(op); shot++) {
        bool more = !op->once && !fault(SIM_FAULT_SHOT_ENDS, OP_RECV);
        struct dgram_in *list;
        int got = fault(SIM_FAULT_NO_BUFFERS, OP_RECV) ? -ENOBUFS
                                                       : messages_take(op->io, op->sock, &list);
        if (got == -EAGAIN)
            return;
        if (got < 0) {
            op_complete(op, got, 0, NULL, 0);
            return;
        }
        op_complete(op, got, IO_MESSAGES | (more ? IO_MORE : 0u), (uint8_t *)list, 0);
        if (!more)
            return;
    }
}

int completion_recvmsg(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct sim_op *op;
    int result = queue_verb(io, fd, token, IO_OP_RECV, OP_RECV, &op);
    if (result == IO_PENDING)
        messages_contract(sim_io_of(io), fd, op->sock, false, 0);
    return result;
}

/* One alone is mostly given to the ring, several are sent by a call. */
int completion_sendmsg(struct io *io, struct io_fd *fd, struct mmsghdr *messages, unsigned count,
                       unsigned flags, uint64_t token, int *result)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, IO_OP_SEND);
    bool nowait = (flags & IO_SEND_NOWAIT) != 0, alone = count == 1 && !nowait && chance(4) != 0;
    struct sim_op *op;
    messages_contract(sio, fd, sock, true, count);
    *result = -EAGAIN;
    if (count != 0 && !alone)
        *result = messages_send(sio, sock, messages, count);
    if (!alone && (*result != -EAGAIN || nowait))
        return IO_DONE;
    if (queue_refuses(sio, OP_SEND, NULL))
        return -ENOBUFS;
    op = op_new(sio, fd, sock, token, IO_OP_SEND);
    op->room_only = !alone;
    *result = alone;
    if (alone) {
        iov_keep(op, messages->msg_hdr.msg_iov, (unsigned)messages->msg_hdr.msg_iovlen);
        op->message = messages->msg_hdr;
        op->message.msg_iov = op->iov;
        sim_check(op->message.msg_namelen <= sizeof(op->address), "contract: a name too long");
        if (op->message.msg_namelen != 0)
            memcpy(&op->address, op->message.msg_name, op->message.msg_namelen);
        op->message.msg_name = &op->address;
    }
    queue_op(op);
    return IO_PENDING;
}
