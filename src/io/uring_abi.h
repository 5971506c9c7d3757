/* What weir uses of io_uring and liburing 2.3 (Debian 12) does not name yet. The names are weir's
 * own, because a newer liburing has some as enumerators, which the preprocessor cannot see. The
 * numbers are the kernel's binary interface; each comment gives the kernel that brought it. */
#ifndef WEIR_IO_URING_ABI_H
#define WEIR_IO_URING_ABI_H

#include <stdint.h>

/* Operations. */
enum { URING_OP_FIXED_FD_INSTALL = 54 }; /* 6.8 */

/* io_uring_setup. */
#define URING_FEAT_NO_IOWAIT (1u << 17) /* 6.15 */

/* io_uring_enter. */
#define URING_ENTER_NO_IOWAIT (1u << 7) /* 6.15 */

/* Provided buffer rings. */
#define URING_PBUF_RING_INC  2u        /* 6.12 */
#define URING_CQE_F_BUF_MORE (1u << 4) /* 6.12 */

struct uring_pbuf_reg { /* struct io_uring_buf_reg with the flags of 6.4 */
    uint64_t ring_addr;
    uint32_t ring_entries;
    uint16_t bgid;
    uint16_t flags;
    uint64_t resv[3];
};

/* Cancel. */
#define URING_CANCEL_OP (1u << 5) /* 6.6: sqe->len is the operation */

/* IORING_OP_URING_CMD on a socket, 6.7. */
enum { URING_SOCKET_SETSOCKOPT = 3 };

#endif
