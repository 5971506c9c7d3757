#include "io_suite.h"

/* As a kernel before 5.11, and with each connection registered first. */
int main(void)
{
    const struct io_config config = {.features = "-first_read,-pwait2", .block_size = 4096};
    return io_suite_run("epoll -first_read,-pwait2", &weir__io_epoll, &config, NULL);
}
