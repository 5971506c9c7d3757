/* Listening sockets that somebody else has opened: a service manager's, a shell's. */
#ifndef WEIR_NET_INHERIT_H
#define WEIR_NET_INHERIT_H

#include <stdbool.h>

#include <weir/address.h>

/* Whether a URL names inherited sockets: "fd:3", "systemd:web", "https+systemd:web". */
bool inherit_is(const char *url);

/* Calls fn for each socket that the URL names, with its address, whose scheme is the one before the
 * +, else tcp or unix. The descriptor is fn's from then on, also when fn fails. Returns how many,
 * or an error that was logged. sd_listen_fds(3): LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES. */
int inherit_addresses(const char *url, int (*fn)(const weir_address *address, int fd, void *arg),
                      void *arg);

/* Whether it is a listening stream socket of TCP or a unix one; fills its address. 0, or an error
 * that was logged, with `what` for its name. */
int inherit_check(int fd, const char *what, weir_address *out);

/* Tells the service manager, if there is one (NOTIFY_SOCKET): lines as "READY=1\nMAINPID=12".
 * Best effort; does not block. sd_notify(3). */
void inherit_notify(const char *lines);

#endif
