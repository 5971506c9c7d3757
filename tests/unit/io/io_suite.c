#include "io_suite.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const struct io_ops *suite_ops;
static struct io_config suite_config;

uint64_t rig_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void rig_sleep_ms(int ms)
{
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

/* --- slots ------------------------------------------------------------------------------------ */

static struct io_fd *rig_find(void *owner, uint64_t token)
{
    struct rig *rig = owner;
    uint32_t slot = IO_TOKEN_SLOT(token);
    if (slot >= RIG_SLOTS || !rig->slot[slot].used || rig->slot[slot].gen != IO_TOKEN_GEN(token)) {
        rig->stale++;
        return NULL;
    }
    return &rig->slot[slot].fd;
}

unsigned rig_add(struct rig *rig, int fd, bool direct)
{
    assert_true(fd >= 0);
    for (unsigned i = 1; i < RIG_SLOTS; i++) {
        struct rig_slot *slot = &rig->slot[i];
        if (slot->used)
            continue;
        *slot = (struct rig_slot){.gen = slot->gen + 1, .used = true, .end = 1};
        slot->fd = (struct io_fd){.fd = fd, .flags = direct ? IO_FD_DIRECT : 0};
        return i;
    }
    fail_msg("no slot");
    return 0;
}

uint64_t rig_token(struct rig *rig, unsigned slot, enum io_op op)
{
    return IO_TOKEN(op, 1, rig->slot[slot].gen, slot);
}

struct io_fd *rig_fd(struct rig *rig, unsigned slot)
{
    return &rig->slot[slot].fd;
}

/* --- turns ------------------------------------------------------------------------------------ */

static void keep_bytes(struct rig_slot *slot, const uint8_t *data, size_t size)
{
    if (slot->got_size + size > slot->got_room) {
        slot->got_room = (slot->got_size + size) * 2;
        slot->got = realloc(slot->got, slot->got_room);
        assert_non_null(slot->got);
    }
    memcpy(slot->got + slot->got_size, data, size);
    slot->got_size += size;
}

static void take_recv(struct rig *rig, const struct io_event *event)
{
    struct rig_slot *slot = &rig->slot[IO_TOKEN_SLOT(event->token)];
    assert_true(slot->used && slot->gen == IO_TOKEN_GEN(event->token));
    assert_true(slot->recv_on);
    if (event->flags & IO_BUFFER) {
        assert_true(event->result > 0 && (uint32_t)event->result <= rig->io->block_size);
        slot->bytes += (uint64_t)event->result;
        slot->reads++;
        slot->drained += (event->flags & IO_DRAINED) != 0;
        if (slot->keep)
            keep_bytes(slot, event->data, (size_t)event->result);
        rig->io->ops->release(rig->io, event->block);
    }
    if (event->flags & IO_MORE)
        return;
    slot->recv_on = false;
    if (event->result > 0 && slot->wanted)
        rig_recv(rig, IO_TOKEN_SLOT(event->token)); /* ended without cause */
    else if (event->result == -ENOBUFS && slot->wanted)
        rig->line[rig->line_length++] = IO_TOKEN_SLOT(event->token);
    else if (event->result <= 0)
        slot->end = event->result;
}

/* Those that found no block get their turn one by one, so that none is always the last. */
static void serve_line(struct rig *rig)
{
    unsigned slot;
    if (rig->line_length == 0 || !rig->io->ops->blocks_free(rig->io))
        return;
    slot = rig->line[0];
    memmove(rig->line, rig->line + 1, --rig->line_length * sizeof(rig->line[0]));
    if (rig->slot[slot].used && rig->slot[slot].wanted && !rig->slot[slot].recv_on)
        rig_recv(rig, slot);
}

/* An accept that ended with a connection is armed again, as a listener does; so every connection is
 * seen as one of many. */
static void rearm_accept(struct rig *rig, struct io_event *event)
{
    if (event->result < 0 || event->flags & IO_MORE)
        return;
    assert_int_equal(
        rig->io->ops->accept(rig->io, rig_fd(rig, IO_TOKEN_SLOT(event->token)), event->token),
        IO_PENDING);
    event->flags |= IO_MORE;
}

unsigned rig_turn(struct rig *rig, int ms)
{
    struct io_event event;
    unsigned count = 0;
    serve_line(rig);
    assert_int_equal(rig->io->ops->wait(rig->io, ms < 0 ? -1 : ms * 1000000LL), 0);
    while (rig->io->ops->next(rig->io, &event) == 1) {
        count++;
        if (IO_TOKEN_OP(event.token) == IO_OP_RECV) {
            take_recv(rig, &event);
        } else {
            if (IO_TOKEN_OP(event.token) == IO_OP_ACCEPT)
                rearm_accept(rig, &event);
            assert_true(rig->logged < RIG_LOG);
            rig->log[rig->logged++] = (struct rig_event){event.token, event.result, event.flags};
        }
    }
    return count;
}

static bool take(struct rig *rig, uint64_t token, bool final, int *result)
{
    for (unsigned i = 0; i < rig->logged; i++) {
        if (rig->log[i].token != token || (final && rig->log[i].flags & IO_MORE))
            continue;
        *result = rig->log[i].result;
        memmove(&rig->log[i], &rig->log[i + 1], (rig->logged - i - 1) * sizeof(rig->log[0]));
        rig->logged--;
        return true;
    }
    return false;
}

bool rig_take(struct rig *rig, uint64_t token, int *result)
{
    return take(rig, token, true, result);
}

static int wait_for(struct rig *rig, uint64_t token, bool final)
{
    uint64_t end = rig_now_ns() + 5000000000u;
    int result;
    while (!take(rig, token, final, &result)) {
        if (rig_now_ns() > end)
            fail_msg("no event for token %#llx", (unsigned long long)token);
        rig_turn(rig, 100);
    }
    return result;
}

int rig_final(struct rig *rig, uint64_t token)
{
    return wait_for(rig, token, true);
}

int rig_any(struct rig *rig, uint64_t token)
{
    return wait_for(rig, token, false);
}

bool rig_until(struct rig *rig, bool (*done)(struct rig *rig, void *arg), void *arg, int ms)
{
    uint64_t end = rig_now_ns() + (uint64_t)ms * 1000000u;
    while (!done(rig, arg)) {
        if (rig_now_ns() > end)
            return false;
        rig_turn(rig, 10);
    }
    return true;
}

void rig_idle(struct rig *rig, int ms)
{
    uint64_t end = rig_now_ns() + (uint64_t)ms * 1000000u, now;
    while ((now = rig_now_ns()) < end)
        rig_turn(rig, (int)((end - now) / 1000000u) + 1);
}

/* --- sockets ---------------------------------------------------------------------------------- */

/* Readiness back ends want descriptors that do not block; a ring does not mind. */
int rig_socket(struct rig *rig, int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | (rig->io->eager ? SOCK_NONBLOCK : 0), 0);
    assert_true(fd >= 0);
    return fd;
}

