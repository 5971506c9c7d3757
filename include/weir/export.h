/* What is seen from outside: everything else is hidden (-fvisibility=hidden). */
#ifndef WEIR_EXPORT_H
#define WEIR_EXPORT_H

#if defined(__GNUC__)
#define WEIR_API        __attribute__((visibility("default")))
#define WEIR_MUST_CHECK __attribute__((warn_unused_result))
#define WEIR_PRINTF(format_index, first_index) \
    __attribute__((format(printf, format_index, first_index)))
#else
#error "weir needs gcc 12 or clang 14, or newer"
#endif

#ifdef __cplusplus
#define WEIR_BEGIN extern "C" {
#define WEIR_END   }
#else
#define WEIR_BEGIN
#define WEIR_END
#endif

#endif
