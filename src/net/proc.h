/* What /proc tells about the network: limits, and who holds a port. All of it is best effort, for
 * warnings and error texts; without /proc there is no answer. The calling thread's network
 * namespace is meant. */
#ifndef WEIR_NET_PROC_H
#define WEIR_NET_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <weir/address.h>

/* The first line of /proc/sys/NAME, cut to what fits; false when it cannot be read. */
bool weir__sysctl_text(const char *name, char *out, size_t size);

/* The number at its start, or `otherwise`. */
long weir__sysctl_number(const char *name, long otherwise);

/* Who listens where somebody else would like to. */
struct weir__port_holder {
    pid_t pid;         /* 0: not found, or another user's process */
    char name[17];     /* of that process; printable */
    unsigned uid;      /* owner of the socket */
    bool other_family; /* it is IPv4 where ours is IPv6, or the reverse */
};

/* Finds a socket that listens on (udp: is bound to) this address or one that overlaps it. Looks
 * through every process's descriptors: some milliseconds, for error texts only. */
bool weir__port_holder(const weir_address *address, struct weir__port_holder *out);

/* The name of a process, "?" when it cannot be read; what is not printable becomes ?. */
void weir__process_name(pid_t pid, char *out, size_t size);

#endif
