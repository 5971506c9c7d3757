#include "io_suite.h"

int main(void)
{
    return io_suite_run("select", &weir__io_select, NULL);
}
