/* Hello over HTTP.
 *
 *     ./hello [URL]                default http://127.0.0.1:8080
 *     curl http://127.0.0.1:8080/hello/you
 */
#include <weir/http.h>
#include <weir/weir.h>

static void hello(weir_exchange x, void *user)
{
    weir_http_text(x, 200, "Hello, %s!\n", weir_http_param(x, "name"));
}

int main(int argc, char **argv)
{
    weir_http_app *app = weir_http_app_new(NULL);
    if (app == NULL || weir_http_get(app, "/hello/{name}", hello, NULL) < 0)
        return 1;
    int result = weir_http_serve(app, argc > 1 ? argv[1] : "http://127.0.0.1:8080");
    weir_http_app_free(app);
    return result < 0;
}
