/* Packets as they are on the wire: their headers read into plain structs, and written from them.
 *
 * weir_THING_parse(data, size, out) reads one header at `data`. It returns the bytes that the
 * header has, behind which the next one begins; 0 when `size` bytes do not hold it (a capture that
 * was cut short); WEIR_EPROTO when what it says contradicts itself. Where it has not succeeded *out
 * is all zero. Pointers in *out point into the data, and are valid as long as it is. What a parser
 * has taken it has checked: no length or pointer in *out reaches outside of the `size` bytes.
 *
 * weir_THING_build(in, out, size) writes one header: its bytes, WEIR_ETOOBIG when `size` bytes do
 * not hold it, WEIR_EINVALID for what a header cannot say. Checksums and lengths are written as
 * they stand in the struct; weir_packet_seal fills them in. A header that was parsed is written
 * again as the same bytes.
 *
 * Numbers are in the host's order, addresses are bytes in the network's. Nothing is allocated, no
 * function has state: any thread. DNS messages are in <weir/dns_message.h>. */
#ifndef WEIR_PACKET_H
#define WEIR_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>

/* Bytes inside of a packet. */
typedef struct weir_packet_bytes {
    const uint8_t *data;
    uint32_t size;
} weir_packet_bytes;

/* --- Ethernet, VLAN, ARP ---------------------------------------------------------------------- */

/* Protocols by their number in Ethernet (IEEE 802 numbers, IANA). */
enum weir_ether_type {
    WEIR_ETHER_IP4 = 0x0800,
    WEIR_ETHER_ARP = 0x0806,
    WEIR_ETHER_VLAN = 0x8100, /* 802.1Q */
    WEIR_ETHER_IP6 = 0x86dd,
    WEIR_ETHER_VLAN_SERVICE = 0x88a8, /* 802.1ad: the outer tag */
    WEIR_ETHER_LEAST = 0x0600         /* a smaller number is the length of an 802.3 frame */
};

typedef struct weir_ethernet { /* IEEE 802.3, clause 3; 14 bytes */
    uint8_t target[6], source[6];
    uint16_t type; /* enum weir_ether_type, or a length */
} weir_ethernet;

typedef struct weir_vlan { /* IEEE 802.1Q, clause 9: what follows 0x8100; 4 bytes */
    uint16_t id;           /* 0 to 4095; 0: only a priority */
    uint8_t priority;      /* 0 to 7 */
    bool drop_eligible;    /* may be dropped first */
    uint16_t type;         /* of what follows */
} weir_vlan;

typedef struct weir_arp {                   /* RFC 826 */
    uint16_t hardware;                      /* 1: Ethernet */
    uint16_t protocol;                      /* WEIR_ETHER_IP4 */
    uint16_t operation;                     /* 1 asks, 2 answers */
    uint8_t hardware_bytes, protocol_bytes; /* of an address: 6 and 4 */
    const uint8_t *source_hardware, *source, *target_hardware, *target;
} weir_arp;

/* --- IP --------------------------------------------------------------------------------------- */

/* Protocols by their number in IP, and headers of IPv6 among them (IANA protocol numbers). */
enum weir_ip_protocol {
    WEIR_IP_HOP_OPTIONS = 0,
    WEIR_IP_ICMP = 1,
    WEIR_IP_IP4 = 4,
    WEIR_IP_TCP = 6,
    WEIR_IP_UDP = 17,
    WEIR_IP_IP6 = 41,
    WEIR_IP_ROUTING = 43,
    WEIR_IP_FRAGMENT = 44,
    WEIR_IP_ESP = 50,
    WEIR_IP_AH = 51,
    WEIR_IP_ICMP6 = 58,
    WEIR_IP_NONE = 59,
    WEIR_IP_TARGET_OPTIONS = 60,
    WEIR_IP_MOBILITY = 135,
    WEIR_IP_HIP = 139,
    WEIR_IP_SHIM6 = 140
};

