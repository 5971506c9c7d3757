/* An HTTP handler that asks two servers at once, under one deadline: GET /ask/WORD sends the word
 * as a line to two echo servers (echo.c, or echo_co.c), on connections that are kept for the next
 * request, and answers with what both said. When one fails the other is not waited for.
 *
 *     ./both [URL [ECHO [ECHO]]]   default http://127.0.0.1:8083, twice tcp://127.0.0.1:7000
 *     curl http://127.0.0.1:8083/ask/hello
 */
#include <string.h>

#include <weir/http.h>
#include <weir/weir.h>

static const char *urls[2] = {"tcp://127.0.0.1:7000", "tcp://127.0.0.1:7000"};
static const weir_service lines = {.straight = true, .frame = weir_frame_line(4096)};
static weir_pool *pool; /* of the only loop */

struct question {
    const char *url, *word;
    weir_time deadline;
    char answer[4096];
    unsigned size;
};

static int ask_on(weir_conn c, struct question *question)
{
    weir_view line;
    int result = weir_send_all(c, weir_str(question->word), question->deadline);
    if (result == 0)
        result = weir_send_all(c, weir_str("\n"), question->deadline);
    if (result == 0)
        result = weir_recv_frame(c, &line, question->deadline);
    if (result != 1)
        return result < 0 ? result : WEIR_EGONE;
    question->size = line.size;
    memcpy(question->answer, line.data, line.size); /* the view ends with the lease */
    return 0;
}

static int ask(void *arg)
{
    struct question *question = arg;
    weir_lease lease;
    int result = weir_pool_take(pool, question->url, &lease, question->deadline);
    if (result < 0)
        return result;
    result = ask_on(lease.conn, question);
    weir_pool_give(&lease, result == 0);
    return result;
}

static void ask_both(weir_exchange x, void *user)
{
    struct question questions[2];
    weir_time deadline = weir_after(2 * WEIR_S);
    weir_scope scope;
    if (pool == NULL && weir_pool_new(&pool, &(weir_pool_options){.service = &lines}) < 0) {
        weir_http_text(x, 503, "out of memory\n");
        return;
    }
    weir_scope_open(&scope, NULL);
    for (int i = 0; i < 2; i++) {
        questions[i].url = urls[i];
        questions[i].word = weir_http_param(x, "word");
        questions[i].deadline = deadline;
        if (weir_scope_spawn(&scope, ask, &questions[i]) < 0)
            weir_scope_cancel(&scope);
    }
    int result = weir_scope_leave(&scope, deadline);
    if (result == 0)
        weir_http_text(x, 200, "%.*s and %.*s\n", (int)questions[0].size, questions[0].answer,
                       (int)questions[1].size, questions[1].answer);
    else
        weir_http_text(x, 502, "no answer: %s\n", weir_error_text(result));
}

int main(int argc, char **argv)
{
    weir_http_app *app = weir_http_app_new(NULL);
    for (int i = 2; i < argc && i < 4; i++)
        urls[i - 2] = argv[i];
    if (app == NULL || weir_http_get(app, "/ask/{word}", ask_both, NULL) < 0)
        return 1;
    int result = weir_http_serve(app, argc > 1 ? argv[1] : "http://127.0.0.1:8083");
    weir_http_app_free(app);
    return result < 0;
}
