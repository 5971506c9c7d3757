#include "io_suite.h"

/* Connections are slots of the ring's own table. */
int main(void)
{
    const struct io_config config = {.features = "+direct"};
    return io_suite_run("uring +direct", &weir__io_uring, &config, NULL);
}
