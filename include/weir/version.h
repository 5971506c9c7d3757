/* The version: of these headers when the program was compiled, and of the library that it runs
 * with. The build takes its own version from the numbers here. */
#ifndef WEIR_VERSION_H
#define WEIR_VERSION_H

#include <weir/export.h>

#define WEIR_VERSION_MAJOR 0
#define WEIR_VERSION_MINOR 1
#define WEIR_VERSION_PATCH 0

#define WEIR_VERSION_TEXT_OF_(major, minor, patch) #major "." #minor "." #patch
#define WEIR_VERSION_TEXT_OF(major, minor, patch)  WEIR_VERSION_TEXT_OF_(major, minor, patch)
/* "0.1.0" */
#define WEIR_VERSION \
    WEIR_VERSION_TEXT_OF(WEIR_VERSION_MAJOR, WEIR_VERSION_MINOR, WEIR_VERSION_PATCH)

/* What the library was built with. Texts are static. */
typedef struct weir_build {
    const char *compiler; /* "gcc 12.2.0" */
    const char *liburing; /* its version; NULL: built without */
    const char *features; /* words with blanks between them: "uring", "switch=x86_64", … */
} weir_build;

WEIR_BEGIN
/* The version of the running library, as WEIR_VERSION. Static text. Any thread. */
WEIR_API const char *weir_version(void);
/* How the running library was built. Static. Any thread. */
WEIR_API const weir_build *weir_build_facts(void);
WEIR_END
#endif
