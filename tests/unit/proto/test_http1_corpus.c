/* ctest: timeout=300 */
/*
 * Replays tests/corpus/http1 against the codec as a server would read it: whole, in two pieces cut
 * at every byte, and byte by byte, with every engine. All must end alike, and as the files say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http1_corpus.h"

#include "proto/http1_body.h"
#include "proto/http1_engine.h"
#include "proto/httpuri.h"

#define BODY_MOST (1u << 20)

/* What became of a connection. */
struct outcome {
    unsigned accepted; /* requests that came in full */
    int refusal;       /* enum http1_refusal */
    char fate;         /* k, c, w */
    unsigned trailers;
    uint64_t body_bytes, body_sum; /* length of the last body, and a hash */
    char method[64], path[128], query[128], host[128];
};

enum phase { PHASE_HEAD, PHASE_BODY, PHASE_TRAILERS, PHASE_DONE };

/* A reader of one connection; it sees the bytes up to `have` only. */
struct reader {
    const uint8_t *data;
    size_t at, have;
    enum phase phase;
    bool last; /* the connection closes after this request */
    struct http1_resume resume;
    struct http1_body body;
    struct outcome outcome;
};

static void keep_text(char *to, size_t room, struct http_text text)
{
    size_t length = text.length < room ? text.length : room - 1;

    memset(to, 0, room);
    if (length > 0)
        memcpy(to, text.at, length);
}

static uint64_t add_to_sum(uint64_t sum, const uint8_t *p, size_t n)
{
    while (n-- > 0)
        sum = (sum ^ *p++) * 1099511628211u;
    return sum;
}

static bool refuse(struct reader *reader, ssize_t rc)
{
    reader->outcome.refusal = (int)-rc;
    reader->outcome.fate = http1_refusal_row(rc)->close ? 'c' : 'k';
    reader->phase = PHASE_DONE;
    return false;
}

/* The request came in full. */
static bool finish_request(struct reader *reader)
{
    reader->outcome.accepted++;
    reader->phase = PHASE_HEAD;
    if (reader->last) {
        reader->outcome.fate = 'c';
        reader->phase = PHASE_DONE;
    }
    return !reader->last;
}

static bool read_head(struct reader *reader)
{
    struct http1_field rows[HTTP1_FIELDS];
    struct http1_request request = {.fields = {.row = rows, .capacity = HTTP1_FIELDS}};
    struct outcome *outcome = &reader->outcome;
    char decoded[HTTP1_HEAD_BYTES];
    struct http_text path;
    ssize_t rc;

    rc = http1_parse_request(reader->data + reader->at, reader->have - reader->at, &reader->resume,
                             NULL, &request);
    if (rc <= 0)
        return rc < 0 ? refuse(reader, rc) : false;
    assert_int_equal(rc, request.head_bytes);
    path = http1_text(&request.fields, request.path);
    if (http_path_decode(path, decoded, sizeof(decoded), NULL) < 0)
        return refuse(reader, -(int)HTTP1_BAD_ESCAPE);
    keep_text(outcome->method, sizeof(outcome->method),
              http1_text(&request.fields, request.method_name));
    keep_text(outcome->path, sizeof(outcome->path), path);
    keep_text(outcome->query, sizeof(outcome->query), http1_text(&request.fields, request.query));
    keep_text(outcome->host, sizeof(outcome->host), http1_text(&request.fields, request.host));
    outcome->body_bytes = 0;
    outcome->body_sum = 0;
    outcome->trailers = 0;
    reader->at += (size_t)rc;
    reader->last = !request.keep_alive;
    reader->phase = PHASE_BODY;
    rc = http1_body_begin_request(&reader->body, &request, NULL, BODY_MOST);
    return rc < 0 ? refuse(reader, rc) : true;
}

