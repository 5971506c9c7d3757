/* Coroutines: written as thread per connection is, one function from a connection's beginning to
 * its end, but what waits is a stack of some KiB in one thread, not a thread. By weir. */
#include "weir_model.h"

static void echo(weir_conn c, void *session)
{
    weir_view in;
    while (weir_recv(c, &in, WEIR_NEVER) > 0)
        if (weir_send_all(c, in, weir_after(30 * WEIR_S)) < 0)
            return; /* returning closes the connection */
}

int main(int argc, char **argv)
{
    struct model m;
    weir_service service = {.on_conn = echo};
    weir_run_options options = {.shape = WEIR_SHAPE_SINGLE};
    model_begin(&m, argc, argv);
    return weir_model_run(&m, &service, &options);
}
