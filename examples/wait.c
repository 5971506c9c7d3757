/* HTTP handlers that wait: a slow answer, an upload counted as it comes, an answer in pieces.
 * Others go on meanwhile.
 *
 *     ./wait [URL]                 default http://127.0.0.1:8081
 *     curl http://127.0.0.1:8081/sleep/300
 *     curl --data-binary @/etc/services http://127.0.0.1:8081/count
 *     curl -N http://127.0.0.1:8081/ticks/5
 */
#include <stdlib.h>

#include <weir/http.h>
#include <weir/weir.h>

static void slow(weir_exchange x, void *user)
{
    unsigned long ms = strtoul(weir_http_param(x, "ms"), NULL, 10);
    weir_sleep(weir_after((ms < 10000 ? ms : 10000) * WEIR_MS));
    weir_http_text(x, 200, "waited %lu ms\n", ms);
}

static void count(weir_exchange x, void *user)
{
    unsigned long bytes = 0;
    weir_view piece;
    int got;
    while ((got = weir_http_read(x, &piece, weir_after(10 * WEIR_S))) > 0)
        bytes += piece.size;
    if (got == 0)
        weir_http_text(x, 200, "%lu bytes\n", bytes);
}

static void ticks(weir_exchange x, void *user)
{
    unsigned long times = strtoul(weir_http_param(x, "times"), NULL, 10);
    int result = weir_http_begin(x, 200, "text/plain", -1);
    for (unsigned long i = 0; i < times && i < 100 && result >= 0; i++) {
        result = weir_http_write(x, weir_str("tick\n"), weir_after(WEIR_S));
        weir_sleep(weir_after(50 * WEIR_MS));
    }
    weir_http_end(x);
}

int main(int argc, char **argv)
{
    weir_http_options options = {.body_max_bytes = 64 << 20};
    weir_http_app *app = weir_http_app_new(&options);
    if (app == NULL || weir_http_get(app, "/sleep/{ms}", slow, NULL) < 0 ||
        weir_http_post(app, "/count", count, NULL) < 0 ||
        weir_http_get(app, "/ticks/{times}", ticks, NULL) < 0)
        return 1;
    int result = weir_http_serve(app, argc > 1 ? argv[1] : "http://127.0.0.1:8081");
    weir_http_app_free(app);
    return result < 0;
}
