/* /etc/hosts: names and addresses that are known without asking. */
#ifndef WEIR_DNS_HOSTS_H
#define WEIR_DNS_HOSTS_H

#include "dns/answer.h"

enum {
    HOSTS_FILE_MAX =
        16 * 1024 * 1024, /* bytes; a list of blocked names has some hundred thousand */
    HOSTS_FOUND_MAX = 64, /* addresses of one name, names of one address */
};

struct hosts;

/* Reads the text, which was got from weir__alloc and is its own from now on, also when it fails. 0
 * or WEIR_ENOMEM. */
int hosts_new(struct hosts **out, char *text, size_t size);
void hosts_free(struct hosts *hosts); /* NULL is ignored */

/* The addresses of a name (small letters, no dot at its end), those of both families for
 * WEIR_RECORD_HOST. *out is NULL when there are none. 0 or WEIR_ENOMEM. hosts(5). */
int hosts_find(const struct hosts *hosts, const char *name, enum weir_record_type type,
               struct record_set **out);

/* The names of an address: of each of its lines the first, and so on. */
int hosts_find_address(const struct hosts *hosts, const weir_address *address,
                       struct record_set **out);

/* Lines without a valid address. */
unsigned hosts_ignored(const struct hosts *hosts);

#endif