unsigned rig_listener(struct rig *rig, struct sockaddr_in *address)
{
    socklen_t size = sizeof(*address);
    int fd = rig_socket(rig, AF_INET), on = 1;
    *address = (struct sockaddr_in){.sin_family = AF_INET};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(fd, (struct sockaddr *)address, size), 0);
    assert_int_equal(listen(fd, 1024), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &size), 0);
    return rig_add(rig, fd, false);
}

int rig_dial(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
        return fd;
    close(fd);
    return -1;
}

unsigned rig_tcp(struct rig *rig, int *peer)
{
    struct sockaddr_in address;
    unsigned listener = rig_listener(rig, &address), slot;
    uint64_t token = rig_token(rig, listener, IO_OP_ACCEPT);
    int fd;
    assert_int_equal(rig->io->ops->accept(rig->io, rig_fd(rig, listener), token), IO_PENDING);
    *peer = rig_dial(&address);
    assert_true(*peer >= 0);
    fd = rig_any(rig, token);
    slot = rig_add(rig, fd, rig->io->direct);
    assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, listener), token), 0);
    assert_int_equal(rig_final(rig, token), -ECANCELED);
    rig_close(rig, listener, false);
    return slot;
}

unsigned rig_unix(struct rig *rig, int *peer)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX,
                                SOCK_STREAM | SOCK_CLOEXEC | (rig->io->eager ? SOCK_NONBLOCK : 0),
                                0, pair),
                     0);
    *peer = pair[1];
    assert_int_equal(fcntl(*peer, F_SETFL, 0), 0); /* the test's own end blocks */
    unsigned slot = rig_add(rig, pair[0], false);
    if (!rig->io->eager)
        rig_fd(rig, slot)->flags |= IO_FD_MAYBE_UNIX;
    return slot;
}

