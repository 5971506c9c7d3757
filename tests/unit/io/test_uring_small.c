#include "io_suite.h"

/* Queues overflow and blocks run out all the time. */
int main(void)
{
    const struct io_config config = {.features = "cq=small,sq=small,blocks=2,block=4096"};
    return io_suite_run("uring cq=small,sq=small,blocks=2,block=4096", &weir__io_uring, &config,
                        NULL);
}
