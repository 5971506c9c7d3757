/* The HTTP jobs on weir: a tiny body from a handler on a coroutine stack, which is the default, at
 * /, the same from a plain handler at /plain, one that takes about 0.5 ms of work at /work, and the
 * files of a folder at /files/. No option is changed but the idle deadline, which nginx has at 600
 * s in these jobs too. */
#include <stdio.h>

#include <weir/http.h>
#include <weir/weir.h>

static void hello(weir_exchange x, void *user)
{
    static const char text[] = "Hello, World!\n";

    weir_http_respond(x, 200, "text/plain", weir_static(text, sizeof(text) - 1));
}

/* A fixed amount of work, however often it is interrupted: some 0.5 ms. */
static void work(weir_exchange x, void *user)
{
    uint64_t sum = 1;

    for (unsigned i = 0; i < 480000; i++)
        sum = sum * 6364136223846793005u + (sum >> 33);
    weir_http_text(x, 200, "%020llu", (unsigned long long)sum);
}

int main(int argc, char **argv)
{
    static const weir_http_options options = {.idle_ms = 600 * 1000};
    weir_http_app *app = weir_http_app_new(&options);
    int result;

    if (argc < 2) {
        fprintf(stderr, "usage: %s URL [FOLDER]\n", argv[0]);
        return 64;
    }
    if (app == NULL || weir_http_get(app, "/", hello, NULL) < 0 ||
        weir_http_route(app, "GET", "/plain", hello, NULL, WEIR_HTTP_PLAIN) < 0 ||
        weir_http_get(app, "/work", work, NULL) < 0 ||
        (argc > 2 && weir_http_serve_files(app, "/files", argv[2], NULL) < 0)) {
        fprintf(stderr, "weir_http: cannot set up\n");
        return 1;
    }
    result = weir_http_serve(app, argv[1]);
    weir_http_app_free(app);
    return result < 0;
}
