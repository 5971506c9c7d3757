#include "listen.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

noreturn void bench_die(const char *what)
{
    perror(what);
    exit(1);
}

enum bench_job bench_job(int argc, char **argv)
{
    static const char *const names[] = {"echo", "accept", "sink"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(argc > 2 ? argv[2] : "echo", names[i]) == 0)
            return (enum bench_job)i;
    fprintf(stderr, "%s: no job \"%s\"\n", argv[0], argv[2]);
    exit(64);
}

int bench_listen(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rlimit limit;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (argc < 2) {
        fprintf(stderr, "usage: %s PORT [JOB]\n", argv[0]);
        exit(64);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 4096) < 0)
        bench_die("listen");
    return fd;
}
