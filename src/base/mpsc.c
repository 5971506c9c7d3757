/* An intrusive list in the manner of Vyukov: a producer swaps itself in as the tail and then links
 * its predecessor to itself. Between these two steps ("halfway") the list is cut: the consumer
 * cannot go beyond the predecessor, and does not wait for it; it sleeps, and the second step wakes
 * it. So a producer that is preempted halfway holds nobody up in a spin.
 *
 * A stub node stands for the empty list, because the last node cannot be taken out while its `next`
 * is the place where the next producer will link.
 *
 * Why no wake is lost: a producer stores the link and then loads `sleeping`; the consumer stores
 * `sleeping` and then loads the link. All four are sequentially consistent, so in their one total
 * order at least one of the two sees the other's store: either the consumer sees the node and does
 * not sleep, or the producer sees the sleeper and takes the wake (with an exchange, so that one
 * producer only gets it). A link may be seen where the nodes before it are not linked yet; then the
 * woken consumer finds nothing, sleeps again, and the producer in front wakes it. */
#include "base/mpsc.h"

#include <stddef.h>

#include "base/assert.h"

void mpsc_init(struct mpsc *queue, uint32_t count_limit, uint64_t bytes_limit)
{
    atomic_init(&queue->stub.next, NULL);
    atomic_init(&queue->tail, &queue->stub);
    atomic_init(&queue->count, 0);
    atomic_init(&queue->sleeping, 0);
    atomic_init(&queue->bytes, 0);
    queue->head = &queue->stub;
    queue->count_limit = count_limit;
    queue->bytes_limit = bytes_limit;
}

/* The counters are relaxed: they guard no other memory. */
static bool admit_message(struct mpsc *queue)
{
    uint32_t count = atomic_load_explicit(&queue->count, memory_order_relaxed);
    do {
        if (count >= queue->count_limit)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&queue->count, &count, count + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

static bool admit_bytes(struct mpsc *queue, uint64_t bytes)
{
    if (bytes == 0)
        return true;
    uint64_t held_bytes = atomic_load_explicit(&queue->bytes, memory_order_relaxed);
    do {
        /* Reserved messages may have gone beyond the limit. */
        if (held_bytes > queue->bytes_limit || bytes > queue->bytes_limit - held_bytes)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&queue->bytes, &held_bytes, held_bytes + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

/* Counts a message against the limits, or refuses it. */
static bool admit(struct mpsc *queue, uint64_t bytes)
{
    if (!admit_message(queue))
        return false;
    if (admit_bytes(queue, bytes))
        return true;
    atomic_fetch_sub_explicit(&queue->count, 1, memory_order_relaxed);
    return false;
}

/* Makes a node the last one; returns the one before it, which the caller links to it. */
static struct mpsc_node *become_last(struct mpsc *queue, struct mpsc_node *node)
{
    atomic_store_explicit(&node->next, NULL, memory_order_relaxed);
    /* Release: whoever takes this node as its predecessor sees the NULL above before it links.
     * Acquire: this is the other side, so our link cannot be overwritten by that NULL. */
    return atomic_exchange_explicit(&queue->tail, node, memory_order_acq_rel);
}

bool mpsc_push(struct mpsc *queue, struct mpsc_node *node, uint64_t bytes, bool reserved,
               bool *wake)
{
    *wake = false;
    if (reserved) {
        atomic_fetch_add_explicit(&queue->count, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&queue->bytes, bytes, memory_order_relaxed);
    } else if (!admit(queue, bytes)) {
        return false;
    }
    struct mpsc_node *last = become_last(queue, node);
    /* Publishes the node (and what its owner wrote into it) to the consumer's acquire load.
     * Sequentially consistent for the sake of `sleeping`, see above. */
    atomic_store_explicit(&last->next, node, memory_order_seq_cst);
    /* The node may be popped and gone from here on; only the queue is touched. The load first: in
     * a burst all but one producer find 0 and leave the cache line shared. */
    if (atomic_load_explicit(&queue->sleeping, memory_order_seq_cst) != 0)
        *wake = atomic_exchange_explicit(&queue->sleeping, 0, memory_order_relaxed) != 0;
    return true;
}

struct mpsc_node *mpsc_pop(struct mpsc *queue)
{
    struct mpsc_node *head = queue->head;
    struct mpsc_node *next = atomic_load_explicit(&head->next, memory_order_acquire);
    if (head == &queue->stub) {
        if (next == NULL)
            return NULL;
        queue->head = head = next;
        next = atomic_load_explicit(&head->next, memory_order_acquire);
    }
    if (next == NULL) {
        /* The last node seen. If nobody is behind it, the stub goes there, so that it can leave. */
        if (atomic_load_explicit(&queue->tail, memory_order_relaxed) != head)
            return NULL; /* a producer is halfway behind it */
        struct mpsc_node *last = become_last(queue, &queue->stub);
        /* The consumer is awake and needs to tell nobody: the next load is its own. */
        atomic_store_explicit(&last->next, &queue->stub, memory_order_release);
        next = atomic_load_explicit(&head->next, memory_order_acquire);
        if (next == NULL)
            return NULL; /* one slipped in before the stub and is halfway */
    }
    queue->head = next;
    atomic_fetch_sub_explicit(&queue->count, 1, memory_order_relaxed);
    return head;
}

void mpsc_done(struct mpsc *queue, uint64_t bytes)
{
    if (bytes == 0)
        return;
    uint64_t before = atomic_fetch_sub_explicit(&queue->bytes, bytes, memory_order_relaxed);
    WEIR_DEBUG_ASSERT(before >= bytes);
    (void)before;
}

/* Whether mpsc_pop would return a node, by the same steps. */
static bool can_pop(struct mpsc *queue)
{
    struct mpsc_node *head = queue->head;
    if (atomic_load_explicit(&head->next, memory_order_seq_cst) != NULL)
        return true;
    return head != &queue->stub && atomic_load_explicit(&queue->tail, memory_order_relaxed) == head;
}

bool mpsc_sleep(struct mpsc *queue)
{
    atomic_store_explicit(&queue->sleeping, 1, memory_order_seq_cst);
    if (!can_pop(queue))
        return true;
    mpsc_awake(queue);
    return false;
}

void mpsc_awake(struct mpsc *queue)
{
    atomic_store_explicit(&queue->sleeping, 0, memory_order_relaxed);
}
