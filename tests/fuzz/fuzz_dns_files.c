/* resolv.conf, nsswitch.conf and hosts. Input: a byte for the kind of file, then the file. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weir/module.h>

#include "dns/config.h"
#include "dns/hosts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds)
{
    if (!holds)
        abort();
}

static void check_resolv(const char *text, size_t size)
{
    static struct config_resolv c;
    struct dns_name name;

    config_read_resolv(&c, text, size);
    expect(c.server_count >= 1 && c.server_count <= CONFIG_SERVERS_MAX);
    expect(c.ndots <= 15 && c.timeout_s >= 1 && c.timeout_s <= 30);
    expect(c.attempts >= 1 && c.attempts <= 5);
    for (unsigned i = 0; i < c.server_count; i++)
        expect(weir_address_port(&c.servers[i]) > 0);
    for (unsigned i = 0; i < c.search_count; i++)
        expect(name_from_text(&name, c.search[i], strlen(c.search[i])) == 0);
}

static void check_switch(const char *text, size_t size)
{
    struct config_switch c;

    config_read_switch(&c, text, size);
    expect(c.count >= 1 && c.count <= CONFIG_SOURCES_MAX);
}

static void check_hosts(const char *text, size_t size)
{
    char *copy = weir__alloc(size + 1);
    struct hosts *hosts;
    struct record_set *set;
    weir_address address;

    expect(copy != NULL);
    memcpy(copy, text, size);
    expect(hosts_new(&hosts, copy, size) == 0);
    expect(hosts_find(hosts, "a", WEIR_RECORD_HOST, &set) == 0);
    expect(set == NULL || (set->count > 0 && set->count <= HOSTS_FOUND_MAX));
    record_set_unref(set);
    weir_address_parse("tcp://10.0.0.1:0", &address, NULL);
    expect(hosts_find_address(hosts, &address, &set) == 0);
    record_set_unref(set);
    hosts_free(hosts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *text = malloc(size); /* without a NUL behind it */
    expect(text != NULL);
    memcpy(text, data + 1, size - 1);
    if (data[0] % 3 == 0)
        check_resolv(text, size - 1);
    else if (data[0] % 3 == 1)
        check_switch(text, size - 1);
    else
        check_hosts(text, size - 1);
    free(text);
    return 0;
}
