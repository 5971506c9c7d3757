/* Hosts: each is a process. weir's static variables lie between two names that state.ld gives; a
 * host has its own copy of them, which is in place while one of its threads runs. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "core.h"
#include "loop/loop.h"
#include "sock.h"

extern char weir_state_begin[], weir_state_end[];

static char *pristine;
static uint32_t host_ids;

#if WEIR_ASAN
/* The gaps between variables are poisoned, so that memcpy would be refused. The image is large, and
 * moved whenever another host runs: so in wide steps, and with no check of each. */
typedef uint64_t wide __attribute__((vector_size(16), aligned(8)));

__attribute__((no_sanitize("address", "undefined"))) static void move(char *to, const char *from,
                                                                      size_t size)
{
    volatile wide *target = (volatile wide *)(void *)to;
    for (size_t i = 0; i < size / sizeof(wide); i++)
        target[i] = ((const wide *)(const void *)from)[i];
}
#else
static void move(char *to, const char *from, size_t size)
{
    memcpy(to, from, size);
}
#endif

static size_t image_size(void)
{
    return (size_t)(weir_state_end - weir_state_begin);
}

void host_enter(sim_host *host)
{
    if (world.host_now == host)
        return;
    if (world.host_now != NULL && world.host_now->image != NULL)
        move(world.host_now->image, weir_state_begin, image_size());
    if (pristine == NULL) {
        pristine = malloc(image_size());
        if (pristine == NULL)
            abort();
        move(pristine, weir_state_begin, image_size());
    }
    if (host->image == NULL) {
        host->image = malloc(image_size());
        if (host->image == NULL)
            abort();
        move(host->image, pristine, image_size());
    }
    move(weir_state_begin, host->image, image_size());
    world.host_now = host;
}

/* --- addresses -------------------------------------------------------------------------------- */

static void address_add(sim_host *host, const char *text)
{
    struct host_address *address = &host->addresses[host->address_count];
    sim_check(host->address_count < HOST_ADDRESSES, "too many addresses of host %s", host->name);
    address->family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    sim_check(inet_pton(address->family, text, address->bytes) == 1, "host %s: no IP address: %s",
              host->name, text);
    host->address_count++;
}

static const uint8_t *bytes_of(const struct sockaddr *address, int *family)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    *family = address->sa_family;
    if (address->sa_family == AF_INET)
        return (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    const uint8_t *bytes = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr;
    if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        *family = AF_INET;
        return bytes + 12;
    }
    return bytes;
}

static bool is_loopback(int family, const uint8_t *bytes)
{
    static const uint8_t one[16] = {[15] = 1};
    return family == AF_INET ? bytes[0] == 127 : memcmp(bytes, one, 16) == 0;
}

static bool is_any(int family, const uint8_t *bytes)
{
    static const uint8_t none[16];
    return memcmp(bytes, none, family == AF_INET ? 4 : 16) == 0;
}

bool host_has(const sim_host *host, const struct sockaddr *address, bool any)
{
    int family;
    const uint8_t *bytes = bytes_of(address, &family);
    if (is_loopback(family, bytes) || (any && is_any(family, bytes)))
        return true;
    for (unsigned i = 0; i < host->address_count; i++)
        if (host->addresses[i].family == family &&
            memcmp(host->addresses[i].bytes, bytes, family == AF_INET ? 4 : 16) == 0)
            return true;
    return false;
}

sim_host *host_by_address(const sim_host *from, const struct sockaddr *address)
{
    int family;
    const uint8_t *bytes = bytes_of(address, &family);
    if (is_loopback(family, bytes) || is_any(family, bytes))
        return (sim_host *)(uintptr_t)from;
    for (sim_host *host = world.hosts; host != NULL; host = host->next)
        if (host_has(host, address, false))
            return host;
    return NULL;
}

bool hosts_reach(const sim_host *a, const sim_host *b)
{
    if (a->vanished || b->vanished)
        return false;
    return ((a->cut_from >> (b->id % 64)) & 1) == 0;
}

