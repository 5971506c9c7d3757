/* Messages of the domain name system as they are on the wire (RFC 1035): read record by record, and
 * written. Whoever wants names looked up wants <weir/resolve.h>.
 *
 * Nothing is allocated, no function has state of its own: any thread. Input may be hostile:
 * pointers of compressed names go backwards only, a name has at most 255 bytes, a record never
 * reaches outside of the message. */
#ifndef WEIR_DNS_MESSAGE_H
#define WEIR_DNS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>
#include <weir/packet.h>

#define WEIR_DNS_NAME_MAX 255
/* Room for any name as text, with its NUL: each byte may take four characters. */
#define WEIR_DNS_TEXT_MAX    1024
#define WEIR_DNS_MESSAGE_MAX 65535

/* A name without compression: labels, each behind its length, and the empty one at the end. */
typedef struct weir_dns_name {
    uint8_t size; /* bytes, with the last; 0 is no name, 1 is the root */
    uint8_t data[WEIR_DNS_NAME_MAX];
} weir_dns_name;

enum weir_dns_flags { /* of weir_dns_header.flags: RFC 1035 section 4.1.1, RFC 4035 section 3 */
                      WEIR_DNS_ANSWER = 0x8000,
                      WEIR_DNS_AUTHORITATIVE = 0x0400,
                      WEIR_DNS_TRUNCATED = 0x0200,
                      WEIR_DNS_RECURSION_WANTED = 0x0100,
                      WEIR_DNS_RECURSION_THERE = 0x0080,
                      WEIR_DNS_AUTHENTIC = 0x0020,
                      WEIR_DNS_UNCHECKED = 0x0010,
                      WEIR_DNS_OPCODE = 0x7800, /* these bits, 0: a query */
                      WEIR_DNS_RCODE = 0x000f   /* these bits: 0 no error, 3 no such name */
};

enum weir_dns_type { /* IANA */
                     WEIR_DNS_A = 1,
                     WEIR_DNS_NS = 2,
                     WEIR_DNS_CNAME = 5,
                     WEIR_DNS_SOA = 6,
                     WEIR_DNS_PTR = 12,
                     WEIR_DNS_MX = 15,
                     WEIR_DNS_TXT = 16,
                     WEIR_DNS_AAAA = 28,
                     WEIR_DNS_SRV = 33,
                     WEIR_DNS_OPT = 41 /* EDNS: RFC 6891 */
};

enum weir_dns_section {
    WEIR_DNS_QUESTION,
    WEIR_DNS_ANSWERS,
    WEIR_DNS_AUTHORITY,
    WEIR_DNS_ADDITIONAL
};

typedef struct weir_dns_header {
    uint16_t id;
    uint16_t flags;    /* enum weir_dns_flags */
    uint16_t count[4]; /* of each enum weir_dns_section, as the message says */
} weir_dns_header;

typedef struct weir_dns_record {
    weir_dns_name name;
    uint8_t section;        /* enum weir_dns_section */
    uint16_t type;          /* enum weir_dns_type */
    uint16_t klass;         /* 1: the internet. Of WEIR_DNS_OPT: the most bytes by UDP */
    uint32_t ttl_s;         /* not of questions */
    weir_packet_bytes data; /* not of questions; names in it: weir_dns_name_at */
} weir_dns_record;

/* Where reading a message is. */
typedef struct weir_dns_reader {
    weir_dns_header header;
    const uint8_t *message;
    uint32_t size, at;
    uint32_t done; /* records that were read */
    int error;
} weir_dns_reader;

/* A message that is being written; `message` is the caller's. */
typedef struct weir_dns_writer {
    uint8_t *message;
    uint32_t size, used;
    uint16_t count[4];
    uint8_t section;
    int error;          /* the first one: nothing is written after it */
    uint16_t names[16]; /* where names stand that later ones may point to */
    uint16_t name_count;
} weir_dns_writer;

WEIR_BEGIN

/* Begins to read. 0; WEIR_EPROTO: less than 12 bytes, or more than 65 535. */
WEIR_API int weir_dns_read(weir_dns_reader *reader, const void *message, size_t size);
/* The next question or record. 1; 0: that was the last; WEIR_EPROTO: it is malformed or cut short,
 * and so will each further call say. */
WEIR_API int weir_dns_next(weir_dns_reader *reader, weir_dns_record *out);
/* A name in a record's data (CNAME, NS, PTR: offset 0; MX: 2; SRV: 6; SOA: 0, and behind it). The
 * bytes that it has there, or WEIR_EPROTO. */
WEIR_API int weir_dns_name_at(const weir_dns_reader *reader, const weir_dns_record *record,
                              size_t offset, weir_dns_name *out);

/* Begins to write with room for `size` bytes: the header, whose counts are filled in later. */
WEIR_API void weir_dns_write(weir_dns_writer *writer, const weir_dns_header *header, void *message,
                             size_t size);
/* Adds a question or record, sections in their order. Its name is compressed; its data is written
 * as it is, so names in it must have been written in full. 0; WEIR_ETOOBIG: no room; WEIR_EINVALID.
 */
WEIR_API int weir_dns_add(weir_dns_writer *writer, const weir_dns_record *record);
/* Ends it: the message's bytes, or the first error. */
WEIR_API int weir_dns_write_end(weir_dns_writer *writer);

/* A name from text, "example.org" or "example.org."; \. \\ and \DDD as RFC 1035 section 5.1. 0 or
 * WEIR_EINVALID. */
WEIR_API int weir_dns_name_parse(const char *text, weir_dns_name *out);
/* The text of a name, without the last dot; "." is the root. Its length without the NUL, or
 * WEIR_ETOOBIG: WEIR_DNS_TEXT_MAX bytes always do; WEIR_EINVALID: it is none. */
WEIR_API int weir_dns_name_format(const weir_dns_name *name, char *out, size_t size);
/* Whether both are one name; upper and lower case letters are alike (RFC 4343). */
WEIR_API bool weir_dns_name_equal(const weir_dns_name *left, const weir_dns_name *right);

WEIR_END
#endif