/* --- verbs ------------------------------------------------------------------------------------ */

void rig_recv(struct rig *rig, unsigned slot)
{
    assert_false(rig->slot[slot].recv_on);
    rig->slot[slot].recv_on = rig->slot[slot].wanted = true;
    rig->slot[slot].end = 1;
    assert_int_equal(
        rig->io->ops->recv(rig->io, rig_fd(rig, slot), rig_token(rig, slot, IO_OP_RECV)),
        IO_PENDING);
}

struct amount {
    unsigned slot;
    uint64_t bytes;
};

static bool amount_there(struct rig *rig, void *arg)
{
    const struct amount *amount = arg;
    return rig->slot[amount->slot].bytes >= amount->bytes || rig->slot[amount->slot].end != 1;
}

bool rig_got(struct rig *rig, unsigned slot, uint64_t bytes)
{
    struct amount amount = {slot, bytes};
    return rig_until(rig, amount_there, &amount, 5000) && rig->slot[slot].bytes >= bytes;
}

bool rig_ended(struct rig *rig, unsigned slot)
{
    struct amount amount = {slot, UINT64_MAX};
    return rig_until(rig, amount_there, &amount, 5000);
}

void rig_pause(struct rig *rig, unsigned slot)
{
    rig->slot[slot].wanted = false;
    if (!rig->slot[slot].recv_on)
        return;
    rig->io->ops->cancel(rig->io, rig_fd(rig, slot), rig_token(rig, slot, IO_OP_RECV));
    while (rig->slot[slot].recv_on)
        rig_turn(rig, 100);
}

int rig_send(struct rig *rig, unsigned slot, const void *data, size_t size)
{
    uint64_t token = rig_token(rig, slot, IO_OP_SEND);
    const uint8_t *at = data;
    unsigned flags = 0;
    while (size > 0) {
        struct iovec iov = {(void *)(uintptr_t)at, size};
        int result = 0;
        int how = rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, flags, token, &result);
        if (how == IO_PENDING)
            result = rig_final(rig, token);
        else
            assert_int_equal(how, IO_DONE);
        if (result < 0)
            return result;
        assert_true((size_t)result <= size);
        flags = (size_t)result < size && how == IO_DONE ? IO_SEND_BLOCKED : 0;
        at += result;
        size -= (size_t)result;
    }
    return 0;
}

void rig_close(struct rig *rig, unsigned slot, bool reset)
{
    uint64_t token = rig_token(rig, slot, IO_OP_CLOSE);
    int result = 0;
    rig_pause(rig, slot);
    if (rig->io->ops->close_fd(rig->io, rig_fd(rig, slot), reset, token, &result) == IO_PENDING)
        result = rig_final(rig, token);
    assert_int_equal(result, 0);
    free(rig->slot[slot].got);
    rig->slot[slot].got = NULL;
    rig->slot[slot].used = false;
}