void sim_net_cut(sim_host *a, sim_host *b, bool cut)
{
    for (sim_host *other = world.hosts; other != NULL; other = other->next) {
        if (other == a || (b != NULL && other != b))
            continue;
        uint64_t to = 1ull << (other->id % 64), from = 1ull << (a->id % 64);
        a->cut_from = cut ? a->cut_from | to : a->cut_from & ~to;
        other->cut_from = cut ? other->cut_from | from : other->cut_from & ~from;
    }
    record(cut ? "net cut" : "net healed", a->id, b != NULL ? b->id : 0, 0);
}

/* --- life ------------------------------------------------------------------------------------- */

sim_host *sim_host_new(const char *name, const char *addresses, int (*main)(void *arg), void *arg)
{
    enum { PORTS = 28232, PORTS_FEW = 4, FILES_FEW = 24 };
    sim_host *host = world_alloc(sizeof(*host));
    char text[256];
    host->name = name;
    host->id = ++host_ids;
    host->main = main;
    host->arg = arg;
    host->cpus = (unsigned)chance_between(1, 3);
    host->ports_limit = fault_drawn(SIM_FAULT_PORTS) ? PORTS_FEW : PORTS;
    host->files_limit = HOST_FILES;
    host->result = -1;
    sim_check(strlen(addresses) < sizeof(text), "addresses too long");
    strcpy(text, addresses);
    for (char *save, *one = strtok_r(text, " ", &save); one != NULL;
         one = strtok_r(NULL, " ", &save))
        address_add(host, one);
    sim_host **end = &world.hosts;
    while (*end != NULL)
        end = &(*end)->next;
    *end = host;
    return host;
}

static void *host_main(void *arg)
{
    sim_host *host = arg;
    record("host starts", host->id, host->generation, 0);
    host->result = host->main(host->arg);
    return NULL;
}

void sim_host_start(sim_host *host)
{
    sim_check(!host->running, "host %s runs already", host->name);
    if (host->image != NULL) {
        free(host->image);
        host->image = NULL;
    }
    host->running = true;
    host->killed = host->vanished = false;
    host->generation++;
    host->result = -1;
    host->actors = NULL;
    host->bytes_live = host->pages_live = 0;
    memset(host->signals, 0, sizeof(host->signals));
    host->signals_pending = 0;
    host->main_actor = actor_new(host, host_main, host);
}

static void tell_waiters(sim_host *host)
{
    while (host->waiters != NULL) {
        struct sim_actor *actor = host->waiters;
        host->waiters = actor->queue_next;
        actor_wake(actor);
    }
}

/* An ended process must have left nothing. */
void host_main_ended(sim_host *host)
{
    record("host ends", host->id, host->result, 0);
    for (struct sim_actor *actor = host->actors; actor != NULL; actor = actor->host_next)
        sim_check(actor->state == ACTOR_ENDED, "host %s: its main returned while thread %u runs",
                  host->name, actor->id);
    char left[1024] = "";
    if (host->bytes_live != 0 && sim_openssl_left != NULL)
        sim_openssl_left(host, left, sizeof(left));
    sim_check(weir__alloc_live() == 0 && host->bytes_live == 0,
              "leak: host %s ended with %llu allocations, %llu bytes%s", host->name,
              (unsigned long long)weir__alloc_live(), (unsigned long long)host->bytes_live, left);
    for (int i = 0; i < HOST_FILES; i++)
        sim_check(host->files[i] == NULL, "leak: host %s ended with descriptor %d open", host->name,
                  i);
    sim_check(host->ios == NULL, "leak: host %s ended with a back end open", host->name);
    host->running = false;
    tell_waiters(host);
}

void sim_host_kill(sim_host *host, enum sim_kill how)
{
    sim_check(host != world.host_now || actor_now == NULL, "a host cannot kill itself");
    if (!host->running)
        return;
    record("host killed", host->id, how, 0);
    for (struct sim_actor *actor = host->actors; actor != NULL; actor = actor->host_next)
        actor_end(actor);
    host->running = false;
    host->killed = true;
    host->vanished = how == SIM_KILL_VANISH;
    host->ios = NULL;
    host->result = -1;
    event_cancel(&host->signal_event);
    for (int i = 0; i < HOST_FILES; i++)
        if (host->files[i] != NULL) {
            if (how != SIM_KILL_PROCESS && host->files[i]->kind == FILE_SOCKET)
                sock_forget(host->files[i]->sock);
            file_drop(host->files[i]);
            host->files[i] = NULL;
        }
    host->files_open = 0;
    tell_waiters(host);
}

