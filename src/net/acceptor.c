/* Shape acceptor: one loop accepts, the others serve what it hands over. */
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/run.h"

struct handed {
    struct loop_mail mail;
    struct run_loop *target;
    unsigned service;
    int fd;
    bool secure;
};

static void handed_arrived(weir_loop *loop, struct loop_mail *mail)
{
    struct handed *handed = weir_container(mail, struct handed, mail);
    mpsc_done(&loop->posts, 0);
    if (loop->net->stopping)
        close(handed->fd);
    else
        listener_adopt(
            loop, handed->target->services[handed->service],
            (struct adopted){handed->fd, .secure = handed->secure, .last = loop->net->draining});
    atomic_fetch_sub_explicit(&loop->load, 1, memory_order_relaxed); /* it counts itself now */
    weir__free(handed);
}

static uint64_t mix(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a: enough to spread addresses */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3ull;
    return hash ^ hash >> 32;
}

static unsigned by_source(int fd, unsigned servers)
{
    weir_address peer;
    if (weir__socket_peer(fd, &peer) < 0)
        return 0;
    weir_address_set_port(&peer, 0); /* a host stays with its loop */
    return (unsigned)(mix(&peer.socket, peer.socket_size) % servers);
}

static unsigned by_load(struct run *run, unsigned servers)
{
    unsigned best = 0;
    uint32_t best_load = UINT32_MAX;
    unsigned start = run->turn++;
    for (unsigned i = 0; i < servers; i++) {
        unsigned at = (start + i) % servers;
        uint32_t load = atomic_load_explicit(&run->loops[1 + at].loop->load, memory_order_relaxed);
        if (load < best_load) {
            best_load = load;
            best = at;
        }
    }
    return best;
}

static unsigned choose(struct run *run, int fd)
{
    unsigned servers = run->loop_count - 1;
    switch (run->options.spread) {
    case WEIR_SPREAD_LEAST_CONNS:
        return by_load(run, servers);
    case WEIR_SPREAD_SOURCE_HASH:
        return by_source(fd, servers);
    default:
        return run->turn++ % servers;
    }
}

void run_hand(void *arg, struct listener *listener, int fd)
{
    struct run_loop *rl = arg;
    struct run *run = rl->run;
    struct handed *handed = weir__alloc(sizeof *handed);
    if (handed == NULL) {
        close(fd);
        return;
    }
    struct run_loop *target = &run->loops[1 + choose(run, fd)];
    *handed = (struct handed){
        .mail = {.run = handed_arrived}, .target = target, .fd = fd, .secure = listener->secure};
    while (rl->services[handed->service] != listener->service)
        handed->service++;
    atomic_fetch_add_explicit(&target->loop->load, 1, memory_order_relaxed);
    /* Reserved: what was accepted is served; the accept limit above bounds how many there are. */
    loop_mail_send(target->loop, &handed->mail, 0, true);
}
