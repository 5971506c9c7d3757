/* Where the control sockets of servers are, for those who make them and those who look for them:
 * $XDG_RUNTIME_DIR/weir/NAME.ctl, in a folder that only its owner can enter. */
#ifndef WEIR_CMD_CTLPATH_H
#define WEIR_CMD_CTLPATH_H

#include <stdbool.h>
#include <stddef.h>

#include <weir/address.h>

enum { CTLPATH_MAX = 108 }; /* what a unix address holds, with the NUL */
enum { CTLPATH_URL_MAX = WEIR_ADDRESS_TEXT_MAX };

/* The folder; `make` makes it when it is not there. 0, or a negative error: -ENOENT without
 * XDG_RUNTIME_DIR, -EPERM when others can enter it or it is somebody else's. */
int ctlpath_folder(char *out, size_t size, bool make);

/* The path for a server that listens on an address: its text without the scheme, slashes changed.
 * 0, or as ctlpath_folder; -ENAMETOOLONG. */
int ctlpath_of(const weir_address *address, char *out, size_t size);

/* The URL of a path, "unix:/run/…", with every byte escaped that must be. */
int ctlpath_url(const char *path, char *out, size_t size);

#endif
