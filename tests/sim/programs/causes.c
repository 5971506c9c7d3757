/* The causes that every network programmer learns, one after another: what goes wrong with a
 * connection, and what weir says of it. The table of docs/guide/causes.md names these rows. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sim/sim.h"

enum peer { NO_LISTENER, READS, SILENT, CLOSES, RESETS, NEVER_ACCEPTS, NO_HOST };
enum action { NOTHING, KILL, RESTART, VANISH, VANISH_AND_BACK };

static const struct row {
    const char *name;
    enum peer peer;
    enum action action;
    bool sends; /* the client goes on sending */
    const char *url;
    weir_socket_options socket;
    uint32_t connect_ms, idle_ms, write_ms;
    enum weir_why why;
    enum weir_deadline deadline;
    int error, other_error; /* 0: any */
    uint64_t least_s, most_s;
    unsigned ports;
} rows[] = {
    {.name = "refused", .peer = NO_LISTENER, .why = WEIR_WHY_ERROR, .error = -ECONNREFUSED},
    {.name = "unreachable",
     .peer = NO_HOST,
     .url = "tcp://10.9.9.9:7000",
     .why = WEIR_WHY_ERROR,
     .error = -EHOSTUNREACH},
    {.name = "silent host",
     .action = VANISH,
     .peer = NO_HOST,
     .why = WEIR_WHY_DEADLINE,
     .deadline = WEIR_DEADLINE_CONNECT,
     .least_s = 10,
     .most_s = 11},
    {.name = "silent host, the kernel's patience",
     .action = VANISH,
     .peer = NO_HOST,
     .connect_ms = WEIR_OFF,
     .why = WEIR_WHY_ERROR,
     .error = -ETIMEDOUT,
     .least_s = 60,
     .most_s = 130},
    {.name = "full queue",
     .peer = NEVER_ACCEPTS,
     .why = WEIR_WHY_DEADLINE,
     .deadline = WEIR_DEADLINE_CONNECT,
     .least_s = 10,
     .most_s = 11},
    {.name = "no local port",
     .peer = READS,
     .ports = 1,
     .why = WEIR_WHY_ERROR,
     .error = -EADDRNOTAVAIL},
    {.name = "orderly end", .peer = CLOSES, .why = WEIR_WHY_PEER_FINISHED},
    {.name = "reset", .peer = RESETS, .why = WEIR_WHY_PEER_RESET, .error = -ECONNRESET},
    {.name = "process killed", .peer = READS, .action = KILL, .why = WEIR_WHY_PEER_FINISHED},
    {.name = "host restarted",
     .peer = READS,
     .action = RESTART,
     .sends = true,
     .why = WEIR_WHY_PEER_RESET,
     .error = -ECONNRESET},
    {.name = "host vanished, idle",
     .peer = READS,
     .action = VANISH,
     .idle_ms = 30000,
     .why = WEIR_WHY_DEADLINE,
     .deadline = WEIR_DEADLINE_IDLE,
     .most_s = 40},
    {.name = "host vanished, sending",
     .peer = READS,
     .action = VANISH,
     .sends = true,
     .idle_ms = WEIR_OFF,
     .write_ms = WEIR_OFF,
     .socket = {.user_timeout_ms = 20000},
     .why = WEIR_WHY_ERROR,
     .error = -ETIMEDOUT,
     .most_s = 60},
    {.name = "host vanished, the kernel's patience",
     .peer = READS,
     .action = VANISH,
     .sends = true,
     .idle_ms = WEIR_OFF,
     .write_ms = WEIR_OFF,
     .why = WEIR_WHY_ERROR,
     .error = -ETIMEDOUT,
     .least_s = 800,
     .most_s = 1200},
    {.name = "host vanished, keepalive",
     .peer = READS,
     .action = VANISH,
     .idle_ms = WEIR_OFF,
     .socket = {.keepalive_idle_s = 10, .keepalive_interval_s = 5, .keepalive_count = 3},
     .why = WEIR_WHY_ERROR,
     .error = -ETIMEDOUT,
     .least_s = 20,
     .most_s = 60},
    {.name = "host came back",
     .peer = READS,
     .action = VANISH_AND_BACK,
     .sends = true,
     .idle_ms = WEIR_OFF,
     .write_ms = WEIR_OFF,
     .why = WEIR_WHY_PEER_RESET,
     .error = -ECONNRESET},
    {.name = "peer never reads",
     .peer = SILENT,
     .sends = true,
     .idle_ms = WEIR_OFF,
     .write_ms = 5000,
     .why = WEIR_WHY_DEADLINE,
     .deadline = WEIR_DEADLINE_WRITE},
    {.name = "no unix listener",
     .peer = NO_HOST,
     .url = "unix:@nobody",
     .why = WEIR_WHY_ERROR,
     .error = -ECONNREFUSED},
};
enum { ROWS = sizeof(rows) / sizeof(*rows) };

