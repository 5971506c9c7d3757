/* Memory lent by weir_own and kept by weir_retain: small numbered records, and the line of release
 * callbacks that are owed. They run in the turn, never inside a verb (K3). */
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/conn.h"

struct loan {
    const void *data;
    size_t size;
    weir_release_fn *release; /* NULL: kept memory of ours */
    void *arg;
    size_t room;   /* of kept memory */
    uint32_t next; /* number + 1 in the free or the owed list */
    bool living, owed;
};

struct loans {
    struct loan *loans;
    uint32_t count, room, first_free, first_owed, last_owed;
};

struct loans *loans_new(void)
{
    return weir__zalloc(sizeof(struct loans));
}

bool loans_owed(const struct loans *loans)
{
    return loans->first_owed != 0;
}

static struct loan *loan_take(struct loans *loans, uint32_t *index)
{
    enum { LOANS_MAX = 1 << 24, LOANS_FIRST = 64 };
    if (loans->first_free == 0 && loans->count == loans->room) {
        uint32_t room = loans->room != 0 ? loans->room * 2 : LOANS_FIRST;
        struct loan *grown =
            room <= LOANS_MAX ? weir__realloc(loans->loans, room * sizeof *grown) : NULL;
        if (grown == NULL)
            return NULL;
        loans->loans = grown;
        loans->room = room;
    }
    if (loans->first_free != 0) {
        *index = loans->first_free - 1;
        loans->first_free = loans->loans[*index].next;
    } else {
        *index = loans->count++;
    }
    struct loan *loan = &loans->loans[*index];
    *loan = (struct loan){.living = true};
    return loan;
}

static void loan_give(struct loans *loans, uint32_t index)
{
    loans->loans[index].living = false;
    loans->loans[index].next = loans->first_free;
    loans->first_free = index + 1;
}

void loan_done(weir_loop *loop, uint32_t index)
{
    struct loans *loans = loop->net->loans;
    WEIR_ASSERT(index < loans->count && loans->loans[index].living);
    WEIR_ASSERT(!loans->loans[index].owed); /* a lent view is sent once */
    loans->loans[index].owed = true;
    loans->loans[index].next = 0;
    if (loans->last_owed != 0)
        loans->loans[loans->last_owed - 1].next = index + 1;
    else
        loans->first_owed = index + 1;
    loans->last_owed = index + 1;
}

void loan_forget(weir_loop *loop, uint32_t index)
{
    struct loans *loans = loop->net->loans;
    WEIR_ASSERT(index < loans->count && loans->loans[index].living && !loans->loans[index].owed);
    loan_give(loans, index);
}

void loans_run(weir_loop *loop)
{
    struct loans *loans = loop->net->loans;
    uint32_t last = loans->last_owed; /* those that the callbacks add wait for the next turn */
    while (loans->first_owed != 0) {
        uint32_t index = loans->first_owed - 1;
        struct loan loan = loans->loans[index];
        loans->first_owed = loan.next;
        if (loans->first_owed == 0)
            loans->last_owed = 0;
        loan_give(loans, index);
        loan.release(loan.data, loan.size, loan.arg);
        if (index + 1 == last)
            return;
    }
}

/* What was lent and never sent goes back now; what was kept and never released was ours. */
static void loans_end(weir_loop *loop)
{
    struct loans *loans = loop->net->loans;
    for (uint32_t i = 0; i < loans->count; i++) {
        struct loan *loan = &loans->loans[i];
        if (loan->living && !loan->owed && loan->release != NULL)
            loan_done(loop, i);
        else if (loan->living && loan->release == NULL) {
            memory_give(&loop->memory, (void *)(uintptr_t)loan->data, loan->room);
            loan_give(loans, i);
        }
    }
    while (loans_owed(loans))
        loans_run(loop);
}

void loans_free(weir_loop *loop)
{
    if (loop->net->loans == NULL)
        return;
    loans_end(loop);
    weir__free(loop->net->loans->loans);
    weir__free(loop->net->loans);
    loop->net->loans = NULL;
}

static weir_view view_none(void)
{
    return (weir_view){NULL, 0, (uint32_t)WEIR_OWNER_NONE << WEIR_OWNER_SHIFT};
}

weir_view weir_own(const void *data, size_t size, weir_release_fn *release, void *arg)
{
    weir_loop *loop = loop_current();
    struct net *net;
    uint32_t index;
    struct loan *loan = NULL;
    if (loop != NULL && release != NULL && net_of(loop, &net) == 0)
        loan = loan_take(net->loans, &index);
    if (loan == NULL) { /* no place to note it: the memory goes back at once */
        if (release != NULL)
            release(data, size, arg);
        return view_none();
    }
    loan->data = data;
    loan->size = size;
    loan->release = release;
    loan->arg = arg;
    if (size > UINT32_MAX) {
        loan_done(loop, index);
        return view_none();
    }
    return (weir_view){data, (uint32_t)size, (uint32_t)WEIR_OWNER_LENT << WEIR_OWNER_SHIFT | index};
}

weir_view weir_retain(weir_view view)
{
    unsigned owner = view.owner >> WEIR_OWNER_SHIFT;
    weir_loop *loop = loop_current();
    struct net *net;
    uint32_t index;
    size_t room;
    if (owner == WEIR_OWNER_STATIC || owner == WEIR_OWNER_NONE)
        return view;
    if (loop == NULL || net_of(loop, &net) < 0)
        return view_none();
    struct loan *loan = loan_take(net->loans, &index);
    if (loan == NULL)
        return view_none();
    void *copy = memory_take(&loop->memory, view.size != 0 ? view.size : 1, false, &room);
    if (copy == NULL) {
        loan_give(net->loans, index);
        return view_none();
    }
    memcpy(copy, view.data, view.size);
    loan->data = copy;
    loan->room = room;
    return (weir_view){copy, view.size, (uint32_t)WEIR_OWNER_KEPT << WEIR_OWNER_SHIFT | index};
}

void weir_release(weir_view view)
{
    weir_loop *loop = loop_current();
    uint32_t index = view.owner & ((1u << WEIR_OWNER_SHIFT) - 1);
    if (view.owner >> WEIR_OWNER_SHIFT != WEIR_OWNER_KEPT || loop == NULL || loop->net == NULL)
        return;
    struct loans *loans = loop->net->loans;
    WEIR_ASSERT(index < loans->count && loans->loans[index].living);
    memory_give(&loop->memory, (void *)(uintptr_t)loans->loans[index].data,
                loans->loans[index].room);
    loan_give(loans, index);
}
