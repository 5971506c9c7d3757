/* Byte by byte over megabytes, and no second thread. ctest: timeout=240 notsan */
#include "io_suite.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "io/uring.h"

/* The back end on a ring that no kernel serves: the same mapped memory, but `enter` is a script
 * that takes entries and posts completions as a kernel may, in any order that a seed draws:
 * receives that end without cause, empty buffer rings, overflow, cancels that miss, come late or
 * too late, part of a submission taken, interrupted waits. The owner does what it likes, and checks
 * what io.h promises: one final event for each operation, bytes in order, blocks that nobody
 * overwrites. */

enum { STREAMS = 24, PENDING = 256, HELD = 4096, ROUNDS = 3000 };

static uint64_t seed;

static unsigned draw(unsigned below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % below;
}

static bool chance(unsigned percent)
{
    return draw(100) < percent;
}

static uint8_t pattern(unsigned stream, uint64_t position)
{
    return (uint8_t)(stream * 37 + position * 131 + (position >> 8) * 17);
}

/* --- the script: what the kernel would do ------------------------------------------------------
 */

struct pending {
    struct io_uring_sqe sqe;
    bool used, canceled;
};

struct late { /* completions that found no room in the queue */
    struct io_uring_cqe cqe;
};

static struct script {
    struct pending op[PENDING];
    struct io_uring_cqe late[4096];
    unsigned late_count;
    unsigned buffer_head;      /* of the buffer ring */
    uint32_t buffer_used;      /* bytes of the block at the head (incremental) */
    uint64_t written[STREAMS]; /* bytes that each stream has brought */
    uint8_t *expected;         /* what the blocks should hold */
    unsigned missed, overflows, outages, partial;
} script;

static void set_kernel_flag(struct uring *ring, unsigned flag, bool on)
{
    if (on)
        *ring->sq_kflags |= flag;
    else
        *ring->sq_kflags &= ~flag;
}

static bool queue_full(const struct uring *ring)
{
    return *ring->cq_ktail - *ring->cq_khead == ring->cq_mask + 1;
}

static void post_now(struct uring *ring, const struct io_uring_cqe *cqe)
{
    struct io_uring_cqe *place = &ring->cqes[*ring->cq_ktail & ring->cq_mask];
    place->user_data = cqe->user_data;
    place->res = cqe->res;
    place->flags = cqe->flags;
    __atomic_store_n(ring->cq_ktail, *ring->cq_ktail + 1, __ATOMIC_RELEASE);
}

static void post(struct uring *ring, uint64_t token, int res, unsigned flags)
{
    struct io_uring_cqe cqe = {.user_data = token, .res = res, .flags = flags};
    if (script.late_count == 0 && !queue_full(ring)) {
        post_now(ring, &cqe);
        return;
    }
    assert_true(script.late_count < 4096);
    memcpy(&script.late[script.late_count++], &cqe, sizeof(cqe));
    script.overflows++;
    set_kernel_flag(ring, IORING_SQ_CQ_OVERFLOW, true);
}

static void post_late(struct uring *ring)
{
    unsigned done = 0;
    while (done < script.late_count && !queue_full(ring))
        post_now(ring, &script.late[done++]);
    memmove(script.late, script.late + done, (script.late_count - done) * sizeof(script.late[0]));
    script.late_count -= done;
    set_kernel_flag(ring, IORING_SQ_CQ_OVERFLOW, script.late_count != 0);
}

static void end(struct uring *ring, struct pending *op, int res)
{
    op->used = false;
    post(ring, op->sqe.user_data, res, 0);
}

/* Takes up to `most` bytes of the block at the head; the flags of the completion. */
static uint32_t fill_block(struct uring *ring, unsigned stream, uint32_t most, unsigned *flags)
{
    struct uring_buffers *buffers = &ring->buffers;
    const struct io_uring_buf *entry = &buffers->entry[script.buffer_head & buffers->mask];
    uint32_t left = entry->len - script.buffer_used;
    uint32_t size = most < left ? most : left;
    uint8_t *data = (uint8_t *)(uintptr_t)entry->addr + script.buffer_used;
    for (uint32_t i = 0; i < size; i++)
        data[i] = pattern(stream, script.written[stream] + i);
    script.written[stream] += size;
    *flags = (unsigned)entry->bid << IORING_CQE_BUFFER_SHIFT | IORING_CQE_F_BUFFER;
    if (buffers->incremental && size < left) {
        script.buffer_used += size;
        *flags |= URING_CQE_F_BUF_MORE;
    } else {
        script.buffer_used = 0;
        script.buffer_head++;
    }
    return size;
}

