/* ICMP by a raw socket, where ping sockets are not allowed: made alike to them. */
#include <errno.h>
#include <linux/filter.h>
#include <string.h>

#include "base/random.h"
#include "net/datagram.h"

enum { ECHO_REPLY_4 = 0, ECHO_REPLY_6 = 129, ICMP_BYTES = 8 };

/* The kernel gives a raw socket all of ICMP. A filter sees an IPv4 packet from its head on, and one
 * of IPv6 from what follows that (raw(7), Documentation/networking/filter.rst). What came before it
 * was attached is dropped by dgram_icmp_strip. */
static int attach(int fd, int family, uint16_t id)
{
    struct sock_filter ip4[] = {
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), /* bytes of the head */
        BPF_STMT(BPF_LD | BPF_B | BPF_IND, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ECHO_REPLY_4, 0, 3),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, id, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_filter ip6[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ECHO_REPLY_6, 0, 3),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, id, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {sizeof ip4 / sizeof *ip4, ip4};
    if (family == AF_INET6)
        program = (struct sock_fprog){sizeof ip6 / sizeof *ip6, ip6};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0 ? -errno : 0;
}

int dgram_icmp_prepare(int fd, weir_address *local)
{
    int type = 0;
    socklen_t size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
        return -errno;
    if (type != SOCK_RAW)
        return 0;
    if (weir_address_port(local) == 0) {
        uint16_t id;
        weir__random_bytes(&id, sizeof id);
        weir_address_set_port(local, id | 1u);
    }
    return attach(fd, local->socket.ss_family, (uint16_t)weir_address_port(local));
}

static uint16_t id_of(const uint8_t *icmp)
{
    return (uint16_t)(icmp[4] << 8 | icmp[5]);
}

bool dgram_icmp_strip(const struct dgram *d, weir_datagram *in)
{
    const uint8_t *at = in->view.data;
    uint32_t head = 0;
    bool ip4 = d->family == AF_INET;
    if (ip4) {
        if (in->view.size < 20)
            return false;
        head = 4 * (uint32_t)(at[0] & 15);
    }
    if (in->view.size < head + ICMP_BYTES || at[head] != (ip4 ? ECHO_REPLY_4 : ECHO_REPLY_6) ||
        id_of(at + head) != weir_address_port(&d->local))
        return false;
    in->view = weir_slice(in->view, head, in->view.size - head);
    in->full_bytes -= head;
    return true;
}

bool dgram_icmp_error_is_ours(const struct dgram *d, weir_view about)
{
    if (!d->icmp_raw)
        return true;
    return about.size < ICMP_BYTES || id_of(about.data) == weir_address_port(&d->local);
}
