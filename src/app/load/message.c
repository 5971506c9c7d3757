/* What the datagrams of a load say of themselves, and what is known of those that arrive. */
#include <weir/load_datagram.h>

#include <pthread.h>
#include <string.h>

#include <weir/load.h>

#include "base/clock.h"
#include "base/random.h"

enum {
    ETHERNET_BYTES = 14 + 4, /* head and check sum */
    FRAME_LEAST_BYTES = 64,
    IP4_BYTES = 20,
    IP6_BYTES = 40,
    IP6_FRAGMENT_BYTES = 8,
    UDP_BYTES = 8,
    MTU_BYTES = 1500
};
#define LEAP_MAX  UINT32_MAX   /* a number that nobody can have reached counts for nothing */
#define APART_MAX (1ull << 58) /* of two transit times: sixteen of them fit into their sum */

static const char magic[4] = "WBD1";

static void put(uint8_t *out, unsigned bytes, uint64_t number)
{
    for (unsigned i = 0; i < bytes; i++)
        out[i] = (uint8_t)(number >> 8 * i);
}

static uint64_t get(const uint8_t *from, unsigned bytes)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t)from[i] << 8 * i;
    return number;
}

/* ---- messages ---- */

void weir_load_head_write(const weir_load_head *head, uint8_t out[WEIR_LOAD_HEAD_BYTES])
{
    memcpy(out, magic, sizeof magic);
    out[4] = head->message;
    out[5] = head->counts;
    out[6] = out[7] = 0;
    put(out + 8, 8, head->load);
    put(out + 16, 8, head->number);
    put(out + 24, 8, head->mark);
}

bool weir_load_head_read(const void *data, size_t size, weir_load_head *out)
{
    const uint8_t *from = data;
    if (size < WEIR_LOAD_HEAD_BYTES || memcmp(from, magic, sizeof magic) != 0 ||
        from[4] < WEIR_LOAD_MESSAGE_ASK || from[4] > WEIR_LOAD_MESSAGE_REPORT || from[5] > 1)
        return false;
    *out = (weir_load_head){.message = from[4],
                            .counts = from[5] == 1,
                            .load = get(from + 8, 8),
                            .number = get(from + 16, 8),
                            .mark = get(from + 24, 8)};
    return true;
}

void weir_load_begin_write(const weir_load_head *head, const weir_load_begin *begin,
                           uint8_t out[WEIR_LOAD_BEGIN_BYTES])
{
    weir_load_head_write(head, out);
    put(out + 32, 8, begin->cookie);
    put(out + 40, 4, begin->socket);
    put(out + 44, 4, begin->ask);
    put(out + 48, 4, begin->bytes);
    put(out + 52, 4, begin->answer_bytes);
    put(out + 56, 8, begin->rate_bytes_s);
    put(out + 64, 8, begin->stream_bytes);
}

static bool fits(uint64_t bytes)
{
    return bytes >= WEIR_LOAD_HEAD_BYTES && bytes <= WEIR_LOAD_DATAGRAM_MAX;
}

bool weir_load_begin_read(const void *data, size_t size, weir_load_begin *out)
{
    const uint8_t *from = data;
    if (size < WEIR_LOAD_BEGIN_BYTES)
        return false;
    *out = (weir_load_begin){.cookie = get(from + 32, 8),
                             .socket = (uint32_t)get(from + 40, 4),
                             .ask = from[44],
                             .bytes = (uint32_t)get(from + 48, 4),
                             .answer_bytes = (uint32_t)get(from + 52, 4),
                             .rate_bytes_s = get(from + 56, 8),
                             .stream_bytes = get(from + 64, 8)};
    return out->ask >= WEIR_LOAD_ASK_ANSWER && out->ask <= WEIR_LOAD_ASK_BOTH && fits(out->bytes) &&
           fits(out->answer_bytes);
}

void weir_load_report_write(const weir_load_head *head, const weir_load_report *report,
                            uint8_t out[WEIR_LOAD_REPORT_BYTES])
{
    const uint64_t numbers[] = {report->received,   report->received_bytes, report->reordered,
                                report->duplicates, report->jitter_ns,      report->received_ns,
                                report->sent,       report->sent_bytes,     report->sent_ns,
                                report->done};
    weir_load_head_write(head, out);
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put(out + WEIR_LOAD_HEAD_BYTES + 8 * i, 8, numbers[i]);
}

bool weir_load_report_read(const void *data, size_t size, weir_load_report *out)
{
    const uint8_t *from = data;
    if (size < WEIR_LOAD_REPORT_BYTES)
        return false;
    from += WEIR_LOAD_HEAD_BYTES;
    *out = (weir_load_report){.received = get(from, 8),
                              .received_bytes = get(from + 8, 8),
                              .reordered = get(from + 16, 8),
                              .duplicates = get(from + 24, 8),
                              .jitter_ns = get(from + 32, 8),
                              .received_ns = get(from + 40, 8),
                              .sent = get(from + 48, 8),
                              .sent_bytes = get(from + 56, 8),
                              .sent_ns = get(from + 64, 8),
                              .done = get(from + 72, 8)};
    return true;
}

