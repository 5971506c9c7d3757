/* The file of a listening unix socket: made, replaced when it is stale, removed when it is ours. */
#ifndef WEIR_NET_UNIX_PATH_H
#define WEIR_NET_UNIX_PATH_H

#include <stdbool.h>

#include "net/socket.h"

/* Whether this address is a unix socket in the file system. */
bool weir__unix_is_path(const weir_address *address);

/* Held while a path is tested and taken; see weir__unix_lock. */
struct unix_lock {
    int fd; /* -1: not held */
};

/* Keeps other weir processes out of the path's folder, by an advisory lock on the folder itself,
 * from the test of an old socket until ours listens: a socket that is bound and does not listen
 * yet refuses connections as a stale one does. Waits 50 ms at most and goes on without it then
 * (anybody who may read the folder can hold that lock): the inode is compared as well. */
void weir__unix_lock(const weir_address *address, struct unix_lock *lock);
void weir__unix_unlock(struct unix_lock *lock);

/* Binds to a path under the lock. A socket there that refuses connections is removed first; nothing
 * else ever is. Sets mode and owner before anybody can connect. Returns 0 with *file filled, or
 * error->code; -EADDRINUSE only for what may go away by itself. */
int weir__unix_bind(int fd, const weir_address *address, const weir_socket_options *options,
                    struct weir__socket_file *file, struct weir__socket_error *error);

#endif
