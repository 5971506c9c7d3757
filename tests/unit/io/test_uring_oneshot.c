#include "io_suite.h"

/* Every receive and accept ends, and is armed again. */
int main(void)
{
    const struct io_config config = {.features = "-multishot_recv,-multishot_accept"};
    return io_suite_run("uring -multishot_recv,-multishot_accept", &weir__io_uring, &config, NULL);
}
