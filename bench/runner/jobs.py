"""The jobs: what is asked of every candidate, and the goals that stand.

A job has several cases: `bench` is its name in the results, `name` the case's."""
from dataclasses import dataclass, field, replace

from . import servers


@dataclass
class Goal:
    """`ours` compared with the best of `theirs` in the same case: the CPU per request is at most
    `limit` times theirs."""
    ours: str
    theirs: list
    limit: float
    text: str
    kind: str = "core"   # "core": first goals; "floor": the interval must be narrower than 0.04 too


@dataclass
class Speed:
    """`ours` does at least `least` requests for each second of the server's CPU."""
    ours: str
    least: float
    text: str
    kind: str = "floor"


@dataclass
class Growth:
    """From the case `first` to the case `last` the cost of `ours` grows by at most `limit` times what
    that of the best of `theirs` does."""
    ours: str
    theirs: list
    first: str
    last: str
    limit: float
    text: str
    kind: str = "floor"


@dataclass
class Job:
    name: str
    bench: str
    title: str
    load: str                # "echo", "stream", "http", "https", "resp", or "wrk" by --wrk
    candidates: list
    conns: int = 64
    size: int = 0            # bytes of a message, a write, or an answer's body
    depth: int = 1
    close: bool = False      # a connection per request
    frames: bool = False     # messages begin with their length
    resume: bool = False     # over TLS: with the sessions of earlier connections
    version: str = ""        # of TLS; empty: the newest
    veth: bool = False       # over a link of its own, not the loopback
    quick: bool = True       # also in --quick
    goals: list = field(default_factory=list)


BARE = ["bare-uring", "bare-epoll"]
CORE_SERVERS = ("weir-auto", "weir-uring", "weir-epoll", "bare-uring", "bare-epoll",
                "libuv", "libuv-guide", "libevent", "nginx", "nginx-sendfile", "nginx-copy")
CORE_JOBS = ("echo-64", "echo-1000", "http-64", "http-pipelined", "http-close", "http-1m", "memory", "idle")


def _core_echo():
    goals = []
    for backend in ("uring", "epoll"):
        ours = f"weir-{backend}"
        goals.append(Goal(ours, [f"bare-{backend}"], 1.10, f"bare loop on {backend}"))
        goals += [Goal(ours, [peer], 0.70, peer) for peer in ("libuv", "libuv-guide", "libevent")]
    return goals


def _core_http(limit, theirs=("nginx",), text="nginx"):
    return [Goal(f"weir-{backend}", list(theirs), limit, text) for backend in ("uring", "epoll")]


def _floor(theirs, limit, text=""):
    return Goal("weir-auto", theirs, limit, text or " and ".join(theirs), "floor")


def _echo_floor(asio=None):
    goals = [_floor(BARE, 1.03, "the better bare loop")]
    goals += [_floor([peer], 0.60) for peer in ("libuv", "libevent", "netty", "go")]
    return goals + ([_floor(["asio"], asio)] if asio else [])


def _echo(name, title, **more):
    return Job(name, "echo", title, "echo", servers.ECHO, **{"size": 64, **more})


def _http(name, conns, **more):
    return Job(name, "http", f"HTTP/1.1 tiny body, {conns:,} keep-alive connections", "http",
               servers.HTTP, size=14, conns=conns, **more)


def _resp(name, depth, how):
    return Job(name, "resp", f"RESP PING, 64 connections, {how}; weir has no RESP yet", "resp",
               servers.RESP, depth=depth, size=14, quick=False)


def _tls(name, bench, title, candidates, limit, **more):
    return Job(name, bench, title, "https", candidates, quick=False,
               goals=[_floor(["nginx"], limit)], **{"size": 14, **more})


HTTP_FLOOR = [_floor(["nginx"], 0.85), _floor(["h2o"], 0.80)]
NGINX_FILES = ["nginx-sendfile", "nginx-copy"]

