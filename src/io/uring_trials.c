#include "io/uring_trials.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "io/uring.h"

enum { ENTRIES = 16, BLOCK = 4096, BLOCKS = 2, GROUP = 0, PATIENCE_NS = 200 * 1000 * 1000 };

/* Tokens: of an operation whose result is an ordinary descriptor, and of those that end a trial. */
enum { MAKES_FD = 100, CANCELS, LAST };

struct answer {
    uint64_t token;
    int result;
    unsigned flags;
};

static struct io_uring *ring_of(const struct trial *trial)
{
    return (struct io_uring *)(uintptr_t)&trial->ring;
}

/* Waits for one completion. False: none came in time, which no trial expects. */
static bool take(const struct trial *trial, struct answer *answer)
{
    struct __kernel_timespec patience = {.tv_nsec = PATIENCE_NS};
    struct io_uring_cqe *cqe;
    int error;

    do
        error = io_uring_submit_and_wait_timeout(ring_of(trial), &cqe, 1, &patience, NULL);
    while (error == -EINTR);
    if (error < 0 || !cqe)
        return false;
    *answer = (struct answer){cqe->user_data, cqe->res, cqe->flags};
    io_uring_cqe_seen(ring_of(trial), cqe);
    return true;
}

static bool expect(const struct trial *trial, uint64_t token, int result, struct answer *answer)
{
    if (!take(trial, answer))
        return false;
    if (answer->token == MAKES_FD && answer->result >= 0)
        close(answer->result); /* late */
    return answer->token == token && answer->result == result;
}

static struct io_uring_sqe *entry_of(const struct trial *trial, unsigned op, int fd, uint64_t token)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring_of(trial));

    WEIR_ASSERT(sqe); /* a trial never queues as many as there are entries */
    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = (uint8_t)op;
    sqe->fd = fd;
    sqe->user_data = token;
    return sqe;
}

void trial_close(struct trial *trial)
{
    io_uring_queue_exit(&trial->ring);
    weir__pages_free(trial->memory, BLOCK * BLOCKS);
    weir__pages_free(trial->entry, BLOCK);
}

/* One operation there and back: a profile may allow the ring and forbid its use. */
static int go_round(const struct trial *trial)
{
    struct answer answer;

    entry_of(trial, IORING_OP_NOP, -1, 1);
    int submitted = io_uring_submit(ring_of(trial));
    if (submitted < 0)
        return submitted;
    return expect(trial, 1, 0, &answer) ? 0 : -EIO;
}

