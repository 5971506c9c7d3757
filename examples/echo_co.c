/* Echo, straight-line: a coroutine for each connection.
 *
 *     ./echo_co [URL]              default tcp://127.0.0.1:7000
 *     printf 'hello\n' | nc -N 127.0.0.1 7000
 */
#include <weir/weir.h>

static void echo(weir_conn c, void *session)
{
    weir_view in;
    while (weir_recv(c, &in, weir_after(30 * WEIR_S)) > 0)
        if (weir_send_all(c, in, weir_after(5 * WEIR_S)) < 0)
            return; /* returning closes the connection */
}

int main(int argc, char **argv)
{
    weir_service service = {.listen = argc > 1 ? argv[1] : "tcp://127.0.0.1:7000", .on_conn = echo};
    return weir_run(&service, 1, NULL) < 0;
}
