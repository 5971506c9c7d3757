/* Hello over HTTPS, and over HTTP beside it.
 *
 *     ./https-hello CERT.pem KEY.pem [URLS]      default https://127.0.0.1:8443
 *     curl --cacert CA.pem https://localhost:8443/hello/you
 */
#include <stdio.h>

#include <weir/http.h>
#include <weir/tls.h>
#include <weir/weir.h>

static void hello(weir_exchange x, void *user)
{
    weir_tls_info info;
    const char *how =
        weir_tls_info_of(weir_http_conn(x), &info) == 0 ? info.cipher : "nothing to hide";
    weir_http_text(x, 200, "Hello, %s, with %s!\n", weir_http_param(x, "name"), how);
}

int main(int argc, char **argv)
{
    static const char *const alpn[] = {"http/1.1", NULL};
    if (argc < 3) {
        fprintf(stderr, "usage: %s CERT KEY [URLS]\n", argv[0]);
        return 2;
    }
    weir_log_set(weir_log_to_fd, (void *)2, WEIR_LOG_WARN);
    weir_tls_cert cert = {.cert_file = argv[1], .key_file = argv[2]};
    weir_tls *tls = weir_tls_server_new(
        &(weir_tls_server_options){.certs = &cert, .cert_count = 1, .alpn = alpn});
    weir_http_app *app = weir_http_app_new(NULL);
    if (tls == NULL || app == NULL || weir_http_get(app, "/hello/{name}", hello, NULL) < 0)
        return 1;
    weir_service service;
    weir_http_service(app, argc > 3 ? argv[3] : "https://127.0.0.1:8443", &service);
    service.tls = weir_tls_layer(tls);
    int result = weir_run(&service, 1, NULL);
    weir_http_app_free(app);
    weir_tls_free(tls);
    return result < 0;
}
