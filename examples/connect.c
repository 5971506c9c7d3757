/* A client: connects, sends its standard input, prints what comes back, ends when the server does.
 *
 *     printf 'hello\n' | ./connect tcp://127.0.0.1:7000
 */
#include <stdio.h>
#include <unistd.h>

#include <weir/weir.h>

static weir_end ended;

/* The input as it is asked for: only what the connection has room for is read. */
static ssize_t input(weir_conn c, void *data, size_t size, void *arg)
{
    ssize_t got = data != NULL ? read(STDIN_FILENO, data, size) : 0;
    if (got == 0 && data != NULL)
        weir_finish(c); /* our end, after what is queued */
    return got;
}

static void on_open(weir_conn c, void *session)
{
    if (weir_send_pull(c, input, NULL) < 0)
        weir_abort(c);
}

static void on_data(weir_conn c, weir_view in, void *session)
{
    fwrite(in.data, 1, in.size, stdout);
}

static void on_close(weir_conn c, weir_end end, void *session)
{
    ended = end;
    weir_loop_stop(weir_loop_current());
}

int main(int argc, char **argv)
{
    static const weir_service client = {
        .on_open = on_open, .on_data = on_data, .on_close = on_close};
    weir_loop *loop;
    if (argc != 2 || weir_loop_new(&loop, NULL) < 0)
        return 1;
    weir_loop *former = weir_loop_enter(loop);
    int result = weir_connect(NULL, argv[1], &client, NULL);
    weir_loop_enter(former);
    if (result == 0)
        result = weir_loop_run(loop);
    if (result == 0)
        result = ended.error;
    if (result < 0)
        fprintf(stderr, "%s: %s\n", argv[1], weir_error_text(result));
    weir_loop_free(loop);
    return result < 0;
}