/* The flags that weir will use, if the kernel has them: some faults show only with them. */
int trial_open(struct trial *trial)
{
    struct io_uring_params params = {.flags =
                                         IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    int error;

    *trial = (struct trial){0};
    trial->memory = weir__pages_alloc(BLOCK * BLOCKS);
    trial->entry = weir__pages_alloc(BLOCK);
    if (!trial->memory || !trial->entry) {
        error = -ENOMEM;
    } else {
        error = io_uring_queue_init_params(ENTRIES, &trial->ring, &params);
        if (error == -EINVAL) {
            params = (struct io_uring_params){0};
            error = io_uring_queue_init_params(ENTRIES, &trial->ring, &params);
        }
    }
    if (error < 0) {
        if (trial->memory)
            weir__pages_free(trial->memory, BLOCK * BLOCKS);
        if (trial->entry)
            weir__pages_free(trial->entry, BLOCK);
        return error;
    }
    trial->features = params.features;
    error = go_round(trial);
    if (error < 0)
        trial_close(trial);
    return error;
}

static void receive(const struct trial *trial, int fd, bool multishot, unsigned cap, uint64_t token)
{
    struct io_uring_sqe *sqe = entry_of(trial, IORING_OP_RECV, fd, token);

    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    sqe->ioprio = multishot ? IORING_RECV_MULTISHOT : 0;
    sqe->len = cap;
}

static int lend_blocks(const struct trial *trial, uint16_t flags)
{
    struct uring_pbuf_reg reg = {.ring_addr = (uintptr_t)trial->entry,
                                 .ring_entries = BLOCKS,
                                 .bgid = GROUP,
                                 .flags = flags};

    memset(trial->entry, 0, BLOCK);
    for (unsigned i = 0; i < BLOCKS; i++) {
        trial->entry[i].addr = (uintptr_t)(trial->memory + i * BLOCK);
        trial->entry[i].len = BLOCK;
        trial->entry[i].bid = (uint16_t)i;
    }
    __atomic_store_n(&trial->entry[0].resv, BLOCKS, __ATOMIC_RELEASE);
    return io_uring_register((unsigned)trial->ring.ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
}

static void take_blocks_back(const struct trial *trial)
{
    struct uring_pbuf_reg reg = {.bgid = GROUP};

    io_uring_register((unsigned)trial->ring.ring_fd, IORING_UNREGISTER_PBUF_RING, &reg, 1);
}

/* Until the answer with this token, or none comes in time: how many came before it. A descriptor
 * that nobody has waited for long enough to get is closed. */
static unsigned take_until(const struct trial *trial, uint64_t token)
{
    struct answer answer;
    unsigned others = 0;

    for (; take(trial, &answer) && answer.token != token; others++)
        if (answer.token == MAKES_FD && answer.result >= 0)
            close(answer.result);
    return others;
}

/* Ends what a trial left behind: closes the sockets and takes every completion until the trial's
 * operations are gone, so that the next trial meets none of them. What is canceled may complete
 * after the cancel, and after an operation that was begun behind it: so again until nothing comes.
 */
static void clean(const struct trial *trial, int a, int b)
{
    enum { ROUNDS = 8 };
    unsigned others = 1;

    for (int round = 0; round < ROUNDS && others != 0; round++) {
        entry_of(trial, IORING_OP_ASYNC_CANCEL, -1, CANCELS)->cancel_flags =
            IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
        others = take_until(trial, CANCELS);
        entry_of(trial, IORING_OP_NOP, -1, LAST);
        others += take_until(trial, LAST);
    }
    if (a >= 0)
        close(a);
    if (b >= 0)
        close(b);
}

int trial_buffer_ring(const struct trial *trial)
{
    int error = lend_blocks(trial, 0);

    if (error >= 0)
        take_blocks_back(trial);
    return error;
}

static bool two_receives(const struct trial *trial, const int pair[2])
{
    struct answer answer;

    receive(trial, pair[0], true, 0, 1);
    io_uring_submit(ring_of(trial));
    for (int i = 0; i < 2; i++) {
        if (send(pair[1], "weir", 4, MSG_NOSIGNAL) != 4 || !expect(trial, 1, 4, &answer) ||
            !(answer.flags & IORING_CQE_F_MORE) || !(answer.flags & IORING_CQE_F_BUFFER))
            return false;
    }
    return true;
}

const char *trial_multishot_recv(const struct trial *trial)
{
    const char *why = "multishot receive does not work in this kernel (6.0 brought it)";
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return "multishot receive could not be tried: no socket";
    if (lend_blocks(trial, 0) >= 0) {
        if (two_receives(trial, pair))
            why = NULL;
        clean(trial, pair[0], pair[1]);
        take_blocks_back(trial);
    } else {
        clean(trial, pair[0], pair[1]);
    }
    return why;
}

/* Two datagrams by one receive, the second of them one byte too long for what is left of a block
 * behind the head and the room for a name. */
static bool two_messages(const struct trial *trial, const int pair[2])
{
    enum { NAME = 16, HEAD = sizeof(struct io_uring_recvmsg_out) + NAME };
    static const char text[BLOCK - HEAD + 1];
    struct msghdr header = {.msg_namelen = NAME};
    const struct io_uring_recvmsg_out *out;
    struct io_uring_sqe *sqe = entry_of(trial, IORING_OP_RECVMSG, pair[0], 1);
    struct answer answer;

    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->addr = (uintptr_t)&header;
    sqe->len = 1;
    sqe->msg_flags = MSG_TRUNC;
    io_uring_submit(ring_of(trial));
    if (send(pair[1], "weir", 4, MSG_NOSIGNAL) != 4 || !expect(trial, 1, HEAD + 4, &answer) ||
        !(answer.flags & IORING_CQE_F_MORE) || memcmp(trial->memory + HEAD, "weir", 4) != 0)
        return false;
    if (send(pair[1], text, sizeof(text), MSG_NOSIGNAL) != (ssize_t)sizeof(text) ||
        !take(trial, &answer) || answer.token != 1 || answer.result < HEAD ||
        !(answer.flags & IORING_CQE_F_BUFFER))
        return false;
    out = (const struct io_uring_recvmsg_out *)(const void *)(trial->memory + BLOCK);
    return out->payloadlen == sizeof(text) && out->flags & MSG_TRUNC;
}

const char *trial_multishot_message(const struct trial *trial)
{
    const char *why = "multishot receive of datagrams does not work in this kernel (6.0 brought "
                      "it): the ring waits for them, recvmmsg takes them";
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) < 0)
        return "multishot receive of datagrams could not be tried: no socket";
    if (lend_blocks(trial, 0) >= 0) {
        if (two_messages(trial, pair))
            why = NULL;
        clean(trial, pair[0], pair[1]);
        take_blocks_back(trial);
    } else {
        clean(trial, pair[0], pair[1]);
    }
    return why;
}

