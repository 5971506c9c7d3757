/* An echo over TLS, and the client that asks it.
 *
 *     ./tls-echo CERT.pem KEY.pem [URL]      serves; default tls://127.0.0.1:7443
 *     ./tls-echo CA.pem URL                  says hello to it, trusting that CA
 *     openssl s_client -connect 127.0.0.1:7443 -CAfile CA.pem
 */
#include <stdio.h>
#include <string.h>

#include <weir/tls.h>
#include <weir/weir.h>

static void echo(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0)
        weir_abort(c);
}

static int serve(const char *cert_file, const char *key_file, const char *url)
{
    weir_tls_cert cert = {.cert_file = cert_file, .key_file = key_file};
    weir_tls *tls =
        weir_tls_server_new(&(weir_tls_server_options){.certs = &cert, .cert_count = 1});
    weir_service service = {.listen = url, .tls = weir_tls_layer(tls), .on_data = echo};
    int result = tls != NULL ? weir_run(&service, 1, NULL) : -1;
    weir_tls_free(tls);
    return result < 0;
}

static int exit_code = 1;

static void hello(weir_conn c, void *session)
{
    weir_tls_info info;
    if (weir_tls_info_of(c, &info) == 0)
        printf("%s with %s\n", info.version == WEIR_TLS_1_3 ? "TLS 1.3" : "TLS 1.2", info.cipher);
    if (weir_send(c, weir_str("hello\n")) < 0)
        weir_abort(c);
}

static void answered(weir_conn c, weir_view in, void *session)
{
    fwrite(in.data, 1, in.size, stdout);
    exit_code = 0;
    weir_close(c);
}

static void closed(weir_conn c, weir_end end, void *session)
{
    if (exit_code != 0)
        fprintf(stderr, "%s\n", weir_error_text(end.error));
    weir_loop_stop(weir_loop_current());
}

static int ask(const char *ca_file, const char *url)
{
    weir_tls *tls = weir_tls_client_new(&(weir_tls_client_options){.ca_file = ca_file});
    const weir_service service = {
        .tls = weir_tls_layer(tls), .on_open = hello, .on_data = answered, .on_close = closed};
    weir_loop *loop;
    if (tls == NULL || weir_loop_new(&loop, NULL) < 0)
        return 1;
    weir_loop *former = weir_loop_enter(loop);
    int result = weir_connect(NULL, url, &service, NULL);
    weir_loop_enter(former);
    if (result == 0)
        weir_loop_run(loop);
    else
        fprintf(stderr, "%s: %s\n", url, weir_error_text(result));
    weir_loop_free(loop);
    weir_tls_free(tls);
    return exit_code;
}

int main(int argc, char **argv)
{
    weir_log_set(weir_log_to_fd, (void *)2, WEIR_LOG_WARN);
    if (argc == 3 && strstr(argv[2], "://") != NULL)
        return ask(argv[1], argv[2]);
    if (argc >= 3)
        return serve(argv[1], argv[2], argc > 3 ? argv[3] : "tls://127.0.0.1:7443");
    fprintf(stderr, "usage: %s CERT KEY [URL] | CA URL\n", argv[0]);
    return 2;
}
