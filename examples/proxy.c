/* A TCP proxy: each connection is coupled with one to the target; the slower end paces the faster.
 *
 *     ./proxy [URL [TARGET]]       default tcp://127.0.0.1:7002 to tcp://127.0.0.1:7000
 */
#include <stdint.h>

#include <weir/weir.h>

static const char *target = "tcp://127.0.0.1:7000";

/* A connection's user pointer carries the handle of the other one. */
static weir_conn other(weir_conn c)
{
    return (weir_conn){(uint64_t)(uintptr_t)weir_conn_user(c)};
}

static void target_open(weir_conn out, void *session)
{
    if (weir_pipe(other(out), out) < 0) { /* from now on bytes and ends flow by themselves */
        weir_abort(out);
        return;
    }
    weir_conn_set_user(out, NULL);
}

static void target_close(weir_conn out, weir_end end, void *session)
{
    if (weir_conn_user(out) != NULL) /* the connect failed: nobody else tells the client */
        weir_abort(other(out));
}

static const weir_service outgoing = {.on_open = target_open, .on_close = target_close};

static void on_open(weir_conn in, void *session)
{
    weir_conn out;
    weir_pause(in); /* what comes before the target is there waits in the socket */
    if (weir_connect(&out, target, &outgoing, (void *)(uintptr_t)in.id) < 0)
        weir_abort(in);
}

int main(int argc, char **argv)
{
    weir_service proxy = {.listen = argc > 1 ? argv[1] : "tcp://127.0.0.1:7002",
                          .on_open = on_open};
    if (argc > 2)
        target = argv[2];
    return weir_run(&proxy, 1, NULL) < 0;
}
