/* A Redis client: RESP2, its lines as frames, and its strings by their length. Commands that are
 * separated by -- are pipelined: all are sent before the first reply is read.
 *
 *     ./redis tcp://127.0.0.1:6379 SET greeting hello -- GET greeting
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weir/units.h>
#include <weir/weir.h>

enum { LINE_BYTES = 4096, STRING_BYTES = 1 << 20, ELEMENTS_MAX = 10000, DEPTH_MAX = 8 };

static const weir_service redis = {.straight = true,
                                   .frame = weir_frame_line_with(LINE_BYTES, WEIR_FRAME_CRLF)};

struct session {
    int argc, result;
    char **argv;
    weir_conn conn;
    weir_time deadline; /* for all of it */
    uint64_t elements;  /* that the server has announced in arrays */
};

static int send_command(struct session *s, char **words, int count)
{
    char head[32];
    snprintf(head, sizeof head, "*%d", count);
    int result = weir_send_all(s->conn, weir_str(head), s->deadline);
    for (int i = 0; i < count && result == 0; i++) {
        snprintf(head, sizeof head, "\r\n$%zu\r\n", strlen(words[i]));
        result = weir_send_all(s->conn, weir_str(head), s->deadline);
        if (result == 0)
            result = weir_send_all(s->conn, weir_str(words[i]), s->deadline);
    }
    return result == 0 ? weir_send_all(s->conn, weir_str("\r\n"), s->deadline) : result;
}

static int read_reply(struct session *s, unsigned depth)
{
    char line[LINE_BYTES];
    uint64_t number;
    weir_view in;
    int result = weir_recv_frame(s->conn, &in, s->deadline);
    if (result <= 0)
        return result < 0 ? result : WEIR_EPROTO;
    int size = snprintf(line, sizeof line, "%.*s", (int)in.size, (const char *)in.data);
    if (strcmp(line, "$-1") == 0 || strcmp(line, "*-1") == 0)
        return puts("(nil)") < 0 ? -EIO : 0;
    if (size > 0 && strchr("+-:", line[0]) != NULL)
        return printf("%s%s\n", line[0] == '-' ? "(error) " : "", line + 1) < 0 ? -EIO : 0;
    if (size == 0 || strchr("$*", line[0]) == NULL || depth == DEPTH_MAX ||
        weir_number_parse(line + 1, 0, STRING_BYTES, &number, NULL, 0) < 0)
        return WEIR_EPROTO;
    if (line[0] == '$') {
        result = weir_recv_exact(s->conn, &in, number + 2, s->deadline);
        if (result <= 0 || memcmp((const char *)in.data + number, "\r\n", 2) != 0)
            return result < 0 ? result : WEIR_EPROTO;
        return fwrite(in.data, 1, number, stdout) < number || puts("") < 0 ? -EIO : 0;
    }
    result = (s->elements += number) > ELEMENTS_MAX ? WEIR_ETOOBIG : 0;
    while (number-- > 0 && result == 0)
        result = read_reply(s, depth + 1);
    return result;
}

static void talk(void *arg)
{
    struct session *s = arg;
    int commands = 0;
    s->deadline = weir_after(5 * WEIR_S);
    s->result = weir_connect_wait(&s->conn, s->argv[1], &redis, s->deadline);
    for (int to, from = 2; from < s->argc && s->result == 0; from = to + 1, commands++) {
        for (to = from; to < s->argc && strcmp(s->argv[to], "--") != 0;)
            to++;
        s->result = send_command(s, s->argv + from, to - from);
    }
    while (commands-- > 0 && s->result == 0)
        s->result = read_reply(s, 0);
    if (s->result < 0)
        fprintf(stderr, "%s: %s\n", s->argv[1], weir_error_text(s->result));
    weir_close(s->conn); /* a handle of no connection is harmless */
    weir_loop_stop(weir_loop_current());
}

int main(int argc, char **argv)
{
    struct session s = {.argc = argc, .argv = argv, .result = 1};
    weir_loop *loop;
    if (argc < 3 || weir_loop_new(&loop, NULL) < 0)
        return 2;
    weir_loop_enter(loop);
    if (weir_spawn(talk, &s) == 0)
        weir_loop_run(loop);
    weir_loop_free(loop);
    return s.result != 0;
}
