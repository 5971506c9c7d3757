/* What weir serve --redirect answers on its addresses of http://. */
#include <stdio.h>
#include <string.h>

#include "cmd/serve/serve.h"

/* A host and a port as a client may name them, and nothing that could mean more in a header. */
static bool host_good(weir_view host)
{
    static const char good[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";
    const char *text = host.data;
    for (uint32_t i = 0; i < host.size; i++)
        if (text[i] == '\0' || strchr(good, text[i]) == NULL)
            return false;
    return host.size != 0 && host.size < 256;
}

/* Where the port begins: at the last colon that no bracket follows. */
static uint32_t host_size(weir_view host)
{
    const char *text = host.data;
    for (uint32_t i = host.size; i-- > 0 && text[i] != ']';)
        if (text[i] == ':')
            return i;
    return host.size;
}

static void redirect(weir_exchange x, void *user)
{
    enum { TARGET_MAX = 8192, HTTPS = 443 };
    char location[TARGET_MAX + 300], port[8] = "";
    weir_view host = weir_http_header(x, "Host"), target = weir_http_target(x);
    weir_address address;
    const char *from = target.data;
    if (!host_good(host) || target.size == 0 || from[0] != '/' || target.size > TARGET_MAX ||
        weir_run_address(0, &address) < 0) {
        weir_http_text(x, 400, "This is served over https:// only.\n");
        return;
    }
    if (weir_address_port(&address) != HTTPS)
        snprintf(port, sizeof port, ":%d", weir_address_port(&address));
    snprintf(location, sizeof location, "https://%.*s%s%.*s", (int)host_size(host),
             (const char *)host.data, port, (int)target.size, from);
    if (weir_http_set(x, "Location", location) < 0)
        weir_http_text(x, 400, "This is served over https:// only.\n");
    else /* the method and the body stay what they are (RFC 9110 section 15.4.9) */
        weir_http_text(x, 308, "%s\n", location);
}

weir_http_app *redirect_app(const weir_http_options *options)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "PATCH"};
    weir_http_app *app = weir_http_app_new(options);
    for (unsigned i = 0; app != NULL && i < sizeof methods / sizeof *methods; i++) {
        if (weir_http_route(app, methods[i], "/{rest...}", redirect, NULL, WEIR_HTTP_PLAIN) < 0) {
            weir_http_app_free(app);
            return NULL;
        }
    }
    return app;
}
