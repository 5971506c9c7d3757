#include "io_suite.h"

/* As a kernel without any set-up flag. */
int main(void)
{
    const struct io_config config = {
        .features = "-defer_taskrun,-coop_taskrun,-single_issuer,-ring_fd,-restrictions"};
    return io_suite_run("uring -defer_taskrun,-coop_taskrun,-single_issuer,-ring_fd,-restrictions",
                        &weir__io_uring, &config, NULL);
}
