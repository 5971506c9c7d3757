/* Names of the domain name system: read with their pointers, as text, compared. */
#include "proto/packet/dns_name.h"

enum { LABEL_MOST = 63 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* A pointer leads only to before where the name, or the part before it, began: so it ends. */
int dns_name_read(const uint8_t *message, size_t size, size_t at, weir_dns_name *out)
{
    size_t start = at, least = at, used = 0, written = 0;
    bool jumped = false;

    out->size = 0;
    for (;;) {
        if (at >= size)
            return WEIR_EPROTO;
        unsigned length = message[at];
        if (length >= 0xc0) {
            if (at + 2 > size)
                return WEIR_EPROTO;
            size_t target = wire_get16(message + at) & 0x3fff;
            if (!jumped)
                used = at + 2 - start;
            jumped = true;
            if (target >= least)
                return WEIR_EPROTO;
            least = at = target;
            continue;
        }
        if (length > LABEL_MOST || at + 1 + length > size ||
            written + 1 + length > WEIR_DNS_NAME_MAX)
            return WEIR_EPROTO;
        memcpy(out->data + written, message + at, length + 1);
        written += length + 1;
        at += length + 1;
        if (length == 0)
            break;
    }
    out->size = (uint8_t)written;
    return (int)(jumped ? used : at - start);
}

bool dns_name_is(const weir_dns_name *name)
{
    size_t at = 0;

    if (name->size == 0)
        return false;
    while (at < name->size && name->data[at] != 0) {
        if (name->data[at] > LABEL_MOST)
            return false;
        at += name->data[at] + 1u;
    }
    return at + 1 == name->size;
}

/* One character of a label, "\DDD" and "\." among them: its byte, or -1; *text moves on. */
static int read_character(const char **text)
{
    const char *at = *text;

    if (*at != '\\') {
        *text = at + 1;
        return (uint8_t)*at;
    }
    if (at[1] == '\0')
        return -1;
    if (!is_digit(at[1])) {
        *text = at + 2;
        return (uint8_t)at[1];
    }
    if (!is_digit(at[2]) || !is_digit(at[3]))
        return -1;
    int value = (at[1] - '0') * 100 + (at[2] - '0') * 10 + (at[3] - '0');
    *text = at + 4;
    return value <= 255 ? value : -1;
}

int weir_dns_name_parse(const char *text, weir_dns_name *out)
{
    weir_dns_name name = {0};
    size_t label = 0, used = 1; /* where the label's length goes, and what follows */

    out->size = 0;
    if (text[0] == '.' && text[1] == '\0')
        text++;
    while (*text != '\0') {
        if (*text == '.') {
            text++;
            if (used == label + 1) /* an empty label */
                return WEIR_EINVALID;
            label = used++;
            if (used > WEIR_DNS_NAME_MAX)
                return WEIR_EINVALID;
            continue;
        }
        int c = read_character(&text);
        /* The label that ends the name takes a byte too. */
        if (c < 0 || used - label > LABEL_MOST || used + 1 >= WEIR_DNS_NAME_MAX)
            return WEIR_EINVALID;
        name.data[used++] = (uint8_t)c;
        name.data[label] = (uint8_t)(used - label - 1);
    }
    if (used > label + 1)
        name.data[used++] = 0;
    name.size = (uint8_t)used;
    *out = name;
    return 0;
}

static size_t format_character(uint8_t c, char out[4])
{
    if (c == '.' || c == '\\' || c == '"' || c == '(' || c == ')' || c == ';' || c == '@' ||
        c == '$') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c > 0x20 && c < 0x7f) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '\\';
    out[1] = (char)('0' + c / 100);
    out[2] = (char)('0' + c / 10 % 10);
    out[3] = (char)('0' + c % 10);
    return 4;
}

int weir_dns_name_format(const weir_dns_name *name, char *out, size_t size)
{
    size_t used = 0;
    char text[4];

    if (!dns_name_is(name))
        return WEIR_EINVALID;
    for (size_t at = 0; name->data[at] != 0; at += name->data[at] + 1u) {
        if (at != 0) {
            if (used + 1 >= size)
                return WEIR_ETOOBIG;
            out[used++] = '.';
        }
        for (size_t i = 1; i <= name->data[at]; i++) {
            size_t length = format_character(name->data[at + i], text);
            if (used + length >= size)
                return WEIR_ETOOBIG;
            memcpy(out + used, text, length);
            used += length;
        }
    }
    if (used == 0) {
        if (size < 2)
            return WEIR_ETOOBIG;
        out[used++] = '.';
    }
    out[used] = '\0';
    return (int)used;
}

/* A label's length is below 64, and so no letter. */
bool weir_dns_name_equal(const weir_dns_name *left, const weir_dns_name *right)
{
    if (left->size != right->size)
        return false;
    for (size_t i = 0; i < left->size; i++)
        if (lower(left->data[i]) != lower(right->data[i]))
            return false;
    return true;
}
