/* What all readiness back ends have in common beside the suite: a kernel that refuses to watch, an
 * opening that fails halfway, and what is said and counted. */
#include "io_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/alloc.h"
#include "io/pool.h"
#include "io/ready.h"

static struct ready *ready_of(struct rig *rig)
{
    return (struct ready *)rig->io;
}

/* --- a kernel that refuses -------------------------------------------------------------------- */

static const struct ready_kind *real_kind;
static int refused;

static int watch_refused(struct ready *r, struct io_fd *fd, uint64_t token)
{
    refused++;
    return -ENOSPC;
}

static struct ready_kind refusing;

static void refuse(struct rig *rig)
{
    real_kind = ready_of(rig)->kind;
    refusing = *real_kind;
    refusing.watch = watch_refused;
    ready_of(rig)->kind = &refusing;
    refused = 0;
}

static void allow(struct rig *rig)
{
    ready_of(rig)->kind = real_kind;
}

/* Nothing has begun then, and the same can be asked for again. */
static void what_cannot_be_watched_has_not_begun(void **state)
{
    const struct io_config plain = {.features = "-first_read"};
    struct rig *rig = rig_of(state);
    static char bytes[4 << 20];
    struct iovec iov = {bytes, sizeof(bytes)};
    struct sockaddr_in address, nowhere = {.sin_family = AF_INET};
    int peer, result = 1;
    rig_reopen(rig, &plain);
    const struct io_ops *ops = rig->io->ops;
    unsigned listener = rig_listener(rig, &address), slot = rig_unix(rig, &peer);
    struct io_fd *fd = rig_fd(rig, slot);
    refuse(rig);
    assert_int_equal(
        ops->accept(rig->io, rig_fd(rig, listener), rig_token(rig, listener, IO_OP_ACCEPT)),
        -ENOSPC);
    assert_int_equal(ops->recv(rig->io, fd, rig_token(rig, slot, IO_OP_RECV)), -ENOSPC);
    assert_int_equal(ops->poll(rig->io, fd, POLLIN, rig_token(rig, slot, IO_OP_POLL)), -ENOSPC);
    while (ops->send(rig->io, fd, &iov, 1, 0, rig_token(rig, slot, IO_OP_SEND), &result) ==
               IO_DONE &&
           result > 0)
        continue;
    assert_int_equal(result, -ENOSPC);
    unsigned connecting = rig_add(rig, rig_socket(rig, AF_INET), false);
    nowhere.sin_addr.s_addr = htonl(0x7f000001);
    nowhere.sin_port = address.sin_port;
    int how = ops->connect(rig->io, rig_fd(rig, connecting), (struct sockaddr *)&nowhere,
                           sizeof(nowhere), rig_token(rig, connecting, IO_OP_CONNECT), &result);
    assert_true(how == -ENOSPC || how == IO_DONE);
    assert_int_equal(ops->in_flight(rig->io), 0);
    assert_true(refused >= 4);
    allow(rig);
    fd->flags &= (uint16_t)~READY_KNOWN; /* a refused one is not known */
    rig_recv(rig, slot);
    assert_int_equal(send(peer, "x", 1, MSG_NOSIGNAL), 1);
    assert_true(rig_got(rig, slot, 1));
    while (recv(peer, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        continue;
    assert_int_equal(rig_send(rig, slot, "room", 4), 0);
    close(peer);
}

/* A number that is known already belongs to somebody else, who is not disturbed. */
static void a_number_is_watched_once(void **state)
{
    const struct io_config plain = {.features = "-first_read"};
    struct rig *rig = rig_of(state);
    int peer;
    rig_reopen(rig, &plain);
    const struct io_ops *ops = rig->io->ops;
    unsigned slot = rig_unix(rig, &peer), second = rig_add(rig, rig_fd(rig, slot)->fd, false);
    rig_recv(rig, slot);
    for (int tries = 0; tries < 2; tries++)
        assert_int_equal(
            ops->recv(rig->io, rig_fd(rig, second), rig_token(rig, second, IO_OP_RECV)), -EEXIST);
    assert_int_equal(rig_fd(rig, second)->flags & READY_KNOWN, 0);
    assert_int_equal(ops->in_flight(rig->io), 1);
    rig->slot[second].used = false;
    assert_int_equal(send(peer, "x", 1, MSG_NOSIGNAL), 1);
    assert_true(rig_got(rig, slot, 1));
    close(peer);
}

/* --- opening ---------------------------------------------------------------------------------- */

static struct io_fd *find_none(void *owner, uint64_t token)
{
    return NULL;
}

static int fd_next(void)
{
    int next = dup(0);
    close(next);
    return next;
}

static void opening_fails_cleanly(void **state)
{
    const struct io_ops *ops = rig_of(state)->io->ops;
    struct io_config config = {.find = find_none};
    uint64_t live = weir__alloc_live();
    int error = -ENOMEM, next = fd_next();
    struct rlimit limit, low;
    struct io *io;
    for (uint64_t n = 1; error != 0; n++) {
        const char *why = NULL;
        weir__alloc_fail_at(n);
        error = ops->open(&io, &config, &why);
        assert_int_equal(weir__alloc_fail_at(0) == 0, error != 0);
        assert_true(error == 0 || (error == -ENOMEM && why != NULL));
        assert_true(error == 0 || (weir__alloc_live() == live && fd_next() == next));
        assert_true(n < 20);
    }
    ops->close(io);
    assert_int_equal(weir__alloc_live(), live);
    assert_int_equal(fd_next(), next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){(rlim_t)next, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    const char *why = NULL;
    error = ops->open(&io, &config, &why);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(error, -EMFILE);
    assert_non_null(why);
    assert_int_equal(weir__alloc_live(), live);
}

static void small_blocks(void **state)
{
    const struct io_ops *ops = rig_of(state)->io->ops;
    static const char *const features[] = {"block=small", "block=1", NULL};
    static const unsigned sizes[] = {4096, 1, 64 * 1024};
    for (int i = 0; i < 3; i++) {
        struct io_config config = {.find = find_none, .features = features[i]};
        const char *why = NULL;
        struct io *io;
        assert_int_equal(ops->open(&io, &config, &why), 0);
        assert_int_equal(io->block_size, sizes[i]);
        ops->close(io);
    }
}

/* What `weir backends` shows has a row for each thing that there is to tell. */
static void the_plan_has_all_rows(void **state)
{
    static const char *const rows[][2] = {
        {"epoll",
         "hot_block speculative_send sendfile warm_move pool edge_triggered first_read pwait2 "},
        {"poll", "hot_block speculative_send sendfile warm_move pool ppoll edge_triggered "},
        {"select", "hot_block speculative_send sendfile warm_move pool pselect many_descriptors "
                   "edge_triggered "},
    };
    const struct io *io = rig_of(state)->io;
    char found[512] = "";
    for (int i = 0; i < io->plan.rows; i++) {
        strcat(found, io->plan.row[i].feature);
        strcat(found, " ");
        assert_true(strlen(io->plan.row[i].reason) > 10);
    }
    for (int i = 0; i < 3; i++)
        if (strcmp(rows[i][0], io->ops->name) == 0)
            assert_string_equal(found, rows[i][1]);
}

/* --- counts ----------------------------------------------------------------------------------- */

/* Each call of the kernel is counted once, as the two modes of the back end make them. */
static void calls_are_counted(void **state)
{
    struct rig *rig = rig_of(state);
    const struct io_ops *ops = rig->io->ops;
    bool edge = ready_of(rig)->edge;
    uint64_t *calls = &rig->io->stats.syscalls, before;
    static char bytes[4 << 20];
    struct iovec iov[2] = {{bytes, sizeof(bytes)}, {bytes, 1}};
    struct sockaddr_in address;
    int peer, result = 1;
    unsigned slot = rig_unix(rig, &peer);
    rig_listener(rig, &address);
    struct io_fd *fd = rig_fd(rig, slot);
    unsigned connecting = rig_add(rig, rig_socket(rig, AF_INET), false);
    before = *calls;
    int how = ops->connect(rig->io, rig_fd(rig, connecting), (struct sockaddr *)&address,
                           sizeof(address), rig_token(rig, connecting, IO_OP_CONNECT), &result);
    assert_int_equal(*calls - before, how == IO_PENDING && edge ? 3 : 2);
    if (how == IO_PENDING)
        assert_int_equal(rig_final(rig, rig_token(rig, connecting, IO_OP_CONNECT)), 0);
    before = *calls;
    assert_int_equal(
        ops->send(rig->io, fd, &iov[1], 1, 0, rig_token(rig, slot, IO_OP_SEND), &result), IO_DONE);
    assert_int_equal(*calls - before, 1);
    while (ops->send(rig->io, fd, iov, 2, 0, rig_token(rig, slot, IO_OP_SEND), &result) == IO_DONE)
        continue;
    /* No room is known: another try is none, and waits without a call where it is registered. */
    assert_int_equal(ops->cancel(rig->io, fd, rig_token(rig, slot, IO_OP_SEND)), 0);
    assert_int_equal(rig_final(rig, rig_token(rig, slot, IO_OP_SEND)), -ECANCELED);
    before = *calls;
    assert_int_equal(ops->send(rig->io, fd, iov, 2, IO_SEND_NOWAIT | IO_SEND_BLOCKED,
                               rig_token(rig, slot, IO_OP_SEND), &result),
                     IO_DONE);
    assert_int_equal(result, -EAGAIN);
    assert_int_equal(*calls - before, 0);
    assert_int_equal(
        ops->send(rig->io, fd, iov, 2, IO_SEND_BLOCKED, rig_token(rig, slot, IO_OP_SEND), &result),
        IO_PENDING);
    assert_int_equal(*calls - before, 0);
    before = *calls;
    assert_int_equal(ops->shutdown(rig->io, rig_fd(rig, connecting), SHUT_WR), 0);
    assert_int_equal(*calls - before, 1);
    before = *calls;
    assert_int_equal(ops->close_fd(rig->io, rig_fd(rig, connecting), true,
                                   rig_token(rig, connecting, IO_OP_CLOSE), &result),
                     IO_DONE);
    assert_int_equal(*calls - before, 2);
    rig->slot[connecting].used = false;
    rig_turn(rig, 0);
    before = *calls;
    rig_turn(rig, 0);
    assert_int_equal(*calls - before, 1);
    assert_int_equal(ops->cancel(rig->io, fd, rig_token(rig, slot, IO_OP_SEND)), 0);
    assert_int_equal(rig_final(rig, rig_token(rig, slot, IO_OP_SEND)), -ECANCELED);
    close(peer);
}

/* --- files ------------------------------------------------------------------------------------ */

/* What might block is not done on the loop, cached or not. */
static void what_may_block_is_for_the_pool(void **state)
{
    char path[] = "/tmp/weir-fifo-XXXXXX", made[64];
    int holder = mkstemp(path);
    snprintf(made, sizeof(made), "%s.fifo", path);
    assert_int_equal(mkfifo(made, 0600), 0);
    struct io_file file = {.verb = IO_FILE_OPEN, .fd = AT_FDCWD, .path = made, .flags = O_RDONLY};
    alarm(20);
    assert_false(weir__pool_perform_cached(&file)); /* a fifo waits for a writer */
    file.path = path;
    static const uint64_t flags[] = {O_RDONLY, O_RDWR | O_CREAT | O_NONBLOCK,
                                     O_RDWR | O_TRUNC | O_NONBLOCK};
    for (int i = 0; i < 3; i++) {
        file.flags = flags[i];
        file.mode = i == 1 ? 0600 : 0;
        assert_false(weir__pool_perform_cached(&file));
    }
    file = (struct io_file){
        .verb = IO_FILE_READ, .fd = holder, .buffer = made, .size = 1, .offset = -1};
    assert_false(weir__pool_perform_cached(&file)); /* a stream's bytes would be lost */
    file.verb = IO_FILE_WRITE;
    assert_false(weir__pool_perform_cached(&file));
    file.verb = 99;
    assert_false(weir__pool_perform_cached(&file));
    assert_int_equal(weir__pool_perform(&file), WEIR_EINVALID);
    alarm(0);
    unlink(made);
    unlink(path);
    close(holder);
}

static void without_a_pool(void **state)
{
    struct rig *rig = rig_of(state);
    struct io_config config = {.find = find_none, .owner = rig};
    struct io_file file = {.verb = IO_FILE_SYNC, .fd = 0};
    const char *why;
    struct io *io;
    assert_int_equal(rig->io->ops->open(&io, &config, &why), 0);
    assert_int_equal(io->ops->file(io, &file, 1), WEIR_ENOTSUP);
    assert_int_equal(io->ops->cancel(io, NULL, IO_TOKEN(IO_OP_FILE, 1, 1, 1)), -ENOENT);
    assert_int_equal(io->ops->in_flight(io), 0);
    io->ops->close(io);
}

static const struct CMUnitTest cases[] = {
    IO_CASE(what_cannot_be_watched_has_not_begun),
    IO_CASE(a_number_is_watched_once),
    IO_CASE(opening_fails_cleanly),
    IO_CASE(small_blocks),
    IO_CASE(the_plan_has_all_rows),
    IO_CASE(calls_are_counted),
    IO_CASE(what_may_block_is_for_the_pool),
    IO_CASE(without_a_pool),
    IO_CASES_END,
};

int main(void)
{
    const struct CMUnitTest *const lists[] = {cases};
    int failed = io_suite_run_lists("epoll", &weir__io_epoll, NULL, lists, 1);
    failed += io_suite_run_lists("poll", &weir__io_poll, NULL, lists, 1);
    failed += io_suite_run_lists("select", &weir__io_select, NULL, lists, 1);
    return failed;
}
