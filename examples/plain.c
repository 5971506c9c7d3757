/* HTTP handlers that run on the loop's own stack: cheaper, but they may not wait. What is not known
 * yet is answered later, and a body comes by calls.
 *
 *     ./plain [URL]                        default http://127.0.0.1:8080
 *     curl http://127.0.0.1:8080/later/500             answers after 500 ms
 *     curl --data-binary @FILE http://127.0.0.1:8080/sum
 */
#include <stdlib.h>

#include <weir/http.h>
#include <weir/weir.h>

struct later {
    weir_timer timer;
    weir_exchange x; /* a handle: it may outlive its client, and then every verb says so */
    unsigned ms;
};

static void later_due(weir_timer *timer, void *arg)
{
    struct later *later = arg;
    weir_http_text(later->x, 200, "after %u ms\n", later->ms);
    free(later);
}

static void later(weir_exchange x, void *user)
{
    struct later *later = calloc(1, sizeof *later);
    if (later == NULL)
        abort();
    later->x = x;
    later->ms = (unsigned)strtoul(weir_http_param(x, "ms"), NULL, 10);
    weir_timer_start(&later->timer, weir_after(later->ms * WEIR_MS), later_due, later);
}

struct sum {
    uint64_t bytes;
    uint32_t sum;
};

/* Each piece as it comes, and once a last call with none: there the state goes. */
static void sum_piece(weir_exchange x, weir_view data, int error, void *arg)
{
    struct sum *sum = arg;
    const uint8_t *bytes = data.data;
    for (uint32_t i = 0; i < data.size; i++)
        sum->sum = sum->sum * 31 + bytes[i];
    sum->bytes += data.size;
    if (data.size != 0)
        return;
    if (error == 0) /* otherwise weir answers what went wrong */
        weir_http_text(x, 200, "%llu bytes, sum %08x\n", (unsigned long long)sum->bytes, sum->sum);
    free(sum);
}

static void sum(weir_exchange x, void *user)
{
    struct sum *sum = calloc(1, sizeof *sum);
    if (sum == NULL || weir_http_on_body(x, sum_piece, sum) < 0) {
        free(sum);
        weir_http_text(x, 503, "out of memory\n");
    }
}

int main(int argc, char **argv)
{
    weir_http_options options = {.body_max_bytes = 1 << 30};
    weir_http_app *app = weir_http_app_new(&options);
    if (app == NULL ||
        weir_http_route(app, "GET", "/later/{ms}", later, NULL, WEIR_HTTP_PLAIN) < 0 ||
        weir_http_route(app, "POST", "/sum", sum, NULL, WEIR_HTTP_PLAIN) < 0)
        return 1;
    int result = weir_http_serve(app, argc > 1 ? argv[1] : "http://127.0.0.1:8080");
    weir_http_app_free(app);
    return result < 0;
}
