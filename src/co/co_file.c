#include "co/co_file.h"

#include <weir/error.h>

static void file_over(weir_loop *loop, int result, void *arg)
{
    struct co_file *file = arg;
    struct co *waiter = file->waiter;
    if (waiter == NULL) {
        file->drop(file, result);
        return;
    }
    file->done = true;
    file->result = result;
    co_resume(waiter, 0);
}

int co_file_wait(struct co_file *file)
{
    weir_loop *loop = loop_current();
    struct co *co = co_current();
    if (loop == NULL || co == NULL)
        return WEIR_EMISUSE;
    if (loop->coroutines_ending || co_canceled(co)) {
        file->drop(file, WEIR_ECANCELED);
        return WEIR_ECANCELED;
    }
    file->done = false;
    int result = loop_file_start(loop, &file->io, file_over, file, &file->token);
    if (result < 0)
        return result;
    file->waiter = co;
    co_suspend();
    file->waiter = NULL;
    if (file->done)
        return file->result;
    loop_file_cancel(loop, file->token);
    return WEIR_ECANCELED;
}