typedef struct weir_ip4 { /* RFC 791; 20 to 60 bytes */
    uint8_t source[4], target[4];
    uint8_t dscp, ecn;    /* 6 and 2 bits: RFC 2474, RFC 3168 */
    uint8_t hops;         /* time to live */
    uint8_t protocol;     /* enum weir_ip_protocol */
    uint16_t total_bytes; /* header and payload. 0: not written yet, by a card that cuts segments */
    uint16_t id;
    uint16_t fragment_offset; /* in bytes, a multiple of 8 */
    bool reserved_bit, dont_fragment, more_fragments;
    uint16_t checksum;
    weir_packet_bytes options; /* padded to a multiple of 4, at most 40; see weir_option_next */
    /* Parsed only. What follows, without what pads an Ethernet frame to its least size; and how
     * much of it is not there, where a capture was cut short. */
    weir_packet_bytes payload;
    uint32_t cut_bytes;
} weir_ip4;

typedef struct weir_ip6 { /* RFC 8200; 40 bytes */
    uint8_t source[16], target[16];
    uint8_t dscp, ecn;
    uint8_t hops;
    uint8_t next;           /* enum weir_ip_protocol, of what follows */
    uint32_t flow;          /* 20 bits */
    uint16_t payload_bytes; /* behind this header. 0: not told (a jumbogram, or as in weir_ip4) */
    weir_packet_bytes payload; /* parsed only, as in weir_ip4 */
    uint32_t cut_bytes;
} weir_ip6;

typedef struct weir_ip6_extension { /* RFC 8200, section 4 */
    uint8_t type;           /* of this header: WEIR_IP_HOP_OPTIONS, ROUTING, FRAGMENT, AH, ... */
    uint8_t next;           /* of what follows it */
    weir_packet_bytes body; /* without the two bytes of type and length */
    /* Of WEIR_IP_FRAGMENT. */
    uint32_t fragment_id;
    uint16_t fragment_offset; /* bytes */
    bool more_fragments;
    uint8_t reserved_bits; /* as they came: the byte, and two bits below the offset */
    uint8_t reserved_byte;
} weir_ip6_extension;

/* What lies above IP, behind all extension headers. */
typedef struct weir_ip_upper {
    uint8_t protocol;
    uint8_t extensions; /* headers between; RFC 8200 allows each once, 16 are read at most */
    bool fragment;      /* it is one; only with an offset of 0 does the upper header begin here */
    uint16_t fragment_offset;
    uint32_t fragment_id;
    weir_packet_bytes payload;
} weir_ip_upper;
#define WEIR_IP6_EXTENSIONS_MAX 16

/* An option of IPv4 or TCP, or one of an extension header of IPv6. */
typedef struct weir_option {
    uint8_t type;
    weir_packet_bytes body; /* without type and length */
} weir_option;

/* --- ICMP, TCP, UDP, VXLAN -------------------------------------------------------------------- */

typedef struct weir_icmp { /* RFC 792, RFC 4443: both have these 8 bytes */
    uint8_t type, code;
    uint16_t checksum;
    uint16_t id, sequence; /* of an echo; otherwise the two halves of what the type has there: see
                            * weir_icmp_word */
    weir_packet_bytes payload; /* parsed only. Of an error: the packet that it is about */
} weir_icmp;

enum weir_icmp_type {
    WEIR_ICMP_ECHO_REPLY = 0,
    WEIR_ICMP_UNREACHABLE = 3,
    WEIR_ICMP_ECHO = 8,
    WEIR_ICMP_TIME_EXCEEDED = 11,
    WEIR_ICMP6_UNREACHABLE = 1,
    WEIR_ICMP6_TOO_BIG = 2,
    WEIR_ICMP6_TIME_EXCEEDED = 3,
    WEIR_ICMP6_ECHO = 128,
    WEIR_ICMP6_ECHO_REPLY = 129,
    WEIR_ICMP6_ROUTER_ADVERTISEMENT = 134,
    WEIR_ICMP6_NEIGHBOR_SOLICITATION = 135,
    WEIR_ICMP6_NEIGHBOR_ADVERTISEMENT = 136
};

enum weir_tcp_flags {
    WEIR_TCP_FIN = 1,
    WEIR_TCP_SYN = 2,
    WEIR_TCP_RST = 4,
    WEIR_TCP_PSH = 8,
    WEIR_TCP_ACK = 16,
    WEIR_TCP_URG = 32,
    WEIR_TCP_ECE = 64,
    WEIR_TCP_CWR = 128,
    WEIR_TCP_AE = 256 /* RFC 9768 */
};