JOBS = [
    _echo("echo-64", "64-byte echo, 64 connections", goals=_core_echo() + _echo_floor(1.0)),
    _echo("echo-1000", "64-byte echo, 1000 connections", conns=1000,
          goals=_core_echo() + _echo_floor(0.85)),
    _echo("echo-10000", "64-byte echo, 10 000 connections", conns=10000, quick=False,
          goals=_echo_floor() + [Growth("weir-auto", BARE, "echo-64", "echo-10000", 1.05,
                                        "the bare loop's growth from 64 to 10 000")]),
    _echo("echo-16k", "16 000-byte echo, 64 connections", size=16000,
          goals=[_floor(["bare-epoll"], 1.03)]),
    _echo("echo-pipelined", "64-byte echo, 64 connections, 16 pipelined", depth=16,
          goals=[_floor(BARE, 1.05, "the better bare loop")]),
    _echo("echo-pipelined-64", "64-byte echo, 64 connections, 64 pipelined", depth=64, quick=False,
          goals=[_floor(BARE, 1.05, "the better bare loop")]),
    Job("frames", "frames", "64-byte frames with a length, a handler call and a send for each, "
        "64 connections, 64 pipelined", "echo", servers.FRAMES, size=64, depth=64, frames=True,
        quick=False, goals=[Speed("weir-auto", 7e6, "frames per second of one CPU")]),
    Job("stream", "stream", "one-way stream in writes of 256 KiB, one connection (a request is one)",
        "stream", servers.SINK, conns=1, size=256 * 1024,
        goals=[_floor(["iperf3"], 1.0, "iperf3's server")]),
    Job("accept", "accept", "connect, 64 bytes, the same back, close", "echo", servers.ACCEPT, size=64,
        close=True),
    _http("http-64", 64, goals=_core_http(0.95) + HTTP_FLOOR),
    _http("http-1000", 1000, quick=False, goals=HTTP_FLOOR),
    _http("http-10000", 10000, quick=False,
          goals=HTTP_FLOOR + [Growth("weir-auto", BARE, "http-64", "http-10000", 1.05,
                                     "the bare loop's growth from 64 to 10 000")]),
    replace(_http("http-pipelined", 64), bench="http-pipelined", depth=16,
            title="HTTP/1.1 tiny body, 64 connections, 16 pipelined",
            goals=_core_http(0.15) + [_floor(["nginx"], 0.10), _floor(BARE, 1.5, "the better bare loop"),
                                      Speed("weir-auto", 2e6, "requests per second of one CPU")]),
    Job("http-close", "http-close", "HTTP/1.1 connect, one request, close", "http", servers.HTTP,
        size=14, close=True, goals=_core_http(1.0) + [_floor(["nginx"], 0.90)]),
    Job("http-1k", "http-1k", "HTTP/1.1 file of 1 KiB, 64 keep-alive connections", "http",
        servers.SMALL, size=1024),
    Job("http-1m", "http-1m", "HTTP/1.1 file of 1 MiB, 16 keep-alive connections", "http",
        servers.FILES, conns=16, size=1 << 20,
        goals=_core_http(1.0, NGINX_FILES, "the better of nginx's two") +
        [_floor(NGINX_FILES, round(1 / 1.2, 3), "the better of nginx's two")]),
    Job("http-1m-veth", "http-1m", "HTTP/1.1 file of 1 MiB over a veth link, 16 keep-alive connections",
        "http", servers.VETH_FILES, conns=16, size=1 << 20, veth=True, quick=False,
        goals=[_floor(NGINX_FILES, round(1 / 1.2, 3), "the better of nginx's two")]),
    _tls("https", "https", "HTTPS tiny body, 64 keep-alive connections", servers.HTTPS["ec"], 0.90),
    _tls("https-1m", "https-1m", "HTTPS file of 1 MiB, 16 keep-alive connections", servers.HTTPS_FILES,
         1.0, conns=16, size=1 << 20),
    _tls("tls-full", "tls-full", "TLS 1.3 whole handshake, ECDSA P-256, one request, close",
         servers.HTTPS["ec"], 1.0, close=True),
    _tls("tls-full-rsa", "tls-full", "TLS 1.3 whole handshake, RSA 2048, one request, close",
         servers.HTTPS["rsa"], 1.0, close=True),
    _tls("tls-resumed", "tls-resumed", "TLS 1.3 resumed handshake, one request, close",
         servers.HTTPS["ec"], 1.0, close=True, resume=True),
    _tls("tls-resumed-12", "tls-resumed", "TLS 1.2 resumed handshake, one request, close",
         servers.HTTPS["ec"], 1.0, close=True, resume=True, version="1.2"),
    _resp("resp", 1, "one at a time"),
    _resp("resp-pipelined", 16, "16 pipelined"),
]

# Why a server may cost less than the bare loop, (case, server): reason. What is not here and is more
# than 5 % better is INVALID.
EXPLAINED = {}