static void progress_recv(struct uring *ring, struct pending *op)
{
    struct uring_buffers *buffers = &ring->buffers;
    bool multishot = op->sqe.ioprio & IORING_RECV_MULTISHOT;
    unsigned stream = (unsigned)op->sqe.fd, flags;
    uint32_t most = op->sqe.len ? op->sqe.len : UINT32_MAX, size;
    if ((uint16_t)(buffers->tail - script.buffer_head) == 0) {
        script.outages++;
        end(ring, op, -ENOBUFS);
        return;
    }
    if (chance(3)) { /* the peer's end; some kernels then forget to say that the block goes on */
        end(ring, op, 0);
        return;
    }
    size = 1 + draw(chance(20) ? 200000 : 300);
    size = fill_block(ring, stream, size < most ? size : most, &flags);
    if (chance(30))
        flags |= IORING_CQE_F_SOCK_NONEMPTY;
    /* It goes on, unless there is no room for its completion, or without any cause. */
    if (multishot && !chance(5) && !queue_full(ring) && script.late_count == 0)
        flags |= IORING_CQE_F_MORE;
    else
        op->used = false;
    post(ring, op->sqe.user_data, (int)size, flags);
}

static void progress(struct uring *ring, struct pending *op)
{
    switch (op->sqe.opcode) {
    case IORING_OP_RECV:
        progress_recv(ring, op);
        break;
    case IORING_OP_SEND:
        end(ring, op, chance(10) ? -EPIPE : (int)draw(op->sqe.len + 1));
        break;
    case IORING_OP_SENDMSG:
        end(ring, op, (int)draw(100));
        break;
    case IORING_OP_POLL_ADD:
        if (op->sqe.len & IORING_POLL_ADD_MULTI) {
            if (chance(90))
                post(ring, op->sqe.user_data, POLLIN, IORING_CQE_F_MORE);
            else
                end(ring, op, POLLIN);
        } else {
            end(ring, op, POLLIN);
        }
        break;
    case IORING_OP_ACCEPT:
        if (op->sqe.ioprio & IORING_ACCEPT_MULTISHOT && chance(90))
            post(ring, op->sqe.user_data, 1000, IORING_CQE_F_MORE);
        else
            end(ring, op, chance(50) ? -EMFILE : 1000);
        break;
    default:
        end(ring, op, 0);
        break;
    }
}

static struct pending *find_op(const struct io_uring_sqe *cancel)
{
    for (unsigned i = 0; i < PENDING; i++) {
        struct pending *op = &script.op[i];
        if (!op->used)
            continue;
        if (cancel->cancel_flags & IORING_ASYNC_CANCEL_FD) {
            assert_true(cancel->cancel_flags & URING_CANCEL_OP);
            if (op->sqe.fd == cancel->fd && op->sqe.opcode == cancel->len)
                return op;
        } else if (op->sqe.user_data == cancel->addr) {
            return op;
        }
    }
    return NULL;
}

static void cancel(struct uring *ring, const struct io_uring_sqe *sqe)
{
    struct pending *op = find_op(sqe);
    if (op == NULL || chance(30)) {
        script.missed += op != NULL;
        post(ring, sqe->user_data, -ENOENT, 0);
    } else if (chance(20)) {
        post(ring, sqe->user_data, -EALREADY, 0);
        op->canceled = true;
    } else if (chance(30)) {
        progress(ring, op); /* its result came first, and then the cancel hit what goes on */
        if (op->used)
            end(ring, op, -ECANCELED);
    } else {
        end(ring, op, chance(10) && op->sqe.opcode == IORING_OP_RECV ? -ENOBUFS : -ECANCELED);
    }
}

static void submit(struct uring *ring, const struct io_uring_sqe *sqe)
{
    unsigned i = 0;
    if (sqe->opcode == IORING_OP_ASYNC_CANCEL) {
        cancel(ring, sqe);
        return;
    }
    while (i < PENDING && script.op[i].used)
        i++;
    assert_true(i < PENDING);
    script.op[i] = (struct pending){.used = true};
    memcpy(&script.op[i].sqe, sqe, sizeof(*sqe));
    if (sqe->opcode == IORING_OP_SEND && sqe->msg_flags & MSG_DONTWAIT)
        end(ring, &script.op[i], chance(30) ? -EAGAIN : (int)draw(sqe->len + 1));
    else if (sqe->opcode == IORING_OP_CLOSE)
        end(ring, &script.op[i], 0);
    else if (chance(20))
        progress(ring, &script.op[i]);
}

