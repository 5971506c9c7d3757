/* Stands in the place of cmocka's function that runs a group, so that cases can be run one by one:
 *
 *   WEIR_CASES_RECORD=FILE    every case alone; a line each: group:index, result, microseconds,
 *                             the places passed (base/mutant.h)
 *   WEIR_CASES="G:I G:I ..."  only these, in this order, up to the first that fails
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mutant.h"

enum { MOST = 1 << 16 };

typedef int run_fn(const char *, const struct CMUnitTest *, size_t, CMFixtureFunction,
                   CMFixtureFunction);

int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                            CMFixtureFunction setup, CMFixtureFunction teardown);

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static void record(FILE *file, unsigned group, size_t index, int failed, uint64_t us)
{
    fprintf(file, "%u:%zu %d %llu", group, index, failed, (unsigned long long)us);
    for (unsigned i = 0; i < MOST; i++)
        if (weir__mutant_hits[i] != 0)
            fprintf(file, " %u", i);
    fputc('\n', file);
    fflush(file);
}

int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                            CMFixtureFunction setup, CMFixtureFunction teardown)
{
    static unsigned group;
    run_fn *real = (run_fn *)dlsym(RTLD_NEXT, "_cmocka_run_group_tests");
    const char *path = getenv("WEIR_CASES_RECORD"), *cases = getenv("WEIR_CASES");
    unsigned own = group++;
    if (path != NULL) {
        FILE *file = fopen(path, "ae");
        for (size_t i = 0; file != NULL && i < count; i++) {
            uint64_t began = now_us();
            int failed;
            memset(weir__mutant_hits, 0, MOST);
            failed = real(name, &tests[i], 1, setup, teardown);
            record(file, own, i, failed, now_us() - began);
        }
        if (file != NULL)
            fclose(file);
        return 0;
    }
    if (cases == NULL)
        return real(name, tests, count, setup, teardown);
    while (*cases != 0) {
        char *end;
        unsigned of = (unsigned)strtoul(cases, &end, 10);
        size_t index = strtoul(end + 1, &end, 10);
        cases = *end == ' ' ? end + 1 : end;
        if (of == own && index < count && real(name, &tests[index], 1, setup, teardown) != 0) {
            fprintf(stderr, "FAILED %u:%zu %s\n", own, index, tests[index].name);
            _exit(1);
        }
    }
    return 0;
}
