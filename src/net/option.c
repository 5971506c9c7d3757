#include "net/option.h"

#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <weir/error.h>

#include "net/proc.h"

_Static_assert(sizeof(weir_socket_options) == 128, "part of the binary interface");

#define CONGESTION_NAME_SIZE 16 /* TCP_CA_NAME_MAX, with its NUL */

enum form { SWITCH, NUMBER, SOME };

#define INET         (OPTION_TCP | OPTION_UDP)
#define STREAM       (OPTION_TCP | OPTION_UNIX)
#define ANY_KIND     (OPTION_TCP | OPTION_UDP | OPTION_UNIX)
#define NEW          (OPTION_NEW_LISTENER | OPTION_NEW_CLIENT)
#define LISTENER     (OPTION_NEW_LISTENER | OPTION_OLD_LISTENER)
#define ANY_MOMENT   (NEW | OPTION_OLD_LISTENER | OPTION_OLD_CONN)
#define FIELD(field) #field, offsetof(weir_socket_options, field)

/* The options that are one number. What accepted TCP connections inherit of their listener (all but
 * defer_accept_s and fast_open, which mean listeners only) is verified by the unit test. */
static const struct option {
    const char *name;
    uint16_t offset;
    uint8_t form, kinds, moments;
    int level, number;
    const char *privilege; /* what to do about EPERM */
    const char *range;     /* what to do about EINVAL and EOPNOTSUPP */
} options_by_number[] = {
    {FIELD(reuseaddr), SWITCH, INET, NEW, SOL_SOCKET, SO_REUSEADDR, NULL, NULL},
    {FIELD(reuseport), SWITCH, INET, NEW, SOL_SOCKET, SO_REUSEPORT, NULL, NULL},
    {FIELD(freebind), SWITCH, INET, NEW, IPPROTO_IP, IP_FREEBIND, NULL, NULL},
    {FIELD(transparent), SWITCH, INET, NEW, IPPROTO_IP, IP_TRANSPARENT,
     "it needs CAP_NET_ADMIN or CAP_NET_RAW", NULL},
    {FIELD(mark), NUMBER, INET, ANY_MOMENT, SOL_SOCKET, SO_MARK,
     "it needs CAP_NET_ADMIN (or CAP_NET_RAW from kernel 5.17)", NULL},
    {FIELD(receive_buffer_bytes), NUMBER, ANY_KIND, ANY_MOMENT, SOL_SOCKET, SO_RCVBUF, NULL, NULL},
    {FIELD(send_buffer_bytes), NUMBER, ANY_KIND, ANY_MOMENT, SOL_SOCKET, SO_SNDBUF, NULL, NULL},
    {FIELD(incoming_cpu), SOME, INET, LISTENER, SOL_SOCKET, SO_INCOMING_CPU, NULL, NULL},
    {FIELD(busy_poll_us), NUMBER, INET, ANY_MOMENT, SOL_SOCKET, SO_BUSY_POLL,
     "it needs CAP_NET_ADMIN", "the kernel takes 1 to 2147483647 microseconds"},
    {FIELD(tos), NUMBER, INET, ANY_MOMENT, IPPROTO_IP, IP_TOS, "some values need CAP_NET_ADMIN",
     NULL},
    {FIELD(keepalive_idle_s), NUMBER, OPTION_TCP, ANY_MOMENT, IPPROTO_TCP, TCP_KEEPIDLE, NULL,
     "the kernel takes 1 to 32767 seconds"},
    {FIELD(keepalive_interval_s), NUMBER, OPTION_TCP, ANY_MOMENT, IPPROTO_TCP, TCP_KEEPINTVL, NULL,
     "the kernel takes 1 to 32767 seconds"},
    {FIELD(keepalive_count), NUMBER, OPTION_TCP, ANY_MOMENT, IPPROTO_TCP, TCP_KEEPCNT, NULL,
     "the kernel takes 1 to 127"},
    {FIELD(user_timeout_ms), NUMBER, OPTION_TCP, ANY_MOMENT, IPPROTO_TCP, TCP_USER_TIMEOUT, NULL,
     NULL},
    {FIELD(notsent_lowat_bytes), NUMBER, OPTION_TCP, ANY_MOMENT, IPPROTO_TCP, TCP_NOTSENT_LOWAT,
     NULL, NULL},
    {FIELD(defer_accept_s), NUMBER, OPTION_TCP, LISTENER, IPPROTO_TCP, TCP_DEFER_ACCEPT, NULL,
     NULL},
    {FIELD(nodelay), SWITCH, OPTION_TCP, ANY_MOMENT, IPPROTO_TCP, TCP_NODELAY, NULL, NULL},
};
#define OPTIONS (sizeof options_by_number / sizeof options_by_number[0])

