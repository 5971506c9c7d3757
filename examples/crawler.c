/* A crawler: a few workers get a page of a server and the pages that it links to, each once, at
 * most PAGES_MAX of them. A link is href="/PATH".
 *
 *     ./crawler tcp://127.0.0.1:8080
 */
#include <stdio.h>
#include <string.h>

#include <weir/weir.h>

enum { WORKERS = 4, PAGES_MAX = 1000, PATH_BYTES = 256, HEAD_BYTES = 8192, APART_BYTES = 1 << 20 };

static char pages[PAGES_MAX][PATH_BYTES]; /* one loop, so plain static state is right */
static unsigned found, begun, done, failed;
static weir_semaphore waiting; /* pages that were found and not begun */
static int outcome = 1;

static void add(const char *path, size_t size)
{
    char page[PATH_BYTES];
    snprintf(page, sizeof page, "/%.*s", (int)size, path); /* shorter than that */
    page[strcspn(page, "#")] = '\0';
    for (const char *c = page; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~') /* it goes into a request, and to a terminal */
            return;
    for (unsigned i = 0; i < found; i++)
        if (strcmp(pages[i], page) == 0)
            return;
    if (page[1] != '/' /* another server's */ && found < PAGES_MAX) {
        strcpy(pages[found++], page);
        weir_semaphore_give(&waiting, 1);
    }
}

static int get(weir_conn c, const char *page, weir_time deadline)
{
    char text[PATH_BYTES + 64];
    int status; /* what is returned, or an error */
    weir_view in;
    snprintf(text, sizeof text, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", page);
    int result = weir_send_all(c, weir_str(text), deadline);
    if (result < 0 || (result = weir_recv_until(c, &in, "\r\n\r\n", HEAD_BYTES, deadline)) < 0)
        return result;
    snprintf(text, sizeof text, "%.*s", (int)in.size, (const char *)in.data);
    if (sscanf(text, "HTTP/1.%*1d %3d", &status) != 1)
        return WEIR_EPROTO;
    while ((result = weir_recv_until(c, &in, "href=\"/", APART_BYTES, deadline)) > 0) {
        if ((result = weir_recv_until(c, &in, "\"", PATH_BYTES - 1, deadline)) > 0)
            add(in.data, in.size - 1);
        else if (result != WEIR_ETOOBIG) /* a long one is left out */
            break;
    }
    return result == 0 || result == WEIR_EPROTO /* no link in what was left */ ? status : result;
}

static int work(void *arg)
{
    int result;
    while ((result = weir_semaphore_take(&waiting, 1, WEIR_NEVER)) == 0 && begun < found) {
        const char *page = pages[begun++];
        weir_time deadline = weir_after(10 * WEIR_S);
        weir_conn c;
        int status = weir_connect_wait(&c, arg, NULL, deadline);
        if (status == 0)
            status = get(c, page, deadline);
        weir_close(c); /* a handle of no connection is harmless */
        printf("%s %d %s\n", page, status, status < 0 ? weir_error_text(status) : "-");
        failed += status != 200;
        if (++done == found)
            weir_semaphore_give(&waiting, WORKERS); /* nothing will come any more */
    }
    return result;
}

static void crawl(void *arg)
{
    weir_scope scope;
    weir_scope_open(&scope, NULL);
    add("", 0);
    for (int i = 0; i < WORKERS; i++)
        if (weir_scope_spawn(&scope, work, arg) < 0)
            weir_scope_cancel(&scope);
    outcome = weir_scope_leave(&scope, weir_after(60 * WEIR_S));
    printf("%u pages, %u failed, %s\n", done, failed,
           outcome < 0 ? weir_error_text(outcome) : "done");
    weir_loop_stop(weir_loop_current());
}

int main(int argc, char **argv)
{
    weir_loop *loop;
    if (argc != 2 || weir_loop_new(&loop, NULL) < 0)
        return 2;
    weir_loop_enter(loop);
    if (weir_spawn(crawl, argv[1]) == 0)
        weir_loop_run(loop);
    weir_loop_free(loop);
    return outcome != 0;
}
