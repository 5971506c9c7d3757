#include "io_suite.h"

int main(void)
{
    return io_suite_run("uring", &weir__io_uring, NULL, NULL);
}
