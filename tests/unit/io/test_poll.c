#include "io_suite.h"

int main(void)
{
    return io_suite_run("poll", &weir__io_poll, NULL);
}
