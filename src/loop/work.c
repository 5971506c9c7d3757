/* Work of a module on the worker pool. */
#include <weir/error.h>
#include <weir/module.h>

#include "io/io.h"
#include "loop/loop.h"

int weir__work(weir__work_fn *fn, weir__worked_fn *done, void *arg)
{
    weir_loop *loop = loop_current();
    const struct io_file file = {.verb = IO_FILE_CALL, .call = fn, .arg = arg};
    return loop != NULL ? loop_file_start(loop, &file, done, arg, NULL) : WEIR_EMISUSE;
}