typedef struct weir_tcp {    /* RFC 9293; 20 to 60 bytes */
    uint16_t source, target; /* ports */
    uint32_t sequence, acknowledged;
    uint16_t flags;   /* enum weir_tcp_flags */
    uint8_t reserved; /* 3 bits */
    uint16_t window;
    uint16_t checksum;
    uint16_t urgent;
    weir_packet_bytes options; /* padded to a multiple of 4, at most 40 */
    weir_packet_bytes payload; /* parsed only */
} weir_tcp;

/* The options of TCP that are in use. `has` says which there are. */
enum weir_tcp_has {
    WEIR_TCP_HAS_MSS = 1,
    WEIR_TCP_HAS_SCALE = 2,
    WEIR_TCP_HAS_SACK_PERMITTED = 4,
    WEIR_TCP_HAS_SACK = 8,
    WEIR_TCP_HAS_TIME = 16
};

typedef struct weir_tcp_options { /* RFC 9293 section 3.2, RFC 7323, RFC 2018 */
    uint8_t has;                  /* enum weir_tcp_has */
    uint8_t window_scale;         /* shift, 0 to 14 */
    uint8_t sack_count;           /* 1 to 4 */
    uint16_t mss_bytes;
    uint32_t time, time_echo;
    struct {
        uint32_t first, behind; /* sequence numbers: the block's first, and the one behind it */
    } sack[4];
} weir_tcp_options;

typedef struct weir_udp {    /* RFC 768; 8 bytes */
    uint16_t source, target; /* ports */
    uint16_t total_bytes; /* header and payload. 0: all there is (RFC 2675, and as in weir_ip4) */
    uint16_t checksum;    /* 0: none */
    weir_packet_bytes payload; /* parsed only, as in weir_ip4 */
    uint32_t cut_bytes;
} weir_udp;

#define WEIR_VXLAN_PORT 4789

typedef struct weir_vxlan { /* RFC 7348; 8 bytes, then an Ethernet frame */
    uint32_t network;       /* 24 bits */
    uint8_t flags;          /* 8: `network` is valid */
    uint32_t reserved_1;    /* 24 bits, as they came */
    uint8_t reserved_2;
} weir_vxlan;

/* --- sums ------------------------------------------------------------------------------------- */

/* A sum of 16-bit words, begun with {0}. */
typedef struct weir_checksum {
    uint64_t sum;
    bool odd; /* an odd number of bytes was added so far */
} weir_checksum;

/* What weir_packet_check found. */
enum weir_packet_sums {
    WEIR_SUMS_GOOD = 0,
    WEIR_SUMS_IP4 = 1,    /* the sum of the IPv4 header is wrong */
    WEIR_SUMS_UPPER = 2,  /* that of TCP, UDP, ICMP is: of what a card is still to seal, too */
    WEIR_SUMS_UNKNOWN = 4 /* the upper one cannot be told: a fragment, cut short, another protocol,
                           * or UDP without one */
};

WEIR_BEGIN

WEIR_API int weir_ethernet_parse(const void *data, size_t size, weir_ethernet *out);
WEIR_API int weir_ethernet_build(const weir_ethernet *in, void *out, size_t size);
WEIR_API int weir_vlan_parse(const void *data, size_t size, weir_vlan *out);
WEIR_API int weir_vlan_build(const weir_vlan *in, void *out, size_t size);
WEIR_API int weir_arp_parse(const void *data, size_t size, weir_arp *out);
WEIR_API int weir_arp_build(const weir_arp *in, void *out, size_t size);
WEIR_API int weir_ip4_parse(const void *data, size_t size, weir_ip4 *out);
WEIR_API int weir_ip4_build(const weir_ip4 *in, void *out, size_t size);
WEIR_API int weir_ip6_parse(const void *data, size_t size, weir_ip6 *out);
WEIR_API int weir_ip6_build(const weir_ip6 *in, void *out, size_t size);
WEIR_API int weir_icmp_parse(const void *data, size_t size, weir_icmp *out);
WEIR_API int weir_icmp_build(const weir_icmp *in, void *out, size_t size);
WEIR_API int weir_tcp_parse(const void *data, size_t size, weir_tcp *out);
WEIR_API int weir_tcp_build(const weir_tcp *in, void *out, size_t size);
WEIR_API int weir_udp_parse(const void *data, size_t size, weir_udp *out);
WEIR_API int weir_udp_build(const weir_udp *in, void *out, size_t size);
WEIR_API int weir_vxlan_parse(const void *data, size_t size, weir_vxlan *out);
WEIR_API int weir_vxlan_build(const weir_vxlan *in, void *out, size_t size);

