/* Blocking, one at a time: a client is served from its beginning to its end, and the others wait in
 * the kernel's queue meanwhile. The command line is in model.h. */
#include "blocking.h"

int main(int argc, char **argv)
{
    struct model m;
    model_begin(&m, argc, argv);
    blocking_end_on_term();
    model_listen(&m, 0);
    for (;;)
        blocking_serve(&m, blocking_accept(&m));
}
