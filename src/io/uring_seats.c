/* Connections that weir made itself become direct descriptors too. They begin as ordinary ones,
 * because their options and their address are set before they connect; once connected they move
 * into the ring's table, and the ordinary number is closed. Where the table has no room they stay
 * what they are. */
#include "io/uring.h"

#include <unistd.h>

#include "base/alloc.h"

static bool seats_make(struct uring *ring)
{
    struct uring_seats *seats = weir__alloc(sizeof(*seats));

    if (!seats)
        return false;
    for (unsigned i = 0; i < URING_SEATS; i++)
        seats->free[i] = (uint16_t)i;
    seats->free_count = URING_SEATS;
    ring->seats = seats;
    return true;
}

bool uring_seat(struct uring *ring, uint64_t token)
{
    struct io_fd *fd = ring->config.find(ring->config.owner, token);
    struct io_uring_sqe *sqe;
    unsigned seat;

    if (!fd || fd->fd < 0 || fd->spare != 0 || fd->flags & IO_FD_DIRECT)
        return false;
    if ((!ring->seats && !seats_make(ring)) || ring->seats->free_count == 0)
        return false;
    sqe = uring_sqe(ring);
    if (!sqe)
        return false;
    seat = ring->seats->free[--ring->seats->free_count];
    ring->seats->number[seat] = fd->fd;
    fd->spare = (uint16_t)seat;
    fd->flags |= URING_FD_SEATED;
    /* The kernel reads the number and writes the index in its place (IORING_OP_FILES_UPDATE with an
     * index of its own choice, 5.19). Another token is not needed: the connect's has ended. */
    sqe->opcode = IORING_OP_FILES_UPDATE;
    sqe->addr = (uintptr_t)&ring->seats->number[seat];
    sqe->len = 1;
    sqe->off = IORING_FILE_INDEX_ALLOC;
    sqe->user_data = token;
    return true;
}

/* The table keeps the socket: nobody waits for this close, and none of it can block. */
static void close_number(struct uring *ring, int number)
{
    struct io_uring_sqe *sqe = uring_sqe(ring);

    if (!sqe) {
        close(number);
        return;
    }
    sqe->opcode = IORING_OP_CLOSE;
    sqe->fd = number;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = IO_TOKEN(URING_OWN, 0, 0, URING_OWN_QUIET);
}

bool uring_seated(struct uring *ring, uint64_t token, int result)
{
    struct io_fd *fd = ring->config.find(ring->config.owner, token);
    unsigned seat;

    if (!fd || !(fd->flags & URING_FD_SEATED))
        return false;
    seat = fd->spare;
    fd->spare = 0;
    fd->flags &= (uint16_t)~URING_FD_SEATED;
    if (result == 1) {
        close_number(ring, fd->fd);
        fd->fd = ring->seats->number[seat];
        fd->flags |= IO_FD_DIRECT;
    }
    ring->seats->free[ring->seats->free_count++] = (uint16_t)seat;
    return true;
}
