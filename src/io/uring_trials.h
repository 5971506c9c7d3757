/* Short trials of io_uring features on a ring of their own. Each returns NULL when the feature does
 * what weir relies on, else a static text that says what is missing. */
#ifndef WEIR_IO_URING_TRIALS_H
#define WEIR_IO_URING_TRIALS_H

#include <liburing.h>

struct trial {
    struct io_uring ring;
    unsigned features;
    struct io_uring_buf *entry; /* a buffer ring of two entries, registered by the trial */
    uint8_t *memory;
};

int trial_open(struct trial *trial);
void trial_close(struct trial *trial);

int trial_buffer_ring(const struct trial *trial);
const char *trial_multishot_accept(const struct trial *trial);
const char *trial_multishot_recv(const struct trial *trial);
const char *trial_multishot_message(const struct trial *trial);
const char *trial_recv_cap(const struct trial *trial);
const char *trial_incremental(const struct trial *trial);
const char *trial_poll_first(const struct trial *trial);
const char *trial_cancel_op(const struct trial *trial);
const char *trial_direct(const struct trial *trial);

#endif
