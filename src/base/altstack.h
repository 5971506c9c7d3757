/* An alternate stack for the signal handlers of a thread: coroutines' stacks are small, and one
 * that has overflowed has no room at all. */
#ifndef WEIR_BASE_ALTSTACK_H
#define WEIR_BASE_ALTSTACK_H

/* Gives the calling thread one if it has none. Counts. Without memory it has none: handlers then
 * run where they interrupt. */
void weir__altstack_need(void);
/* The reverse, on the same thread; elsewhere it does nothing. */
void weir__altstack_drop(void);
/* In a child of fork, on its only thread: whoever needed it was the parent's. The stack stays for
 * who needs it next. */
void weir__altstack_forked(void);

#endif
