/* A port-forwarding proxy, straight-line: two coroutines for each connection, one a direction.
 * (proxy.c couples connections with weir_pipe: less to say, and cheaper. Here the bytes pass
 * through the program's hands.)
 *
 *     ./proxy_co [URL [TARGET]]    default tcp://127.0.0.1:7002 to tcp://127.0.0.1:7000
 */
#include <weir/weir.h>

static const char *target_url = "tcp://127.0.0.1:7000";

struct session {
    weir_conn client, target;
};

static void pump(weir_conn from, weir_conn to)
{
    weir_view in;
    int got;
    while ((got = weir_recv(from, &in, WEIR_NEVER)) > 0)
        if (weir_send_all(to, in, weir_after(30 * WEIR_S)) < 0)
            break;
    if (got == 0)
        weir_finish(to); /* the end passes through */
    else
        weir_abort(to); /* a part must not look like the whole */
}

static void forward(void *arg)
{
    struct session both = *(struct session *)arg;
    pump(both.client, both.target);
}

static void serve(weir_conn client, void *arg)
{
    struct session *session = arg;
    session->client = client;
    if (weir_connect_wait(&session->target, target_url, NULL, weir_after(5 * WEIR_S)) < 0 ||
        weir_spawn(forward, session) < 0) {
        weir_abort(client);
        return;
    }
    pump(session->target, client);
    weir_close(session->target);
}

int main(int argc, char **argv)
{
    weir_service proxy = {.listen = argc > 1 ? argv[1] : "tcp://127.0.0.1:7002",
                          .conn_size = sizeof(struct session),
                          .on_conn = serve};
    if (argc > 2)
        target_url = argv[2];
    return weir_run(&proxy, 1, NULL) < 0;
}