/* The field's number, whatever its width: switches and tos are bytes, the others are 32 bits. */
static uint32_t field_of(const weir_socket_options *options, const struct option *option)
{
    const uint8_t *field = (const uint8_t *)options + option->offset;
    uint32_t value;

    if (option->offset >= offsetof(weir_socket_options, nodelay))
        return *field;
    memcpy(&value, field, sizeof value);
    return value;
}

static int refused(struct weir__socket_error *error, const char *name, const char *value, int code,
                   const char *fix)
{
    if (fix == NULL)
        fix = code == -ENOPROTOOPT || code == -EOPNOTSUPP
                  ? "this kernel does not have the option: leave it out"
                  : "leave the option out, or give another value";
    return weir__socket_fail(error, code, name, "option %s = %s was refused: %s (%s): %s", name,
                             value, weir_error_text(code), weir_error_name(code), fix);
}

static int set_number(const struct option_target *target, const struct option *option, int value,
                      struct weir__socket_error *error)
{
    const char *fix = NULL;
    char text[16];
    int code;

    if (setsockopt(target->fd, option->level, option->number, &value, sizeof value) == 0)
        return 0;
    code = -errno;
    if (code == -EPERM || code == -EACCES)
        fix = option->privilege;
    else if (code == -EINVAL || code == -EOPNOTSUPP)
        fix = option->range;
    snprintf(text, sizeof text, "%d", value);
    if (option->form == SWITCH)
        return refused(error, option->name, value ? "on" : "off", code, fix);
    return refused(error, option->name, text, code, fix);
}

/* The switches that weir turns on where nothing is said. A listener without SO_REUSEADDR could not
 * take its port back while connections of its predecessor are in TIME_WAIT; for UDP the same
 * option would let another program take the port over, so there it stays off. */
static bool on_by_default(const struct option_target *target, const struct option *option)
{
    if (option->number == TCP_NODELAY && option->level == IPPROTO_TCP)
        return true;
    return option->number == SO_REUSEADDR && option->level == SOL_SOCKET &&
           target->kind == OPTION_TCP && target->moment == OPTION_NEW_LISTENER;
}

static int set_numbers(const struct option_target *target, const weir_socket_options *options,
                       struct weir__socket_error *error)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *option = &options_by_number[i];
        uint32_t field = field_of(options, option);
        int value = (int)field, result;

        if (!(option->kinds & target->kind) || !(option->moments & target->moment))
            continue;
        if (option->form == SWITCH && field == WEIR_SWITCH_DEFAULT && on_by_default(target, option))
            field = WEIR_SWITCH_ON;
        if (field == 0)
            continue;
        if (option->form == SWITCH)
            value = field == WEIR_SWITCH_ON;
        else if (option->form == SOME)
            value = (int)(field - 1);
        result = set_number(target, option, value, error);
        if (result < 0)
            return result;
    }
    return 0;
}

static int set_congestion(const struct option_target *target, const char *name,
                          struct weir__socket_error *error)
{
    char list[256] = "?", fix[400];
    int code;

    if (setsockopt(target->fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) == 0)
        return 0;
    code = -errno;
    if (code == -ENOENT) {
        weir__sysctl_text("net/ipv4/tcp_available_congestion_control", list, sizeof list);
        snprintf(fix, sizeof fix,
                 "it is not in net.ipv4.tcp_available_congestion_control (%s): take one of these, "
                 "or load its module (modprobe tcp_%s)",
                 list, name);
        return refused(error, "congestion", name, code, fix);
    }
    if (code == -EPERM) {
        weir__sysctl_text("net/ipv4/tcp_allowed_congestion_control", list, sizeof list);
        snprintf(fix, sizeof fix,
                 "it is not in net.ipv4.tcp_allowed_congestion_control (%s): add it there, or give "
                 "CAP_NET_ADMIN",
                 list);
        return refused(error, "congestion", name, code, fix);
    }
    return refused(error, "congestion", name, code, NULL);
}

static int set_names(const struct option_target *target, const weir_socket_options *options,
                     struct weir__socket_error *error)
{
    const char *device = options->bind_device, *fix = NULL;

    if (device != NULL && (target->kind & INET) &&
        setsockopt(target->fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device)) <
            0) {
        int code = -errno;

        if (code == -ENODEV)
            fix = "there is no such network interface (see: ip link)";
        else if (code == -EPERM)
            fix = "it needs CAP_NET_RAW";
        return refused(error, "bind_device", device, code, fix);
    }
    if (options->congestion != NULL && target->kind == OPTION_TCP)
        return set_congestion(target, options->congestion, error);
    return 0;
}

