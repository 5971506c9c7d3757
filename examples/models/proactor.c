/* Proactor: handlers are called when something has been done. The same program as reactor.c with
 * another back end, since weir speaks of completions everywhere: on io_uring the kernel itself
 * receives, into buffers that all connections share, and accepts and receives many times for one
 * request. */
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
    weir_run_options options = {.shape = WEIR_SHAPE_SINGLE, .loop.backend = "uring"};
    model_begin(&m, argc, argv);
    return weir_model_run(&m, &service, &options);
}
