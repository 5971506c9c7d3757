#include "co/chan.h"

#include <errno.h>
#include <string.h>

#include <weir/error.h>

#include "base/alloc.h"
#include "loop/limits.h"

/* --- items ------------------------------------------------------------------------------------ */

/* Most are a pointer or a number. */
static void item_copy(const weir_chan *chan, void *target, const void *source)
{
    if (target == NULL || chan->item_bytes == 0)
        return;
    if (chan->item_bytes == sizeof(uint64_t))
        memcpy(target, source, sizeof(uint64_t));
    else
        memcpy(target, source, chan->item_bytes);
}

static void *item_at(weir_chan *chan, uint32_t place)
{
    uint32_t at = chan->head + place; /* both are below 2^31 */
    if (at >= chan->capacity)
        at -= chan->capacity;
    return chan->items + (size_t)at * chan->item_bytes;
}

static void item_put(weir_chan *chan, const void *item)
{
    item_copy(chan, item_at(chan, chan->count), item);
    chan->count++;
}

static void item_get(weir_chan *chan, void *item)
{
    item_copy(chan, item, item_at(chan, 0));
    chan->head = chan->head + 1 == chan->capacity ? 0 : chan->head + 1;
    chan->count--;
}

static void item_none(const weir_chan *chan, void *item)
{
    if (item != NULL)
        memset(item, 0, chan->item_bytes);
}

/* --- who waits -------------------------------------------------------------------------------- */

static void node_remove(struct chan_queue *queue, struct chan_node *node)
{
    node->queued = false;
    if (node->prev != NULL)
        node->prev->next = node->next;
    else
        queue->first = node->next;
    if (node->next != NULL)
        node->next->prev = node->prev;
    else
        queue->last = node->prev;
}

/* Whether the caller is the one, who may complete it now, or leave. */
static bool group_take(struct chan_group *group)
{
    if (group->shared)
        return !atomic_exchange(&group->taken, true);
    bool taken = atomic_load_explicit(&group->taken, memory_order_relaxed);
    atomic_store_explicit(&group->taken, true, memory_order_relaxed);
    return !taken;
}

/* The first that waits for this verb, now taken; those that were taken elsewhere go on the way.
 * NULL: nobody. */
static struct chan_node *node_take(weir_chan *chan, int verb)
{
    struct chan_queue *queue = &chan->waiting[verb];
    struct chan_node *node;
    while ((node = queue->first) != NULL) {
        node_remove(queue, node);
        if (group_take(node->group))
            return node;
    }
    return NULL;
}

/* Tells the waiter, which may be gone as soon as the lock is: so the message is sent, and its loop
 * woken, before. */
static void node_complete(struct chan_node *node, int result)
{
    struct chan_group *group = node->group;
    group->chosen = node->index;
    group->result = result;
    if (group->loop == loop_current()) {
        co_wake(&group->wait, 0);
        return;
    }
    group->posted = true;
    loop_mail_send(group->loop, &group->mail->mail, 0, true);
}

static int try_send(weir_chan *chan, const void *item)
{
    if (chan->closed)
        return -EPIPE;
    struct chan_node *receiver = node_take(chan, WEIR_CHAN_RECV);
    if (receiver != NULL) {
        item_copy(chan, receiver->item, item);
        node_complete(receiver, 1);
        return 0;
    }
    if (chan->count == chan->capacity)
        return CHAN_WAITS;
    item_put(chan, item);
    return 0;
}

static int try_recv(weir_chan *chan, void *item)
{
    if (chan->count == 0 && chan->closed) {
        item_none(chan, item);
        return 0;
    }
    struct chan_node *sender = NULL;
    if (chan->waiting[WEIR_CHAN_SEND].first != NULL)
        sender = node_take(chan, WEIR_CHAN_SEND);
    if (chan->count == 0 && sender == NULL)
        return CHAN_WAITS;
    if (chan->count == 0) { /* there is no queue */
        item_copy(chan, item, sender->item);
    } else {
        item_get(chan, item);
        if (sender != NULL)
            item_put(chan, sender->item); /* its turn is behind those that are there */
    }
    if (sender != NULL)
        node_complete(sender, 0);
    return 1;
}

int chan_try(weir_chan *chan, int verb, void *item)
{
    return verb == WEIR_CHAN_SEND ? try_send(chan, item) : try_recv(chan, item);
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void mail_arrived(weir_loop *loop, struct loop_mail *memory)
{
    struct chan_mail *mail = weir_container(memory, struct chan_mail, mail);
    struct chan_group *group = mail->group;
    mpsc_done(&loop->posts, 0);
    memory_give(&loop->memory, mail, mail->room);
    if (group == NULL)
        return;
    group->mail = NULL;
    co_wake(&group->wait, 0);
}

int chan_group_open(struct chan_group *group, bool shared)
{
    *group = (struct chan_group){.loop = loop_current(), .shared = shared};
    if (!shared)
        return 0;
    size_t room;
    struct chan_mail *mail = memory_take(&group->loop->memory, sizeof *mail, true, &room);
    if (mail == NULL)
        return WEIR_ENOMEM;
    mail->mail.run = mail_arrived;
    mail->group = group;
    mail->room = room;
    group->mail = mail;
    return 0;
}

void chan_node_queue(struct chan_node *node, struct chan_group *group, weir_chan *chan, int verb,
                     void *item, unsigned index)
{
    struct chan_queue *queue = &chan->waiting[verb];
    *node = (struct chan_node){.prev = queue->last,
                               .group = group,
                               .chan = chan,
                               .item = item,
                               .index = index,
                               .verb = verb,
                               .queued = true};
    if (queue->last != NULL)
        queue->last->next = node;
    else
        queue->first = node;
    queue->last = node;
    chan->nodes++;
}

/* Nobody knows the group any more after this. */
static void group_leave(struct chan_group *group, struct chan_node *nodes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        weir_chan *chan = nodes[i].chan;
        if (chan == NULL)
            continue;
        chan_lock(chan); /* whoever completes it has done so when this is had */
        if (nodes[i].queued)
            node_remove(&chan->waiting[nodes[i].verb], &nodes[i]);
        chan->nodes--;
        chan_unlock(chan);
    }
    if (group->mail == NULL)
        return;
    if (group->posted)
        group->mail->group = NULL;
    else
        memory_give(&group->loop->memory, group->mail, group->mail->room);
}

