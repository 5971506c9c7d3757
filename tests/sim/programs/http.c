/* HTTP under simulation: the server of app/http with files, routes and bodies; clients that write
 * requests by hand and read the answers with a parser of their own.
 *
 * ctest: timeout=600 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/http.h>

#include "sim/check/prog.h"

enum { PORT = 7500, REQUESTS = 10, BODY_MOST = 10000, HEAD_MOST = 8192, FILE_BYTES = 1 << 20 };

struct http {
    struct check *check;
    bool ready, patient;
    char url[64];
    unsigned living, tries, at_once, answers;
};

/* --- the server ------------------------------------------------------------------------------- */

static void hello(weir_exchange x, void *user)
{
    weir_http_text(x, 200, "hello %s\n", weir_http_param(x, "name"));
}

/* Answers with the body that came, in pieces, as they come. */
static void mirror(weir_exchange x, void *user)
{
    weir_view piece;
    int got = -1, result = weir_http_begin(x, 200, "application/octet-stream", -1);
    while (result >= 0 && (got = weir_http_read(x, &piece, WEIR_NEVER)) > 0)
        result = weir_http_write(x, piece, WEIR_NEVER);
    if (result >= 0 && got == 0) /* otherwise the answer is cut, and its connection aborted */
        weir_http_end(x);
}

static int server_main(void *arg)
{
    struct http *run = arg;
    weir_loop_options options = prog_options(true);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    check_others(cl);
    weir_service service;
    weir_http_app *app = weir_http_app_new(NULL);
    weir_http_files files = {.cache_bytes = sim_chance(1, 2) ? 0 : UINT64_MAX};
    sim_check(app != NULL && weir_http_get(app, "/hello/{name}", hello, NULL) == 0 &&
                  weir_http_post(app, "/mirror", mirror, NULL) == 0 &&
                  weir_http_serve_files(app, "/files", sim_folder(), &files) == 0,
              "http.app: an application; none");
    weir_http_service(app, run->url, &service);
    prog_enter(cl);
    int result = weir_listen(NULL, &service);
    prog_leave();
    sim_check(result == 0, "listen: an address to listen on; %s", weir_error_name(result));
    run->ready = true;
    prog_run(cl);
    weir_http_app_free(app);
    return 0;
}

/* --- clients ---------------------------------------------------------------------------------- */

enum kind { TEXT, WHOLE, RANGE, MISSING, POST, KINDS };

struct request {
    enum kind kind;
    uint32_t from, size; /* of the file, or of the body */
    uint32_t name;
    uint8_t *body;
};

struct client {
    struct request requests[REQUESTS];
    unsigned count, asked, at; /* at: whose answer comes */
    unsigned deep;             /* requests under way at a time */
    char head[HEAD_MOST + 1];
    size_t head_size;
    bool in_body, chunked, chunk_head;
    unsigned status;
    uint64_t left, seen; /* of the body; of a chunk */
};

static void ask_more(struct check_conn *cc)
{
    struct client *c = cc->note;
    struct check *check = check_of(cc->side->cl);
    char text[256];
    int result = 0;
    while (check_living(cc) && result >= 0 && c->asked < c->count && c->asked - c->at < c->deep) {
        struct request *r = &c->requests[c->asked++];
        r->kind = (enum kind)check_random(check, KINDS);
        r->name = (uint32_t)check_random(check, 100000);
        switch (r->kind) {
        case TEXT:
            snprintf(text, sizeof text, "GET /hello/%u HTTP/1.1\r\nHost: a\r\n\r\n", r->name);
            break;
        case WHOLE:
        case RANGE:
            r->from = (uint32_t)check_random(check, FILE_BYTES - BODY_MOST);
            r->size = 1 + (uint32_t)check_random(check, BODY_MOST);
            snprintf(text, sizeof text,
                     "GET /files/noise.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=%u-%u\r\n\r\n",
                     r->from, r->from + r->size - 1);
            break;
        case MISSING:
            snprintf(text, sizeof text, "GET /none/%u HTTP/1.1\r\nHost: a\r\n\r\n", r->name);
            break;
        default:
            r->size = (uint32_t)check_random(check, BODY_MOST);
            r->body = malloc(r->size + 1);
            check_noise(check, r->body, r->size);
            snprintf(text, sizeof text,
                     "POST /mirror HTTP/1.1\r\nHost: a\r\nContent-Length: %u\r\n\r\n", r->size);
            break;
        }
        result = check_send_bytes(cc, text, strlen(text));
        if (result >= 0 && r->kind == POST && r->size != 0)
            result = check_send_bytes(cc, r->body, r->size);
    }
    if (result < 0 && check_living(cc))
        check_abort(cc);
}

static void head_read(struct client *c)
{
    const char *length = strcasestr(c->head, "\r\ncontent-length:");
    sim_check(sscanf(c->head, "HTTP/1.1 %u ", &c->status) == 1, "http.head: a status; \"%.60s\"",
              c->head);
    c->chunked = strcasestr(c->head, "\r\ntransfer-encoding: chunked") != NULL;
    sim_check(c->chunked != (length != NULL), "http.head: one way to tell the length; %s",
              length != NULL ? "two" : "none");
    c->left = length != NULL ? strtoull(length + 17, NULL, 10) : 0;
    c->seen = 0;
    c->in_body = true;
    c->chunk_head = true;
    c->head_size = 0;
}

static void body_check(const struct client *c, const uint8_t *bytes, size_t size)
{
    const struct request *r = &c->requests[c->at];
    char text[32];
    snprintf(text, sizeof text, "hello %u\n", r->name);
    for (size_t i = 0; i < size && c->status < 300; i++) {
        uint64_t at = c->seen + i;
        uint8_t expected = r->kind == TEXT   ? (uint8_t)(at < strlen(text) ? text[at] : 0)
                           : r->kind == POST ? (at < r->size ? r->body[at] : 0)
                                             : check_file_byte(r->from + at);
        sim_check(bytes[i] == expected, "http.body: byte %llu of answer %u is %02x; %02x",
                  (unsigned long long)at, c->at, expected, bytes[i]);
    }
}

