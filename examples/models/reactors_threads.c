/* Multi-reactor, threads: -w loops in as many threads, each with a listener of its own on the port
 * (SO_REUSEPORT); a connection stays with the loop that accepted it, so that handlers need no lock.
 * By weir; -c holds for each loop. */
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
    weir_run_options options = {.shape = WEIR_SHAPE_THREADS};
    model_begin(&m, argc, argv);
    options.loops = m.workers;
    return weir_model_run(&m, &service, &options);
}
