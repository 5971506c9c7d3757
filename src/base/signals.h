/* The signals of threads that are weir's own. */
#ifndef WEIR_BASE_SIGNALS_H
#define WEIR_BASE_SIGNALS_H

#include <signal.h>

/* Fills a set with every signal but those that an instruction of the thread itself raises: while
 * one of these is blocked the kernel ends the process without asking its handler (signal(7),
 * sigprocmask(2)). */
static inline void weir__signals_of_others(sigset_t *set)
{
    sigfillset(set);
    sigdelset(set, SIGSEGV);
    sigdelset(set, SIGBUS);
    sigdelset(set, SIGFPE);
    sigdelset(set, SIGILL);
}

#endif
