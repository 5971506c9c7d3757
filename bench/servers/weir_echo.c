/* The byte jobs on weir, each the ten-line program of the README, its address and back end chosen
 * by the runner (WEIR_BACKEND; without it weir takes the one that it thinks best). No option is
 * changed: what users get is what is measured.
 *
 *     weir_echo URL [echo|straight|accept|sink|frames] [LOOPS]
 *     weir_echo --backend     names the back end that it would take, and ends */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/weir.h>

static void echo(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0)
        weir_abort(c);
}

/* The same by a coroutine for each connection. */
static void echo_straight(weir_conn c, void *session)
{
    weir_view in;
    while (weir_recv(c, &in, weir_after(30 * WEIR_S)) > 0)
        if (weir_send_all(c, in, weir_after(5 * WEIR_S)) < 0)
            return;
}

static void answer_once(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0 || weir_close(c) < 0)
        weir_abort(c);
}

static void forget(weir_conn c, weir_view in, void *session)
{
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
    static const weir_frame frame = weir_frame_length_field(4096, 0, 4, 0, 0, 0);
    const char *job = argc > 2 ? argv[2] : "echo";
    weir_service service = {.listen = argc > 1 ? argv[1] : "tcp://127.0.0.1:7000"};

    if (argc > 1 && strcmp(argv[1], "--backend") == 0)
        return name_backend();
    if (strcmp(job, "echo") == 0) {
        service.on_data = echo;
    } else if (strcmp(job, "straight") == 0) {
        service.on_conn = echo_straight;
    } else if (strcmp(job, "accept") == 0) {
        service.on_data = answer_once;
    } else if (strcmp(job, "sink") == 0) {
        service.on_data = forget;
    } else if (strcmp(job, "frames") == 0) {
        service.frame = frame; /* a length of 4 bytes, which comes with the payload */
        service.on_frame = echo;
    } else {
        fprintf(stderr, "weir_echo: no job \"%s\"\n", job);
        return 64;
    }
    if (argc > 3) {
        const weir_run_options options = {.shape = WEIR_SHAPE_THREADS,
                                          .loops = (unsigned)atoi(argv[3])};
        return weir_run(&service, 1, &options) < 0;
    }
    return weir_run(&service, 1, NULL) < 0;
}
