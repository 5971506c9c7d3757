/* The error queue of a socket: what ICMP, or this host, said of datagrams that were sent. */
#include "net/datagram.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <string.h>
#include <sys/socket.h>

enum { READ_MOST = 64, BYTES_MOST = 1500 };

void dgram_error_tell(weir_loop *loop, struct dgram *d, const weir_datagram_error *error)
{
    d->stats.errors++;
    loop->net->dgram_counters.errors++;
    if (d->config->service.on_error == NULL || d->phase > DGRAM_FLUSHING)
        return;
    d->config->service.on_error(dgram_handle(loop, d), error, d->user);
    loop_ready_run(loop);
}

/* The address behind an extended error: who sent the ICMP message. */
static bool read_offender(const struct dgram *d, const struct sock_extended_err *e, size_t size,
                          weir_address *out)
{
    const struct sockaddr *offender = (const struct sockaddr *)(const void *)(e + 1);
    if (size < sizeof *e + sizeof(struct sockaddr_in))
        return false;
    return weir_address_from_sockaddr(offender, size - sizeof *e,
                                      (enum weir_transport)d->local.transport, out) == 0;
}

/* Whether it was an error, ours or not. */
static bool read_one(weir_loop *loop, struct dgram *d, const struct msghdr *header)
{
    weir_address peer, offender;
    weir_datagram_error error = {0};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL;
         c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)header, c)) {
        struct { /* an extended error, and behind it an address */
            struct sock_extended_err e;
            struct sockaddr_in6 room;
        } told = {0};
        size_t size = c->cmsg_len - CMSG_LEN(0);
        if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
            !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
            continue;
        memcpy(&told, CMSG_DATA(c), size < sizeof told ? size : sizeof told);
        error.error = -(int)told.e.ee_errno;
        error.origin = (enum weir_origin)told.e.ee_origin;
        error.type = told.e.ee_type;
        error.code = told.e.ee_code;
        if (told.e.ee_errno == EMSGSIZE)
            error.mtu_bytes = told.e.ee_info;
        if (read_offender(d, &told.e, size, &offender))
            error.offender = &offender;
    }
    if (error.error == 0)
        return false;
    if (header->msg_namelen != 0 &&
        weir_address_from_sockaddr(header->msg_name, header->msg_namelen,
                                   (enum weir_transport)d->local.transport, &peer) == 0)
        error.peer = &peer;
    /* Of what this host refused at once the kernel may not tell the port. */
    if (error.origin == WEIR_ORIGIN_LOCAL && d->refused_to != NULL)
        error.peer = d->refused_to;
    error.view = weir_bytes(header->msg_iov->iov_base, header->msg_iov->iov_len);
    if (dgram_icmp_error_is_ours(d, error.view))
        dgram_error_tell(loop, d, &error);
    return true;
}

unsigned dgram_errors_read(weir_loop *loop, struct dgram *d)
{
    struct sockaddr_in6 name;
    uint8_t bytes[BYTES_MOST];
    unsigned count = 0;
    _Alignas(struct cmsghdr) uint8_t control[IO_MESSAGE_CONTROL * 2];
    for (unsigned i = 0; i < READ_MOST && d->errors && d->phase <= DGRAM_FLUSHING; i++) {
        struct iovec iov = {bytes, sizeof bytes};
        struct msghdr header = {.msg_name = &name,
                                .msg_namelen = sizeof name,
                                .msg_iov = &iov,
                                .msg_iovlen = 1,
                                .msg_control = control,
                                .msg_controllen = sizeof control};
        ssize_t got = recvmsg(d->fd.fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT);
        loop->io->stats.syscalls++;
        if (got < 0)
            break;
        iov.iov_len = (size_t)got;
        count += read_one(loop, d, &header);
    }
    return count;
}