static bool read_body(struct reader *reader)
{
    struct http1_piece piece;
    ssize_t rc = http1_body_next(&reader->body, reader->data + reader->at,
                                 reader->have - reader->at, &piece);

    if (rc < 0)
        return refuse(reader, rc);
    reader->at += (size_t)rc;
    switch (piece.event) {
    case HTTP1_PIECE_DATA:
        assert_true(piece.length > 0);
        assert_ptr_equal(piece.data + piece.length, reader->data + reader->at);
        reader->outcome.body_bytes += piece.length;
        reader->outcome.body_sum = add_to_sum(reader->outcome.body_sum, piece.data, piece.length);
        return true;
    case HTTP1_PIECE_TRAILERS:
        reader->phase = PHASE_TRAILERS;
        return true;
    case HTTP1_PIECE_END:
        assert_int_equal(http1_body_cut(&reader->body), 0);
        return finish_request(reader);
    default:
        assert_int_equal(reader->at, reader->have);
        assert_int_equal(http1_body_cut(&reader->body), -HTTP1_BODY_CUT);
        return false;
    }
}

static bool read_trailers(struct reader *reader)
{
    struct http1_field rows[HTTP1_TRAILERS];
    struct http1_fields fields = {.row = rows, .capacity = HTTP1_TRAILERS};
    ssize_t rc = http1_body_trailers(&reader->body, reader->data + reader->at,
                                     reader->have - reader->at, &reader->resume, NULL, &fields);

    if (rc <= 0)
        return rc < 0 ? refuse(reader, rc) : false;
    reader->at += (size_t)rc;
    reader->outcome.trailers = fields.count;
    return finish_request(reader);
}

/* Gives the reader more bytes: as many as `have`. */
static void feed(struct reader *reader, size_t have)
{
    bool going = true;

    reader->have = have;
    while (going) {
        if (reader->phase == PHASE_HEAD)
            going = reader->at < reader->have && read_head(reader);
        else if (reader->phase == PHASE_BODY)
            going = read_body(reader);
        else if (reader->phase == PHASE_TRAILERS)
            going = reader->at < reader->have && read_trailers(reader);
        else
            going = false;
    }
}

static struct outcome end(struct reader *reader)
{
    if (reader->phase != PHASE_DONE)
        reader->outcome.fate =
            reader->phase == PHASE_HEAD && reader->at == reader->have ? 'k' : 'w';
    return reader->outcome;
}

/* In two pieces, each in memory of its own: the first holds `cut` bytes and not one more. */
static struct outcome replay_cut(const struct corpus_case *item, size_t cut)
{
    struct reader reader = {.data = NULL};
    uint8_t *first = malloc(cut + !cut), *second = malloc(item->size + !item->size);
    struct outcome outcome;

    assert_non_null(first);
    assert_non_null(second);
    memcpy(first, item->data, cut);
    memcpy(second, item->data, item->size);
    reader.data = first;
    feed(&reader, cut);
    reader.data = second;
    feed(&reader, item->size);
    outcome = end(&reader);
    free(first);
    free(second);
    return outcome;
}

/* Byte by byte; what has not come yet looks like something else. */
static struct outcome replay_bytes(const struct corpus_case *item, uint8_t rest)
{
    struct reader reader = {.data = NULL};
    uint8_t *data = malloc(item->size + !item->size);
    struct outcome outcome;

    assert_non_null(data);
    memset(data, rest, item->size);
    reader.data = data;
    for (size_t have = 1; have <= item->size; have++) {
        data[have - 1] = item->data[have - 1];
        feed(&reader, have);
    }
    outcome = end(&reader);
    free(data);
    return outcome;
}

static void check_same(const struct corpus_case *item, const char *how, size_t cut,
                       const struct outcome *got, const struct outcome *want)
{
    if (memcmp(got, want, sizeof(*got)) == 0)
        return;
    fail_msg("%s: %s at %zu (%s): accepted %u, %s, fate %c; whole: accepted %u, %s, fate %c",
             item->name, how, cut, http1_engine_current()->name, got->accepted,
             http1_refusal_row(got->refusal)->name, got->fate, want->accepted,
             http1_refusal_row(want->refusal)->name, want->fate);
}

