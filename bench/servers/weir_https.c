/* The HTTPS jobs on weir: a tiny body from a handler at /, and the files of a folder at /files/. No
 * option is changed but the idle deadline, which nginx has at 600 s in these jobs too. */
#include <stdio.h>

#include <weir/http.h>
#include <weir/tls.h>
#include <weir/weir.h>

static void hello(weir_exchange x, void *user)
{
    static const char text[] = "Hello, World!\n";

    weir_http_respond(x, 200, "text/plain", weir_static(text, sizeof(text) - 1));
}

int main(int argc, char **argv)
{
    static const weir_http_options options = {.idle_ms = 600 * 1000};
    static const char *const alpn[] = {"http/1.1", NULL};

    if (argc != 5) {
        fprintf(stderr, "usage: %s URL FOLDER CERTIFICATE KEY\n", argv[0]);
        return 64;
    }
    weir_tls_cert cert = {.cert_file = argv[3], .key_file = argv[4]};
    weir_tls *tls = weir_tls_server_new(
        &(weir_tls_server_options){.certs = &cert, .cert_count = 1, .alpn = alpn});
    weir_http_app *app = weir_http_app_new(&options);
    if (tls == NULL || app == NULL || weir_http_get(app, "/", hello, NULL) < 0 ||
        weir_http_serve_files(app, "/files", argv[2], NULL) < 0) {
        fprintf(stderr, "weir_https: cannot set up\n");
        return 1;
    }
    weir_service service;
    weir_http_service(app, argv[1], &service);
    service.tls = weir_tls_layer(tls);
    int result = weir_run(&service, 1, NULL);
    weir_http_app_free(app);
    weir_tls_free(tls);
    return result < 0;
}