/* Options that are more than one number, or go by another name at another moment. */
static int set_special(const struct option_target *target, const weir_socket_options *options,
                       struct weir__socket_error *error)
{
    bool keepalive = options->keepalive == WEIR_SWITCH_ON || options->keepalive_idle_s != 0 ||
                     options->keepalive_interval_s != 0 || options->keepalive_count != 0;
    struct option option = {.form = NUMBER, .level = SOL_SOCKET};
    int result = 0;

    if (target->kind == OPTION_TCP && (keepalive || options->keepalive == WEIR_SWITCH_OFF)) {
        option.name = "keepalive";
        option.form = SWITCH;
        option.number = SO_KEEPALIVE;
        result = set_number(target, &option, keepalive, error);
    }
    /* Set in every case: the default would be the sysctl net.ipv6.bindv6only, and a program should
     * not listen on less on one host than on another. */
    if (result == 0 && target->family == AF_INET6 && target->moment == OPTION_NEW_LISTENER &&
        !target->one_family) {
        option = (struct option){
            .name = "v6only", .form = SWITCH, .level = IPPROTO_IPV6, .number = IPV6_V6ONLY};
        result = set_number(target, &option, options->v6only == WEIR_SWITCH_ON, error);
    }
    if (result == 0 && target->family == AF_INET6 && options->tos != 0) {
        option = (struct option){
            .name = "tos", .form = NUMBER, .level = IPPROTO_IPV6, .number = IPV6_TCLASS};
        result = set_number(target, &option, options->tos, error);
    }
    if (result == 0 && options->fast_open != 0 && target->kind == OPTION_TCP &&
        target->moment != OPTION_OLD_CONN) {
        bool client = target->moment == OPTION_NEW_CLIENT;

        option = (struct option){.name = "fast_open", .form = NUMBER, .level = IPPROTO_TCP};
        option.number = client ? TCP_FASTOPEN_CONNECT : TCP_FASTOPEN;
        option.range = "set bit 0 of the sysctl net.ipv4.tcp_fastopen";
        result = set_number(target, &option, client ? 1 : (int)options->fast_open, error);
    }
    return result;
}

static int set_linger(const struct option_target *target, const weir_socket_options *options,
                      struct weir__socket_error *error)
{
    struct linger linger = {.l_onoff = 1, .l_linger = options->linger_s};
    char text[16];

    if (options->linger_s == 0 || target->kind != OPTION_TCP)
        return 0;
    if (options->linger_s == WEIR_LINGER_RESET)
        linger.l_linger = 0;
    snprintf(text, sizeof text, "%d", (int)options->linger_s);
    if (setsockopt(target->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) < 0)
        return refused(error, "linger_s", text, -errno, NULL);
    return 0;
}

/* Urgent data stays in the stream: docs/decisions/0003-urgent-data.md. */
static int set_urgent_inline(const struct option_target *target, struct weir__socket_error *error)
{
    struct option option = {
        .name = "SO_OOBINLINE", .form = SWITCH, .level = SOL_SOCKET, .number = SO_OOBINLINE};

    return target->kind & STREAM ? set_number(target, &option, 1, error) : 0;
}

int weir__options_set(const struct option_target *target, const weir_socket_options *options,
                      struct weir__socket_error *error)
{
    int result = set_numbers(target, options, error);

    if (result == 0)
        result = set_names(target, options, error);
    if (result == 0)
        result = set_special(target, options, error);
    if (result == 0)
        result = set_linger(target, options, error);
    if (result == 0)
        result = set_urgent_inline(target, error);
    return result;
}

static int check_names(const weir_socket_options *options, struct weir__socket_error *error)
{
    /* The kernel would cut longer ones and look for what is left. */
    if (options->congestion != NULL &&
        (options->congestion[0] == '\0' || strlen(options->congestion) >= CONGESTION_NAME_SIZE))
        return weir__socket_fail(error, WEIR_EINVALID, "congestion",
                                 "option congestion: a name has 1 to 15 characters");
    if (options->bind_device != NULL &&
        (options->bind_device[0] == '\0' || strlen(options->bind_device) >= IF_NAMESIZE))
        return weir__socket_fail(error, WEIR_EINVALID, "bind_device",
                                 "option bind_device: an interface's name has 1 to 15 characters");
    return 0;
}

