/* The context switch: leaves one flow of control on its stack and goes on with another. Assembly on
 * x86-64 and aarch64, ucontext elsewhere (and everywhere with -DWEIR_SWITCH_UCONTEXT=1). Both live
 * in the library on x86-64 and aarch64, so that tests can hold one against the other.
 *
 * There are two moves. `run` calls a function on another stack, like any call: when the function
 * returns without having swapped, so does run, and the processor's return predictor stays right.
 * `swap` is made from inside such a function to leave it halfway, and later by the one who wants it
 * to go on. When a function that was left halfway at last returns, control goes to whoever
 * swapped to it last.
 *
 * What is kept over a switch is what the ABI asks of a call: the callee-saved registers and the
 * control bits of the floating-point unit (mxcsr and the x87 control word; fpcr and d8-d15), which
 * a function inherits from its runner. Not kept, as by any call: errno, the signal mask, the status
 * flags of the floating-point unit.
 *
 * CET: with -fcf-protection the entry points carry endbr64, and the object is marked for indirect
 * branch tracking but never for shadow stacks, which a swap would have to exchange as well; so a
 * program that links it runs without them. Where one was forced on all the same, switch_usable()
 * is false. Build with WEIR_SWITCH_UCONTEXT there. */
#ifndef WEIR_CO_SWITCH_H
#define WEIR_CO_SWITCH_H

#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>

#if defined(__x86_64__) && !defined(__ILP32__)
#define SWITCH_HAS_ASSEMBLY 1
#elif defined(__aarch64__) && !defined(__ILP32__)
#define SWITCH_HAS_ASSEMBLY 1
#else
#define SWITCH_HAS_ASSEMBLY 0
#endif

#ifndef WEIR_SWITCH_UCONTEXT
#define WEIR_SWITCH_UCONTEXT !SWITCH_HAS_ASSEMBLY
#endif

/* Where a flow of control was left: everything else lies on its stack below this address. */
struct switch_assembly {
    void *sp;
};

/* The portable one. */
struct switch_ucontext {
    ucontext_t context;
    void *value; /* what the next swap to here returns */
};

#if SWITCH_HAS_ASSEMBLY
/* In switch_x86_64.S and switch_aarch64.S; see switch_run and switch_swap. */
void weir__switch_run(struct switch_assembly *runner, void *high, void (*fn)(void *), void *arg);
void *weir__switch_swap(struct switch_assembly *from, struct switch_assembly *to, void *value);
/* Not 0 when this thread runs on a shadow stack. */
unsigned long weir__switch_shadow_stack(void);
#endif

void switch_ucontext_run(struct switch_ucontext *runner, struct switch_ucontext *callee, void *low,
                         void *high, void (*fn)(void *), void *arg);
void *switch_ucontext_swap(struct switch_ucontext *from, struct switch_ucontext *to, void *value);

#if WEIR_SWITCH_UCONTEXT
typedef struct switch_ucontext switch_context;
#else
typedef struct switch_assembly switch_context;
#endif

/* Calls fn(arg) on the stack that ends at `high` (aligned to 64) and begins at `low`. Returns when
 * fn has returned or swapped to *runner. `callee` is where fn will be left when it swaps; `runner`
 * must stay in place until fn has returned. */
static inline __attribute__((always_inline)) void switch_run(switch_context *runner,
                                                             switch_context *callee, void *low,
                                                             void *high, void (*fn)(void *),
                                                             void *arg)
{
#if WEIR_SWITCH_UCONTEXT
    switch_ucontext_run(runner, callee, low, high, fn, arg);
#else
    (void)callee;
    (void)low;
    weir__switch_run(runner, high, fn, arg);
#endif
}

/* Leaves here, to be found in *from, and goes on at *to, where `value` is what its swap returns.
 * Returns what whoever swaps back passes; what it is when fn returned instead is undefined. */
static inline __attribute__((always_inline)) void *switch_swap(switch_context *from,
                                                               switch_context *to, void *value)
{
#if WEIR_SWITCH_UCONTEXT
    return switch_ucontext_swap(from, to, value);
#else
    return weir__switch_swap(from, to, value);
#endif
}

/* Whether the switch works in this thread: false under a shadow stack. */
static inline bool switch_usable(void)
{
#if WEIR_SWITCH_UCONTEXT
    return true;
#else
    return weir__switch_shadow_stack() == 0;
#endif
}

#endif
