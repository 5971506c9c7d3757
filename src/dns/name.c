#include "dns/name.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <weir/error.h>

int name_from_text(struct dns_name *out, const char *text, size_t size)
{
    size_t at = 0, label = 0; /* where the label's length stands */

    *out = (struct dns_name){.size = 1};
    if (size > 0 && text[size - 1] == '.')
        size--;
    if (size == 0 || size > NAME_PLAIN_MAX)
        return WEIR_EADDRESS;
    for (at = 0; at <= size; at++) {
        if (at == size || text[at] == '.') {
            size_t length = at - label;
            if (length == 0 || length > NAME_LABEL_MAX)
                return WEIR_EADDRESS;
            out->wire[label] = (uint8_t)length;
            label = at + 1;
            continue;
        }
        /* Only what every resolver, cache and log understands alike. */
        if (text[at] <= ' ' || text[at] > '~' || text[at] == '\\' || text[at] == '/')
            return WEIR_EADDRESS;
        out->wire[at + 1] = (uint8_t)name_small(text[at]);
    }
    out->wire[size + 1] = 0;
    out->size = (uint8_t)(size + 2);
    return 0;
}

static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '/';
}

size_t name_to_text(const struct dns_name *name, char out[NAME_TEXT_MAX])
{
    size_t length = 0;

    for (size_t at = 0; at < name->size && name->wire[at] != 0;) {
        size_t end = at + 1 + name->wire[at];
        if (length > 0)
            out[length++] = '.';
        for (at++; at < end && at < name->size; at++) {
            if (is_plain(name->wire[at])) {
                out[length++] = (char)name->wire[at];
                continue;
            }
            out[length++] = '\\';
            out[length++] = (char)('0' + name->wire[at] / 100);
            out[length++] = (char)('0' + name->wire[at] / 10 % 10);
            out[length++] = (char)('0' + name->wire[at] % 10);
        }
    }
    if (length == 0)
        out[length++] = '.';
    out[length] = '\0';
    return length;
}

int name_from_message(struct dns_name *out, const uint8_t *message, size_t size, size_t *at)
{
    size_t from = *at, lowest = *at; /* a pointer must go below where its part began: it ends */
    size_t length = 0;
    unsigned jumps = 0;

    for (;;) {
        if (from >= size)
            return WEIR_EPROTO;
        unsigned head = message[from];
        if (head >= 0xc0) {
            if (from + 1 >= size)
                return WEIR_EPROTO;
            size_t to = (head & 0x3f) << 8 | message[from + 1];
            if (jumps == 0)
                *at = from + 2;
            if (to >= lowest || ++jumps > NAME_JUMPS_MAX)
                return WEIR_EPROTO;
            from = lowest = to;
            continue;
        }
        if (head > NAME_LABEL_MAX || length + 1 + head > NAME_WIRE_MAX - (head != 0) ||
            from + 1 + head > size)
            return WEIR_EPROTO;
        out->wire[length++] = (uint8_t)head;
        for (unsigned i = 0; i < head; i++)
            out->wire[length++] = (uint8_t)name_small((char)message[from + 1 + i]);
        from += 1 + head;
        if (head == 0)
            break;
    }
    if (jumps == 0)
        *at = from;
    out->size = (uint8_t)length;
    return 0;
}

bool name_equal(const struct dns_name *a, const struct dns_name *b)
{
    return a->size == b->size && memcmp(a->wire, b->wire, a->size) == 0;
}

int name_of_address(struct dns_name *out, const weir_address *address)
{
    char text[80];
    size_t length = 0;

    if (address->socket.ss_family == AF_INET) {
        struct in_addr host = ((const struct sockaddr_in *)&address->socket)->sin_addr;
        const uint8_t *b = (const uint8_t *)&host;
        length =
            (size_t)snprintf(text, sizeof text, "%u.%u.%u.%u.in-addr.arpa", b[3], b[2], b[1], b[0]);
    } else if (address->socket.ss_family == AF_INET6) {
        const uint8_t *b = ((const struct sockaddr_in6 *)&address->socket)->sin6_addr.s6_addr;
        for (int i = 15; i >= 0; i--) {
            text[length++] = "0123456789abcdef"[b[i] & 15];
            text[length++] = '.';
            text[length++] = "0123456789abcdef"[b[i] >> 4];
            text[length++] = '.';
        }
        memcpy(text + length, "ip6.arpa", 9);
        length += 8;
    } else {
        return WEIR_EADDRESS;
    }
    return name_from_text(out, text, length);
}
