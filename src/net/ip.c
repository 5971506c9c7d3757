#include "net/ip.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

static bool fault_at(struct ip_fault *fault, const char *at, const char *message)
{
    fault->at = at;
    fault->message = message;
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The value of a hexadecimal digit, or -1. */
static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* One number of a dotted quad; *text moves behind it. */
static bool parse_byte(const char **text, const char *end, uint8_t *out, struct ip_fault *fault)
{
    const char *start = *text, *at = start;
    unsigned value = 0;

    while (at < end && is_digit(*at) && at - start < 3)
        value = value * 10 + (unsigned)(*at++ - '0');
    if (at == start)
        return fault_at(fault, at, "IPv4 needs four numbers here, such as 127.0.0.1");
    if (*start == '0' && at - start > 1)
        return fault_at(fault, start, "a leading zero: some read it as octal, so it is refused");
    if (value > 255 || (at < end && is_digit(*at)))
        return fault_at(fault, start, "a number of an IPv4 address is at most 255");
    *out = (uint8_t)value;
    *text = at;
    return true;
}

bool weir__ip4_parse(const char *text, const char *end, struct in_addr *out, struct ip_fault *fault)
{
    uint8_t bytes[4];

    for (int i = 0; i < 4; i++) {
        if (i > 0) {
            if (text == end || *text != '.')
                return fault_at(fault, text, "IPv4 has four numbers with dots between them");
            text++;
        }
        if (!parse_byte(&text, end, &bytes[i], fault))
            return false;
    }
    if (text != end)
        return fault_at(fault, text, "nothing may follow the four numbers of an IPv4 address");
    memcpy(out, bytes, sizeof bytes);
    return true;
}

/* The state of reading an IPv6 address: groups seen so far, and where the :: stands among them. */
struct ip6_reader {
    const char *at, *end;
    uint8_t bytes[16];
    int groups; /* 0 to 8 */
    int gap;    /* groups before the ::, or -1 */
};

/* Adds one group of up to four digits. */
static bool read_group(struct ip6_reader *reader, struct ip_fault *fault)
{
    const char *start = reader->at;
    unsigned value = 0;

    while (reader->at < reader->end && hex_value(*reader->at) >= 0) {
        if (reader->at - start == 4)
            return fault_at(fault, reader->at, "a group of an IPv6 address has at most 4 digits");
        value = value << 4 | (unsigned)hex_value(*reader->at++);
    }
    if (reader->at == start)
        return fault_at(fault, start, "not a hexadecimal digit of an IPv6 address");
    if (reader->groups == 8)
        return fault_at(fault, start, "an IPv6 address has at most 8 groups");
    reader->bytes[2 * reader->groups] = (uint8_t)(value >> 8);
    reader->bytes[2 * reader->groups + 1] = (uint8_t)value;
    reader->groups++;
    return true;
}

/* Adds the dotted quad that an IPv6 address may end with. */
static bool read_quad(struct ip6_reader *reader, struct ip_fault *fault)
{
    struct in_addr quad;

    if (reader->groups == 0 && reader->gap < 0)
        return fault_at(fault, reader->at, "brackets are for IPv6; IPv4 stands without them");
    if (reader->groups > 6)
        return fault_at(fault, reader->at, "no room for an IPv4 address after 7 groups");
    if (!weir__ip4_parse(reader->at, reader->end, &quad, fault))
        return false;
    memcpy(reader->bytes + 2 * reader->groups, &quad, sizeof quad);
    reader->groups += 2;
    reader->at = reader->end;
    return true;
}

/* Whether a dot comes before the next colon: then the rest is a dotted quad. */
static bool quad_follows(const struct ip6_reader *reader)
{
    for (const char *at = reader->at; at < reader->end && *at != ':'; at++)
        if (*at == '.')
            return true;
    return false;
}

/* Moves over the colons between two groups, noting a :: */
static bool read_colons(struct ip6_reader *reader, struct ip_fault *fault)
{
    bool twice = reader->end - reader->at >= 2 && reader->at[1] == ':';

    if (*reader->at != ':')
        return fault_at(fault, reader->at, "not a hexadecimal digit of an IPv6 address");
    if (!twice && reader->groups == 0)
        return fault_at(fault, reader->at, "an IPv6 address cannot begin with a single :");
    if (!twice && reader->at + 1 == reader->end)
        return fault_at(fault, reader->at, "an IPv6 address cannot end with a single :");
    if (twice && reader->gap >= 0)
        return fault_at(fault, reader->at, "a second :: in an IPv6 address");
    if (twice)
        reader->gap = reader->groups;
    reader->at += twice ? 2 : 1;
    return true;
}

bool weir__ip6_parse(const char *text, const char *end, struct in6_addr *out,
                     struct ip_fault *fault)
{
    struct ip6_reader reader = {.at = text, .end = end, .gap = -1};
    int tail;

    if (text == end)
        return fault_at(fault, text, "an IPv6 address is missing");
    while (reader.at < end) {
        if ((reader.groups > 0 || *reader.at == ':') && !read_colons(&reader, fault))
            return false;
        if (reader.at == end)
            break;
        if (quad_follows(&reader) ? !read_quad(&reader, fault) : !read_group(&reader, fault))
            return false;
    }
    if (reader.gap < 0 && reader.groups < 8)
        return fault_at(fault, end, "an IPv6 address has 8 groups, or :: for those left out");
    if (reader.gap >= 0 && reader.groups == 8)
        return fault_at(fault, text, "8 groups and a :: that stands for none");
    memset(out, 0, sizeof *out);
    if (reader.gap < 0)
        reader.gap = reader.groups;
    tail = reader.groups - reader.gap;
    memcpy(out->s6_addr, reader.bytes, (size_t)reader.gap * 2);
    memcpy(out->s6_addr + 16 - 2 * tail, reader.bytes + 2 * reader.gap, (size_t)tail * 2);
    return true;
}