static void answer_over(struct check_conn *cc)
{
    struct client *c = cc->note;
    struct http *run = cc->side->note;
    const struct request *r = &c->requests[c->at];
    bool file = r->kind == WHOLE || r->kind == RANGE;
    unsigned expected = r->kind == MISSING ? 404 : file ? 206 : 200;
    bool want = !sim_quiet() && c->status >= 400;
    sim_check(c->status == expected || want, "http.status: %u; %u", expected, c->status);
    if (r->kind == POST || file)
        sim_check(want || c->seen == r->size, "http.size: %u bytes; %llu", r->size,
                  (unsigned long long)c->seen);
    free(r->body);
    c->requests[c->at].body = NULL;
    c->at++;
    c->in_body = false;
    run->answers++;
    if (c->at == c->count)
        check_close(cc);
    else
        ask_more(cc);
}

/* One line of a chunk's head, or of the end. True: the answer is over. */
static bool chunk_line(struct client *c)
{
    bool blank = c->head_size == 2;
    c->head[c->head_size] = 0;
    c->head_size = 0;
    if (blank && c->left == 0 && c->seen != UINT64_MAX && !c->chunk_head)
        return true; /* behind the last chunk */
    if (blank)
        return false; /* behind a chunk's bytes */
    c->left = strtoull(c->head, NULL, 16);
    c->chunk_head = c->left != 0;
    return false;
}

static void client_data(struct check_conn *cc, weir_view in)
{
    struct client *c = cc->note;
    const uint8_t *bytes = in.data;
    for (uint32_t i = 0; i < in.size && check_living(cc);) {
        sim_check(c->at < c->asked, "http.answer: an answer to each request; one more");
        if (c->in_body && c->left != 0) {
            size_t part = in.size - i < c->left ? in.size - i : (size_t)c->left;
            body_check(c, bytes + i, part);
            c->seen += part;
            c->left -= part;
            i += (uint32_t)part;
            if (c->left == 0 && !c->chunked)
                answer_over(cc);
            continue;
        }
        sim_check(c->head_size < HEAD_MOST, "http.head: a head of at most %d bytes; more",
                  HEAD_MOST);
        c->head[c->head_size++] = (char)bytes[i++];
        if (c->head[c->head_size - 1] != '\n')
            continue;
        if (c->in_body) {
            if (chunk_line(c))
                answer_over(cc);
            continue;
        }
        c->head[c->head_size] = 0;
        if (c->head_size < 4 || memcmp(c->head + c->head_size - 4, "\r\n\r\n", 4) != 0)
            continue;
        head_read(c);
        if (!c->chunked && c->left == 0)
            answer_over(cc);
    }
}

static void client_open(struct check_conn *cc)
{
    ask_more(cc);
}

static void clients_go_on(struct check_side *side);

static void client_close(struct check_conn *cc)
{
    struct client *c = cc->note;
    struct http *run = cc->side->note;
    sim_check(c->at == c->count || check_may_break(run->check) || !sim_quiet(),
              "http.all: %u answers; %u (reason %d, %s)", c->count, c->at, cc->end.why,
              weir_error_name(cc->end.error));
    for (unsigned i = 0; i < c->asked; i++)
        free(c->requests[i].body);
    free(c);
    run->living--;
    clients_go_on(cc->side);
}

static void clients_go_on(struct check_side *side)
{
    struct http *run = side->note;
    while (run->living < run->at_once && run->tries != 0) {
        int error;
        struct client *c = calloc(1, sizeof *c);
        c->count = 1 + (unsigned)check_random(run->check, REQUESTS);
        c->deep = 1 + (unsigned)check_random(run->check, 8);
        run->tries--;
        if (check_connect(side, run->url, c, &error) != NULL)
            run->living++;
        else
            free(c);
    }
    if (run->living == 0)
        prog_stop(side->cl);
}

static int client_main(void *arg)
{
    struct http *run = arg;
    weir_loop_options options = prog_options(true);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    struct check_side *side = check_side_new(cl, "client");
    prog_service(&side->service, &options, true);
    side->service.read_on = WEIR_READ_ALWAYS;
    side->loose = true;
    side->error_fine = true;
    side->note = run;
    side->open = client_open;
    side->data = client_data;
    side->close = client_close;
    run->tries = (unsigned)sim_size(6);
    run->at_once = (unsigned)sim_size(run->tries);
    prog_enter(cl);
    clients_go_on(side);
    prog_leave();
    prog_run(cl);
    return 0;
}

static void run(void)
{
    struct http *run = calloc(1, sizeof *run);
    prog_begin();
    run->check = check_new(sim_seed());
    char tcp[64];
    snprintf(run->url, sizeof run->url, "http%s", prog_url(tcp, sizeof tcp, 1, PORT) + 3);
    sim_host *server = prog_host("server", 1, server_main, run);
    sim_host *client = prog_host("client", 2, client_main, run);
    prog_start(server, &run->ready);
    prog_url(run->url, sizeof run->url, 1, PORT);
    sim_host_start(client);
    sim_sleep(sim_size(30) * WEIR_S);
    sim_faults_stop();
    prog_wait(client, 3000 * WEIR_S);
    prog_end(server);
    sim_note("%u answers", run->answers);
    check_end(run->check);
    free(run);
}

SIM_PROGRAM(http, .what = "the HTTP server, with files and bodies", .run = run,
            .setup = check_setup);