static struct state {
    const struct row *row;
    weir_loop *loop;
    weir_conn conn;
    weir_timer timer;
    weir_service service;
    bool opened, accepted, ended;
    weir_end end;
    int connect_result;
    unsigned sent;
    uint64_t ended_ns;
} now;

/* --- the peer, in plain calls ----------------------------------------------------------------- */

static int peer_main(void *arg)
{
    const struct row *row = now.row;
    const struct linger at_once = {.l_onoff = 1};
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(7000)};
    char bytes[4096];
    int fd, conn;
    if (row->peer == NO_LISTENER || row->peer == NO_HOST) {
        sim_sleep(10000 * WEIR_S);
        return 0;
    }
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(fd, 0) < 0)
        sim_fail("the peer cannot listen: %d", errno);
    if (row->peer == NEVER_ACCEPTS)
        sim_sleep(10000 * WEIR_S);
    conn = accept(fd, NULL, NULL);
    now.accepted = true;
    if (row->peer == SILENT)
        sim_sleep(10000 * WEIR_S);
    if (row->peer == RESETS)
        setsockopt(conn, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    while (row->peer == READS && recv(conn, bytes, sizeof(bytes), 0) > 0)
        ;
    close(conn);
    close(fd);
    return 0;
}

/* --- the client ------------------------------------------------------------------------------- */

static void send_more(weir_timer *timer, void *arg)
{
    static char bytes[32768];
    enum { MOST = 20 };
    if (now.sent++ == MOST || weir_send(now.conn, weir_static(bytes, sizeof(bytes))) < 0)
        return;
    weir_timer_start(timer, weir_after(WEIR_S / 5), send_more, NULL);
}

static void on_open(weir_conn conn, void *session)
{
    now.opened = true;
    now.conn = conn;
    if (now.row->sends)
        weir_timer_start(&now.timer, weir_after(3 * WEIR_S), send_more, NULL);
}

static void on_data(weir_conn conn, weir_view data, void *session)
{
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    sim_check(!now.ended, "%s: ended twice", now.row->name);
    now.ended = true;
    now.end = end;
    now.ended_ns = sim_now();
    weir_timer_cancel(&now.timer);
    weir_loop_stop(now.loop);
}

/* Others who take what there is one of: ports, places in a queue. */
static int taken[4];

static void take_first(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7000)};
    unsigned count = now.row->peer == NEVER_ACCEPTS ? 1 : now.row->ports;
    inet_pton(AF_INET, "10.0.0.1", &to.sin_addr);
    for (unsigned i = 0; i < count; i++) {
        taken[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(taken[i], (struct sockaddr *)&to, sizeof(to)) < 0)
            sim_fail("%s: the first did not connect: %d", now.row->name, errno);
    }
    sim_sleep(WEIR_S);
}

