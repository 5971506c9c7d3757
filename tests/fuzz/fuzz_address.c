/* Whatever is read as an address is written and read back as the same one; whatever is refused is
 * refused at a byte of the text; IP addresses are taken exactly when inet_pton takes them. */
#include <weir/address.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <weir/error.h>

#include "net/address.h"
#include "net/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                     \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

static void check_round_trip(const weir_address *address)
{
    char text[WEIR_ADDRESS_TEXT_MAX], again_text[WEIR_ADDRESS_TEXT_MAX];
    weir_address again;
    int length = weir_address_format(address, text, sizeof text);

    MUST(length > 0 && (size_t)length == strlen(text));
    MUST(weir_address_parse(text, &again, NULL) == 0);
    MUST(weir_address_equal(address, &again));
    MUST(address->flags == again.flags && address->scheme == again.scheme);
    MUST(weir_address_format(&again, again_text, sizeof again_text) == length);
    MUST(strcmp(text, again_text) == 0);
}

static void check_text(const char *text)
{
    struct weir_address_error error = {0};
    weir_address address, zero = {0};
    char explained[256];
    int result = weir_address_parse(text, &address, &error);

    if (result == 0) {
        MUST(address.target_offset + address.target_size <= strlen(text));
        check_round_trip(&address);
        return;
    }
    MUST(memcmp(&address, &zero, sizeof zero) == 0);
    MUST(error.message != NULL && error.offset <= strlen(text));
    MUST(weir_address_explain(text, &error, explained, sizeof explained) > 0);
}

static void check_ip(const char *text, size_t size)
{
    uint8_t ours[16], theirs[16];
    struct ip_fault fault;
    bool taken;

    if (strlen(text) != size)
        return;
    taken = weir__ip4_parse(text, text + size, (struct in_addr *)ours, &fault);
    MUST(taken == (inet_pton(AF_INET, text, theirs) == 1));
    MUST(!taken || memcmp(ours, theirs, 4) == 0);
    MUST(taken || (fault.at >= text && fault.at <= text + size));
    taken = weir__ip6_parse(text, text + size, (struct in6_addr *)ours, &fault);
    MUST(taken == (inet_pton(AF_INET6, text, theirs) == 1));
    MUST(!taken || memcmp(ours, theirs, 16) == 0);
    MUST(taken || (fault.at >= text && fault.at <= text + size));
}

/* The input as the kernel's form of an address. */
static void check_socket(const uint8_t *data, size_t size)
{
    struct sockaddr_storage socket = {0};
    weir_address address;
    char text[WEIR_ADDRESS_TEXT_MAX];
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address.socket;

    if (size < 2 || size > sizeof socket)
        return;
    memcpy(&socket, data, size);
    socket.ss_family = (sa_family_t[]){AF_UNIX, AF_INET, AF_INET6, AF_PACKET}[data[0] % 4];
    for (unsigned transport = 0; transport < 5; transport++) {
        if (weir_address_from_sockaddr((struct sockaddr *)&socket, size,
                                       (enum weir_transport)transport, &address) != 0)
            continue;
        MUST(weir_address_format(&address, text, sizeof text) > 0);
        /* Nobody can connect to what has no name, and paths of 108 bytes are not read. */
        if (!weir__transport_is_unix(address.transport) ||
            (address.socket_size > 3 &&
             strnlen(un->sun_path, sizeof un->sun_path) < sizeof un->sun_path))
            check_round_trip(&address);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    MUST(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    check_text(text);
    check_ip(text, size);
    check_socket(data, size);
    free(text);
    return 0;
}
