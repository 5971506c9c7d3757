/* Prefork: a fixed number of processes, all of which wait in accept on the same listener; the
 * kernel wakes one for each client. The master accepts nothing and replaces those that die. */
#include "blocking.h"
#include "children.h"

static void worker(unsigned index, void *arg)
{
    struct model *m = arg;
    for (;;)
        blocking_serve(m, blocking_accept(m));
}

int main(int argc, char **argv)
{
    struct model m;
    struct children children;
    model_begin(&m, argc, argv);
    children_begin(&children, m.workers);
    model_listen(&m, 0);
    children_keep(&children, worker, &m);
    model_end();
}
