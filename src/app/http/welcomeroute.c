/* The welcome page as a route. */
#include <stdio.h>
#include <string.h>

#include <weir/version.h>

#include "app/http/page.h"
#include "app/http/server.h"
#include "app/http/welcome.h"

enum { WELCOME_ROOM = 16 << 10, WELCOME_URL_MAX = 512 };

struct welcome_page {
    char *text;
    size_t size, room;
};

static int page_write(void *arg, const char *data, size_t size)
{
    struct welcome_page *page = arg;
    if (size > page->room - page->size)
        return WEIR_ETOOBIG;
    memcpy(page->text + page->size, data, size);
    page->size += size;
    return 0;
}

/* As the client types it; what a strange client sent as its host is left out. */
static const char *url_of(const struct exchange *x, char url[WELCOME_URL_MAX])
{
    struct http_text host = http1_text(&x->request.fields, x->request.host);
    if (host.length == 0 || host.length > WELCOME_URL_MAX - 16)
        return NULL;
    snprintf(url, WELCOME_URL_MAX, "http://%.*s", (int)host.length, host.at);
    return url;
}

static void welcome_handle(weir_exchange handle, void *user)
{
    static const char policy[] = PAGE_POLICY;
    struct exchange *x = exchange_of(handle);
    struct memory *memory = &x->server->loop->memory;
    struct welcome_page page = {.size = 0};
    struct textout out;
    char url[WELCOME_URL_MAX];
    page.text = memory_take(memory, WELCOME_ROOM, false, &page.room);
    if (page.text == NULL) {
        answer_error(x, 503, NULL, NULL);
        return;
    }
    struct welcome_facts facts = {
        .version = weir_version(),
        .url = url_of(x, url),
        .backend = weir_loop_backend(x->server->loop),
    };
    textout_init(&out, page_write, &page);
    weir__welcome_write(&facts, &out);
    int result = textout_end(&out);
    answer_field(x, "Content-Security-Policy", (struct http_text){policy, sizeof policy - 1});
    if (result == 0)
        result = answer_whole(x, 200, PAGE_TYPE, weir_bytes(page.text, page.size));
    if (result < 0)
        answer_error(x, 503, NULL, NULL);
    memory_give(memory, page.text, page.room);
}

int weir_http_welcome(weir_http_app *app)
{
    return weir_http_route(app, "GET", "/", welcome_handle, NULL, WEIR_HTTP_PLAIN);
}
