/* Shutting a listening socket's door while what stands inside is still served. */
#include <errno.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include "net/socket.h"

/* close(2) on a listening socket resets what its queue holds, so the queue must be empty, and
 * between the look at it and the close nobody may come in. There is no call for that; but a socket
 * filter sees every segment that is for the listener, the TCP header first: one that drops each
 * segment with SYN lets handshakes under way finish and begins none. Their senders try again after
 * a second, and are refused then. Needs no privilege (socket(7), SO_ATTACH_FILTER). */
static int refuse_syn(int fd)
{
    enum { FLAGS_OFFSET = 13, SYN = 2, DROP = 0, PASS = 0x40000 };
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS_OFFSET),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, DROP),
        BPF_STMT(BPF_RET | BPF_K, PASS),
    };
    struct sock_fprog filter = {sizeof program / sizeof *program, program};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0 ? 0 : -errno;
}

int weir__socket_refuse(int fd, const weir_address *address)
{
    /* A unix listener that is shut for reading refuses connects, and accept still gives those who
     * were there before (unix_stream_connect in the kernel). */
    if (address->transport == WEIR_TRANSPORT_UNIX)
        return shutdown(fd, SHUT_RD) == 0 ? 0 : -errno;
    return refuse_syn(fd);
}