static bool capped(const struct trial *trial, const int pair[2])
{
    static const char text[150];
    struct answer answer;

    receive(trial, pair[0], true, 100, 1);
    io_uring_submit(ring_of(trial));
    return send(pair[1], text, sizeof(text), MSG_NOSIGNAL) == sizeof(text) &&
           expect(trial, 1, 100, &answer) && answer.flags & IORING_CQE_F_MORE &&
           expect(trial, 1, 50, &answer) && answer.flags & IORING_CQE_F_MORE;
}

const char *trial_recv_cap(const struct trial *trial)
{
    const char *why = "kernel before 6.17: large receives are cut by weir instead";
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return "the receive cap could not be tried: no socket";
    if (lend_blocks(trial, 0) >= 0) {
        if (capped(trial, pair))
            why = NULL;
        clean(trial, pair[0], pair[1]);
        take_blocks_back(trial);
    } else {
        clean(trial, pair[0], pair[1]);
    }
    return why;
}

/* Sends `size` times `letter` and checks that they arrive at `place`; `more`: the block is not used
 * up by them. */
static bool slice(const struct trial *trial, int sender, char letter, unsigned size, unsigned place,
                  bool more)
{
    char text[BLOCK];
    struct answer answer;

    memset(text, letter, size);
    if (send(sender, text, size, MSG_NOSIGNAL) != (ssize_t)size ||
        !expect(trial, 1, (int)size, &answer))
        return false;
    return answer.flags >> IORING_CQE_BUFFER_SHIFT == place / BLOCK &&
           memcmp(trial->memory + place, text, size) == 0 &&
           !(answer.flags & URING_CQE_F_BUF_MORE) == !more;
}

/* Completions must come in the order in which blocks are used up, also when a receive that ends and
 * one that goes on complete in the same round: weir finds the bytes by counting. Kernels before
 * 6.15 put the one that goes on first. */
static bool in_order(const struct trial *trial, const int a[2], const int b[2], unsigned place)
{
    struct answer first, second;

    receive(trial, a[0], false, 10, 2);
    receive(trial, b[0], true, 0, 3);
    io_uring_submit(ring_of(trial));
    if (send(a[1], "first", 5, MSG_NOSIGNAL) != 5 || send(b[1], "other!", 6, MSG_NOSIGNAL) != 6 ||
        !take(trial, &first) || !take(trial, &second))
        return false;
    if (first.token == 2)
        return second.token == 3 && memcmp(trial->memory + place, "firstother!", 11) == 0;
    return second.token == 2 && memcmp(trial->memory + place, "other!first", 11) == 0;
}

/* Fills the first block, begins the second, and ends the stream. */
static bool consume(const struct trial *trial, const int pair[2])
{
    struct answer answer;

    receive(trial, pair[0], true, 0, 1);
    io_uring_submit(ring_of(trial));
    if (!slice(trial, pair[1], 'a', 100, 0, true) || !slice(trial, pair[1], 'b', 60, 100, true) ||
        !slice(trial, pair[1], 'c', BLOCK - 160, 160, false) ||
        !slice(trial, pair[1], 'd', 10, BLOCK, true))
        return false;
    shutdown(pair[1], SHUT_WR);
    return expect(trial, 1, 0, &answer) && !(answer.flags & IORING_CQE_F_MORE);
}

