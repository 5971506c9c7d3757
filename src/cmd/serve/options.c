/* The options of weir serve. */
#include "cmd/serve/serve.h"

static const struct option_choice backends[] = {
    {"auto", 0}, {"uring", 0}, {"epoll", 0}, {"poll", 0}, {"select", 0}, {0}};
static const struct option_choice shapes[] = {{"single", WEIR_SHAPE_SINGLE},
                                              {"threads", WEIR_SHAPE_THREADS},
                                              {"acceptor", WEIR_SHAPE_ACCEPTOR},
                                              {0}};
static const struct option_choice spreads[] = {{"round-robin", WEIR_SPREAD_ROUND_ROBIN},
                                               {"least-conns", WEIR_SPREAD_LEAST_CONNS},
                                               {"source-hash", WEIR_SPREAD_SOURCE_HASH},
                                               {0}};
static const struct option_choice overloads[] = {{"leave", WEIR_OVERLOAD_LEAVE},
                                                 {"reset", WEIR_OVERLOAD_RESET},
                                                 {"answer", WEIR_OVERLOAD_ANSWER},
                                                 {0}};
static const struct option_choice formats[] = {
    {"common", 0}, {"combined", 1}, {"json", 2}, {0}};

#define HEADING(text)                                                                              \
    {                                                                                              \
        .kind = OPTION_HEADING, .help = (text)                                                     \
    }
#define AT(member) .offset = offsetof(struct serve, member)

const struct option serve_options[] = {
    HEADING("Where and with what"),
    {.name = "listen", .kind = OPTION_TEXTS, .value_name = "URL", AT(listen),
     .help = "listen on this address; may be repeated. Default http://127.0.0.1:8080. "
             "http://:80 is port 80 on every address, http://[::1]:0 a free port, unix:/run/x.sock "
             "a unix socket"},
    {.name = "backend", .kind = OPTION_NAME, .value_name = "NAME", AT(backend), .choices = backends,
     .help = "what the loops wait with: auto (default), uring, epoll, poll or select"},
    {.name = "features", .kind = OPTION_TEXT, .value_name = "LIST", AT(features),
     .help = "switch features of the back end, as \"-multishot_recv,+direct\"; weir backends "
             "--features lists them"},
    {.name = "shape", .kind = OPTION_CHOICE, .value_name = "SHAPE", AT(shape), .choices = shapes,
     .help = "how loops map to threads: threads (default; every loop accepts for itself), acceptor "
             "(one accepts, the others serve) or single"},
    {.name = "loops", .kind = OPTION_NUMBER, .value_name = "N", AT(loops), .least = 1, .most = 511,
     .help = "loops that serve; default one a CPU"},
    {.name = "spread", .kind = OPTION_CHOICE, .value_name = "HOW", AT(spread), .choices = spreads,
     .help = "with shape acceptor, who gets the next connection: round-robin (default), "
             "least-conns or source-hash"},
    {.name = "pin", .kind = OPTION_FLAG, AT(pin), .help = "bind each loop to a CPU of its own"},

    HEADING("Files"),
    {.name = "listing", .kind = OPTION_FLAG, AT(listing),
     .help = "list folders that have no index.html"},
    {.name = "hidden", .kind = OPTION_FLAG, AT(hidden),
     .help = "serve names that begin with a dot"},
    {.name = "symlinks", .kind = OPTION_FLAG, AT(symlinks),
     .help = "follow symbolic links, within the folder"},
    {.name = "no-precompressed", .kind = OPTION_FLAG, AT(no_precompressed),
     .help = "do not send a neighbour with .br or .gz at the end of its name instead"},
    {.name = "header", .kind = OPTION_TEXTS, .value_name = "FIELD", AT(headers),
     .help = "add a header field to every answer, as \"Cache-Control: no-cache\"; may be repeated"},

    HEADING("Bounds"),
    {.name = "idle", .kind = OPTION_MS, .value_name = "TIME", AT(idle_ms), .never = true,
     .help = "close a connection after this time between requests; default 1m"},
    {.name = "header-timeout", .kind = OPTION_MS, .value_name = "TIME", AT(header_ms),
     .never = true, .help = "for the head of a request; default 10s"},
    {.name = "body-timeout", .kind = OPTION_MS, .value_name = "TIME", AT(body_ms), .never = true,
     .help = "for each KiB of a request's body; default 30s"},
    {.name = "max-body", .kind = OPTION_SIZE, .value_name = "SIZE", AT(max_body), .least = 1,
     .help = "largest body of a request; default 1M"},
    {.name = "max-conns", .kind = OPTION_NUMBER, .value_name = "N", AT(max_conns), .least = 1,
     .most = UINT32_MAX - 1, .help = "connections at the same time, shared out among the loops"},
    {.name = "overload", .kind = OPTION_CHOICE, .value_name = "HOW", AT(overload),
     .choices = overloads,
     .help = "what happens beyond max-conns: answer (default; 503), reset, or leave (in the "
             "kernel's queue)"},
    {.name = "accept-rate", .kind = OPTION_NUMBER, .value_name = "N", AT(accept_rate), .least = 1,
     .most = 1000000000, .help = "connections accepted a second, shared out among the loops"},
    {.name = "memory", .kind = OPTION_SIZE, .value_name = "SIZE", AT(memory), .least = 1 << 20,
     .help = "for output queues and held input of all connections; default a quarter of the "
             "machine's"},
    {.name = "drain", .kind = OPTION_MS, .value_name = "TIME", AT(drain_ms), .never = true,
     .help = "when told to stop, finish requests for so long, then abort; default 10s"},

    HEADING("Looking on"),
    {.name = "access-log", .kind = OPTION_TEXT, .value_name = "FILE", AT(access_log),
     .help = "write a line for each request; - is standard output"},
    {.name = "access-format", .kind = OPTION_CHOICE, .value_name = "FORMAT", AT(access_format),
     .choices = formats, .help = "of these lines: combined (default), common or json"},
    {.name = "ctl", .kind = OPTION_TEXT, .value_name = "PATH", AT(ctl),
     .help = "the socket for weir ctl; \"none\": no socket. Default "
             "$XDG_RUNTIME_DIR/weir/HOST:PORT.ctl where there is such a folder"},
    {.name = "quiet", .letter = 'q', .kind = OPTION_FLAG, AT(quiet),
     .help = "no start-up lines, and of the log errors only"},
    {.name = "verbose", .letter = 'v', .kind = OPTION_COUNT, AT(verbose),
     .help = "log more; twice: everything"},
    {0}};
