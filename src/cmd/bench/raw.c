/* weir bench raw: any protocol of requests and answers, as bytes. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/bench/kinds.h"
#include "cmd/bench/tables.h"

static const struct option options[] = {
    BENCH_LOAD_OPTIONS,
    BENCH_RATE_OPTIONS,
    BENCH_HEADING("Requests"),
    BENCH_TEXT('b', "request", "TEXT", body, "what is sent; \\r, \\n, \\t, \\0, \\xHH are bytes"),
    BENCH_TEXT(0, "request-file", "FILE", body_file, "the same from a file, as it is"),
    BENCH_TEXT('e', "end", "TEXT", end_marker, "an answer ends with these bytes"),
    BENCH_TEXT(0, "end-file", "FILE", end_file, "the same from a file, as it is"),
    BENCH_TEXT(0, "answer", "BYTES", answer, "or it has so many"),
    BENCH_TEXT('p', "pipeline", "NUMBER", pipeline, "requests in flight on each connection; 1"),
    BENCH_HEADING("Connections"),
    BENCH_FLAG(0, "close", close,
               "a new connection for each request; without an end the server ends it"),
    BENCH_CONN_OPTIONS,
    BENCH_TLS_OPTIONS,
    BENCH_RESULT_OPTIONS,
    {0}};

static int digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* Undoes the escapes of C; the bytes are never longer than the text. -1: one that is none. */
static long unescape(const char *text, char *out)
{
    static const char names[] = "rnt0\\\"'", bytes[] = "\r\n\t\0\\\"'";
    long size = 0;
    while (*text != '\0') {
        if (*text != '\\') {
            out[size++] = *text++;
            continue;
        }
        const char *name = text[1] != '\0' ? strchr(names, text[1]) : NULL;
        if (name != NULL) {
            out[size++] = bytes[name - names];
            text += 2;
        } else if (text[1] == 'x' && isxdigit((unsigned char)text[2]) &&
                   isxdigit((unsigned char)text[3])) {
            out[size++] = (char)(digit(text[2]) * 16 + digit(text[3]));
            text += 4;
        } else {
            return -1;
        }
    }
    return size;
}

static int take_text(const char *option, const char *text, weir_view *out)
{
    char *bytes = malloc(strlen(text) + 1); /* until the program ends */
    long size = bytes != NULL ? unescape(text, bytes) : -1;
    if (size <= 0) {
        free(bytes);
        return say(EX_USAGE, "bench: --%s %s: text, with \\r \\n \\t \\0 \\\\ or \\xHH in it",
                   option, text);
    }
    *out = weir_static(bytes, (size_t)size);
    return EX_OK;
}

static int raw_run(const struct command *self, int argc, char **argv)
{
    static struct bench bench;
    int operands, code = command_options(self, argc, argv, &bench, &operands);
    if (code >= 0)
        return code;
    bench.mode = "raw";
    bench.load.kind = WEIR_LOAD_RAW;
    const char *request = bench.body;
    bench.body = NULL;
    code = bench_options(&bench, operands, argv + 1);
    if (code == EX_OK && (request == NULL) == (bench.body_file == NULL))
        return say(EX_USAGE, "bench raw needs --request or --request-file");
    if (code == EX_OK && request != NULL)
        code = take_text("request", request, &bench.load.body);
    if (code == EX_OK && bench.end_marker != NULL)
        code = take_text("end", bench.end_marker, &bench.load.raw_end);
    if (code == EX_OK && bench.end_file != NULL)
        code = bench_file(bench.end_file, &bench.load.raw_end);
    if (code == EX_OK && bench.end_file != NULL && bench.load.raw_end.size == 0)
        return say(EX_USAGE, "bench: --end-file %s: it is empty", bench.end_file);
    unsigned ends = (bench.end_marker != NULL) + (bench.end_file != NULL) + (bench.answer != NULL);
    if (code == EX_OK && bench.answer != NULL &&
        (weir_size_parse(bench.answer, &bench.load.answer_bytes, NULL, 0) < 0 ||
         bench.load.answer_bytes == 0))
        return say(EX_USAGE, "bench: --answer %s: at least 1 byte", bench.answer);
    if (code == EX_OK && ends > 1)
        return say(EX_USAGE, "bench: --end, --end-file or --answer: choose one");
    if (code == EX_OK && ends == 0 && !bench.close)
        return say(EX_USAGE,
                   "bench raw: where does an answer end? --end '\\r\\n', --answer 100, or "
                   "--close when the server ends the connection");
    return code == EX_OK ? bench_perform(&bench) : code;
}

const struct command bench_raw = {
    .name = "bench raw",
    .summary = "any protocol of requests and answers, as bytes",
    .usage = "[OPTIONS] ADDRESS...",
    .about = "Sends the same bytes again and again; an answer is what comes back up to an end "
             "marker, or a number of bytes.",
    .examples = "  weir bench raw --request 'PING\\r\\n' --end '\\r\\n' tcp://127.0.0.1:6379\n"
                "  weir bench raw --request-file query.bin --answer 512 tcp://127.0.0.1:9000\n",
    .options = options,
    .run = raw_run,
};