const char *trial_incremental(const struct trial *trial)
{
    const char *why = NULL;
    int pair[3][2];
    int made = 0;

    if (lend_blocks(trial, URING_PBUF_RING_INC) < 0)
        return "kernel before 6.12: blocks are used up one receive each";
    while (made < 3 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair[made]) == 0)
        made++;
    if (made < 3)
        why = "incremental blocks could not be tried: no socket";
    else if (!consume(trial, pair[0]))
        why = "incremental blocks do not behave in this kernel: they are used up one receive each";
    else if (!in_order(trial, pair[1], pair[2], BLOCK + 10))
        why = "completions of receives come out of order in this kernel (mended in 6.15): blocks "
              "are used up one receive each";
    clean(trial, -1, -1);
    while (made-- > 0) {
        close(pair[made][0]);
        close(pair[made][1]);
    }
    take_blocks_back(trial);
    return why;
}

const char *trial_poll_first(const struct trial *trial)
{
    struct io_uring_sqe *sqe;
    struct answer answer;
    int pair[2];
    bool works;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return "poll-first could not be tried: no socket";
    sqe = entry_of(trial, IORING_OP_SEND, pair[0], 1);
    sqe->addr = (uintptr_t) "weir";
    sqe->len = 4;
    sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
    sqe->msg_flags = MSG_NOSIGNAL;
    works = expect(trial, 1, 4, &answer);
    clean(trial, pair[0], pair[1]);
    return works ? NULL : "poll-first does not work in this kernel (5.19 brought it)";
}

const char *trial_cancel_op(const struct trial *trial)
{
    struct io_uring_sqe *sqe;
    struct answer answer;
    int pair[2];
    bool works = true;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return "cancel by operation could not be tried: no socket";
    entry_of(trial, IORING_OP_POLL_ADD, pair[0], 1)->poll32_events = uring_poll_mask(POLLIN);
    sqe = entry_of(trial, IORING_OP_ASYNC_CANCEL, pair[0], 2);
    sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | URING_CANCEL_OP;
    sqe->len = IORING_OP_POLL_ADD;
    for (int i = 0; i < 2 && works; i++)
        works = take(trial, &answer) && answer.result == (answer.token == 1 ? -ECANCELED : 0);
    clean(trial, pair[0], pair[1]);
    return works ? NULL : "kernel before 6.6: a missed cancel is repeated by token only";
}

