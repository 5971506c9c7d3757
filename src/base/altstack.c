#include "base/altstack.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "base/alloc.h"

enum { STACK_BYTES = 32768 };

static _Thread_local struct {
    unsigned users;
    char *memory; /* NULL: it had one, or there was no memory */
    size_t bytes;
} ours;

void weir__altstack_need(void)
{
    stack_t stack;
    long least = sysconf(_SC_SIGSTKSZ); /* it grows with the processor's registers */
    if (ours.users++ != 0 || sigaltstack(NULL, &stack) < 0 || (stack.ss_flags & SS_DISABLE) == 0)
        return;
    ours.bytes = STACK_BYTES + (least > 0 ? (size_t)least : 0);
    ours.memory = weir__pages_alloc(ours.bytes);
    if (ours.memory == NULL)
        return;
    stack = (stack_t){.ss_sp = ours.memory, .ss_size = ours.bytes};
    if (sigaltstack(&stack, NULL) == 0)
        return;
    weir__pages_free(ours.memory, ours.bytes);
    ours.memory = NULL;
}

void weir__altstack_drop(void)
{
    stack_t stack;
    const stack_t none = {.ss_flags = SS_DISABLE};
    if (ours.users == 0 || --ours.users != 0 || ours.memory == NULL)
        return;
    if (sigaltstack(NULL, &stack) == 0 && stack.ss_sp == ours.memory)
        sigaltstack(&none, NULL);
    weir__pages_free(ours.memory, ours.bytes);
    ours.memory = NULL;
}

void weir__altstack_forked(void)
{
    ours.users = 0;
}