static void run_some(struct uring *ring)
{
    for (unsigned n = draw(20); n > 0; n--) {
        struct pending *op = &script.op[draw(PENDING)];
        if (op->used && op->canceled)
            end(ring, op, -ECANCELED);
        else if (op->used)
            progress(ring, op);
    }
}

static int scripted_enter(struct uring *ring, unsigned count, unsigned wait, unsigned flags,
                          const struct io_uring_getevents_arg *arg)
{
    static const int errors[] = {-EAGAIN, -EBUSY, -ENOMEM};
    unsigned take = count;
    (void)wait;
    (void)arg;
    assert_true(*ring->sq_ktail - ring->sq_submitted >= count);
    if (flags & IORING_ENTER_GETEVENTS && chance(10)) {
        post_late(ring);
        return count ? errors[draw(3)] : -EINTR;
    }
    if (count > 1 && chance(20)) {
        take = draw(count);
        script.partial++;
    }
    for (unsigned i = 0; i < take; i++)
        submit(ring, &ring->sqes[(ring->sq_submitted + i) & ring->sq_mask]);
    if (take < count)
        return (int)take;
    if (flags & IORING_ENTER_GETEVENTS) {
        post_late(ring);
        run_some(ring);
    }
    return (int)take;
}

/* --- the owner ---------------------------------------------------------------------------------
 */

struct held {
    const uint8_t *data;
    uint64_t position;
    uint32_t size;
    unsigned stream;
    uint16_t block;
};

static struct owner {
    struct io *io;
    struct io_fd fd[STREAMS];
    uint16_t armed[STREAMS];
    uint64_t received[STREAMS];
    struct held held[HELD];
    unsigned held_count;
    uint8_t send_bytes[1000];
    uint64_t finals;
} owner;

static struct io_fd *find_fd(void *arg, uint64_t token)
{
    (void)arg;
    return &owner.fd[IO_TOKEN_SLOT(token)];
}

static bool matches(const struct held *held)
{
    for (uint32_t i = 0; i < held->size; i++)
        if (held->data[i] != pattern(held->stream, held->position + i))
            return false;
    return true;
}

static void give_back(unsigned index)
{
    struct held *held = &owner.held[index];
    assert_true(matches(held)); /* still: nobody wrote over it */
    owner.io->ops->release(owner.io, held->block);
    *held = owner.held[--owner.held_count];
}

static void take_event(const struct io_event *event)
{
    unsigned slot = IO_TOKEN_SLOT(event->token), op = IO_TOKEN_OP(event->token);
    assert_true(op >= IO_OP_ACCEPT && op <= IO_OP_FILE && slot < STREAMS);
    assert_true(owner.armed[slot] & 1u << op);
    if (event->flags & IO_BUFFER) {
        struct held *held = &owner.held[owner.held_count++];
        *held = (struct held){event->data, owner.received[slot], (uint32_t)event->result, slot,
                              event->block};
        assert_true(event->result > 0 && (uint32_t)event->result <= owner.io->block_size);
        assert_true(matches(held));
        owner.received[slot] += (uint64_t)event->result;
        if (chance(80) || owner.held_count == HELD)
            give_back(owner.held_count - 1);
    }
    if (!(event->flags & IO_MORE)) {
        owner.armed[slot] &= (uint16_t) ~(1u << op);
        owner.finals++;
    }
}

static void turn(void)
{
    struct io_event event;
    assert_int_equal(owner.io->ops->wait(owner.io, chance(50) ? 0 : 1000), 0);
    while (owner.io->ops->next(owner.io, &event) == 1)
        take_event(&event);
}

static int begin(enum io_op op, unsigned slot)
{
    const struct io_ops *ops = owner.io->ops;
    uint64_t token = IO_TOKEN(op, 1, 1, slot);
    struct iovec iov[3] = {
        {owner.send_bytes, 1 + draw(900)}, {owner.send_bytes, 50}, {owner.send_bytes, 7}};
    struct sockaddr address = {.sa_family = AF_INET};
    int result;
    switch (op) {
    case IO_OP_ACCEPT:
        return ops->accept(owner.io, &owner.fd[slot], token);
    case IO_OP_CONNECT:
        return ops->connect(owner.io, &owner.fd[slot], &address, sizeof(address), token, &result);
    case IO_OP_RECV:
        return ops->recv(owner.io, &owner.fd[slot], token);
    case IO_OP_SEND:
        return ops->send(owner.io, &owner.fd[slot], iov, 1 + draw(3), draw(8), token, &result);
    default:
        return ops->poll(owner.io, &owner.fd[slot], POLLIN, token);
    }
}

