/* The resolver as weir_connect asks it. */
#include <weir/error.h>
#include <weir/module.h>

#include "dns/resolver.h"

enum { NAMES_ADDRESSES_MAX = 64 }; /* who connects tries no more */

struct names_lookup {
    weir_lookup lookup;
    weir__names_fn *fn;
    void *arg;
};

static void on_answer(weir_lookup *lookup, const weir_answer *answer, void *arg)
{
    struct names_lookup *own = arg;
    weir_address addresses[NAMES_ADDRESSES_MAX];
    weir__names_fn *fn = own->fn;
    void *fn_arg = own->arg;
    unsigned count = 0;

    for (; count < answer->count && count < NAMES_ADDRESSES_MAX; count++)
        addresses[count] = answer->records[count].address;
    bool more = answer->more;
    if (!more)
        weir__free(own);
    fn(fn_arg, answer->error, addresses, count, more);
}

static int begin(void *self, const char *name, weir__names_fn *fn, void *arg, void **lookup)
{
    struct names_lookup *own = weir__zalloc(sizeof *own);

    if (own == NULL)
        return WEIR_ENOMEM;
    own->fn = fn;
    own->arg = arg;
    int result = weir_resolve(self, &own->lookup, name, WEIR_RECORD_HOST, WEIR_RESOLVE_PARTS,
                              WEIR_NEVER, on_answer, own);
    if (result < 0)
        weir__free(own);
    else
        *lookup = own;
    return result;
}

static void cancel(void *lookup)
{
    struct names_lookup *own = lookup;
    weir_lookup_cancel(&own->lookup);
    weir__free(own);
}

const weir__names resolver_names = {.begin = begin, .cancel = cancel};

void *resolver_names_memory(const struct lookup *l)
{
    return l->fn == on_answer ? l->arg : NULL;
}
