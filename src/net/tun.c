/* TUN and TAP devices: each read is a packet, and each write. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <weir/error.h>
#include <weir/loop.h>
#include <weir/socket.h>
#include <weir/tun.h>
#include <weir/units.h>

#include "base/alloc.h"
#include "base/log.h"

enum {
    PACKET_MOST = 65535 + 14, /* of IP, and a head of Ethernet */
    TURN_PACKETS = 64         /* handled before others have their turn (K16) */
};

struct weir_tun {
    weir_tun_service service;
    weir_watch watch;
    weir_timer again; /* when the kernel had no memory for the watch */
    int fd;
    bool running, closed; /* in a handler; weir_tun_close was called there */
    char name[IF_NAMESIZE];
    weir_tun_stats stats;
    uint8_t room[PACKET_MOST];
};

static void on_ready(weir_watch *watch, int events, void *arg);

/* --- making one --------------------------------------------------------------------------------
 */

static int refuse(const weir_tun_service *s, const char *what, int error)
{
    const char *fix =
        error == -EPERM ? "it needs CAP_NET_ADMIN (setcap cap_net_admin=+ep PROGRAM), or a device "
                          "that was made for this user: ip tuntap add NAME mode tun user USER"
        : error == -EACCES ? "this user may not open /dev/net/tun (chmod, or its group)"
        : error == -EBUSY  ? "another program has it; multi_queue shares it"
        : error == -EINVAL ? "there is a device of this name that is another kind, or one with or "
                             "without multi_queue, or open with other offload"
        : error == -ENOENT || error == -ENODEV ? "this kernel has no TUN (CONFIG_TUN)"
                                               : "the kernel refused it";
    weir__log(WEIR_LOG_ERROR, error, 0, "cannot open the %s device %s: %s: %s (%s): %s",
              s->tap == WEIR_SWITCH_ON ? "TAP" : "TUN", s->name != NULL ? s->name : "(any)", what,
              weir_error_text(error), weir_error_name(error), fix);
    return error;
}

static int check(const weir_tun_service *s)
{
    if (s->on_packet != NULL && (s->name == NULL || strlen(s->name) < IF_NAMESIZE))
        return 0;
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
              "a TUN device wants on_packet, and a name of at most 15 characters");
    return WEIR_EINVALID;
}

/* Whom it belongs to; and whether it stays: decided last, since what fails before must leave
 * nothing behind. */
static int set_owner(const weir_tun *tun)
{
    const weir_tun_service *s = &tun->service;
    if (s->owner != 0 && ioctl(tun->fd, TUNSETOWNER, (unsigned long)(s->owner - 1)) < 0)
        return refuse(s, "TUNSETOWNER", -errno);
    if (s->group != 0 && ioctl(tun->fd, TUNSETGROUP, (unsigned long)(s->group - 1)) < 0)
        return refuse(s, "TUNSETGROUP", -errno);
    if (s->persistent != WEIR_SWITCH_DEFAULT &&
        ioctl(tun->fd, TUNSETPERSIST, s->persistent == WEIR_SWITCH_ON ? 1ul : 0ul) < 0)
        return refuse(s, "TUNSETPERSIST", -errno);
    return 0;
}

/* What is in front of packets, and what they may be like, is the device's and not ours: of one
 * that stayed it is as who had it before left it, and of one with several queues as its first one
 * asked for; TUNSETIFF does not tell (tun_set_iff of the kernel). */
static int set_heads(const weir_tun *tun)
{
    const weir_tun_service *s = &tun->service;
    struct ifreq now = {0};
    int head_bytes = sizeof(struct virtio_net_hdr);
    bool offload = s->offload == WEIR_SWITCH_ON;
    unsigned long which = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    if (ioctl(tun->fd, TUNGETIFF, &now) < 0)
        return refuse(s, "TUNGETIFF", -errno);
    if ((now.ifr_flags & (IFF_NO_PI | IFF_VNET_HDR)) != (IFF_NO_PI | (offload ? IFF_VNET_HDR : 0)))
        return refuse(s, "its heads", -EINVAL);
    if (offload && ioctl(tun->fd, TUNSETVNETHDRSZ, &head_bytes) < 0)
        return refuse(s, "TUNSETVNETHDRSZ", -errno);
    if (ioctl(tun->fd, TUNSETOFFLOAD, offload ? which : 0ul) < 0)
        return refuse(s, "TUNSETOFFLOAD", -errno);
    return 0;
}

static int attach(weir_tun *tun)
{
    const weir_tun_service *s = &tun->service;
    struct ifreq request = {.ifr_flags = IFF_NO_PI};
    request.ifr_flags |= s->tap == WEIR_SWITCH_ON ? IFF_TAP : IFF_TUN;
    if (s->multi_queue == WEIR_SWITCH_ON)
        request.ifr_flags |= IFF_MULTI_QUEUE;
    if (s->offload == WEIR_SWITCH_ON)
        request.ifr_flags |= IFF_VNET_HDR;
    if (s->name != NULL)
        memcpy(request.ifr_name, s->name, strlen(s->name));
    tun->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tun->fd < 0)
        return refuse(s, "/dev/net/tun", -errno);
    if (ioctl(tun->fd, TUNSETIFF, &request) < 0)
        return refuse(s, "TUNSETIFF", -errno);
    memcpy(tun->name, request.ifr_name, sizeof tun->name);
    tun->name[IF_NAMESIZE - 1] = 0;
    return set_heads(tun);
}

