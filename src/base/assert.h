/* Assertions state what must hold. WEIR_ASSERT stays on in release: use it where it is cheap;
 * WEIR_DEBUG_ASSERT goes away with NDEBUG. A failure writes one line to standard error, then
 * aborts. */
#ifndef WEIR_BASE_ASSERT_H
#define WEIR_BASE_ASSERT_H

__attribute__((noreturn, cold)) void weir__assert_failed(const char *what, const char *file,
                                                         int line);

#define WEIR_ASSERT(condition)                    \
    (__builtin_expect(!!(condition), 1) ? (void)0 \
                                        : weir__assert_failed(#condition, __FILE__, __LINE__))
#ifdef NDEBUG
#define WEIR_DEBUG_ASSERT(condition) ((void)sizeof(condition))
#else
#define WEIR_DEBUG_ASSERT(condition) WEIR_ASSERT(condition)
#endif

#endif
