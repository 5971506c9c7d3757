#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void weir__assert_failed(const char *what, const char *file, int line)
{
    /* One write of one line: the process may be in any state, and other threads still run. */
    char text[512];
    int size = snprintf(text, sizeof(text), "weir: %s:%d: this must hold: %s\n", file, line, what);
    if (size >= (int)sizeof(text)) {
        size = (int)sizeof(text) - 1;
        memcpy(text + size - 4, "...\n", 4);
    }
    if (size > 0 && write(STDERR_FILENO, text, (size_t)size) < 0)
        abort(); /* nobody to tell; the core dump tells */
    abort();
}