bool sim_host_running(const sim_host *host)
{
    return host->running;
}

bool sim_host_wait(sim_host *host, uint64_t ns)
{
    uint64_t until_ns = ns > SIM_FOREVER - world.now_ns ? SIM_FOREVER : world.now_ns + ns;
    while (host->running) {
        struct sim_actor *actor = actor_now;
        actor->queue_next = host->waiters;
        host->waiters = actor;
        if (actor_wait(until_ns, "a host to end"))
            continue;
        for (struct sim_actor **at = &host->waiters; *at != NULL; at = &(*at)->queue_next)
            if (*at == actor) {
                *at = actor->queue_next;
                break;
            }
        return !host->running;
    }
    return true;
}

int sim_host_result(const sim_host *host)
{
    return host->result;
}

sim_host *sim_host_self(void)
{
    return world.host_now;
}

const char *sim_host_name(const sim_host *host)
{
    return host->name;
}

void sim_host_limits(sim_host *host, unsigned ports, unsigned descriptors)
{
    if (ports != 0)
        host->ports_limit = ports;
    if (descriptors != 0)
        host->files_limit = descriptors < HOST_FILES ? descriptors : HOST_FILES;
}

void sim_host_each_turn(sim_host *host, void (*fn)(weir_loop *loop, void *arg), void *arg)
{
    host->each_turn = fn;
    host->each_turn_arg = arg;
}

/* --- signals ---------------------------------------------------------------------------------- */

static void signals_arrive(struct sim_event *event)
{
    sim_host *host = weir_container(event, sim_host, signal_event);
    if (!host->running)
        return;
    host_enter(host);
    for (int number = 1; number < HOST_SIGNALS; number++) {
        void (*handler)(int) = host->signals[number].sa_handler;
        if ((host->signals_pending >> number & 1) == 0)
            continue;
        host->signals_pending &= ~(1ull << number);
        record("signal", number, handler != SIG_DFL, 0);
        if (handler != SIG_DFL && handler != SIG_IGN) {
            handler(number);
        } else if (handler == SIG_DFL &&
                   (number == SIGTERM || number == SIGINT || number == SIGQUIT)) {
            sim_host_kill(host, SIM_KILL_PROCESS);
            return;
        }
    }
}

void sim_host_signal(sim_host *host, int number)
{
    enum { SOON_NS = 50000 };
    if (!host->running)
        return;
    host->signals_pending |= 1ull << number;
    if (host->signal_event.place == 0)
        event_plan(&host->signal_event, world.now_ns + chance(SOON_NS), signals_arrive);
}

/* --- descriptors ------------------------------------------------------------------------------ */

struct sim_file *file_new(enum file_kind kind)
{
    struct sim_file *file = world_alloc(sizeof(*file));
    file->kind = kind;
    file->references = 1;
    return file;
}

struct sim_file *file_of(int fd)
{
    sim_host *host = world.host_now;
    if (fd >= SIM_FD && fd < SIM_FD + HOST_FILES && host->files[fd - SIM_FD] != NULL)
        return host->files[fd - SIM_FD];
    errno = EBADF;
    return NULL;
}

int file_install(struct sim_file *file)
{
    sim_host *host = world.host_now;
    if (host->files_open >= host->files_limit)
        return -EMFILE;
    for (int i = 0; i < HOST_FILES; i++)
        if (host->files[i] == NULL) {
            host->files[i] = file;
            if (++host->files_open > host->files_most)
                host->files_most = host->files_open;
            return SIM_FD + i;
        }
    return -EMFILE;
}

void file_drop(struct sim_file *file)
{
    if (--file->references != 0)
        return;
    if (file->sock != NULL)
        sock_close(file->sock);
    if (file->epoll != NULL)
        epoll_drop(file->epoll);
}

int file_close(int fd)
{
    struct sim_file *file = file_of(fd);
    if (file == NULL)
        return -EBADF;
    world.host_now->files[fd - SIM_FD] = NULL;
    world.host_now->files_open--;
    file_drop(file);
    return 0;
}
