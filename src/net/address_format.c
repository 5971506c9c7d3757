#include "net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <weir/error.h>

/* Text being written into a caller's buffer; `full` once something did not fit. */
struct writer {
    char *out;
    size_t size, used;
    bool full;
};

static void put_bytes(struct writer *writer, const char *bytes, size_t size)
{
    if (writer->full || size >= writer->size - writer->used) {
        writer->full = true;
        return;
    }
    memcpy(writer->out + writer->used, bytes, size);
    writer->used += size;
}

static void put(struct writer *writer, const char *text)
{
    put_bytes(writer, text, strlen(text));
}

/* Ends the text. Returns its length, or WEIR_ETOOBIG with an empty text. */
static int finish(struct writer *writer)
{
    if (writer->size > 0)
        writer->out[writer->full ? 0 : writer->used] = '\0';
    return writer->full ? WEIR_ETOOBIG : (int)writer->used;
}

static void put_number(struct writer *writer, unsigned number)
{
    char text[16];

    snprintf(text, sizeof text, "%u", number);
    put(writer, text);
}

static void put_code(struct writer *writer, unsigned char byte)
{
    char text[4];

    snprintf(text, sizeof text, "%%%02X", byte);
    put(writer, text);
}

/* An interface's name may hold bytes that no address can. */
static bool is_plain_name(const char *name)
{
    for (; *name != '\0'; name++)
        if (*name <= 0x20 || *name >= 0x7f || strchr("]%#?/", *name) != NULL)
            return false;
    return true;
}

/* [address] with the name of its interface, or the number of one that is gone. */
static void put_ip6(struct writer *writer, const struct sockaddr_in6 *socket)
{
    char text[INET6_ADDRSTRLEN], name[IF_NAMESIZE];

    put(writer, "[");
    put(writer, inet_ntop(AF_INET6, &socket->sin6_addr, text, sizeof text));
    if (socket->sin6_scope_id != 0) {
        put(writer, "%");
        if (if_indextoname(socket->sin6_scope_id, name) != NULL && is_plain_name(name))
            put(writer, name);
        else
            put_number(writer, socket->sin6_scope_id);
    }
    put(writer, "]");
}

static void put_inet(struct writer *writer, const weir_address *address)
{
    const struct weir__scheme *scheme = weir__scheme_find(address->scheme);
    unsigned port = (unsigned)weir_address_port(address);
    char text[INET_ADDRSTRLEN];

    put(writer, "://");
    if (address->flags & WEIR_ADDRESS_ANY)
        put(writer, "*");
    else if (address->flags & WEIR_ADDRESS_LOCALHOST)
        put(writer, "localhost");
    else if (address->socket.ss_family == AF_INET6)
        put_ip6(writer, (const struct sockaddr_in6 *)&address->socket);
    else
        put(writer, inet_ntop(AF_INET, &((const struct sockaddr_in *)&address->socket)->sin_addr,
                              text, sizeof text));
    if (scheme != NULL && scheme->has_optional && port == 0)
        return;
    if (scheme == NULL || scheme->default_port == 0 || scheme->default_port != port) {
        put(writer, ":");
        put_number(writer, port);
    }
}

/* Writes what could be misread as its code: spaces, control characters, bytes beyond ASCII, %, an @
 * or a second slash at the start. */
static void put_unix(struct writer *writer, const weir_address *address)
{
    const struct sockaddr_un *socket = (const struct sockaddr_un *)&address->socket;
    size_t size = address->socket_size - offsetof(struct sockaddr_un, sun_path);
    size_t start = 0;

    put(writer, ":");
    if (size == 0)
        return;
    if (socket->sun_path[0] == '\0') {
        put(writer, "@");
        start = 1;
    } else {
        size = strnlen(socket->sun_path, size);
    }
    for (size_t i = start; i < size; i++) {
        unsigned char byte = (unsigned char)socket->sun_path[i];
        bool misread = (i == 0 && byte == '@') ||
                       (i == 1 && start == 0 && byte == '/' && socket->sun_path[0] == '/');

        if (byte <= 0x20 || byte >= 0x7f || byte == '%' || misread)
            put_code(writer, byte);
        else
            put_bytes(writer, (const char *)&byte, 1);
    }
}

/* Whether *address is one that this library made: its bytes decide how much is read. */
static bool is_sound(const weir_address *address)
{
    switch (address->socket.ss_family) {
    case AF_INET:
        return address->socket_size == sizeof(struct sockaddr_in);
    case AF_INET6:
        return address->socket_size == sizeof(struct sockaddr_in6);
    case AF_UNIX:
        return address->socket_size >= offsetof(struct sockaddr_un, sun_path) &&
               address->socket_size <= sizeof(struct sockaddr_un);
    default:
        return false;
    }
}

int weir_address_format(const weir_address *address, char *out, size_t size)
{
    struct writer writer = {.out = out, .size = size, .full = size == 0};

    if (!is_sound(address)) {
        if (size > 0)
            out[0] = '\0';
        return WEIR_EADDRESS;
    }
    put(&writer, weir_scheme_name(address->scheme));
    if (address->socket.ss_family == AF_UNIX)
        put_unix(&writer, address);
    else
        put_inet(&writer, address);
    return finish(&writer);
}

/* How much of a text is shown on each side of a mistake, bytes. */
#define SHOWN_BYTES 48

static bool continues_character(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80; /* UTF-8 */
}

int weir_address_explain(const char *text, const struct weir_address_error *error, char *out,
                         size_t size)
{
    struct writer writer = {.out = out, .size = size, .full = size == 0};
    size_t length = strnlen(text, ADDRESS_TEXT_LIMIT + 1);
    size_t at = error->offset < length ? error->offset : length;
    size_t first = at > SHOWN_BYTES ? at - SHOWN_BYTES : 0;
    size_t last = length - at > SHOWN_BYTES ? at + SHOWN_BYTES : length;
    size_t columns = 0;

    while (first > 0 && first < at && continues_character(text[first]))
        first++;
    while (last < length && last > at && continues_character(text[last]))
        last--;
    if (first > 0) {
        put(&writer, "...");
        columns = 3;
    }
    for (size_t i = first; i < last; i++) {
        bool control = (unsigned char)text[i] < 0x20 || text[i] == 0x7f;

        put_bytes(&writer, control ? "?" : &text[i], 1);
        columns += i < at && !continues_character(text[i]);
    }
    put(&writer, last < length ? "...\n" : "\n");
    while (columns-- > 0)
        put(&writer, " ");
    put(&writer, "^ ");
    put(&writer, error->message);
    return finish(&writer);
}
