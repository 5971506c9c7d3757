/* /etc/resolv.conf and the line "hosts:" of /etc/nsswitch.conf. */
#ifndef WEIR_DNS_CONFIG_H
#define WEIR_DNS_CONFIG_H

#include <weir/resolve.h>

#include "dns/name.h"

enum {
    CONFIG_SERVERS_MAX = 32,
    CONFIG_SEARCH_MAX = 32,
    CONFIG_SOURCES_MAX = 8,
    CONFIG_FILE_MAX = 256 * 1024, /* bytes of one of these files */
    DNS_PORT = 53,
};

struct config_resolv {
    weir_address servers[CONFIG_SERVERS_MAX]; /* with their ports; at least one */
    unsigned server_count;
    char search[CONFIG_SEARCH_MAX][NAME_PLAIN_MAX + 1]; /* without dots at their ends */
    unsigned search_count;
    unsigned ndots, timeout_s, attempts;
    bool rotate, tcp, no_ip6;
    unsigned ignored; /* lines and words that make no sense, or for which there is no room */
};

/* How a source of names may answer. */
enum config_status {
    CONFIG_SUCCESS,
    CONFIG_NOTFOUND,
    CONFIG_UNAVAIL,
    CONFIG_TRYAGAIN,
    CONFIG_STATUSES
};

struct config_switch {
    struct {
        bool dns;          /* false: files */
        uint8_t last_when; /* bit of each config_status with which the search ends */
    } sources[CONFIG_SOURCES_MAX];
    unsigned count;
};

/* Read text; what makes no sense is counted and passed over, as the C library does. resolv.conf(5).
 * Without a server it is 127.0.0.1; without "search" and "domain" there is none. */
void config_read_resolv(struct config_resolv *out, const char *text, size_t size);

/* nsswitch.conf(5). Sources other than files and dns are passed over with their actions; when none
 * is left it is "files dns". */
void config_read_switch(struct config_switch *out, const char *text, size_t size);

/* "192.0.2.1", "2001:db8::1", "[2001:db8::1]:5353", "192.0.2.1:5353", fe80::1%eth0: 0 or
 * WEIR_EADDRESS. */
int config_read_server(weir_address *out, const char *text, size_t size);

#endif
