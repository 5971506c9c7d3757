#include "net/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The most descriptors that are looked at, and the most lines of a table: a bound for error texts
 * on machines with very many of them. */
#define MOST_DESCRIPTORS 200000
#define MOST_LINES       20000

/* Reads the start of a file as one line. */
static bool read_line(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return false;
    got = read(fd, out, size - 1);
    close(fd);
    if (got < 0)
        return false;
    out[got] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return true;
}

bool weir__sysctl_text(const char *name, char *out, size_t size)
{
    char path[128];
    int length = snprintf(path, sizeof path, "/proc/sys/%s", name);

    return length > 0 && (size_t)length < sizeof path && read_line(path, out, size);
}

long weir__sysctl_number(const char *name, long otherwise)
{
    char text[32], *end;
    long number;

    if (!weir__sysctl_text(name, text, sizeof text))
        return otherwise;
    number = strtol(text, &end, 10);
    return end != text ? number : otherwise;
}

void weir__process_name(pid_t pid, char *out, size_t size)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    if (!read_line(path, out, size))
        snprintf(out, size, "?");
    for (char *at = out; *at != '\0'; at++)
        if (!isprint((unsigned char)*at))
            *at = '?';
}

/* A row of /proc/net/tcp and its like: proc(5). */
struct row {
    uint8_t host[16];
    size_t host_size; /* 4 or 16 */
    unsigned port, state, uid;
    unsigned long inode;
};

/* "  sl  local_address rem_address  st ..."; hosts are 32-bit words in this machine's order. */
static bool parse_row(const char *line, struct row *row)
{
    char host[33];
    uint32_t word;

    if (sscanf(line, " %*u: %32[0-9A-F]:%x %*[0-9A-F:] %x %*s %*s %*s %u %*s %lu", host, &row->port,
               &row->state, &row->uid, &row->inode) < 5)
        return false;
    row->host_size = strlen(host) / 2;
    if (row->host_size != 4 && row->host_size != 16)
        return false;
    for (size_t i = 0; i < row->host_size; i += sizeof word) {
        char digits[9] = {0};

        memcpy(digits, host + 2 * i, 8);
        word = (uint32_t)strtoul(digits, NULL, 16);
        memcpy(row->host + i, &word, sizeof word);
    }
    return true;
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Whether a row's host and ours cannot both be bound. A row of the other family is in the way when
 * it, or ours, is the any address; whether that one is IPv6 only is not known. */
static bool overlaps(const struct row *row, const weir_address *address)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    const uint8_t *host =
        (const uint8_t *)&((const struct sockaddr_in *)&address->socket)->sin_addr;
    size_t size = 4;

    if (address->socket.ss_family == AF_INET6) {
        host = ((const struct sockaddr_in6 *)&address->socket)->sin6_addr.s6_addr;
        size = 16;
    }
    if (all_zero(host, size) && (size == 16 || row->host_size == 4))
        return true;
    if (all_zero(row->host, row->host_size) && (row->host_size == 16 || size == 4))
        return true;
    if (row->host_size == size)
        return memcmp(row->host, host, size) == 0;
    return size == 4 && memcmp(row->host, mapped, sizeof mapped) == 0 &&
           memcmp(row->host + 12, host, 4) == 0;
}

/* Looks for the first overlapping listener in one table. */
static bool find_row(const char *path, unsigned state, const weir_address *address, struct row *row)
{
    FILE *file = fopen(path, "re");
    char line[512];
    bool found = false;

    if (file == NULL)
        return false;
    for (int i = 0; i < MOST_LINES && !found && fgets(line, sizeof line, file) != NULL; i++)
        found = parse_row(line, row) && row->state == state && row->inode != 0 &&
                row->port == (unsigned)weir_address_port(address) && overlaps(row, address);
    fclose(file);
    return found;
}

/* Whether one of a process's descriptors is `link` ("socket:[inode]"). */
static bool process_holds(const char *pid, const char *link, int *looked_at)
{
    char path[300], target[64];
    struct dirent *entry;
    bool found = false;
    DIR *folder;

    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    folder = opendir(path);
    if (folder == NULL)
        return false;
    while (!found && *looked_at < MOST_DESCRIPTORS && (entry = readdir(folder)) != NULL) {
        ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1);

        (*looked_at)++;
        if (length <= 0)
            continue;
        target[length] = '\0';
        found = strcmp(target, link) == 0;
    }
    closedir(folder);
    return found;
}

static pid_t find_process(unsigned long inode)
{
    struct dirent *entry;
    char link[64];
    int looked_at = 0;
    pid_t pid = 0;
    DIR *folder = opendir("/proc");

    if (folder == NULL)
        return 0;
    snprintf(link, sizeof link, "socket:[%lu]", inode);
    while (pid == 0 && looked_at < MOST_DESCRIPTORS && (entry = readdir(folder)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]) &&
            process_holds(entry->d_name, link, &looked_at))
            pid = (pid_t)strtol(entry->d_name, NULL, 10);
    closedir(folder);
    return pid;
}

bool weir__port_holder(const weir_address *address, struct weir__port_holder *out)
{
    bool udp = address->transport == WEIR_TRANSPORT_UDP;
    unsigned state = udp ? 7 : 10; /* TCP_CLOSE is a bound UDP socket, TCP_LISTEN */
    struct row row = {0};

    memset(out, 0, sizeof *out);
    if (!find_row(udp ? "/proc/thread-self/net/udp" : "/proc/thread-self/net/tcp", state, address,
                  &row) &&
        !find_row(udp ? "/proc/thread-self/net/udp6" : "/proc/thread-self/net/tcp6", state, address,
                  &row))
        return false;
    out->uid = row.uid;
    out->other_family = (row.host_size == 4) != (address->socket.ss_family == AF_INET);
    out->pid = find_process(row.inode);
    if (out->pid != 0)
        weir__process_name(out->pid, out->name, sizeof out->name);
    return true;
}
