#include "loop/limits.h"

#include <stdio.h>
#include <unistd.h>

static uint64_t read_number(const char *path)
{
    uint64_t value = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%20lu", &value) != 1)
        value = 0; /* "max", or nothing */
    fclose(file);
    return value;
}

uint64_t limits_memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    uint64_t bytes = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 1 << 30;
    static const char *const paths[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        uint64_t group = read_number(paths[i]);
        if (group != 0 && group < bytes)
            bytes = group;
    }
    return bytes;
}
