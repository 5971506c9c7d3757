/* libuv, as its guide recommends for speed: one loop, one receive buffer for all (the callback is
 * done with it when it returns), uv_try_write first and uv_write for what the kernel did not take.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct rest {
    uv_write_t request;
    char data[];
};

enum { READ = 64 * 1024, SINK = 256 * 1024 };

static char buffer[SINK];
static unsigned buffer_size = READ;
static bool once; /* close after the first answer */

static void check(int result, const char *what)
{
    if (result >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, uv_strerror(result));
    exit(1);
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)handle;
    (void)suggested;
    *out = uv_buf_init(buffer, buffer_size);
}

static void free_conn(uv_handle_t *handle)
{
    free(handle);
}

static void written(uv_write_t *request, int status)
{
    (void)status; /* a failed connection is closed when it is read */
    free(request);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *in)
{
    uv_buf_t out = uv_buf_init(in->base, size > 0 ? (unsigned)size : 0);
    int taken;

    if (size < 0) {
        uv_close((uv_handle_t *)stream, free_conn);
        return;
    }
    if (size == 0)
        return;
    taken = uv_try_write(stream, &out, 1);
    if (once) { /* 64 bytes on a new connection: always taken whole */
        uv_close((uv_handle_t *)stream, free_conn);
        return;
    }
    if (taken == UV_EAGAIN)
        taken = 0;
    if (taken < 0 || taken == size)
        return;
    struct rest *rest = malloc(sizeof(*rest) + (size_t)(size - taken));

    if (rest == NULL)
        abort();
    memcpy(rest->data, in->base + taken, (size_t)(size - taken));
    out = uv_buf_init(rest->data, (unsigned)(size - taken));
    check(uv_write(&rest->request, stream, &out, 1, written), "uv_write");
}

static void forget(uv_stream_t *stream, ssize_t size, const uv_buf_t *in)
{
    (void)in;
    if (size < 0)
        uv_close((uv_handle_t *)stream, free_conn);
}

struct whole {
    uv_write_t request;
    char *data;
};

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)handle;
    *out = uv_buf_init(malloc(suggested), (unsigned)suggested);
}

static void written_whole(uv_write_t *request, int status)
{
    struct whole *whole = (struct whole *)request;

    (void)status;
    free(whole->data);
    free(whole);
}

static void on_read_whole(uv_stream_t *stream, ssize_t size, const uv_buf_t *in)
{
    struct whole *whole;
    uv_buf_t out;

    if (size <= 0) {
        free(in->base);
        if (size < 0)
            uv_close((uv_handle_t *)stream, free_conn);
        return;
    }
    whole = malloc(sizeof(*whole));
    if (whole == NULL)
        abort();
    whole->data = in->base;
    out = uv_buf_init(in->base, (unsigned)size);
    check(uv_write(&whole->request, stream, &out, 1, written_whole), "uv_write");
}

static bool guide, sink;

static void on_connection(uv_stream_t *listener, int status)
{
    uv_tcp_t *conn = malloc(sizeof(*conn));

    check(status, "accept");
    if (conn == NULL)
        abort();
    uv_tcp_init(listener->loop, conn);
    check(uv_accept(listener, (uv_stream_t *)conn), "uv_accept");
    uv_tcp_nodelay(conn, 1);
    check(uv_read_start((uv_stream_t *)conn, guide ? allocate : give_buffer,
                        guide  ? on_read_whole
                        : sink ? forget
                               : on_read),
          "uv_read_start");
}

int main(int argc, char **argv)
{
    static uv_loop_t loop;
    static uv_tcp_t listener;
    struct sockaddr_in address;

    if (argc < 2) {
        fprintf(stderr, "usage: %s PORT [echo|accept|sink|guide]\n", argv[0]);
        return 64;
    }
    guide = argc > 2 && strcmp(argv[2], "guide") == 0;
    once = argc > 2 && strcmp(argv[2], "accept") == 0;
    sink = argc > 2 && strcmp(argv[2], "sink") == 0;
    buffer_size = sink ? SINK : READ;
    signal(SIGPIPE, SIG_IGN); /* as its documentation says: not every write has MSG_NOSIGNAL */
    check(uv_loop_init(&loop), "uv_loop_init");
    check(uv_tcp_init(&loop, &listener), "uv_tcp_init");
    /* "can be used to disable simultaneous accepts": on unix it makes libuv accept until EAGAIN */
    uv_tcp_simultaneous_accepts(&listener, 1);
    check(uv_ip4_addr("127.0.0.1", atoi(argv[1]), &address), "uv_ip4_addr");
    check(uv_tcp_bind(&listener, (struct sockaddr *)&address, 0), "uv_tcp_bind");
    check(uv_listen((uv_stream_t *)&listener, 4096, on_connection), "uv_listen");
    return uv_run(&loop, UV_RUN_DEFAULT);
}
