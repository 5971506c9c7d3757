/* Echo: what comes in goes out. The whole program.
 *
 *     ./echo [URL]                 default tcp://127.0.0.1:7000
 *     printf 'hello\n' | nc -N 127.0.0.1 7000
 */
#include <weir/weir.h>

static void on_data(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0) /* copies what the kernel does not take at once */
        weir_abort(c);
}

int main(int argc, char **argv)
{
    weir_service echo = {.listen = argc > 1 ? argv[1] : "tcp://127.0.0.1:7000", .on_data = on_data};
    return weir_run(&echo, 1, NULL) < 0; /* prints cause and fix when it cannot start */
}
