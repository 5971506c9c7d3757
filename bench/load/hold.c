/* Holds idle HTTP keep-alive connections: opens them, sends one request on each and reads its
 * answer whole, prints "held N" and waits until its standard input ends.
 *
 *     hold PORT CONNS [PATH] */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int open_conn(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("hold: connect");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

/* One request and its answer, whose body is as long as its head says. */
static void ask(int fd, const char *request)
{
    char text[4096], *end = NULL, *length;
    size_t had = 0;

    if (write(fd, request, strlen(request)) < 0)
        die("hold: write");
    do {
        ssize_t n = read(fd, text + had, sizeof(text) - 1 - had);

        if (n <= 0)
            die("hold: read");
        had += (size_t)n;
        text[had] = '\0';
        if (end == NULL)
            end = strstr(text, "\r\n\r\n");
        length = end != NULL ? strcasestr(text, "\r\nContent-Length:") : NULL;
    } while (end == NULL || length == NULL ||
             had < (size_t)(end + 4 - text) + strtoul(length + 17, NULL, 10));
    if (strncmp(text, "HTTP/1.1 200 ", 13) != 0) {
        fprintf(stderr, "hold: the answer is %.40s\n", text);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    char request[1024], byte;
    struct rlimit limit;
    unsigned port, conns;

    if (argc < 3) {
        fprintf(stderr, "usage: hold PORT CONNS [PATH]\n");
        return 64;
    }
    port = (unsigned)atoi(argv[1]);
    conns = (unsigned)atoi(argv[2]);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    snprintf(request, sizeof(request), "GET %.500s HTTP/1.1\r\nHost: localhost\r\n\r\n",
             argc > 3 ? argv[3] : "/");
    for (unsigned i = 0; i < conns; i++)
        ask(open_conn(port), request);
    printf("held %u\n", conns);
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    return 0;
}
