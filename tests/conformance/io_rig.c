#include "io_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_NS = 2000 * RIG_MS };

uint64_t rig_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t rig_hash(uint64_t hash, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 0x100000001b3u + 1;
    return hash;
}

void rig_pattern(uint8_t *data, size_t size, uint64_t offset)
{
    for (size_t i = 0; i < size; i++, offset++)
        data[i] = (uint8_t)(offset * 31 + (offset >> 8) * 7 + (offset >> 16));
}

static struct io_fd *find(void *owner, uint64_t token)
{
    struct rig *rig = owner;
    uint32_t slot = IO_TOKEN_SLOT(token);

    if (slot == 0 || slot >= RIG_SLOTS || rig->slot[slot].gen != IO_TOKEN_GEN(token))
        return NULL;
    return &rig->slot[slot].fd;
}

struct rig *rig_open(const struct io_config *tweak)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct io_config config = tweak ? *tweak : (struct io_config){0};
    const char *name = getenv("WEIR_BACKEND"), *why = NULL;
    int error;

    assert_non_null(rig);
    config.owner = rig;
    config.find = find;
    if (!config.features)
        config.features = getenv("WEIR_FEATURES");
    error = weir__io_open(&rig->io, name ? name : "auto", &config, &why);
    if (error < 0) {
        fprintf(stderr, "%s: %s\n", name ? name : "auto", why);
        free(rig);
        skip();
    }
    return rig;
}

void rig_end(struct rig *rig)
{
    for (uint32_t slot = 1; slot <= rig->used; slot++)
        if (rig->slot[slot].fd.fd >= 0)
            rig_close(rig, slot, false);
    assert_int_equal(rig->io->ops->in_flight(rig->io), 0);
    rig->io->ops->close(rig->io);
    free(rig->log);
    free(rig);
}

bool rig_is(struct rig *rig, const char *backend)
{
    return strcmp(rig->io->ops->name, backend) == 0;
}

uint32_t rig_slot(struct rig *rig, int fd, bool direct)
{
    uint32_t slot = 1;

    while (slot <= rig->used && rig->slot[slot].fd.fd >= 0)
        slot++;
    assert_true(slot < RIG_SLOTS);
    if (slot > rig->used)
        rig->used = slot;
    rig->slot[slot].fd = (struct io_fd){.fd = fd, .flags = direct ? IO_FD_DIRECT : 0};
    rig->slot[slot].armed = 0;
    rig->slot[slot].received = rig->slot[slot].hash = 0;
    return slot;
}

uint64_t rig_token(struct rig *rig, enum io_op op, uint32_t slot)
{
    return IO_TOKEN(op, 5, rig->slot[slot].gen, slot);
}

/* What a verb returned, and whether the operation owes an event. */
static int began(struct rig *rig, enum io_op op, uint32_t slot, int status)
{
    assert_true(status >= 0);
    assert_false(rig->slot[slot].armed & 1u << op);
    if (status == IO_PENDING)
        rig->slot[slot].armed |= (uint16_t)(1u << op);
    return status;
}

void rig_accept(struct rig *rig, uint32_t slot)
{
    began(rig, IO_OP_ACCEPT, slot,
          rig->io->ops->accept(rig->io, &rig->slot[slot].fd, rig_token(rig, IO_OP_ACCEPT, slot)));
}

void rig_recv(struct rig *rig, uint32_t slot)
{
    began(rig, IO_OP_RECV, slot,
          rig->io->ops->recv(rig->io, &rig->slot[slot].fd, rig_token(rig, IO_OP_RECV, slot)));
}

int rig_sendv(struct rig *rig, uint32_t slot, const struct iovec *iov, unsigned count,
              unsigned flags, int *result)
{
    /* A copy that is gone when the call has returned, as io.h allows. */
    struct iovec *copy = malloc(count * sizeof(*copy));
    int status;

    memcpy(copy, iov, count * sizeof(*copy));
    status = rig->io->ops->send(rig->io, &rig->slot[slot].fd, copy, count, flags,
                                rig_token(rig, IO_OP_SEND, slot), result);
    memset(copy, 0xff, count * sizeof(*copy));
    free(copy);
    return began(rig, IO_OP_SEND, slot, status);
}

