/* An HTTP handler that asks another server before it answers: GET /ask/WORD sends the word as a
 * line to an echo server (echo.c, or echo_co.c) and answers with what comes back. Others are served
 * meanwhile, and one deadline is for all of it.
 *
 *     ./upstream [URL [ECHO]]      default http://127.0.0.1:8082, tcp://127.0.0.1:7000
 *     curl http://127.0.0.1:8082/ask/hello
 */
#include <weir/http.h>
#include <weir/weir.h>

static const char *echo_url = "tcp://127.0.0.1:7000";
static const weir_service lines = {.straight = true, .frame = weir_frame_line(4096)};

static int ask_on(weir_conn c, const char *word, weir_view *line, weir_time deadline)
{
    int result = weir_send_all(c, weir_str(word), deadline);
    if (result == 0)
        result = weir_send_all(c, weir_str("\n"), deadline);
    return result == 0 ? weir_recv_frame(c, line, deadline) : result;
}

static void ask(weir_exchange x, void *user)
{
    weir_time deadline = weir_after(2 * WEIR_S);
    weir_view line;
    weir_conn c;
    int result = weir_connect_wait(&c, echo_url, &lines, deadline);
    if (result == 0)
        result = ask_on(c, weir_http_param(x, "word"), &line, deadline);
    if (result == 1)
        weir_http_text(x, 200, "the other says %.*s\n", (int)line.size, (const char *)line.data);
    else
        weir_http_text(x, 502, "no answer: %s\n", weir_error_text(result));
    weir_close(c); /* a handle of no connection is harmless */
}

int main(int argc, char **argv)
{
    weir_http_app *app = weir_http_app_new(NULL);
    if (argc > 2)
        echo_url = argv[2];
    if (app == NULL || weir_http_get(app, "/ask/{word}", ask, NULL) < 0)
        return 1;
    int result = weir_http_serve(app, argc > 1 ? argv[1] : "http://127.0.0.1:8082");
    weir_http_app_free(app);
    return result < 0;
}
