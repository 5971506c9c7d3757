/* The library's own version and how it was built, compiled into it. */
#include <stddef.h>

#include <weir/version.h>

#ifndef WEIR_LIBURING_VERSION
#define WEIR_LIBURING_VERSION NULL
#endif

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#if WEIR_HAVE_URING
#define BACKENDS "uring epoll poll select"
#else
#define BACKENDS "epoll poll select"
#endif

#if defined(WEIR_SWITCH_UCONTEXT) && WEIR_SWITCH_UCONTEXT
#define SWITCH "switch=ucontext"
#elif defined(__x86_64__)
#define SWITCH "switch=x86_64"
#elif defined(__aarch64__)
#define SWITCH "switch=aarch64"
#else
#define SWITCH "switch=ucontext"
#endif

#if defined(__SANITIZE_ADDRESS__)
#define CHECKS " asan"
#elif defined(__SANITIZE_THREAD__)
#define CHECKS " tsan"
#elif !defined(__OPTIMIZE__)
#define CHECKS " debug"
#else
#define CHECKS ""
#endif

const char *weir_version(void)
{
    return WEIR_VERSION;
}

const weir_build *weir_build_facts(void)
{
    static const weir_build facts = {COMPILER, WEIR_LIBURING_VERSION, BACKENDS " " SWITCH CHECKS};
    return &facts;
}