static int check_special(const weir_socket_options *options, struct weir__socket_error *error)
{
    bool keepalive_set = options->keepalive_idle_s != 0 || options->keepalive_interval_s != 0 ||
                         options->keepalive_count != 0;

    if (options->keepalive == WEIR_SWITCH_OFF && keepalive_set)
        return weir__socket_fail(error, WEIR_EINVALID, "keepalive",
                                 "option keepalive is off, but its idle, interval or count is set: "
                                 "leave out the one or the other");
    if (options->linger_s < WEIR_LINGER_RESET)
        return weir__socket_fail(error, WEIR_EINVALID, "linger_s",
                                 "option linger_s = %d: seconds, or WEIR_LINGER_RESET",
                                 (int)options->linger_s);
    if (options->tos & 3)
        return weir__socket_fail(error, WEIR_EINVALID, "tos",
                                 "option tos = %u: the two low bits are the kernel's (ECN); use "
                                 "WEIR_DSCP(code)",
                                 options->tos);
    if (options->unix_mode > 0777)
        return weir__socket_fail(error, WEIR_EINVALID, "unix_mode",
                                 "option unix_mode = 0%o: permissions are at most 0777 (octal)",
                                 options->unix_mode);
    if (options->backlog > INT_MAX || options->fast_open > INT_MAX)
        return weir__socket_fail(
            error, WEIR_EINVALID, options->backlog > INT_MAX ? "backlog" : "fast_open",
            "option %s: at most 2147483647", options->backlog > INT_MAX ? "backlog" : "fast_open");
    return 0;
}

int weir__options_check(const weir_socket_options *options, struct weir__socket_error *error)
{
    static const struct option others[] = {
        {.name = "keepalive", .offset = offsetof(weir_socket_options, keepalive)},
        {.name = "v6only", .offset = offsetof(weir_socket_options, v6only)},
    };
    int result;

    for (size_t i = 0; i < sizeof options->reserved; i++)
        if (options->reserved[i] != 0)
            return weir__socket_fail(error, WEIR_EINVALID, "reserved",
                                     "socket options that this version of weir does not know are "
                                     "set: clear the struct first, or use a newer library");
    for (size_t i = 0; i < OPTIONS + sizeof others / sizeof others[0]; i++) {
        const struct option *option = i < OPTIONS ? &options_by_number[i] : &others[i - OPTIONS];
        uint32_t field = field_of(options, option);

        if (option->form == SWITCH && field > WEIR_SWITCH_OFF)
            return weir__socket_fail(error, WEIR_EINVALID, option->name,
                                     "option %s = %u: a switch is WEIR_SWITCH_DEFAULT, _ON or _OFF",
                                     option->name, field);
        /* A mark is a pattern of bits; the others are taken as signed numbers. */
        if (option->form == NUMBER && field > INT_MAX && option->number != SO_MARK)
            return weir__socket_fail(error, WEIR_EINVALID, option->name,
                                     "option %s = %u: at most 2147483647", option->name, field);
    }
    result = check_names(options, error);
    return result < 0 ? result : check_special(options, error);
}

/* The kernel takes any size and cuts it silently; it reports twice what it keeps. */
static void warn_of_buffer(const struct option_target *target, int number, const char *name,
                           const char *sysctl, uint32_t asked, struct weir__socket_error *error)
{
    int kept = 0;
    socklen_t size = sizeof kept;

    if (asked == 0 || getsockopt(target->fd, SOL_SOCKET, number, &kept, &size) < 0)
        return;
    if ((uint64_t)kept < 2 * (uint64_t)asked)
        weir__socket_warn(error,
                          "%s = %u is cut to %d by %s: raise it (sysctl -w %s=%u) or ask for less",
                          name, asked, kept / 2, sysctl, sysctl, asked);
}

/* For listeners the kernel takes the option also when its sysctl turns it off. */
static void warn_of_fast_open(struct weir__socket_error *error)
{
    long enabled = weir__sysctl_number("net/ipv4/tcp_fastopen", 2);

    if (!(enabled & 2))
        weir__socket_warn(error,
                          "fast_open has no effect for listeners while net.ipv4.tcp_fastopen is "
                          "%ld: sysctl -w net.ipv4.tcp_fastopen=%ld",
                          enabled, enabled | 2);
}

void weir__options_warn(const struct option_target *target, const weir_socket_options *options,
                        struct weir__socket_error *error)
{
    warn_of_buffer(target, SO_RCVBUF, "receive_buffer_bytes", "net.core.rmem_max",
                   options->receive_buffer_bytes, error);
    warn_of_buffer(target, SO_SNDBUF, "send_buffer_bytes", "net.core.wmem_max",
                   options->send_buffer_bytes, error);
    if (options->fast_open != 0 && target->kind == OPTION_TCP && (target->moment & LISTENER))
        warn_of_fast_open(error);
    if (options->linger_s > 0 && target->kind == OPTION_TCP)
        weir__socket_warn(error,
                          "linger_s = %d lets every close wait that long with its thread, loop "
                          "included: weir's own linger deadline does not block",
                          (int)options->linger_s);
}