/* A unix listener with a name that the kernel chooses. */
static int listener(struct sockaddr_un *name, socklen_t *size)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    *size = sizeof(*name);
    if (fd >= 0 && (bind(fd, (struct sockaddr *)name, sizeof(sa_family_t)) < 0 ||
                    listen(fd, 4) < 0 || getsockname(fd, (struct sockaddr *)name, size) < 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Accepts two connections with one operation; what was accepted goes to `got`. */
static bool two_accepts(const struct trial *trial, bool direct, int got[2])
{
    struct sockaddr_un name;
    socklen_t size;
    struct io_uring_sqe *sqe;
    struct answer answer;
    uint64_t token = direct ? 1 : MAKES_FD;
    int fd = listener(&name, &size), client[2] = {-1, -1};
    bool works = fd >= 0;

    if (works) {
        sqe = entry_of(trial, IORING_OP_ACCEPT, fd, token);
        sqe->ioprio = IORING_ACCEPT_MULTISHOT;
        sqe->accept_flags = SOCK_NONBLOCK | (direct ? 0 : SOCK_CLOEXEC);
        sqe->file_index = direct ? IORING_FILE_INDEX_ALLOC : 0;
        io_uring_submit(ring_of(trial));
    }
    for (int i = 0; i < 2 && works; i++) {
        client[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        works = connect(client[i], (struct sockaddr *)&name, size) == 0 && take(trial, &answer) &&
                answer.token == token && answer.result >= 0;
        got[i] = works ? answer.result : -1;
        works = works && answer.flags & IORING_CQE_F_MORE;
    }
    clean(trial, client[0], client[1]);
    if (fd >= 0)
        close(fd);
    return works;
}

const char *trial_multishot_accept(const struct trial *trial)
{
    int got[2] = {-1, -1};
    bool works = two_accepts(trial, false, got);

    for (int i = 0; i < 2; i++)
        if (got[i] >= 0)
            close(got[i]);
    return works ? NULL : "multishot accept does not work in this kernel (5.19 brought it)";
}

/* Before 6.13 a file that was taken out of the table was let go only when every operation that had
 * begun before, on whatever slot, was over: while one connection was waited for, no close of
 * another reached its peer. Not to be seen by version alone: a distribution may have mended
 * its 6.12. */
static bool close_gets_through(const struct trial *trial)
{
    int idle[2], closed[2];
    struct io_uring_sqe *sqe;
    struct answer answer;
    bool works = false;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, idle) < 0)
        return false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, closed) < 0) {
        close(idle[0]);
        close(idle[1]);
        return false;
    }
    int fds[2] = {idle[0], closed[0]};
    struct io_uring_rsrc_register table = {.nr = 2, .data = (uintptr_t)fds};
    int error = io_uring_register((unsigned)trial->ring.ring_fd, IORING_REGISTER_FILES2, &table,
                                  sizeof(table));
    close(idle[0]);
    close(closed[0]);
    if (error >= 0) {
        struct pollfd peer = {.fd = closed[1], .events = POLLIN};

        sqe = entry_of(trial, IORING_OP_RECV, 0, 1);
        sqe->flags = IOSQE_FIXED_FILE;
        sqe->addr = (uintptr_t)trial->memory;
        sqe->len = 1;
        entry_of(trial, IORING_OP_CLOSE, 0, 2)->file_index = 2; /* the second: its number is 1 */
        works = expect(trial, 2, 0, &answer) && poll(&peer, 1, 5) == 1;
    }
    clean(trial, idle[1], closed[1]);
    if (error >= 0)
        io_uring_register((unsigned)trial->ring.ring_fd, IORING_UNREGISTER_FILES, NULL, 0);
    return works;
}

/* Direct descriptors need three things: slots given by the kernel, a way to an ordinary number, and
 * socket options through the ring (6.7) for an abortive close. */
const char *trial_direct(const struct trial *trial)
{
    static const struct linger at_once = {.l_onoff = 1};
    struct io_uring_rsrc_register table = {.nr = 4, .flags = IORING_RSRC_REGISTER_SPARSE};
    struct io_uring_sqe *sqe;
    struct answer answer;
    int got[2] = {-1, -1};
    bool works = false;

    if (io_uring_register((unsigned)trial->ring.ring_fd, IORING_REGISTER_FILES2, &table,
                          sizeof(table)) < 0)
        return "the kernel refuses a table of direct descriptors";
    if (two_accepts(trial, true, got) && got[0] < 4 && got[1] < 4) {
        sqe = entry_of(trial, URING_OP_FIXED_FD_INSTALL, got[0], MAKES_FD);
        sqe->flags = IOSQE_FIXED_FILE;
        works = take(trial, &answer) && answer.token == MAKES_FD && answer.result >= 0;
        if (works)
            close(answer.result);
        sqe = entry_of(trial, IORING_OP_URING_CMD, got[0], 2);
        sqe->flags = IOSQE_FIXED_FILE;
        sqe->off = URING_SOCKET_SETSOCKOPT;
        sqe->addr = SOL_SOCKET | (uint64_t)SO_LINGER << 32;
        sqe->splice_fd_in = sizeof(at_once);
        sqe->addr3 = (uintptr_t)&at_once;
        works = expect(trial, 2, 0, &answer) && works;
        clean(trial, -1, -1);
    }
    io_uring_register((unsigned)trial->ring.ring_fd, IORING_UNREGISTER_FILES, NULL, 0);
    if (!works)
        return "direct descriptors do not work in this kernel (6.8 has all they need)";
    return close_gets_through(trial)
               ? NULL
               : "kernel before 6.13: a direct descriptor's close waits for all other operations";
}
