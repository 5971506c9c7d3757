/* The context switch by makecontext and swapcontext: for processors without an assembly one, and
 * for tests to hold that one against. Slow: each switch sets the signal mask by a system call. */
#include "co/switch.h"

#include <stdint.h>

#include "base/assert.h"

/* makecontext passes ints only, so a pointer travels in two halves. */
static void enter(unsigned fn_high, unsigned fn_low, unsigned arg_high, unsigned arg_low)
{
    uintptr_t fn = (uintptr_t)(((uint64_t)fn_high << 32) | fn_low);
    uintptr_t arg = (uintptr_t)(((uint64_t)arg_high << 32) | arg_low);

    ((void (*)(void *))fn)((void *)arg);
}

/* The return of fn goes to uc_link, which is read at that moment: each swap that leaves the runner
 * writes its place there anew. */
void switch_ucontext_run(struct switch_ucontext *runner, struct switch_ucontext *callee, void *low,
                         void *high, void (*fn)(void *), void *arg)
{
    uint64_t fn_bits = (uintptr_t)fn, arg_bits = (uintptr_t)arg;

    WEIR_ASSERT(getcontext(&callee->context) == 0);
    callee->context.uc_stack.ss_sp = low;
    callee->context.uc_stack.ss_size = (size_t)((char *)high - (char *)low);
    callee->context.uc_link = &runner->context;
    makecontext(&callee->context, (void (*)(void))enter, 4, (unsigned)(fn_bits >> 32),
                (unsigned)fn_bits, (unsigned)(arg_bits >> 32), (unsigned)arg_bits);
    WEIR_ASSERT(swapcontext(&runner->context, &callee->context) == 0);
}

void *switch_ucontext_swap(struct switch_ucontext *from, struct switch_ucontext *to, void *value)
{
    to->value = value;
    WEIR_ASSERT(swapcontext(&from->context, &to->context) == 0);
    return from->value;
}
