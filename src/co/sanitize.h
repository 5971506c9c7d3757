/* What the sanitizers and valgrind want to know about stacks. Without them everything here is
 * empty. Includes <valgrind/valgrind.h> where the build finds it; its requests are a few idle
 * instructions outside of valgrind. */
#ifndef WEIR_CO_SANITIZE_H
#define WEIR_CO_SANITIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/asan.h"
#include "base/env.h"

#if defined(__SANITIZE_THREAD__)
#define SANITIZE_THREAD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZE_THREAD 1
#endif
#endif
#ifndef SANITIZE_THREAD
#define SANITIZE_THREAD 0
#endif

#if WEIR_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if SANITIZE_THREAD
#include <sanitizer/tsan_interface.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif

static inline unsigned sanitize_stack_register(const void *low, const void *high)
{
    (void)low;
    (void)high;
#if defined(VALGRIND_STACK_REGISTER)
    return (unsigned)VALGRIND_STACK_REGISTER(low, (const char *)high - 1);
#else
    return 0;
#endif
}

/* Whether the program runs under valgrind, which knows nothing of MADV_GUARD_INSTALL (3.19): it
 * takes a guard page for memory, reads it, and ends by that. Without its header what it puts into
 * the environment tells. */
static inline bool sanitize_valgrind(void)
{
#if defined(RUNNING_ON_VALGRIND)
    return RUNNING_ON_VALGRIND != 0;
#else
    const char *preload = weir__getenv("LD_PRELOAD");
    return preload != NULL && strstr(preload, "/vgpreload_") != NULL;
#endif
}

static inline void sanitize_stack_deregister(unsigned id)
{
    (void)id;
#if defined(VALGRIND_STACK_DEREGISTER)
    VALGRIND_STACK_DEREGISTER(id);
#endif
}

/* What the sanitizers know a flow of control by: nothing without them. */
struct sanitize_flow {
#if WEIR_ASAN
    void *fake_stack;
    const void *low;
    size_t size;
#endif
#if SANITIZE_THREAD
    void *fiber;
#endif
};

static inline void sanitize_flow_init(struct sanitize_flow *flow, const void *low, const void *high)
{
    (void)flow;
    (void)low;
    (void)high;
#if WEIR_ASAN
    flow->fake_stack = NULL;
    flow->low = low;
    flow->size = (size_t)((const char *)high - (const char *)low);
#endif
}

static inline void sanitize_flow_end(struct sanitize_flow *flow)
{
    (void)flow;
#if SANITIZE_THREAD
    if (flow->fiber != NULL)
        __tsan_destroy_fiber(flow->fiber);
    flow->fiber = NULL;
#endif
}

/* Both are called by the runner, on its own stack, right before a switch to the callee's and right
 * after control is back. So the callee needs no annotations of its own, and its code can be left
 * at any place; in between only the switch runs, which is not instrumented. They are part of their
 * caller, since the thread sanitizer counts entries and exits of functions for each flow, and a
 * function that is entered in one and left in another would upset the count. */
static inline __attribute__((always_inline)) void sanitize_enter(struct sanitize_flow *runner,
                                                                 struct sanitize_flow *callee)
{
    (void)runner;
    (void)callee;
#if WEIR_ASAN
    __sanitizer_start_switch_fiber(&runner->fake_stack, callee->low, callee->size);
    __sanitizer_finish_switch_fiber(callee->fake_stack, &runner->low, &runner->size);
#endif
#if SANITIZE_THREAD
    runner->fiber = __tsan_get_current_fiber();
    if (callee->fiber == NULL)
        callee->fiber = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(callee->fiber, 0);
#endif
}

static inline __attribute__((always_inline)) void
sanitize_leave(struct sanitize_flow *runner, struct sanitize_flow *callee, bool finished)
{
    (void)runner;
    (void)callee;
    (void)finished;
#if WEIR_ASAN
    if (finished)
        callee->fake_stack = NULL;
    __sanitizer_start_switch_fiber(finished ? NULL : &callee->fake_stack, runner->low,
                                   runner->size);
    __sanitizer_finish_switch_fiber(runner->fake_stack, NULL, NULL);
#endif
#if SANITIZE_THREAD
    __tsan_switch_to_fiber(runner->fiber, 0);
#endif
}

#endif