int rig_send(struct rig *rig, uint32_t slot, const void *data, size_t size, unsigned flags,
             int *result)
{
    struct iovec iov = {(void *)(uintptr_t)data, size};

    return rig_sendv(rig, slot, &iov, 1, flags, result);
}

int rig_move(struct rig *rig, uint32_t slot, int file, int64_t *offset, size_t size,
             unsigned flags, int *result)
{
    return began(rig, IO_OP_MOVE, slot,
                 rig->io->ops->move(rig->io, &rig->slot[slot].fd, file, offset, size, flags,
                                    rig_token(rig, IO_OP_MOVE, slot), result));
}

int rig_connect(struct rig *rig, uint32_t slot, const struct sockaddr *address, socklen_t size,
                int *result)
{
    return began(rig, IO_OP_CONNECT, slot,
                 rig->io->ops->connect(rig->io, &rig->slot[slot].fd, address, size,
                                       rig_token(rig, IO_OP_CONNECT, slot), result));
}

void rig_poll(struct rig *rig, uint32_t slot, unsigned mask)
{
    began(rig, IO_OP_POLL, slot,
          rig->io->ops->poll(rig->io, &rig->slot[slot].fd, mask, rig_token(rig, IO_OP_POLL, slot)));
}

void rig_cancel(struct rig *rig, enum io_op op, uint32_t slot)
{
    assert_true(rig->io->ops->cancel(rig->io, &rig->slot[slot].fd, rig_token(rig, op, slot)) >= 0);
}

void rig_close(struct rig *rig, uint32_t slot, bool reset)
{
    struct rig_slot *s = &rig->slot[slot];
    int result = 0;

    for (enum io_op op = IO_OP_ACCEPT; op <= IO_OP_POLL; op++) {
        struct rig_event event;

        if (op == IO_OP_CLOSE || !(s->armed & 1u << op))
            continue;
        rig_cancel(rig, op, slot);
        do
            event = rig_await(rig, op, slot);
        while (event.flags & IO_MORE);
    }
    if (began(rig, IO_OP_CLOSE, slot,
              rig->io->ops->close_fd(rig->io, &s->fd, reset, rig_token(rig, IO_OP_CLOSE, slot),
                                     &result)) == IO_PENDING)
        result = rig_await(rig, IO_OP_CLOSE, slot).result;
    assert_int_equal(result, 0);
    s->fd.fd = -1;
    s->gen = (s->gen + 1) & 0xffffff;
}

static void log_event(struct rig *rig, const struct io_event *event)
{
    struct rig_event entry = {event->token, event->result, event->flags, event->block, 0};

    if (event->flags & IO_BUFFER)
        entry.first = event->data[0];
    if (rig->logged == rig->room) {
        rig->room = rig->room ? rig->room * 2 : 1024;
        rig->log = realloc(rig->log, rig->room * sizeof(*rig->log));
        assert_non_null(rig->log);
    }
    rig->log[rig->logged++] = entry;
}

static void take(struct rig *rig, const struct io_event *event)
{
    unsigned op = IO_TOKEN_OP(event->token);
    uint32_t index = IO_TOKEN_SLOT(event->token);
    struct rig_slot *slot = &rig->slot[index];

    assert_true(op >= IO_OP_ACCEPT && op <= IO_OP_FILE);
    if (op == IO_OP_FILE) {
        rig->file_events++;
        log_event(rig, event);
        return;
    }
    assert_ptr_equal(find(rig, event->token), &slot->fd);
    assert_true(slot->armed & 1u << op);
    if (event->flags & IO_BUFFER) {
        assert_int_equal(op, IO_OP_RECV);
        assert_true(event->result > 0 && (uint32_t)event->result <= rig->io->block_size);
        slot->received += (uint64_t)event->result;
        slot->hash = rig_hash(slot->hash, event->data, (size_t)event->result);
    } else {
        assert_false(op == IO_OP_RECV && event->result > 0);
    }
    if (!(event->flags & IO_MORE))
        slot->armed &= (uint16_t)~(1u << op);
    log_event(rig, event);
    if (event->flags & IO_BUFFER && !rig->keep)
        rig->io->ops->release(rig->io, event->block);
}

