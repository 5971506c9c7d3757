"""The jobs: what is asked of every candidate, and the goals that stand in the issue."""
from dataclasses import dataclass, field

from . import servers


@dataclass
class Goal:
    """The job's CPU of `ours` is at most `limit` times that of the best of `theirs`."""
    ours: str
    theirs: list
    limit: float
    text: str


@dataclass
class Job:
    name: str
    title: str
    load: str                # "echo", "http", or "wrk" by --wrk
    candidates: list
    conns: int = 64
    size: int = 0            # bytes of a message, or of an answer's body
    depth: int = 1
    close: bool = False      # a connection per request
    goals: list = field(default_factory=list)


def _echo_goals():
    goals = []
    for backend in ("uring", "epoll"):
        ours = f"weir-{backend}"
        goals.append(Goal(ours, [f"bare-{backend}"], 1.10, f"bare loop on {backend}"))
        goals += [Goal(ours, [peer], 0.70, peer) for peer in ("libuv", "libuv-guide", "libevent")]
    return goals


def _http_goals(limit):
    return [Goal(f"weir-{backend}", ["nginx"], limit, "nginx") for backend in ("uring", "epoll")]


JOBS = [
    Job("echo", "64-byte echo, 64 connections", "echo", servers.ECHO, size=64, goals=_echo_goals()),
    Job("echo-1000", "64-byte echo, 1000 connections", "echo", servers.ECHO, conns=1000, size=64,
        goals=_echo_goals()),
    Job("echo-pipelined", "64-byte echo, 64 connections, 16 pipelined", "echo", servers.ECHO,
        size=64, depth=16),
    Job("echo-16k", "16 000-byte echo, 64 connections", "echo", servers.ECHO, size=16000),
    Job("http", "HTTP/1.1 tiny body, 64 keep-alive connections", "http", servers.HTTP, size=14,
        goals=_http_goals(0.95)),
    Job("http-pipelined", "HTTP/1.1 tiny body, 64 connections, 16 pipelined", "http", servers.HTTP,
        size=14, depth=16, goals=_http_goals(0.15)),
    Job("http-close", "HTTP/1.1 connect, one request, close", "http", servers.HTTP, size=14,
        close=True, goals=_http_goals(1.0)),
    Job("http-1m", "HTTP/1.1 file of 1 MiB, 16 keep-alive connections", "http", servers.FILES,
        conns=16, size=1 << 20,
        goals=[Goal(f"weir-{backend}", ["nginx-sendfile", "nginx-copy"], 1.0,
                    "the better of nginx's two") for backend in ("uring", "epoll")]),
]
