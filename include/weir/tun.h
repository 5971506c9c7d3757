/* TUN and TAP devices: network interfaces whose packets go to a program, and come from it. A TUN
 * device carries packets of IP, a TAP device frames of Ethernet; <weir/packet.h> reads and builds
 * both. Documentation/networking/tuntap.rst.
 *
 * What is opened is a queue of a device. It belongs to the loop that was current then, and every
 * function here to that loop's thread. To make a device takes CAP_NET_ADMIN; one that was made
 * persistent for a user or a group may be opened by them. Addresses, the MTU and whether it is up
 * are the business of ip-link(8) and its like. */
#ifndef WEIR_TUN_H
#define WEIR_TUN_H

#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>
#include <weir/view.h>

enum weir_tun_gso { /* struct virtio_net_hdr of linux/virtio_net.h */
                    WEIR_TUN_GSO_NONE = 0,
                    WEIR_TUN_GSO_TCP4 = 1,
                    WEIR_TUN_GSO_TCP6 = 4,
                    WEIR_TUN_GSO_ECN =
                        0x80 /* with one of them: has congestion window reduced set */
};

enum weir_tun_flags {
    WEIR_TUN_SUM_OPEN = 1, /* the sum is to be done: from sum_start on, stored at sum_offset behind
                            * it; the pseudo header's is there */
    WEIR_TUN_SUM_GOOD = 2  /* it is known to be right */
};

/* A packet, or with .offload many segments of one stream as one packet. A received one is valid
 * until the handler returns. */
typedef struct weir_tun_packet {
    weir_view view; /* at most 65 549 bytes */
    /* With .offload, and otherwise zero. */
    uint8_t gso;            /* enum weir_tun_gso */
    uint8_t flags;          /* enum weir_tun_flags */
    uint16_t head_bytes;    /* of all heads; with .gso */
    uint16_t segment_bytes; /* of the payload of each segment; with .gso */
    uint16_t sum_start, sum_offset;
    uint8_t reserved[6]; /* zero */
} weir_tun_packet;

typedef struct weir_tun weir_tun;

/* Zero means the default everywhere. Copied. */
typedef struct weir_tun_service {
    void (*on_packet)(weir_tun *tun, const weir_tun_packet *in, void *user);
    /* The device is gone, -EBADFD or so: nothing more comes; close it. May be NULL. */
    void (*on_error)(weir_tun *tun, int error, void *user);
    void *user;
    const char *name;     /* at most 15 characters; "tun%d", or NULL: the kernel numbers it */
    uint32_t owner;       /* WEIR_SOME(user's number): may open it, when it is persistent */
    uint32_t group;       /* the same for a group */
    uint8_t tap;          /* enum weir_switch; on: frames of Ethernet */
    uint8_t multi_queue;  /* enum weir_switch; on: it may be opened several times, by other loops
                           * too; a flow stays with one queue */
    uint8_t persistent;   /* enum weir_switch; on: it stays when it is closed; off: it goes, also
                           * when it had been made to stay */
    uint8_t offload;      /* enum weir_switch; on: packets come and go with open sums, and as large
                           * as 64 KiB */
    uint8_t reserved[20]; /* zero */
} weir_tun_service;

typedef struct weir_tun_stats {
    uint64_t received_packets, received_bytes;
    uint64_t sent_packets, sent_bytes;
    uint64_t refused_packets; /* by the kernel */
    uint64_t reserved[3];     /* zero */
} weir_tun_stats;

WEIR_BEGIN

WEIR_API WEIR_MUST_CHECK int weir__tun_open(weir_tun **out, const weir_tun_service *service,
                                            size_t size);
/* Opens a device, and makes it where there is none. 0, or an error that is logged with cause and
 * fix: -EPERM (CAP_NET_ADMIN), -EBUSY (another program has it), -EINVAL (it is of another kind,
 * or has queues that differ in .offload), -ENOENT (the kernel has no TUN), WEIR_EINVALID,
 * WEIR_ENOMEM. Close it before the loop is freed.
 */
static inline WEIR_MUST_CHECK int weir_tun_open(weir_tun **out, const weir_tun_service *service)
{
    return weir__tun_open(out, service, sizeof *service);
}

/* Ends it; no handler is called any more. May be called in its handlers. NULL is ignored. */
WEIR_API void weir_tun_close(weir_tun *tun);

/* Gives a packet to this host, as if it had come by the interface. One system call, which does not
 * wait. 0; -EIO: the interface is down; WEIR_EFULL; -EINVAL: the kernel cannot read it; or
 * WEIR_EINVALID: what is only for .offload, or too large. */
WEIR_API WEIR_MUST_CHECK int weir_tun_send(weir_tun *tun, const weir_tun_packet *packet);

/* The interface's name. Valid until it is closed. */
WEIR_API const char *weir_tun_name(const weir_tun *tun);

WEIR_API int weir__tun_stats_get(const weir_tun *tun, weir_tun_stats *out, size_t size);
/* Counted by this queue since it was opened. */
static inline int weir_tun_stats_get(const weir_tun *tun, weir_tun_stats *out)
{
    return weir__tun_stats_get(tun, out, sizeof *out);
}

WEIR_END
#endif
