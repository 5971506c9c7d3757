#include "io_suite.h"

int main(void)
{
    return io_suite_run("epoll", &weir__io_epoll, NULL);
}
