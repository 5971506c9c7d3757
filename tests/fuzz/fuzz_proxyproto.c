/* Headers of the PROXY protocol: bounded, the same whether they come whole or in pieces, and what
 * is read can be written and read again. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weir/proxy.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weir_proxy_header header, again;
    uint8_t *exact = malloc(size + 1); /* a block of its own, so that a byte too many is seen */
    uint8_t out[WEIR_PROXY_WRITE_MAX];

    expect(exact != NULL);
    memcpy(exact, data, size);
    int used = weir_proxy_parse(exact, size, &header);
    free(exact);
    expect(used <= (int)size && used <= WEIR_PROXY_HEADER_MAX);
    expect(used != 0 || size < WEIR_PROXY_HEADER_MAX);
    if (used <= 0)
        return 0;
    expect(weir_proxy_parse(data, (size_t)used, &again) == used);
    expect(memcmp(&header, &again, sizeof header) == 0);
    expect(weir_proxy_parse(data, (size_t)used - 1, &again) == 0);
    int written = weir_proxy_write(&header, out, sizeof out);
    if (written < 0) /* version 1 with one address that maps an IPv4 one */
        return 0;
    expect(weir_proxy_parse(out, (size_t)written, &again) == written);
    expect(again.unknown == header.unknown);
    if (!header.unknown)
        expect(weir_address_equal(&header.source, &again.source) &&
               weir_address_equal(&header.destination, &again.destination));
    return 0;
}