static void destroy(weir_tun *tun)
{
    weir_watch_cancel(&tun->watch);
    weir_timer_cancel(&tun->again);
    if (tun->fd >= 0)
        close(tun->fd);
    weir__free(tun);
}

int weir__tun_open(weir_tun **out, const weir_tun_service *service, size_t size)
{
    *out = NULL;
    if (weir_loop_current() == NULL)
        return WEIR_EMISUSE;
    weir_tun *tun = weir__zalloc(sizeof *tun);
    if (tun == NULL)
        return WEIR_ENOMEM;
    tun->fd = -1;
    memcpy(&tun->service, service, size < sizeof tun->service ? size : sizeof tun->service);
    int result = check(&tun->service);
    if (result == 0)
        result = attach(tun);
    if (result == 0) {
        result = weir_poll(&tun->watch, tun->fd, POLLIN, on_ready, tun);
        if (result < 0)
            refuse(&tun->service, "waiting for packets", result);
    }
    if (result == 0)
        result = set_owner(tun);
    if (result < 0) {
        destroy(tun);
        return result;
    }
    tun->service.name = NULL; /* the caller's */
    *out = tun;
    return 0;
}

void weir_tun_close(weir_tun *tun)
{
    if (tun == NULL)
        return;
    tun->closed = true;
    if (!tun->running)
        destroy(tun);
}

/* --- packets -----------------------------------------------------------------------------------
 */

/* The heads of both are there: a packet may be read with its virtio header, or without one. */
static int read_one(weir_tun *tun)
{
    struct virtio_net_hdr head = {0};
    bool offload = tun->service.offload == WEIR_SWITCH_ON;
    struct iovec parts[] = {{&head, offload ? sizeof head : 0}, {tun->room, sizeof tun->room}};
    ssize_t got = readv(tun->fd, parts, 2);
    if (got < 0)
        return -errno;
    if ((size_t)got < parts[0].iov_len)
        return -EIO;
    size_t bytes = (size_t)got - parts[0].iov_len;
    weir_tun_packet in = {.view = weir_bytes(tun->room, bytes),
                          .gso = head.gso_type,
                          .flags = head.flags & (WEIR_TUN_SUM_OPEN | WEIR_TUN_SUM_GOOD),
                          .head_bytes = head.hdr_len,
                          .segment_bytes = head.gso_size,
                          .sum_start = head.csum_start,
                          .sum_offset = head.csum_offset};
    tun->stats.received_packets++;
    tun->stats.received_bytes += bytes;
    tun->service.on_packet(tun, &in, tun->service.user);
    return 0;
}

static void on_again(weir_timer *timer, void *arg);

/* After a wait, or a read, that ended with `result`. The kernel's want of memory passes (K11). */
static void wait_more(weir_tun *tun, int result)
{
    if (result >= 0)
        result = weir_poll(&tun->watch, tun->fd, POLLIN, on_ready, tun);
    if (result == -ENOMEM || result == -ENOBUFS || result == WEIR_ENOMEM)
        result = weir_timer_start(&tun->again, weir_after(WEIR_MS), on_again, tun);
    if (result < 0 && tun->service.on_error != NULL)
        tun->service.on_error(tun, result, tun->service.user);
}

static void handlers_end(weir_tun *tun)
{
    tun->running = false;
    if (tun->closed)
        destroy(tun);
}

static void on_again(weir_timer *timer, void *arg)
{
    weir_tun *tun = arg;
    tun->running = true;
    wait_more(tun, 0);
    handlers_end(tun);
}

static void on_ready(weir_watch *watch, int events, void *arg)
{
    weir_tun *tun = arg;
    int result = events < 0 ? events : 0;
    tun->running = true;
    for (unsigned i = 0; i < TURN_PACKETS && result == 0 && !tun->closed; i++)
        result = read_one(tun);
    if (result == -EAGAIN || result == -EINTR)
        result = 0;
    if (!tun->closed)
        wait_more(tun, result);
    handlers_end(tun);
}

int weir_tun_send(weir_tun *tun, const weir_tun_packet *packet)
{
    struct virtio_net_hdr head = {.flags = packet->flags,
                                  .gso_type = packet->gso,
                                  .hdr_len = packet->head_bytes,
                                  .gso_size = packet->segment_bytes,
                                  .csum_start = packet->sum_start,
                                  .csum_offset = packet->sum_offset};
    bool offload = tun->service.offload == WEIR_SWITCH_ON;
    struct iovec parts[] = {{&head, offload ? sizeof head : 0},
                            {(void *)(uintptr_t)packet->view.data, packet->view.size}};
    if (packet->view.size > PACKET_MOST || (!offload && (packet->gso != 0 || packet->flags != 0)))
        return WEIR_EINVALID;
    if (writev(tun->fd, parts, 2) < 0) {
        int error = -errno;
        tun->stats.refused_packets++;
        return error == -EAGAIN || error == -ENOBUFS ? WEIR_EFULL : error;
    }
    tun->stats.sent_packets++;
    tun->stats.sent_bytes += packet->view.size;
    return 0;
}

const char *weir_tun_name(const weir_tun *tun)
{
    return tun->name;
}

int weir__tun_stats_get(const weir_tun *tun, weir_tun_stats *out, size_t size)
{
    memset(out, 0, size);
    memcpy(out, &tun->stats, size < sizeof tun->stats ? size : sizeof tun->stats);
    return 0;
}
