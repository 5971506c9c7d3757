#include "base/mutant.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 1 << 16 };

/* In a section of their own: simulated hosts each have their own copy of the library's variables,
 * and these are for all. */
#define SHARED __attribute__((section("weir_mutant")))

static unsigned char nowhere[MOST] SHARED = {0};
unsigned char *weir__mutant_hits SHARED = nowhere;
unsigned weir__mutant SHARED = 0;

/* Called as a number, since tests put functions of their own in the place of open(). */
__attribute__((constructor(101))) static void mutant_read(void)
{
    const char *number = getenv("WEIR_MUTANT"), *path = getenv("WEIR_MUTANT_HITS");
    if (number != NULL)
        weir__mutant = (unsigned)strtoul(number, NULL, 10);
    if (path != NULL) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
        if (fd >= 0) {
            void *map = mmap(NULL, MOST, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (map != MAP_FAILED)
                weir__mutant_hits = map;
            syscall(SYS_close, fd);
        }
    }
}
