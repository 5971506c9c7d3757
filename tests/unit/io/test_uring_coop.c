#include "io_suite.h"

/* As on kernels before 6.1. */
int main(void)
{
    const struct io_config config = {.features = "-defer_taskrun"};
    return io_suite_run("uring -defer_taskrun", &weir__io_uring, &config, NULL);
}