size_t rig_fill(struct rig *rig, unsigned slot, const uint8_t *bytes, size_t size)
{
    size_t sent = 0;
    for (;;) {
        struct iovec iov = {(void *)(uintptr_t)(bytes + sent), size - sent};
        int result = 0;
        int how = rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, IO_SEND_NOWAIT,
                                     rig_token(rig, slot, IO_OP_SEND), &result);
        if (how == IO_PENDING)
            result = rig_final(rig, rig_token(rig, slot, IO_OP_SEND));
        if (result == -EAGAIN || result == 0)
            return sent;
        assert_true(result > 0);
        sent += (size_t)result;
        assert_true(sent < size);
    }
}

/* --- running ---------------------------------------------------------------------------------- */

static int open_io(struct rig *rig, struct io_config config)
{
    const char *why = "no reason given";
    int error;
    config.owner = rig;
    config.find = rig_find;
    config.pool = rig->pool;
    error = suite_ops->open(&rig->io, &config, &why);
    if (error != 0)
        print_error("%s: %s\n", suite_ops->name, why);
    return error;
}

void rig_reopen(struct rig *rig, const struct io_config *config)
{
    assert_int_equal(rig->io->ops->in_flight(rig->io), 0);
    rig->io->ops->close(rig->io);
    assert_int_equal(open_io(rig, *config), 0);
}

int rig_setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    rig->pool = weir__pool_new(2, 8);
    assert_non_null(rig->pool);
    *state = rig;
    return open_io(rig, suite_config);
}

/* After a case that failed halfway: ends what it began, so that the report is its own failure. */
static void abandon(struct rig *rig)
{
    static const enum io_op ops[] = {IO_OP_ACCEPT, IO_OP_CONNECT, IO_OP_RECV,
                                     IO_OP_SEND,   IO_OP_MOVE,    IO_OP_POLL};
    for (unsigned i = 1; i < RIG_SLOTS; i++)
        for (unsigned op = 0; rig->slot[i].used && op < sizeof(ops) / sizeof(ops[0]); op++)
            if (ops[op] != IO_OP_RECV || rig->slot[i].recv_on)
                rig->io->ops->cancel(rig->io, rig_fd(rig, i), rig_token(rig, i, ops[op]));
    for (int turns = 0; turns < 20 && rig->io->ops->in_flight(rig->io) != 0; turns++)
        rig_turn(rig, 10);
}

/* What a case left open is closed, and nothing may be in flight then. */
int rig_teardown(void **state)
{
    struct rig *rig = *state;
    unsigned left = 0;
    for (unsigned i = 1; i < RIG_SLOTS; i++)
        left += rig->slot[i].recv_on;
    if (rig->io->ops->in_flight(rig->io) > left)
        abandon(rig);
    for (unsigned i = 1; i < RIG_SLOTS; i++)
        if (rig->slot[i].used)
            rig_close(rig, i, false);
    left = rig->io->ops->in_flight(rig->io);
    if (left != 0)
        print_error("%u operations left in flight\n", left);
    rig->io->ops->close(rig->io);
    weir__pool_free(rig->pool);
    free(rig);
    return left == 0 ? 0 : -1;
}

int io_suite_run_lists(const char *title, const struct io_ops *ops, const struct io_config *config,
                       const struct CMUnitTest *const lists[], size_t count)
{
    static struct CMUnitTest all[128];
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        for (const struct CMUnitTest *test = lists[i]; test != NULL && test->name != NULL; test++) {
            assert_true(total < sizeof(all) / sizeof(all[0]));
            all[total++] = *test;
        }
    suite_ops = ops;
    suite_config = config != NULL ? *config : (struct io_config){0};
    return _cmocka_run_group_tests(title, all, total, NULL, NULL);
}

int io_suite_run(const char *title, const struct io_ops *ops, const struct io_config *config,
                 const struct CMUnitTest *more)
{
    const struct CMUnitTest *const lists[] = {io_cases_stream, io_cases_send, io_cases_listen,
                                              io_cases_wake,   io_cases_file, io_cases_end,
                                              io_cases_block,  more};
    return io_suite_run_lists(title, ops, config, lists, sizeof(lists) / sizeof(lists[0]));
}
