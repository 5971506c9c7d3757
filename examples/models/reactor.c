/* Single reactor: one thread, one loop, handlers that are called when something has come; by weir,
 * on epoll. Short writes, clients that do not read and descriptors that run short are the
 * library's: reading pauses while output waits, and nothing is unbounded. */
#include "weir_model.h"

static void on_data(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0)
        weir_abort(c);
}

int main(int argc, char **argv)
{
    struct model m;
    weir_service service = {.on_data = on_data};
    weir_run_options options = {.shape = WEIR_SHAPE_SINGLE, .loop.backend = "epoll"};
    model_begin(&m, argc, argv);
    return weir_model_run(&m, &service, &options);
}
