/* Lines: answers each line in upper case. Framing is one field of the service.
 *
 *     ./lines [URL]                default tcp://127.0.0.1:7001
 *     printf 'hello\nworld\n' | nc -N 127.0.0.1 7001
 */
#include <ctype.h>

#include <weir/weir.h>

static void on_line(weir_conn c, weir_view line, void *session)
{
    char upper[4096 + 1];
    const char *text = line.data;
    for (uint32_t i = 0; i < line.size; i++)
        upper[i] = (char)toupper((unsigned char)text[i]);
    upper[line.size] = '\n';
    if (weir_send(c, weir_bytes(upper, line.size + 1)) < 0)
        weir_abort(c);
}

int main(int argc, char **argv)
{
    weir_service lines = {
        .listen = argc > 1 ? argv[1] : "tcp://127.0.0.1:7001",
        .frame = {.kind = WEIR_FRAME_LINE, .max = 4096}, /* longer ones end the connection */
        .on_frame = on_line,
    };
    return weir_run(&lines, 1, NULL) < 0;
}
