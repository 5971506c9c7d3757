#include "io/inbox.h"

#include "base/alloc.h"

#include <errno.h>

/* The beginnings of the messages lie in different cache sets, and each on a page of its own: small
 * ones touch no more than that page. */
enum { COLOUR = 128, STRIDE = IO_MESSAGE_BYTES + COLOUR };

struct inbox *weir__inbox_new(void)
{
    struct inbox *inbox = weir__zalloc(sizeof(*inbox));
    if (inbox == NULL)
        return NULL;
    inbox->memory = weir__pages_alloc((size_t)STRIDE * IO_MESSAGES_MOST);
    if (inbox->memory == NULL) {
        weir__free(inbox);
        return NULL;
    }
    for (unsigned i = 0; i < IO_MESSAGES_MOST; i++) {
        inbox->message[i].data = inbox->memory + (size_t)STRIDE * i;
        inbox->message[i].name = inbox->name[i];
        inbox->message[i].control = inbox->control[i];
        inbox->iov[i] = (struct iovec){inbox->message[i].data, IO_MESSAGE_BYTES};
        inbox->header[i].msg_hdr = (struct msghdr){
            .msg_name = inbox->name[i],
            .msg_iov = &inbox->iov[i],
            .msg_iovlen = 1,
            .msg_control = inbox->control[i],
        };
    }
    return inbox;
}

void weir__inbox_free(struct inbox *inbox)
{
    if (inbox == NULL)
        return;
    weir__pages_free(inbox->memory, (size_t)STRIDE * IO_MESSAGES_MOST);
    weir__free(inbox);
}

int weir__inbox_receive(struct inbox *inbox, int fd)
{
    int got;
    for (unsigned i = 0; i < IO_MESSAGES_MOST; i++) {
        struct msghdr *header = &inbox->header[i].msg_hdr;
        header->msg_namelen = IO_MESSAGE_NAME;
        header->msg_controllen = IO_MESSAGE_CONTROL;
    }
    /* MSG_TRUNC: the length is that of the message, also when it did not fit. */
    got = recvmmsg(fd, inbox->header, IO_MESSAGES_MOST, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC,
                   NULL);
    if (got < 0)
        return -errno;
    for (int i = 0; i < got; i++) {
        const struct msghdr *header = &inbox->header[i].msg_hdr;
        struct io_message *message = &inbox->message[i];
        uint32_t full = inbox->header[i].msg_len;
        message->full = full;
        message->size = full < IO_MESSAGE_BYTES ? full : IO_MESSAGE_BYTES;
        message->name_size = header->msg_namelen;
        message->control_size = (uint32_t)header->msg_controllen;
        message->flags = (uint32_t)header->msg_flags;
    }
    return got;
}

int weir__messages_send(int fd, struct mmsghdr *messages, unsigned count)
{
    const int how = MSG_NOSIGNAL | MSG_DONTWAIT;
    ssize_t sent;
    do
        sent =
            count == 1 ? sendmsg(fd, &messages->msg_hdr, how) : sendmmsg(fd, messages, count, how);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    return count == 1 ? 1 : (int)sent;
}