static int client_main(void *arg)
{
    const struct row *row = now.row;
    const char *url = row->url != NULL ? row->url : "tcp://10.0.0.1:7000";
    int result = weir_loop_new(&now.loop, NULL);
    memset(taken, -1, sizeof(taken));
    take_first();
    sim_check(result == 0, "no loop: %d", result);
    now.service = (weir_service){
        .on_open = on_open,
        .on_data = on_data,
        .on_close = on_close,
        .connect_ms = row->connect_ms,
        .idle_ms = row->idle_ms,
        .write_ms = row->write_ms,
        .first_byte_ms = WEIR_OFF,
        .socket = row->socket,
    };
    weir_loop *former = weir_loop_enter(now.loop);
    now.connect_result = weir_connect(NULL, url, &now.service, NULL);
    weir_loop_enter(former);
    if (now.connect_result == 0)
        weir_loop_run(now.loop);
    weir_loop_free(now.loop);
    for (unsigned i = 0; i < sizeof(taken) / sizeof(*taken); i++)
        if (taken[i] >= 0)
            close(taken[i]);
    return 0;
}

/* --- the director ----------------------------------------------------------------------------- */

static void act(sim_host *peer)
{
    enum { SOON_NS = 1000000000 };
    while ((!now.opened || !now.accepted) && !now.ended)
        sim_sleep(WEIR_MS);
    sim_sleep(sim_random(SOON_NS));
    switch (now.row->action) {
    case KILL:
        sim_host_kill(peer, SIM_KILL_PROCESS);
        break;
    case RESTART:
        sim_host_kill(peer, SIM_KILL_RESET);
        break;
    case VANISH:
        sim_host_kill(peer, SIM_KILL_VANISH);
        break;
    case VANISH_AND_BACK:
        sim_host_kill(peer, SIM_KILL_VANISH);
        sim_sleep(sim_between(1, 20) * WEIR_S);
        sim_host_start(peer);
        break;
    default:
        break;
    }
}

static void judge(uint64_t began_ns)
{
    const struct row *row = now.row;
    uint64_t took_s = (now.ended_ns - began_ns) / WEIR_S;
    sim_check(now.connect_result == 0, "%s: connect said %d", row->name, now.connect_result);
    sim_check(now.ended, "%s: no end was told", row->name);
    sim_check(now.end.why == row->why, "%s: why is %d, not %d (error %d)", row->name, now.end.why,
              row->why, now.end.error);
    sim_check(now.end.deadline == row->deadline, "%s: deadline %d, not %d", row->name,
              now.end.deadline, row->deadline);
    sim_check(row->error == 0 || now.end.error == row->error, "%s: error %d, not %d", row->name,
              now.end.error, row->error);
    sim_check(took_s >= row->least_s && (row->most_s == 0 || took_s <= row->most_s),
              "%s: it took %llu s", row->name, (unsigned long long)took_s);
}

static void run(void)
{
    const struct row *row = &rows[sim_random(ROWS)];
    sim_host *peer, *client;
    uint64_t began_ns;
    for (int fault = 0; fault < SIM_FAULT_COUNT; fault++)
        if (fault != SIM_FAULT_ORDER && fault != SIM_FAULT_LATE && fault != SIM_FAULT_SPURIOUS &&
            fault != SIM_FAULT_EINTR && fault != SIM_FAULT_SPLIT && fault != SIM_FAULT_SHORT_READ)
            sim_fault_forbid((enum sim_fault)fault);
    memset(&now, 0, sizeof(now));
    now.row = row;
    sim_note("row: %s", row->name);
    peer = sim_host_new("peer", "10.0.0.1", peer_main, NULL);
    client = sim_host_new("client", "10.0.0.2", client_main, NULL);
    sim_host_limits(client, row->ports, 0);
    sim_host_start(peer);
    sim_sleep(WEIR_MS);
    if (row->peer == NO_HOST && row->action == VANISH)
        sim_host_kill(peer, SIM_KILL_VANISH);
    began_ns = sim_now();
    sim_host_start(client);
    if (row->peer != NO_HOST && row->action != NOTHING)
        act(peer);
    sim_check(sim_host_wait(client, 3000 * WEIR_S), "%s: no end comes", row->name);
    judge(began_ns);
    sim_host_kill(peer, SIM_KILL_PROCESS);
}

SIM_PROGRAM(causes, .what = "what goes wrong with a connection, and what weir says of it",
            .run = run);
