/* Directories served as files. */
#include "app/http/server.h"

int mount_start(struct http_server *server)
{
    return 0;
}

void mount_stop(struct http_server *server)
{
}

void mounts_free(weir_http_app *app)
{
}
