/* Packet sockets with a mapped ring of blocks, which the kernel fills and we give back. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/filter.h>

#include <weir/capture.h>
#include <weir/error.h>
#include <weir/loop.h>
#include <weir/service.h>
#include <weir/units.h>

#include "base/alloc.h"
#include "base/log.h"

enum {
    BLOCK_BYTES = 256 * 1024,
    BLOCK_LEAST = 64 * 1024,
    BLOCK_MOST = 16 * 1024 * 1024,
    BLOCKS = 16,
    BLOCKS_MOST = 1024,
    BLOCK_MS = 10,
    BLOCK_MS_MOST = 65535, /* the kernel keeps 16 bits of it */
    FRAME_BYTES = 2048,    /* of no meaning with blocks, but it is checked */
    BATCH = 64,
    /* A packet's link-layer address follows its head. */
    LINK_AT = (sizeof(struct tpacket3_hdr) + TPACKET_ALIGNMENT - 1) & ~(TPACKET_ALIGNMENT - 1u),
    TURN_BLOCKS = 4 /* handled before others have their turn (K16) */
};

struct weir_capture {
    weir_capture_service service;
    weir_watch watch;
    weir_timer again; /* when the kernel had no memory for the watch */
    int fd;
    uint8_t *ring;
    size_t ring_bytes;
    uint32_t next;        /* the block that is filled next */
    bool running, closed; /* in a handler; weir_capture_close was called there */
    weir_capture_stats stats;
};

static void on_ready(weir_watch *watch, int events, void *arg);

static int refuse(const weir_capture_service *s, const char *what, int error)
{
    const char *fix = error == -EPERM || error == -EACCES
                          ? "it needs CAP_NET_RAW: setcap cap_net_raw=+ep PROGRAM"
                      : error == -ENODEV       ? "no network interface of this name (see: ip link)"
                      : error == -ENOMEM       ? "the kernel has no memory for the ring: fewer or "
                                                 "smaller blocks"
                      : error == -EAFNOSUPPORT ? "this kernel has no packet sockets"
                                               : "the kernel refused it";
    weir__log(WEIR_LOG_ERROR, error, 0, "cannot capture on %s: %s: %s (%s): %s",
              s->interface != NULL ? s->interface : "all interfaces", what, weir_error_text(error),
              weir_error_name(error), fix);
    return error;
}

/* --- making one --------------------------------------------------------------------------------
 */

static int check(weir_capture_service *s)
{
    size_t at = 0;
    s->block_bytes = s->block_bytes != 0 ? s->block_bytes : BLOCK_BYTES;
    s->blocks = s->blocks != 0 ? s->blocks : BLOCKS;
    s->block_ms = s->block_ms != 0 ? s->block_ms : BLOCK_MS;
    if (s->on_packets == NULL || s->block_bytes < BLOCK_LEAST || s->block_bytes > BLOCK_MOST ||
        (s->block_bytes & (s->block_bytes - 1)) != 0 || s->blocks < 2 || s->blocks > BLOCKS_MOST ||
        s->block_ms > BLOCK_MS_MOST ||
        (s->interface != NULL && strlen(s->interface) >= IF_NAMESIZE)) {
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
                  "a capture wants on_packets, 2 to 1024 blocks of 64 KiB to 16 MiB (a power of "
                  "two) that wait for at most 65535 ms, and an interface's name of at most 15 "
                  "characters");
        return WEIR_EINVALID;
    }
    if (s->filter != NULL && weir_bpf_check(s->filter, s->filter_count, &at) < 0) {
        weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0, "the filter is wrong at instruction %zu", at);
        return WEIR_EINVALID;
    }
    return 0;
}

