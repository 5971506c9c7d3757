/* Operations that the loop itself owns: one-shot polls of foreign descriptors, and files. Each
 * lives in a slab record named by its token, so that neither kernel nor caller ever sees the
 * other's address. */
#include <errno.h>
#include <string.h>

#include <weir/error.h>

#include "base/assert.h"
#include "loop/loop.h"

enum { OPS_MAX = 1 << 20 };

struct watch {        /* lies in weir_watch */
    struct list link; /* signals: in loop->signals */
    weir_loop *loop;  /* NULL: not watching */
    union {
        weir_poll_fn *poll_fn;
        weir_signal_fn *signal_fn;
    };
    void *arg;
    uint32_t slot;
    int signal_number; /* 0: a poll */
};
_Static_assert(sizeof(struct watch) <= sizeof(weir_watch), "weir_watch is too small");

static uint64_t op_token(const struct loop_op *op)
{
    return IO_TOKEN(op->kind, LOOP_OWNER_OP, op->head.generation, op->slot);
}

static struct loop_op *op_take(weir_loop *loop, enum io_op kind)
{
    uint32_t slot;
    struct loop_op *op = slab_take(&loop->ops, &slot);
    if (op == NULL)
        return NULL;
    op->slot = slot;
    op->kind = kind;
    op->fd.fd = -1;
    return op;
}

static struct io_fd *op_find(weir_loop *loop, uint64_t token)
{
    struct loop_op *op = slab_at(&loop->ops, IO_TOKEN_SLOT(token));
    if (op == NULL || (op->head.generation & (SLAB_FREE | 0xffffffu)) != IO_TOKEN_GEN(token))
        return NULL;
    return &op->fd;
}

static void op_event(weir_loop *loop, const struct io_event *event)
{
    if (op_find(loop, event->token) == NULL)
        return;
    struct loop_op *op = slab_at(&loop->ops, IO_TOKEN_SLOT(event->token));
    void *arg = op->arg;
    bool canceled = op->canceled;
    if (op->kind == IO_OP_POLL) {
        struct watch *watch = (struct watch *)op->watch;
        slab_give(&loop->ops, op->slot);
        if (canceled)
            return;
        watch->loop = NULL;
        watch->poll_fn((weir_watch *)watch, event->result, arg);
    } else {
        loop_file_fn *done = op->file_done;
        slab_give(&loop->ops, op->slot);
        done(loop, event->result, arg);
    }
    loop_ready_run(loop);
}

int loop_ops_init(weir_loop *loop)
{
    loop->hooks[LOOP_OWNER_OP].event = op_event;
    loop->hooks[LOOP_OWNER_OP].find = op_find;
    list_init(&loop->signals);
    return slab_init(&loop->ops, (sizeof(struct loop_op) + 63) / 64 * 64, OPS_MAX);
}

void loop_ops_end(weir_loop *loop)
{
    slab_free(&loop->ops);
}

/* Asks for the end of an operation; where the back end has no room to ask, again in a while. */
static void op_cancel(weir_loop *loop, struct loop_op *op)
{
    op->canceled = true;
    int result = loop->io->ops->cancel(loop->io, &op->fd, op_token(op));
    op->cancel_asked = result != -ENOMEM && result != -ENOBUFS;
    loop->cancels_owed |= !op->cancel_asked;
}

void loop_cancels_run(weir_loop *loop)
{
    loop->cancels_owed = false;
    for (uint32_t slot = 0; slot < loop->ops.chunk_count << loop->ops.chunk_records_log2; slot++) {
        struct loop_op *op = slab_at(&loop->ops, slot);
        if (slab_living(&loop->ops, slot) && op->canceled && !op->cancel_asked)
            op_cancel(loop, op);
    }
    if (loop->net_cancels != NULL)
        loop->net_cancels(loop);
}

int loop_file_start(weir_loop *loop, const struct io_file *file, loop_file_fn *fn, void *arg,
                    uint64_t *token)
{
    struct loop_op *op = op_take(loop, IO_OP_FILE);
    if (op == NULL)
        return WEIR_ENOMEM;
    op->file = *file;
    op->file_done = fn;
    op->arg = arg;
    op->in_flight = true;
    uint64_t own = op_token(op);
    int result = loop->io->ops->file(loop->io, &op->file, own);
    if (result < 0)
        slab_give(&loop->ops, op->slot);
    else if (token != NULL)
        *token = own;
    return result < 0 ? result : 0;
}

