/* For e2e/co_gdb.sh: coroutines that wait in their verbs, and one that a debugger stops while it
 * runs.
 */
#include <stdio.h>
#include <stdlib.h>

#include <weir/weir.h>

static weir_chan *never;
static bool dies;

__attribute__((noinline)) static int nap(int hours)
{
    int result = weir_sleep(weir_after((uint64_t)hours * 3600 * WEIR_S));
    return result + hours;
}

static void sleeper(void *arg)
{
    *(int *)arg = nap(7);
}

static int asker(void *arg)
{
    int item;
    int result = weir_chan_recv(never, &item, WEIR_NEVER);
    return result == 1 ? item : result;
}

/* A debugger stops here, and in a core file this is where it died. */
__attribute__((noinline)) void marker(int number);
void marker(int number)
{
    __asm__ volatile("" : : "r"(number) : "memory");
    if (dies)
        abort();
}

static void looker(void *arg)
{
    weir_loop *loop = arg;
    weir_scope scope;
    if (weir_scope_open(&scope, &(weir_scope_options){.name = "questions"}) < 0 ||
        weir_scope_spawn(&scope, asker, NULL) < 0 || weir_yield() < 0)
        return;
    marker(42);
    (void)weir_scope_close(&scope);
    weir_loop_stop(loop);
}

int main(int argc, char **argv)
{
    weir_loop *loop, *former;
    int slept;
    dies = argc > 1;
    if (weir_loop_new(&loop, NULL) < 0)
        return 1;
    former = weir_loop_enter(loop);
    if (weir_chan_new(&never, sizeof(int), 0) < 0 || weir_spawn(sleeper, &slept) < 0 ||
        weir_spawn(looker, loop) < 0)
        return 1;
    weir_loop_enter(former);
    int result = weir_loop_run(loop);
    weir_loop_free(loop);
    weir_chan_free(never);
    puts(result == 0 ? "done" : weir_error_text(result));
    return result != 0;
}
