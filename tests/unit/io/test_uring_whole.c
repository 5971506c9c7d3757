#include "io_suite.h"

/* One receive a block, as on kernels before 6.12. */
int main(void)
{
    const struct io_config config = {.features = "-incremental,-recv_cap"};
    return io_suite_run("uring -incremental,-recv_cap", &weir__io_uring, &config, NULL);
}