void loop_file_cancel(weir_loop *loop, uint64_t token)
{
    struct io_fd *fd = op_find(loop, token);
    if (fd != NULL) /* without room to ask it is done to its end, which is right too */
        loop->io->ops->cancel(loop->io, fd, token);
}

int weir_poll(weir_watch *memory, int fd, int events, weir_poll_fn *fn, void *arg)
{
    weir_loop *loop = loop_current();
    struct watch *watch = (struct watch *)memory;
    if (loop == NULL)
        return loop_none();
    if (watch == NULL || fn == NULL || fd < 0)
        return WEIR_EINVALID;
    if (watch->loop != NULL)
        return WEIR_EMISUSE;
    struct loop_op *op = op_take(loop, IO_OP_POLL);
    if (op == NULL)
        return WEIR_ENOMEM;
    op->fd.fd = fd;
    op->watch = memory;
    op->arg = arg;
    op->in_flight = true;
    int result = loop->io->ops->poll(loop->io, &op->fd, (unsigned)events, op_token(op));
    if (result < 0) {
        slab_give(&loop->ops, op->slot);
        return result;
    }
    *watch = (struct watch){
        .loop = loop, .poll_fn = fn, .arg = arg, .slot = op->slot, .signal_number = 0};
    return 0;
}

void weir_watch_cancel(weir_watch *memory)
{
    struct watch *watch = (struct watch *)memory;
    if (watch == NULL || watch->loop == NULL)
        return;
    weir_loop *loop = watch->loop;
    watch->loop = NULL;
    if (watch->signal_number != 0) {
        list_remove(&watch->link);
        loop_signal_unwatch(loop, watch->signal_number);
        return;
    }
    op_cancel(loop, slab_at(&loop->ops, watch->slot));
}

/* Polls that nobody canceled are canceled here; their watches see nothing more. */
void loop_ops_abandon(weir_loop *loop)
{
    for (uint32_t slot = 0; slot < loop->ops.chunk_count << loop->ops.chunk_records_log2; slot++) {
        struct loop_op *op = slab_at(&loop->ops, slot);
        if (!slab_living(&loop->ops, slot) || op->kind != IO_OP_POLL || op->canceled)
            continue;
        weir_watch_cancel(op->watch);
    }
}

/* Each still yields its event, which its owner sees. */
void loop_files_cancel(weir_loop *loop)
{
    for (uint32_t slot = 0; slot < loop->ops.chunk_count << loop->ops.chunk_records_log2; slot++) {
        struct loop_op *op = slab_at(&loop->ops, slot);
        if (slab_living(&loop->ops, slot) && op->kind == IO_OP_FILE)
            op_cancel(loop, op);
    }
}

int weir_signal(weir_watch *memory, int signal_number, weir_signal_fn *fn, void *arg)
{
    weir_loop *loop = loop_current();
    struct watch *watch = (struct watch *)memory;
    if (loop == NULL)
        return loop_none();
    if (watch != NULL && watch->loop != NULL)
        return WEIR_EMISUSE;
    if (watch == NULL || fn == NULL || signal_number < 1 || signal_number > 63)
        return WEIR_EINVALID;
    int result = loop_signal_watch(loop, signal_number);
    if (result < 0)
        return result;
    *watch =
        (struct watch){.loop = loop, .signal_fn = fn, .arg = arg, .signal_number = signal_number};
    list_push(&loop->signals, &watch->link);
    return 0;
}

void loop_signals_run(weir_loop *loop)
{
    uint64_t pending = atomic_exchange_explicit(&loop->signals_pending, 0, memory_order_acquire);
    struct list left, *link;
    list_init(&left);
    list_splice(&left, &loop->signals);
    /* From one list to the other, so that a handler may end any watch and begin new ones. */
    while ((link = list_pop(&left)) != NULL) {
        struct watch *watch = weir_container(link, struct watch, link);
        list_push(&loop->signals, link);
        if ((pending >> watch->signal_number & 1) != 0)
            watch->signal_fn((weir_watch *)watch, watch->signal_number, watch->arg);
    }
    loop_ready_run(loop);
}

void loop_signals_end(weir_loop *loop)
{
    while (!list_empty(&loop->signals))
        weir_watch_cancel((weir_watch *)weir_container(loop->signals.next, struct watch, link));
}
