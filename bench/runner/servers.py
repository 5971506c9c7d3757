"""The candidates: who they are, how they are started, what they need."""
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass
class Candidate:
    name: str                 # as in the tables
    backend: str              # what it waits with
    command: list             # {port}, {root} and {run} are filled in
    env: dict = field(default_factory=dict)
    conf: str = ""            # nginx: the template
    values: dict = field(default_factory=dict)
    path: str = "/"           # what is asked of it (HTTP)

    def missing(self, place):
        """Why it cannot run, or an empty string."""
        program = self.command[0].format(bin=place.bin)
        if not (os.path.exists(program) or shutil.which(program)):
            return f"{os.path.basename(program)} is not there (./dev bench --setup)"
        return ""

    def argv(self, place, port):
        values = {"bin": place.bin, "port": port, "root": place.root, "run": place.run}
        if self.conf:
            with open(os.path.join(HERE, "peers", "nginx", self.conf), encoding="ascii") as file:
                text = file.read()
            for name, value in {**values, **self.values}.items():
                text = text.replace(f"@{name.upper()}@", str(value))
            values["conf"] = os.path.join(place.run, "nginx.conf")
            with open(values["conf"], "w", encoding="ascii") as file:
                file.write(text)
        return [part.format(**values) for part in self.command]


def _weir(backend, program, name="", path="/"):
    url = "http" if program == "weir_http" else "tcp"
    return Candidate(f"weir-{name or backend}", backend,
                     [f"{{bin}}/{program}", url + "://127.0.0.1:{port}", "{root}"],
                     env={"WEIR_BACKEND": backend}, path=path)


def _peer(name, backend, program, path="/"):
    return Candidate(name, backend, ["{bin}/" + program, "{port}"], path=path)


def _nginx(name, conf, path="/", **values):
    return Candidate(name, "epoll", ["nginx", "-e", "{run}/error.log", "-c", "{conf}"], conf=conf,
                     values=values, path=path)


def weir(backend, path="/"):
    return _weir(backend, "weir_http", path=path)


ECHO = [
    _weir("uring", "weir_echo"),
    _weir("epoll", "weir_echo"),
    _peer("bare-uring", "uring", "echo_uring"),
    _peer("bare-epoll", "epoll", "echo_epoll"),
    _peer("libuv", "epoll", "echo_uv"),
    Candidate("libuv-guide", "epoll", ["{bin}/echo_uv", "{port}", "guide"]),
    _peer("libevent", "epoll", "echo_event"),
    _peer("asio", "epoll", "echo_asio"),
]
HTTP = [
    _weir("uring", "weir_http"),
    _weir("epoll", "weir_http"),
    _weir("uring", "weir_http", "uring-plain", "/plain"),
    _weir("epoll", "weir_http", "epoll-plain", "/plain"),
    _peer("bare-epoll", "epoll", "http_epoll"),
    _nginx("nginx", "tiny.conf"),
]
FILES = [
    _weir("uring", "weir_http", path="/files/1m"),
    _weir("epoll", "weir_http", path="/files/1m"),
    _peer("bare-memory", "epoll", "http_epoll", "/1m"),
    _nginx("nginx-sendfile", "files.conf", "/files/1m", sendfile="on"),
    _nginx("nginx-copy", "files.conf", "/files/1m", sendfile="off"),
]


def versions():
    """The versions of what is compared, as far as it is installed."""
    found = {}
    for name, package in (("libuv", "libuv1"), ("libevent", "libevent-core-2.1-7"),
                          ("asio", "libasio-dev"), ("liburing", "liburing2"),
                          ("nginx", "nginx"), ("wrk", "wrk")):
        out = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package],
                             capture_output=True, text=True, check=False)
        if out.returncode == 0:
            found[name] = re.sub(r"^1:", "", out.stdout)
    return found


def automatic(place):
    """The back end that weir takes when it is not told, on this machine."""
    env = {k: v for k, v in os.environ.items() if k != "WEIR_BACKEND"}
    out = subprocess.run([os.path.join(place.bin, "weir_echo"), "--backend"], env=env,
                         capture_output=True, text=True, check=False)
    return out.stdout.strip()
