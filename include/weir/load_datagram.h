/* The datagrams of a load (WEIR_LOAD_DGRAM_RR and _STREAM of <weir/load.h>), for whoever answers
 * them: what they say of themselves, and what is to be known of those that arrive. weir bench serve
 * is made of this.
 *
 * Each begins with a head of 32 bytes; numbers stand least significant byte first.
 *
 *    0  4  "WBD1"
 *    4  1  what it is: enum weir_load_message
 *    5  1  1: it counts (of a stream; before that the load warms up); of a request: it is the
 *          answer of weir bench serve, which nobody answers
 *    6  2  zero
 *    8  8  the same for all sockets of a load, to sum them up
 *   16  8  its number; of a stream from 1 on, without a gap
 *   24  8  of a stream: when it left, nanoseconds of the sender's clock (weir_load_clock_ns);
 *          of a request: the number of its socket within the load
 *
 * An echo server is enough for requests and answers of one size. For everything else the client
 * sends BEGIN, gets COOKIE, and sends BEGIN with that cookie until it gets BEGUN: nobody is sent
 * more than he sent himself before he has shown that he receives at the address he sends from. A
 * server that is to send does so from START on, while it hears something (ALIVE) every few seconds,
 * up to END. ALIVE and END are answered with REPORT, and who has sent all that he was asked for
 * says so with a REPORT too, some times. */
#ifndef WEIR_LOAD_DATAGRAM_H
#define WEIR_LOAD_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <weir/export.h>

enum weir_load_message {
    WEIR_LOAD_MESSAGE_ASK = 1, /* a request, and its answer */
    WEIR_LOAD_MESSAGE_DATA,    /* of a stream */
    WEIR_LOAD_MESSAGE_BEGIN,   /* what this socket is about to do: weir_load_begin */
    WEIR_LOAD_MESSAGE_COOKIE,  /* the same, with the cookie to begin with */
    WEIR_LOAD_MESSAGE_BEGUN,   /* the same: go on */
    WEIR_LOAD_MESSAGE_START,   /* send */
    WEIR_LOAD_MESSAGE_ALIVE,   /* still here */
    WEIR_LOAD_MESSAGE_END,     /* that was all; its number: how many datagrams that count */
    WEIR_LOAD_MESSAGE_REPORT   /* weir_load_report */
};

enum {
    WEIR_LOAD_HEAD_BYTES = 32,
    WEIR_LOAD_BEGIN_BYTES = 72,
    WEIR_LOAD_REPORT_BYTES = 112,
    WEIR_LOAD_DATAGRAM_MAX = 65507, /* bytes of one: UDP over IPv4 */
    WEIR_LOAD_WINDOW = 1024         /* numbers that are remembered, to know a datagram again */
};

typedef struct weir_load_head {
    uint64_t load, number, mark; /* mark: the last of the above */
    uint8_t message;             /* enum weir_load_message */
    bool counts;
} weir_load_head;

/* BEGIN, COOKIE and BEGUN, from byte 32 on: cookie 8, socket 4, ask 1, zero 3, bytes 4,
 * answer_bytes 4, rate_bytes_s 8, stream_bytes 8. */
typedef struct weir_load_begin {
    uint64_t cookie;       /* 0: none yet */
    uint32_t socket;       /* its number within the load, from 0 */
    uint8_t ask;           /* enum weir_load_ask */
    uint32_t bytes;        /* of a datagram */
    uint32_t answer_bytes; /* of an answer */
    uint64_t rate_bytes_s; /* for the server to send at; 0: as fast as it can */
    uint64_t stream_bytes; /* for the server to send; 0: until END */
} weir_load_begin;

/* REPORT, from byte 32 on: ten numbers of 8 bytes. */
typedef struct weir_load_report {
    uint64_t received, received_bytes; /* of those that count, each once */
    uint64_t reordered, duplicates;
    uint64_t jitter_ns;
    uint64_t received_ns; /* from the first to the last */
    uint64_t sent, sent_bytes;
    uint64_t sent_ns; /* from the first to the last */
    uint64_t done;    /* 1: all has been sent that was asked for */
} weir_load_report;

/* What is known of the numbered datagrams of a stream that arrive. Zeroed before the first. */
typedef struct weir_load_arrivals {
    uint64_t from;               /* numbers up to this one do not count */
    uint64_t highest;            /* the highest number seen */
    uint64_t datagrams, bytes;   /* each once */
    uint64_t reordered;          /* behind one with a higher number */
    uint64_t duplicates;         /* once more */
    uint64_t first_ns, last_ns;  /* when they came */
    uint64_t jitter_16, transit; /* the jitter times 16, and the last transit time */
    uint64_t seen[WEIR_LOAD_WINDOW / 64];
} weir_load_arrivals;

WEIR_BEGIN

/* Writes a head. Any thread, as all of these. */
WEIR_API void weir_load_head_write(const weir_load_head *head, uint8_t out[WEIR_LOAD_HEAD_BYTES]);
/* False: the datagram is none of a load. */
WEIR_API bool weir_load_head_read(const void *data, size_t size, weir_load_head *out);
/* A whole message: `out` takes the head too. */
WEIR_API void weir_load_begin_write(const weir_load_head *head, const weir_load_begin *begin,
                                    uint8_t out[WEIR_LOAD_BEGIN_BYTES]);
/* False: it is too short, or asks for what there is not. */
WEIR_API bool weir_load_begin_read(const void *data, size_t size, weir_load_begin *out);
WEIR_API void weir_load_report_write(const weir_load_head *head, const weir_load_report *report,
                                     uint8_t out[WEIR_LOAD_REPORT_BYTES]);
WEIR_API bool weir_load_report_read(const void *data, size_t size, weir_load_report *out);

/* The clock of marks: nanoseconds, monotonic, read now and not once a turn. */
WEIR_API uint64_t weir_load_clock_ns(void);

/* A number that only who receives at this address can know: SipHash-2-4 of the address, with a key
 * of this process. Never 0. */
WEIR_API uint64_t weir_load_cookie(const struct sockaddr *peer, uint32_t peer_size);

/* Notes a datagram: when it left by the sender's clock and came by ours, of which only differences
 * are used (RFC 3550 section 6.4.1). True: it counts and came for the first time. One that is more
 * than WEIR_LOAD_WINDOW behind is taken for late, not for a second one. */
WEIR_API bool weir_load_arrive(weir_load_arrivals *arrivals, uint64_t number, uint64_t bytes,
                               uint64_t left_ns, uint64_t came_ns);
/* Counts from now on only what has a higher number than any so far. */
WEIR_API void weir_load_arrivals_restart(weir_load_arrivals *arrivals);
/* How many of the numbers up to `highest` (0: up to the highest that came) have not come. */
WEIR_API uint64_t weir_load_arrivals_lost(const weir_load_arrivals *arrivals, uint64_t highest);
WEIR_API uint64_t weir_load_arrivals_jitter_ns(const weir_load_arrivals *arrivals);

/* The bytes of a datagram on Ethernet, its MTU 1500: head and check sum of the frame 18 (which has
 * at least 64 in all), IP 20 or 40, UDP 8; a larger one goes in fragments, with heads of their own.
 * Preamble and gap are not counted. 0: `family` is neither AF_INET nor AF_INET6. RFC 768, RFC 791,
 * RFC 8200 section 4.5. */
WEIR_API uint64_t weir_load_wire_bytes(uint64_t bytes, int family);

WEIR_END
#endif
