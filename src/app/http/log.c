/* The access log. */
#include "app/http/server.h"

int accesslog_open(weir_http_app *app)
{
    return 0;
}

void accesslog_close(weir_http_app *app)
{
}

int accesslog_start(struct http_server *server)
{
    return 0;
}

void accesslog_stop(struct http_server *server)
{
}

void accesslog_add(struct exchange *x)
{
}