int chan_group_wait(struct chan_group *group, struct chan_node *nodes, unsigned count,
                    weir_time deadline)
{
    int result = co_wait(&group->wait, deadline);
    bool completed = !group_take(group); /* perhaps just now: then that counts */
    group_leave(group, nodes, count);
    if (completed)
        co_owe(result);
    return completed ? 0 : result;
}

/* --- the verbs -------------------------------------------------------------------------------- */

/* Of the current loop, or shared. */
static int chan_usable(const weir_chan *chan)
{
    const weir_loop *loop = loop_current();
    if (chan == NULL)
        return WEIR_EINVALID;
    if (chan->shared)
        return 0;
    if (loop == NULL)
        return loop_none();
    return chan->loop == loop ? 0 : WEIR_EMISUSE;
}

int chan_check(weir_chan *chan, int verb, const void *item)
{
    int result = chan_usable(chan);
    if (result == 0 && verb == WEIR_CHAN_SEND && item == NULL && chan->item_bytes != 0)
        result = WEIR_EINVALID;
    return result;
}

static int chan_new(weir_chan **out, size_t item_bytes, uint32_t capacity, weir_loop *loop)
{
    if (out == NULL)
        return WEIR_EINVALID;
    *out = NULL;
    uint64_t bytes = item_bytes <= LIMIT_CHAN_ITEM_BYTES ? (uint64_t)item_bytes * capacity : 0;
    if (item_bytes > LIMIT_CHAN_ITEM_BYTES || bytes > LIMIT_CHAN_BYTES || capacity > INT32_MAX)
        return WEIR_EINVALID;
    weir_chan *chan = weir__alloc(sizeof *chan + (size_t)bytes); /* untouched until it is used */
    if (chan == NULL)
        return WEIR_ENOMEM;
    *chan = (struct weir_chan){.loop = loop,
                               .shared = loop == NULL,
                               .item_bytes = (uint32_t)item_bytes,
                               .capacity = capacity};
    pthread_mutex_init(&chan->lock, NULL); /* of the default kind: never fails */
    *out = chan;
    return 0;
}

int weir_chan_new(weir_chan **out, size_t item_bytes, uint32_t capacity)
{
    weir_loop *loop = loop_current();
    return loop != NULL ? chan_new(out, item_bytes, capacity, loop) : loop_none();
}

int weir_chan_new_shared(weir_chan **out, size_t item_bytes, uint32_t capacity)
{
    return chan_new(out, item_bytes, capacity, NULL);
}

int weir_chan_free(weir_chan *chan)
{
    if (chan == NULL)
        return 0;
    chan_lock(chan);
    bool used = chan->nodes != 0;
    chan_unlock(chan);
    if (used)
        return WEIR_EMISUSE;
    pthread_mutex_destroy(&chan->lock);
    weir__free(chan);
    return 0;
}

__attribute__((noinline)) static int chan_wait(weir_chan *chan, int verb, void *item,
                                               weir_time deadline)
{
    struct chan_group group;
    struct chan_node node;
    int result = chan_group_open(&group, chan->shared);
    if (result == 0)
        chan_node_queue(&node, &group, chan, verb, item, 0);
    chan_unlock(chan);
    if (result == 0)
        result = chan_group_wait(&group, &node, 1, deadline);
    return result == 0 ? group.result : result;
}

static int chan_do(weir_chan *chan, int verb, void *item, weir_time deadline)
{
    int result = chan_may_wait(deadline);
    if (result == 0)
        result = chan_check(chan, verb, item);
    if (result < 0)
        return result;
    chan_lock(chan);
    result = chan_try(chan, verb, item);
    if (result == CHAN_WAITS && deadline != 0 && deadline > loop_current()->now_ns)
        return chan_wait(chan, verb, item, deadline);
    chan_unlock(chan);
    return result == CHAN_WAITS ? WEIR_ETIMEDOUT : result;
}

int weir_chan_send(weir_chan *chan, const void *item, weir_time deadline)
{
    return chan_do(chan, WEIR_CHAN_SEND, (void *)(uintptr_t)item, deadline);
}

int weir_chan_recv(weir_chan *chan, void *item, weir_time deadline)
{
    return chan_do(chan, WEIR_CHAN_RECV, item, deadline);
}

int weir_chan_close(weir_chan *chan)
{
    struct chan_node *node;
    int result = chan_usable(chan);
    if (result < 0)
        return result;
    chan_lock(chan);
    if (chan->closed)
        result = WEIR_EMISUSE;
    chan->closed = true;
    while ((node = node_take(chan, WEIR_CHAN_RECV)) != NULL) { /* then there is no item either */
        item_none(chan, node->item);
        node_complete(node, 0);
    }
    while ((node = node_take(chan, WEIR_CHAN_SEND)) != NULL)
        node_complete(node, -EPIPE);
    chan_unlock(chan);
    return result;
}

uint32_t weir_chan_count(weir_chan *chan)
{
    if (chan == NULL)
        return 0;
    chan_lock(chan);
    uint32_t count = chan->count;
    chan_unlock(chan);
    return count;
}