/* Whether a header of this type is one of IPv6's extension headers that can be passed over (ESP
 * cannot). */
WEIR_API bool weir_ip6_is_extension(uint8_t type);
/* One extension header of the given type; as the parsers above. WEIR_EINVALID: it is none. */
WEIR_API int weir_ip6_extension_parse(uint8_t type, const void *data, size_t size,
                                      weir_ip6_extension *out);
WEIR_API int weir_ip6_extension_build(const weir_ip6_extension *in, void *out, size_t size);

/* Reads a whole IP packet, IPv4 or IPv6 by its first four bits, down to what is above IP. Returns
 * the bytes in front of that, 0 or WEIR_EPROTO. What follows a fragment that is not the first is
 * not looked at. */
WEIR_API int weir_ip_upper_parse(const void *data, size_t size, weir_ip_upper *out);

/* The next option of IPv4 or TCP: takes it off *rest, which begins as .options. 1; 0: there are no
 * more (what follows an end-of-options is padding); WEIR_EPROTO: one reaches outside. Padding
 * (no-op) is passed over. RFC 791 section 3.1, RFC 9293 section 3.1. */
WEIR_API int weir_option_next(weir_packet_bytes *rest, weir_option *out);
/* The same for options of IPv6, in the body of WEIR_IP_HOP_OPTIONS and WEIR_IP_TARGET_OPTIONS. */
WEIR_API int weir_ip6_option_next(weir_packet_bytes *rest, weir_option *out);

/* Reads all options of TCP; those not named above are passed over, the last of equal ones counts.
 * 0, or WEIR_EPROTO: one reaches outside, or has not the size of its kind. */
WEIR_API int weir_tcp_options_parse(weir_packet_bytes options, weir_tcp_options *out);
/* Writes options, padded to a multiple of 4: bytes (at most 40), WEIR_ETOOBIG or WEIR_EINVALID. */
WEIR_API int weir_tcp_options_build(const weir_tcp_options *in, void *out, size_t size);

/* The four bytes at 4 as one number: the MTU of a packet too big (ICMPv6), the gateway of a
 * redirect. */
static inline uint32_t weir_icmp_word(const weir_icmp *icmp)
{
    return (uint32_t)icmp->id << 16 | icmp->sequence;
}

/* Adds bytes to a sum; pieces of any size, in their order. RFC 1071. */
WEIR_API void weir_checksum_add(weir_checksum *sum, const void *data, size_t size);
/* Adds what stands in front of a TCP, UDP or ICMPv6 message for its sum. `family`: 4 or 6, or
 * nothing is added; `upper_bytes`: of the message. RFC 9293 section 3.1, RFC 8200 section 8.1. */
WEIR_API void weir_checksum_add_pseudo(weir_checksum *sum, int family, const uint8_t *source,
                                       const uint8_t *target, uint8_t protocol,
                                       uint32_t upper_bytes);
/* The checksum, as a number of the host to be stored in the network's order; 0 over bytes that
 * contain a right one. */
WEIR_API uint16_t weir_checksum_end(const weir_checksum *sum);
/* The checksum after a 16-bit field has changed, without reading the rest. RFC 1624, equation 3. */
WEIR_API uint16_t weir_checksum_update(uint16_t checksum, uint16_t old_field, uint16_t new_field);

/* Fills in a whole IP packet of `size` bytes: the lengths in IP and UDP, the sum of IPv4, and that
 * of TCP, UDP, ICMP or ICMPv6 where the packet is no fragment. 0, WEIR_EPROTO when it cannot be
 * read, WEIR_ETOOBIG beyond 65 535 bytes. A UDP sum of 0 is written as 0xffff. */
WEIR_API int weir_packet_seal(void *packet, size_t size);
/* Looks at the sums of a whole IP packet: enum weir_packet_sums, or WEIR_EPROTO when it cannot be
 * read. */
WEIR_API int weir_packet_check(const void *packet, size_t size);

WEIR_END
#endif
