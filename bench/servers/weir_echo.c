/* The echo job on weir: the ten-line program of the README, its address and back end chosen by the
 * runner (WEIR_BACKEND). No option is changed: what users get is what is measured.
 * With --backend it names the back end that it would take, and ends. */
#include <stdio.h>
#include <string.h>

#include <weir/weir.h>

static void on_data(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0)
        weir_abort(c);
}

static int name_backend(void)
{
    weir_loop *loop;

    if (weir_loop_new(&loop, NULL) < 0)
        return 1;
    puts(weir_loop_backend(loop));
    weir_loop_free(loop);
    return 0;
}

int main(int argc, char **argv)
{
    weir_service echo = {.listen = argc > 1 ? argv[1] : "tcp://127.0.0.1:7000", .on_data = on_data};

    if (argc > 1 && strcmp(argv[1], "--backend") == 0)
        return name_backend();
    return weir_run(&echo, 1, NULL) < 0;
}