uint64_t weir_load_clock_ns(void)
{
    return weir__clock_now_ns();
}

/* ---- the cookie ---- */

static uint64_t key[2];
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void key_make(void)
{
    weir__random_bytes(key, sizeof key);
}

static uint64_t rotate(uint64_t word, unsigned bits)
{
    return word << bits | word >> (64 - bits);
}

static void sip_rounds(uint64_t v[4], unsigned count)
{
    while (count-- != 0) {
        v[0] += v[1];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[0] = rotate(v[0], 32);
        v[2] += v[3];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[2] = rotate(v[2], 32);
    }
}

/* SipHash-2-4: Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012. */
static uint64_t sip_hash(const uint8_t *data, size_t size)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                     key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
    for (size_t at = 0; at <= size; at += 8) {
        size_t part = size - at < 8 ? size - at : 8;
        uint64_t word = get(data + at, (unsigned)part);
        if (part < 8)
            word |= (uint64_t)size << 56;
        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t weir_load_cookie(const struct sockaddr *peer, uint32_t peer_size)
{
    pthread_once(&key_once, key_make);
    return sip_hash((const uint8_t *)peer, peer_size) | 1;
}

/* ---- arrivals ---- */

static bool was_seen(const weir_load_arrivals *a, uint64_t number)
{
    return a->seen[number % WEIR_LOAD_WINDOW / 64] >> number % 64 & 1;
}

static void set_seen(weir_load_arrivals *a, uint64_t number)
{
    a->seen[number % WEIR_LOAD_WINDOW / 64] |= 1ull << number % 64;
}

/* The window moves on: what is new in it has not been seen. */
static void move_on(weir_load_arrivals *a, uint64_t number)
{
    if (number - a->highest >= WEIR_LOAD_WINDOW)
        memset(a->seen, 0, sizeof a->seen);
    for (uint64_t n = a->highest + 1; n < number && number - a->highest < WEIR_LOAD_WINDOW; n++)
        a->seen[n % WEIR_LOAD_WINDOW / 64] &= ~(1ull << n % 64);
    a->highest = number;
}

/* RFC 3550 A.8: the mean of the last differences of transit times, in sixteenths. */
static void note_transit(weir_load_arrivals *a, uint64_t left_ns, uint64_t came_ns)
{
    uint64_t transit = came_ns - left_ns;
    if (a->last_ns != 0) {
        uint64_t apart = transit - a->transit; /* what the sender wrote may be anything */
        if (apart > INT64_MAX)
            apart = 0 - apart;
        a->jitter_16 += (apart < APART_MAX ? apart : APART_MAX) - ((a->jitter_16 + 8) >> 4);
    }
    a->transit = transit;
}

bool weir_load_arrive(weir_load_arrivals *a, uint64_t number, uint64_t bytes, uint64_t left_ns,
                      uint64_t came_ns)
{
    if (number <= a->from || (number > a->highest && number - a->highest > LEAP_MAX))
        return false;
    if (number > a->highest) {
        move_on(a, number);
    } else if (a->highest - number < WEIR_LOAD_WINDOW && was_seen(a, number)) {
        a->duplicates++;
        return false;
    } else {
        a->reordered++;
    }
    if (a->highest - number < WEIR_LOAD_WINDOW) /* its place is a newer one's otherwise */
        set_seen(a, number);
    note_transit(a, left_ns, came_ns);
    a->datagrams++;
    a->bytes += bytes;
    if (a->first_ns == 0)
        a->first_ns = came_ns;
    a->last_ns = came_ns > a->last_ns ? came_ns : a->last_ns;
    return true;
}

void weir_load_arrivals_restart(weir_load_arrivals *a)
{
    a->from = a->highest;
    a->datagrams = a->bytes = a->reordered = a->duplicates = 0;
    a->first_ns = a->last_ns = a->jitter_16 = 0;
}

uint64_t weir_load_arrivals_lost(const weir_load_arrivals *a, uint64_t highest)
{
    uint64_t last = highest > a->highest ? highest : a->highest;
    uint64_t sent = last > a->from ? last - a->from : 0;
    return sent > a->datagrams ? sent - a->datagrams : 0;
}

uint64_t weir_load_arrivals_jitter_ns(const weir_load_arrivals *a)
{
    return a->jitter_16 >> 4;
}

/* ---- on the wire ---- */

uint64_t weir_load_wire_bytes(uint64_t bytes, int family)
{
    uint64_t whole = bytes + UDP_BYTES, head = family == AF_INET6 ? IP6_BYTES : IP4_BYTES;
    if (family != AF_INET && family != AF_INET6)
        return 0;
    uint64_t room = MTU_BYTES - head, frames = 1;
    if (whole > room) {
        head += family == AF_INET6 ? IP6_FRAGMENT_BYTES : 0;
        room = (MTU_BYTES - head) / 8 * 8;
        frames = (whole + room - 1) / room;
    }
    uint64_t last = whole - (frames - 1) * room + head + ETHERNET_BYTES;
    if (last < FRAME_LEAST_BYTES)
        last = FRAME_LEAST_BYTES;
    return (frames - 1) * (room + head + ETHERNET_BYTES) + last;
}