static void act(void)
{
    static const enum io_op ops[] = {IO_OP_ACCEPT, IO_OP_CONNECT, IO_OP_RECV, IO_OP_RECV,
                                     IO_OP_RECV,   IO_OP_SEND,    IO_OP_POLL};
    unsigned slot = draw(STREAMS);
    enum io_op op = ops[draw(7)];
    int status;
    if (owner.armed[slot] & 1u << op) {
        if (chance(30))
            owner.io->ops->cancel(owner.io, &owner.fd[slot], IO_TOKEN(op, 1, 1, slot));
        return;
    }
    status = begin(op, slot);
    assert_true(status == IO_PENDING || status == -ENOBUFS);
    if (status == IO_PENDING)
        owner.armed[slot] |= (uint16_t)(1u << op);
}

static unsigned scripted_left(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < PENDING; i++)
        count += script.op[i].used && IO_TOKEN_OP(script.op[i].sqe.user_data) < URING_OWN;
    return count;
}

/* Cancels everything and waits; nothing may be left on either side. */
static void wind_up(void)
{
    for (unsigned turns = 0; owner.io->ops->in_flight(owner.io) > 0; turns++) {
        assert_true(turns < 5000);
        for (unsigned slot = 0; slot < STREAMS; slot++)
            for (unsigned op = IO_OP_ACCEPT; op <= IO_OP_POLL; op++)
                if (owner.armed[slot] & 1u << op)
                    owner.io->ops->cancel(owner.io, &owner.fd[slot], IO_TOKEN(op, 1, 1, slot));
        turn();
    }
    while (owner.held_count)
        give_back(0);
    assert_int_equal(scripted_left(), 0);
    assert_int_equal(script.late_count, 0);
    for (unsigned slot = 0; slot < STREAMS; slot++) {
        assert_int_equal(owner.armed[slot], 0);
        assert_int_equal(owner.received[slot], script.written[slot]);
    }
    assert_int_equal(uring_of(owner.io)->canceling, 0);
    assert_int_equal(uring_of(owner.io)->buffers.lent, uring_of(owner.io)->buffers.count);
}

static void play(const char *features, uint64_t first_seed)
{
    struct io_config config = {.find = find_fd, .features = features};
    const char *why = NULL;
    memset(&script, 0, sizeof(script));
    memset(&owner, 0, sizeof(owner));
    seed = first_seed;
    if (weir__io_open(&owner.io, "uring", &config, &why) < 0) {
        print_message("skip: %s\n", why);
        skip();
    }
    uring_of(owner.io)->enter = scripted_enter;
    for (unsigned i = 0; i < STREAMS; i++)
        owner.fd[i].fd = (int)i;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned n = draw(12); n > 0; n--)
            act();
        if (owner.held_count && chance(50))
            give_back(draw(owner.held_count));
        turn();
    }
    wind_up();
    assert_true(owner.finals > ROUNDS && script.missed > 0 && script.partial > 0);
    assert_true(owner.io->stats.spurious > 0); /* cancels that missed are counted */
    owner.io->ops->close(owner.io);
}

static uint64_t current_seed;

/* A failing run is played again by its seed. */
static int tell_seed(void **state)
{
    (void)state;
    if (current_seed)
        print_error("stopped at seed %llu\n", (unsigned long long)current_seed);
    current_seed = 0;
    return 0;
}

static void many_seeds(const char *features)
{
    const char *text = getenv("WEIR_SEEDS"); /* how many, for a longer run by hand */
    uint64_t seeds = text ? strtoull(text, NULL, 10) : 20;
    for (uint64_t i = 1; i <= seeds; i++) {
        current_seed = i;
        play(features, i);
        if (features && strstr(features, "cq=small"))
            assert_true(script.overflows > 0);
    }
    current_seed = 0;
}

static void usual_ring(void **state)
{
    (void)state;
    many_seeds(NULL);
}

static void small_ring(void **state)
{
    (void)state;
    many_seeds("cq=small,sq=small,blocks=3,block=8192");
}

static void uncapped_ring(void **state)
{
    (void)state;
    many_seeds("-recv_cap,cq=64,blocks=2,block=300000");
}

static void whole_blocks(void **state)
{
    (void)state;
    many_seeds("-incremental,blocks=5,block=16384");
}

static void oneshot_ring(void **state)
{
    (void)state;
    many_seeds("-multishot_recv,-multishot_accept,-cancel_op,blocks=2,block=65536");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(usual_ring, tell_seed),
        cmocka_unit_test_teardown(small_ring, tell_seed),
        cmocka_unit_test_teardown(uncapped_ring, tell_seed),
        cmocka_unit_test_teardown(whole_blocks, tell_seed),
        cmocka_unit_test_teardown(oneshot_ring, tell_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