static void check_text(const struct corpus_case *item, const char *key, const char *want,
                       const char *got)
{
    struct corpus_bytes bytes = {NULL, 0, 0};

    if (!want)
        return;
    corpus_unescape(item->name, want, want + strlen(want), &bytes);
    corpus_put(&bytes, 0);
    if (strcmp((const char *)bytes.data, got) != 0)
        fail_msg("%s: %s is '%s', not '%s'", item->name, key, got, (const char *)bytes.data);
    free(bytes.data);
}

static void check_body(const struct corpus_case *item, const struct outcome *outcome)
{
    struct corpus_bytes bytes = {NULL, 0, 0};

    if (!item->body)
        return;
    corpus_unescape(item->name, item->body, item->body + strlen(item->body), &bytes);
    if (bytes.size != outcome->body_bytes ||
        add_to_sum(0, bytes.data, bytes.size) != outcome->body_sum)
        fail_msg("%s: another body, %llu bytes", item->name,
                 (unsigned long long)outcome->body_bytes);
    free(bytes.data);
}

/* Compares with what the file expects: "200 400|431 close". */
static void check_answers(const struct corpus_case *item, const struct outcome *outcome)
{
    char words[256], *word, *save = NULL, *last = NULL, *fate = NULL;
    unsigned count = 0;
    const char *reason = outcome->refusal ? http1_refusal_row(outcome->refusal)->name : NULL;

    snprintf(words, sizeof(words), "%s", item->expect);
    for (word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        last = fate;
        fate = word;
        count++;
    }
    assert_non_null(fate);
    count--;
    if (!item->reason != !reason || (reason && strcmp(reason, item->reason) != 0))
        fail_msg("%s: refused for %s, expected %s", item->name, reason ? reason : "nothing",
                 item->reason ? item->reason : "nothing");
    if (count != outcome->accepted + (reason != NULL))
        fail_msg("%s: %u requests accepted", item->name, outcome->accepted);
    if (strcmp(fate, "any") != 0 && fate[0] != outcome->fate)
        fail_msg("%s: fate %c, expected %s", item->name, outcome->fate, fate);
    if (reason) {
        char status[8];

        snprintf(status, sizeof(status), "%u", http1_refusal_row(outcome->refusal)->status);
        assert_non_null(last);
        if (!strstr(last, status))
            fail_msg("%s: status %s, expected %s", item->name, status, last);
    }
}

static void replay(const struct corpus_case *item, void *arg)
{
    struct outcome whole = replay_cut(item, 0), other;
    size_t step = item->size / 1500 + 1;

    check_answers(item, &whole);
    if (!item->reason) {
        check_text(item, "method", item->method, whole.method);
        check_text(item, "path", item->path, whole.path);
        check_text(item, "query", item->query, whole.query);
        check_text(item, "host", item->host, whole.host);
        check_body(item, &whole);
        if (item->trailers)
            assert_int_equal(strtoul(item->trailers, NULL, 10), whole.trailers);
    }
    for (int i = 0; http1_engines[i]; i++) {
        if (!http1_engines[i]->usable())
            continue;
        http1_engine_use(http1_engines[i]);
        for (size_t cut = 0; cut <= item->size; cut += step) {
            other = replay_cut(item, cut);
            check_same(item, "cut", cut, &other, &whole);
        }
        for (int k = 0; k < 4; k++) {
            other = replay_bytes(item, (uint8_t) "\nZ\r:"[k]);
            check_same(item, "byte by byte", (size_t)k, &other, &whole);
        }
    }
    http1_engine_use(NULL);
}

static void corpus_is_answered_as_expected(void **state)
{
    unsigned count = corpus_each(CORPUS_HTTP1_OF(__FILE__), replay, NULL);

    print_message("%u cases\n", count);
    assert_true(count > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corpus_is_answered_as_expected),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
