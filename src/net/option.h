/* Setting socket options by name, with errors that name them. */
#ifndef WEIR_NET_OPTION_H
#define WEIR_NET_OPTION_H

#include <stdbool.h>

#include <weir/socket.h>

#include "net/socket_error.h"

/* The kinds of sockets and the moments that decide which options are set. */
enum option_kind { OPTION_TCP = 1, OPTION_UDP = 2, OPTION_UNIX = 4 };
enum option_moment {
    OPTION_NEW_LISTENER = 1, /* not bound yet */
    OPTION_NEW_CLIENT = 2,   /* not bound, not connected */
    OPTION_OLD_LISTENER = 4, /* bound already, such as one that was handed over */
    OPTION_OLD_CONN = 8      /* connected or accepted */
};

/* A socket that options are set on. */
struct option_target {
    int fd;
    int family; /* AF_... */
    enum option_kind kind;
    enum option_moment moment;
    bool one_family; /* a raw socket refuses IPV6_V6ONLY (EINVAL): it is of one family as it is */
};

/* Checks what can be checked without a socket. Returns 0 or WEIR_EINVALID. */
int weir__options_check(const weir_socket_options *options, struct weir__socket_error *error);

/* Sets every option that this target takes, weir's defaults too. Returns 0 or error->code. */
int weir__options_set(const struct option_target *target, const weir_socket_options *options,
                      struct weir__socket_error *error);

/* Warns of what the kernel accepted, but will not do in full. */
void weir__options_warn(const struct option_target *target, const weir_socket_options *options,
                        struct weir__socket_error *error);

#endif