static int set_filter(const weir_capture *c)
{
    struct sock_fprog program = {(unsigned short)c->service.filter_count,
                                 (struct sock_filter *)(uintptr_t)c->service.filter};
    if (c->service.filter == NULL)
        return 0;
    if (setsockopt(c->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
        return refuse(&c->service, "SO_ATTACH_FILTER", -errno);
    return 0;
}

static int map_ring(weir_capture *c)
{
    int version = TPACKET_V3;
    struct tpacket_req3 ring = {.tp_block_size = c->service.block_bytes,
                                .tp_block_nr = c->service.blocks,
                                .tp_frame_size = FRAME_BYTES,
                                .tp_retire_blk_tov = c->service.block_ms};
    ring.tp_frame_nr =
        (unsigned)((uint64_t)c->service.block_bytes * c->service.blocks / FRAME_BYTES);
    if (setsockopt(c->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) < 0)
        return refuse(&c->service, "TPACKET_V3", -errno);
    if (setsockopt(c->fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) < 0)
        return refuse(&c->service, "PACKET_RX_RING", -errno);
    c->ring_bytes = (size_t)c->service.block_bytes * c->service.blocks;
    void *memory = mmap(NULL, c->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
    if (memory == MAP_FAILED)
        return refuse(&c->service, "mmap of the ring", -errno);
    c->ring = memory;
    return 0;
}

/* Until it is bound to a protocol the socket hears nothing: so the filter misses none. */
static int bind_to(const weir_capture *c)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    if (c->service.interface != NULL) {
        address.sll_ifindex = (int)if_nametoindex(c->service.interface);
        if (address.sll_ifindex == 0)
            return refuse(&c->service, "interface", -ENODEV);
    }
    if (bind(c->fd, (const struct sockaddr *)&address, sizeof address) < 0)
        return refuse(&c->service, "bind", -errno);
    struct packet_mreq request = {.mr_ifindex = address.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
    if (c->service.promiscuous != WEIR_SWITCH_ON)
        return 0;
    if (address.sll_ifindex == 0)
        return refuse(&c->service, "promiscuous wants an interface", WEIR_EINVALID);
    if (setsockopt(c->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof request) < 0)
        return refuse(&c->service, "promiscuous", -errno);
    return 0;
}

static void destroy(weir_capture *c)
{
    weir_watch_cancel(&c->watch);
    weir_timer_cancel(&c->again);
    if (c->ring != NULL)
        munmap(c->ring, c->ring_bytes);
    if (c->fd >= 0)
        close(c->fd);
    weir__free(c);
}

int weir__capture_open(weir_capture **out, const weir_capture_service *service, size_t size)
{
    *out = NULL;
    if (weir_loop_current() == NULL)
        return WEIR_EMISUSE;
    weir_capture *c = weir__zalloc(sizeof *c);
    if (c == NULL)
        return WEIR_ENOMEM;
    c->fd = -1;
    memcpy(&c->service, service, size < sizeof c->service ? size : sizeof c->service);
    int result = check(&c->service);
    if (result == 0) {
        c->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        result = c->fd < 0 ? refuse(&c->service, "socket", -errno) : 0;
    }
    if (result == 0)
        result = set_filter(c);
    if (result == 0)
        result = map_ring(c);
    if (result == 0)
        result = bind_to(c);
    if (result == 0) {
        result = weir_poll(&c->watch, c->fd, POLLIN, on_ready, c);
        if (result < 0)
            refuse(&c->service, "waiting for packets", result);
    }
    if (result < 0) {
        destroy(c);
        return result;
    }
    c->service.interface = NULL; /* these are the caller's */
    c->service.filter = NULL;
    *out = c;
    return 0;
}

void weir_capture_close(weir_capture *capture)
{
    if (capture == NULL)
        return;
    capture->closed = true;
    if (!capture->running)
        destroy(capture);
}

/* --- what the kernel has filled ----------------------------------------------------------------
 */

static struct tpacket_block_desc *block_at(const weir_capture *c, uint32_t index)
{
    return (struct tpacket_block_desc *)(void *)(c->ring + (size_t)index * c->service.block_bytes);
}

/* Reads one packet's head; false: it reaches outside of its block, which would be the kernel's
 * mistake. */
static bool describe(const weir_capture *c, const uint8_t *block, size_t at, weir_captured *out)
{
    const struct tpacket3_hdr *head = (const struct tpacket3_hdr *)(const void *)(block + at);
    const size_t least = LINK_AT + sizeof(struct sockaddr_ll);
    size_t left = c->service.block_bytes - at;
    if (at > c->service.block_bytes || left < least || head->tp_mac > left ||
        head->tp_snaplen > left - head->tp_mac)
        return false;
    const struct sockaddr_ll *link =
        (const struct sockaddr_ll *)(const void *)(block + at + LINK_AT);
    memset(out, 0, sizeof *out);
    out->view = weir_bytes(block + at + head->tp_mac, head->tp_snaplen);
    out->full_bytes = head->tp_len;
    out->interface = (uint32_t)link->sll_ifindex;
    out->received_ns = (uint64_t)head->tp_sec * WEIR_S + head->tp_nsec;
    out->type = ntohs(link->sll_protocol);
    out->direction = link->sll_pkttype;
    if ((head->tp_status & TP_STATUS_VLAN_VALID) != 0) {
        out->flags |= WEIR_CAPTURED_VLAN;
        out->vlan_tags = (uint16_t)head->hv1.tp_vlan_tci;
        out->vlan_type = (head->tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? head->hv1.tp_vlan_tpid
                                                                            : ETH_P_8021Q;
    }
    if ((head->tp_status & TP_STATUS_CSUMNOTREADY) != 0)
        out->flags |= WEIR_CAPTURED_SUM_OPEN;
    if ((head->tp_status & TP_STATUS_CSUM_VALID) != 0)
        out->flags |= WEIR_CAPTURED_SUM_GOOD;
    return true;
}

static void tell(weir_capture *c, const weir_captured *batch, unsigned count)
{
    c->stats.delivered += count;
    if (count > 0)
        c->service.on_packets(c, batch, count, c->service.user);
}

static void walk_block(weir_capture *c, const struct tpacket_block_desc *block)
{
    weir_captured batch[BATCH];
    const uint8_t *bytes = (const uint8_t *)block;
    size_t at = block->hdr.bh1.offset_to_first_pkt;
    uint32_t count = block->hdr.bh1.num_pkts, filled = 0;
    for (uint32_t i = 0; i < count && !c->closed; i++) {
        if (!describe(c, bytes, at, &batch[filled]))
            break;
        const struct tpacket3_hdr *head = (const struct tpacket3_hdr *)(const void *)(bytes + at);
        at += head->tp_next_offset;
        if (++filled == BATCH) {
            tell(c, batch, filled);
            filled = 0;
        }
    }
    if (!c->closed)
        tell(c, batch, filled);
}

/* The kernel writes the status last, and so do we (packet_mmap.rst, "AF_PACKET TPACKET_V3"). */
static void take_blocks(weir_capture *c)
{
    for (unsigned i = 0; i < TURN_BLOCKS && !c->closed; i++) {
        struct tpacket_block_desc *block = block_at(c, c->next);
        _Atomic uint32_t *status = (_Atomic uint32_t *)&block->hdr.bh1.block_status;
        if ((atomic_load_explicit(status, memory_order_acquire) & TP_STATUS_USER) == 0)
            return;
        walk_block(c, block);
        atomic_store_explicit(status, TP_STATUS_KERNEL, memory_order_release);
        c->next = (c->next + 1) % c->service.blocks;
    }
}

static void tell_error(weir_capture *c, int error)
{
    if (c->service.on_error != NULL && !c->closed)
        c->service.on_error(c, error, c->service.user);
}

/* A socket whose interface was removed is bound to none, number -1 (packet_notifier of the kernel):
 * while one that is only down may come back. */
static int socket_error(const weir_capture *c)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET};
    socklen_t size = sizeof address;
    int error = 0;
    socklen_t error_size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
    if (error == ENETDOWN && getsockname(c->fd, (struct sockaddr *)&address, &size) == 0 &&
        address.sll_ifindex == -1)
        error = ENODEV;
    return -error;
}

static void on_again(weir_timer *timer, void *arg);

/* After a wait that ended with `result`. The kernel's want of memory passes (K11). */
static void wait_more(weir_capture *c, int result)
{
    if (result >= 0)
        result = weir_poll(&c->watch, c->fd, POLLIN, on_ready, c);
    if (result == -ENOMEM || result == -ENOBUFS || result == WEIR_ENOMEM)
        result = weir_timer_start(&c->again, weir_after(WEIR_MS), on_again, c);
    if (result < 0)
        tell_error(c, result);
}

static void handlers_end(weir_capture *c)
{
    c->running = false;
    if (c->closed)
        destroy(c);
}

static void on_again(weir_timer *timer, void *arg)
{
    weir_capture *c = arg;
    c->running = true;
    wait_more(c, 0);
    handlers_end(c);
}

static void on_ready(weir_watch *watch, int events, void *arg)
{
    weir_capture *c = arg;
    c->running = true;
    int error = events > 0 && (events & POLLERR) != 0 ? socket_error(c) : 0;
    if (error != 0)
        tell_error(c, error);
    take_blocks(c);
    if (!c->closed)
        wait_more(c, events);
    handlers_end(c);
}

int weir__capture_stats_get(weir_capture *c, weir_capture_stats *out, size_t size)
{
    struct tpacket_stats_v3 now;
    socklen_t now_size = sizeof now;
    /* The kernel begins at 0 again each time that it is asked. */
    if (getsockopt(c->fd, SOL_PACKET, PACKET_STATISTICS, &now, &now_size) < 0)
        return -errno;
    c->stats.packets += now.tp_packets;
    c->stats.dropped += now.tp_drops;
    c->stats.freezes += now.tp_freeze_q_cnt;
    memset(out, 0, size);
    memcpy(out, &c->stats, size < sizeof c->stats ? size : sizeof c->stats);
    return 0;
}
