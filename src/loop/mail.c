/* What crosses into a loop from other threads: one bounded queue, one wake for a burst. */
#include <errno.h>

#include <weir/error.h>

#include "loop/loop.h"

struct task { /* lies in weir_task */
    struct loop_mail mail;
    weir_task_fn *fn;
    void *arg;
};
_Static_assert(sizeof(struct task) <= sizeof(weir_task), "weir_task is too small");

int loop_mail_send(weir_loop *loop, struct loop_mail *mail, uint64_t bytes, bool reserved)
{
    bool wake = false;
    if (!mpsc_push(&loop->posts, &mail->node, bytes, reserved, &wake)) {
        atomic_fetch_add_explicit(&loop->counters.posts_refused, 1, memory_order_relaxed);
        return WEIR_EFULL;
    }
    if (wake)
        loop->io->ops->wake(loop->io);
    return 0;
}

void loop_mail_run(weir_loop *loop)
{
    uint32_t left = atomic_load_explicit(&loop->posts.count, memory_order_relaxed);
    while (left-- > 0 && !loop_is_orphan(loop)) {
        struct mpsc_node *node = mpsc_pop(&loop->posts);
        if (node == NULL)
            return;
        struct loop_mail *mail = weir_container(node, struct loop_mail, node);
        loop->counters.posts++;
        mail->run(loop, mail);
    }
}

static void task_run(weir_loop *loop, struct loop_mail *mail)
{
    struct task *task = weir_container(mail, struct task, mail);
    mpsc_done(&loop->posts, 0);
    task->fn((weir_task *)task, task->arg);
}

int loop_post(weir_loop *loop, weir_task *memory, weir_task_fn *fn, void *arg, bool reserved)
{
    struct task *task = (struct task *)memory;
    if (loop_is_orphan(loop))
        return -EOWNERDEAD;
    task->mail.run = task_run;
    task->fn = fn;
    task->arg = arg;
    return loop_mail_send(loop, &task->mail, 0, reserved);
}

int weir_post(weir_loop *loop, weir_task *task, weir_task_fn *fn, void *arg)
{
    if (loop == NULL || task == NULL || fn == NULL)
        return WEIR_EINVALID;
    if (loop == loop_current())
        return loop_post(loop, task, fn, arg, false);
    /* The task may end its loop before the loop has been woken for it. */
    uint32_t id = loop->id;
    if (loop_pin(id) == NULL)
        return WEIR_ESTOPPED;
    int result = loop_post(loop, task, fn, arg, false);
    loop_unpin(id);
    return result;
}
