/* File to socket on readiness, for every back end: splice and sendfile through a ring go to a
 * worker thread (37 µs against 0.8: probed on 6.18), so uring calls this too. */
#ifndef WEIR_IO_SENDFILE_H
#define WEIR_IO_SENDFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Moves at most `size` bytes of `file` from *offset to a non-blocking socket and advances *offset.
 * Never waits for the socket; may wait for the disk. A SIGPIPE raised by a closed peer is taken
 * back on this thread, whatever the application does about that signal elsewhere. Returns the
 * bytes moved (fewer than asked when the socket is full), 0 when the file has no byte there, or
 * -errno (-EAGAIN: no room). Any thread. sendfile(2), signal(7). */
int weir__sendfile(int socket, int file, int64_t *offset, size_t size);

/* Whether these bytes of a file are in memory, so that moving them does not wait for the disk; true
 * too where the kernel cannot tell. A guess: pages may go at any time. preadv2(2) RWF_NOWAIT,
 * cachestat(2) (6.5; since 6.14 only for one's own files). Any thread. */
bool weir__file_cached(int file, int64_t offset, size_t size);

#endif
