/* Packets as network interfaces see them, in both directions, whoever they are for: a packet socket
 * whose ring is mapped into this process (TPACKET_V3, kernel 3.2), so that none is copied.
 * packet(7), Documentation/networking/packet_mmap.rst.
 *
 * A capture belongs to the loop that was current when it was opened, and every function here to
 * that loop's thread. It needs CAP_NET_RAW. */
#ifndef WEIR_CAPTURE_H
#define WEIR_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>
#include <weir/view.h>

/* One instruction of a classic BPF program; struct sock_filter of linux/filter.h. */
typedef struct weir_bpf {
    uint16_t code;
    uint8_t on_true, on_false; /* how many instructions a conditional jump passes over */
    uint32_t value;
} weir_bpf;
#define WEIR_BPF_MAX 4096

enum weir_direction { /* the kernel's numbers, PACKET_HOST and so on */
                      WEIR_DIRECTION_HOST = 0,
                      WEIR_DIRECTION_BROADCAST = 1,
                      WEIR_DIRECTION_MULTICAST = 2,
                      WEIR_DIRECTION_OTHER = 3, /* for another host: see .promiscuous */
                      WEIR_DIRECTION_OUT = 4    /* sent by this host */
};

enum weir_captured_flags {
    WEIR_CAPTURED_VLAN = 1,     /* it had a tag, which the kernel has taken off */
    WEIR_CAPTURED_SUM_OPEN = 2, /* the card, or a receiver on this host, has the sum to do */
    WEIR_CAPTURED_SUM_GOOD = 4  /* the card says that it is right */
};

/* A packet, from its link-layer head on. All of it is valid until the handler returns. */
typedef struct weir_captured {
    weir_view view;
    uint32_t full_bytes;  /* more than view.size: .the kernel, or the filter, cut it */
    uint32_t interface;   /* its number */
    uint64_t received_ns; /* of the real-time clock */
    uint16_t type;        /* enum weir_ether_type, or what the link has */
    uint16_t vlan_tags;   /* priority, drop eligible and id: 3, 1 and 12 bits */
    uint16_t vlan_type;   /* WEIR_ETHER_VLAN or _SERVICE */
    uint8_t direction;    /* enum weir_direction */
    uint8_t flags;        /* enum weir_captured_flags */
    uint8_t reserved[8];  /* zero */
} weir_captured;

typedef struct weir_capture weir_capture;

/* Zero means the default everywhere. Copied. */
typedef struct weir_capture_service {
    void (*on_packets)(weir_capture *capture, const weir_captured *in, unsigned count, void *user);
    /* What the socket tells of: -ENETDOWN when the interface has gone down. It captures on when it
     * comes back. -ENODEV when it was removed, and was not down before: nothing more comes, as
     * after any other error. May be NULL. */
    void (*on_error)(weir_capture *capture, int error, void *user);
    void *user;
    const char *interface;  /* by name; NULL: all of them */
    const weir_bpf *filter; /* checked here and by the kernel; NULL: every packet */
    uint32_t filter_count;
    uint32_t block_bytes; /* a power of two, 64 KiB to 16 MiB; default 256 KiB */
    uint32_t blocks;      /* 2 to 1024; default 16. What arrives while all are full is dropped */
    uint32_t block_ms;    /* one that is not full is handed over after this time; default 10, at
                           * most 65535 */
    uint8_t promiscuous;  /* enum weir_switch; on: packets for others too */
    uint8_t reserved[27]; /* zero */
} weir_capture_service;

/* Counted since it was opened: PACKET_STATISTICS. */
typedef struct weir_capture_stats {
    uint64_t packets; /* that passed the filter, the dropped ones among them */
    uint64_t dropped; /* no block was free */
    uint64_t freezes; /* how often that began */
    uint64_t delivered;
    uint64_t reserved[4]; /* zero */
} weir_capture_stats;

WEIR_BEGIN

WEIR_API WEIR_MUST_CHECK int weir__capture_open(weir_capture **out,
                                                const weir_capture_service *service, size_t size);
/* Opens one on the current loop. 0, or an error that is logged with cause and fix: -EPERM
 * (CAP_NET_RAW), -ENODEV, WEIR_EINVALID, WEIR_ENOMEM. Nothing that arrived before the filter was
 * set is seen. Close it before the loop is freed. */
static inline WEIR_MUST_CHECK int weir_capture_open(weir_capture **out,
                                                    const weir_capture_service *service)
{
    return weir__capture_open(out, service, sizeof *service);
}

/* Ends it; no handler is called any more. May be called in its handlers; what they look at then is
 * valid until they return. NULL is ignored. */
WEIR_API void weir_capture_close(weir_capture *capture);

WEIR_API int weir__capture_stats_get(weir_capture *capture, weir_capture_stats *out, size_t size);
/* One system call. */
static inline int weir_capture_stats_get(weir_capture *capture, weir_capture_stats *out)
{
    return weir__capture_stats_get(capture, out, sizeof *out);
}

/* Reads a program as `tcpdump -dd` or `tcpdump -ddd` prints it, and checks it. Returns its
 * instructions, WEIR_ETOOBIG beyond `room`, or WEIR_EINVALID. Any thread. */
WEIR_API int weir_bpf_parse(const char *text, weir_bpf *out, size_t room);
/* Whether the kernel would take a program: instructions that exist, jumps forward and inside, a
 * return at the end, no division by zero, scratch memory 0 to 15. 0, or WEIR_EINVALID with the
 * instruction's number in *at (may be NULL). Any thread. */
WEIR_API int weir_bpf_check(const weir_bpf *program, size_t count, size_t *at);

WEIR_END
#endif