void rig_turn(struct rig *rig, int64_t timeout_ns)
{
    struct io_event event;

    assert_int_equal(rig->io->ops->wait(rig->io, timeout_ns), 0);
    while (rig->io->ops->next(rig->io, &event))
        take(rig, &event);
}

bool rig_try(struct rig *rig, enum io_op op, uint32_t slot, int64_t timeout_ns,
             struct rig_event *event)
{
    uint64_t end = rig_now_ns() + (uint64_t)timeout_ns;

    for (;;) {
        uint64_t now;

        for (uint32_t i = 0; i < rig->logged; i++) {
            if (IO_TOKEN_OP(rig->log[i].token) != (unsigned)op ||
                IO_TOKEN_SLOT(rig->log[i].token) != slot)
                continue;
            *event = rig->log[i];
            memmove(&rig->log[i], &rig->log[i + 1], (--rig->logged - i) * sizeof(*rig->log));
            return true;
        }
        now = rig_now_ns();
        if (now >= end)
            return false;
        rig_turn(rig, (int64_t)(end - now));
    }
}

struct rig_event rig_await(struct rig *rig, enum io_op op, uint32_t slot)
{
    struct rig_event event = {0};

    if (!rig_try(rig, op, slot, PATIENCE_NS, &event))
        fail_msg("no event of operation %d on slot %u", (int)op, slot);
    return event;
}

int rig_file(struct rig *rig, struct io_file *file)
{
    struct rig_event event;
    int status = rig->io->ops->file(rig->io, file, IO_TOKEN(IO_OP_FILE, 5, 1, 77));

    if (status < 0)
        return status;
    event = rig_await(rig, IO_OP_FILE, 77);
    assert_int_equal(event.flags & IO_MORE, 0);
    return event.result;
}

int rig_send_all(struct rig *rig, uint32_t slot, const void *data, size_t size)
{
    const uint8_t *left = data;
    unsigned flags = 0;

    while (size) {
        int result = 0;

        if (rig_send(rig, slot, left, size, flags, &result) == IO_PENDING)
            result = rig_await(rig, IO_OP_SEND, slot).result;
        if (result < 0)
            return result;
        assert_true((size_t)result <= size);
        flags = (size_t)result < size && result ? IO_SEND_BLOCKED : 0;
        left += result;
        size -= (size_t)result;
    }
    return 0;
}

void rig_receive(struct rig *rig, uint32_t slot, uint64_t bytes)
{
    while (rig->slot[slot].received < bytes) {
        struct rig_event event;

        if (!(rig->slot[slot].armed & 1u << IO_OP_RECV))
            rig_recv(rig, slot);
        event = rig_await(rig, IO_OP_RECV, slot);
        assert_true(event.result > 0 || event.result == -ENOBUFS);
    }
}

uint32_t rig_listener(struct rig *rig, struct sockaddr_storage *address, socklen_t *size,
                      int backlog)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    *size = sizeof(*address);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, size), 0);
    return rig_slot(rig, fd, false);
}

uint32_t rig_accept_one(struct rig *rig, uint32_t listener)
{
    struct rig_event event;

    if (!(rig->slot[listener].armed & 1u << IO_OP_ACCEPT))
        rig_accept(rig, listener);
    event = rig_await(rig, IO_OP_ACCEPT, listener);
    assert_true(event.result >= 0);
    return rig_slot(rig, event.result, rig->io->direct);
}

struct rig_pair rig_tcp_pair(struct rig *rig)
{
    struct sockaddr_storage address;
    socklen_t size;
    struct rig_pair pair = {.listener = rig_listener(rig, &address, &size, 128)};

    pair.peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(pair.peer, (struct sockaddr *)&address, size), 0);
    pair.slot = rig_accept_one(rig, pair.listener);
    return pair;
}

uint32_t rig_unix_pair(struct rig *rig, int *peer)
{
    int pair[2];
    int flags = rig_is(rig, "uring") ? 0 : SOCK_NONBLOCK;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    if (flags)
        assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    *peer = pair[1];
    return rig_slot(rig, pair[0], false);
}
