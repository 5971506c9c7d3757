#include "io_suite.h"

/* Large receives are cut by weir, as on kernels before 6.17. */
int main(void)
{
    const struct io_config config = {.features = "-recv_cap,cq=small"};
    return io_suite_run("uring -recv_cap,cq=small", &weir__io_uring, &config, NULL);
}
