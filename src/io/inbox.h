/* Receiving and sending messages in batches by system calls (recvmmsg, sendmmsg): what the
 * readiness back ends do always, and the ring where it cannot receive messages by itself. */
#ifndef WEIR_IO_INBOX_H
#define WEIR_IO_INBOX_H

#include "io/io.h"

/* Room for one batch of messages. Its pages are touched only as far as messages fill them. */
struct inbox {
    struct io_message message[IO_MESSAGES_MOST];
    struct mmsghdr header[IO_MESSAGES_MOST];
    struct iovec iov[IO_MESSAGES_MOST];
    _Alignas(16) uint8_t name[IO_MESSAGES_MOST][IO_MESSAGE_NAME];
    _Alignas(16) uint8_t control[IO_MESSAGES_MOST][IO_MESSAGE_CONTROL];
    uint8_t *memory;
};

/* NULL: out of memory. */
struct inbox *weir__inbox_new(void);
void weir__inbox_free(struct inbox *inbox); /* NULL is ignored */

/* Receives what is there, without waiting: how many messages, or -errno. recvmmsg(2). */
int weir__inbox_receive(struct inbox *inbox, int fd);

/* Sends without waiting: how many of the messages went, or the error of the first. sendmmsg(2). */
int weir__messages_send(int fd, struct mmsghdr *messages, unsigned count);

#endif
