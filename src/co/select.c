/* Waiting for the first of several channels. */
#include <weir/error.h>

#include "co/chan.h"
#include "loop/limits.h"

struct selection {
    weir_case *cases;
    size_t case_bytes; /* of one, as the program knows it */
    unsigned count, locked_count;
    weir_chan *locked[LIMIT_SELECT_CASES]; /* the shared ones, each once, by address */
};

static weir_case *case_at(const struct selection *selection, unsigned index)
{
    return (weir_case *)(void *)((char *)selection->cases + index * selection->case_bytes);
}

/* Locks are taken in the order of addresses, so that two that select from the same channels do not
 * wait for each other. */
static void selection_add(struct selection *selection, weir_chan *chan)
{
    unsigned at = selection->locked_count;
    while (at > 0 && (uintptr_t)selection->locked[at - 1] > (uintptr_t)chan)
        at--;
    if (at > 0 && selection->locked[at - 1] == chan)
        return;
    for (unsigned i = selection->locked_count++; i > at; i--)
        selection->locked[i] = selection->locked[i - 1];
    selection->locked[at] = chan;
}

static int selection_check(struct selection *selection)
{
    for (unsigned i = 0; i < selection->count; i++) {
        const weir_case *each = case_at(selection, i);
        if (each->verb != WEIR_CHAN_SEND && each->verb != WEIR_CHAN_RECV)
            return WEIR_EINVALID;
        if (each->chan == NULL)
            continue;
        int result = chan_check(each->chan, each->verb, each->item);
        if (result < 0)
            return result;
        if (each->chan->shared)
            selection_add(selection, each->chan);
    }
    return 0;
}

static void selection_lock(struct selection *selection)
{
    for (unsigned i = 0; i < selection->locked_count; i++)
        chan_lock(selection->locked[i]);
}

static void selection_unlock(struct selection *selection)
{
    for (unsigned i = selection->locked_count; i-- > 0;)
        chan_unlock(selection->locked[i]);
}

/* Which is looked at first: by lot, so that none is served before the others for ever. The lots
 * come from the channel, so that the same run draws the same. */
static unsigned selection_draw(const struct selection *selection)
{
    for (unsigned i = 0; i < selection->count; i++) {
        weir_chan *chan = case_at(selection, i)->chan;
        if (chan == NULL)
            continue;
        uint32_t lot = chan->picks++ * 0x9e3779b9u;
        lot = (lot ^ lot >> 16) * 0x21f0aaadu;
        lot = (lot ^ lot >> 15) * 0x735a2d97u;
        lot ^= lot >> 15;
        return (unsigned)((uint64_t)lot * selection->count >> 32);
    }
    return 0;
}

/* The index of what was done; or CHAN_NONE. */
enum { CHAN_NONE = -1 };

static int selection_try(struct selection *selection)
{
    unsigned first = selection_draw(selection);
    for (unsigned i = 0; i < selection->count; i++) {
        unsigned index = (first + i) % selection->count;
        weir_case *each = case_at(selection, index);
        if (each->chan == NULL)
            continue;
        int result = chan_try(each->chan, each->verb, each->item);
        if (result != CHAN_WAITS) {
            each->result = result;
            return (int)index;
        }
    }
    return CHAN_NONE;
}

/* Apart, so that who finds something needs no stack for this. */
__attribute__((noinline)) static int selection_wait(struct selection *selection, weir_time deadline)
{
    struct chan_group group;
    struct chan_node nodes[LIMIT_SELECT_CASES];
    int result = chan_group_open(&group, selection->locked_count != 0);
    for (unsigned i = 0; i < selection->count; i++) {
        const weir_case *each = case_at(selection, i);
        nodes[i].chan = NULL;
        if (result == 0 && each->chan != NULL)
            chan_node_queue(&nodes[i], &group, each->chan, each->verb, each->item, i);
    }
    selection_unlock(selection);
    if (result == 0)
        result = chan_group_wait(&group, nodes, selection->count, deadline);
    if (result < 0)
        return result;
    case_at(selection, group.chosen)->result = group.result;
    return (int)group.chosen;
}

int weir__select(weir_case *cases, unsigned count, weir_time deadline, size_t size)
{
    struct selection selection;
    if (count > LIMIT_SELECT_CASES || (cases == NULL && count != 0) || size < sizeof *cases)
        return WEIR_EINVALID;
    selection.cases = cases;
    selection.case_bytes = size;
    selection.count = count;
    selection.locked_count = 0;
    int result = chan_may_wait(deadline);
    if (result == 0)
        result = selection_check(&selection);
    if (result < 0)
        return result;
    selection_lock(&selection);
    result = selection_try(&selection);
    if (result == CHAN_NONE && deadline != 0 && deadline > loop_current()->now_ns)
        return selection_wait(&selection, deadline);
    selection_unlock(&selection);
    return result != CHAN_NONE ? result : WEIR_ETIMEDOUT;
}
