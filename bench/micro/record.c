/* Prints what an idle connection's records take, for ./dev bench memory. */
#include <stdio.h>

#include "app/http/server.h"
#include "net/conn.h"

int main(void)
{
    printf("{\"conn\": %zu, \"http\": %zu}\n", sizeof(struct conn), sizeof(struct http_conn));
    return 0;
}
