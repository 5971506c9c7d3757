"""The candidates: who they are, how they are started, what they need."""
import glob
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field, replace

from . import settings

LOOPBACK = "127.0.0.1"  # where all of them listen, unless the place has another address
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PEERS = os.path.join(HERE, "peers")
NEWER = os.path.join(os.path.dirname(HERE), "build", "newer")  # Debian 13, by --setup --newer
NETTY = ":".join(sorted(jar for jar in glob.glob("/usr/share/java/netty-*.jar")
                        if not re.search(r"-\d", jar)))


@dataclass
class Candidate:
    name: str                 # as in the tables
    backend: str              # what it waits with
    command: list             # {port}, {root}, {run}, {job}, {bin}, {conf} are filled in
    env: dict = field(default_factory=dict)
    conf: str = ""            # below peers/: the template of its configuration
    values: dict = field(default_factory=dict)
    path: str = "/"           # what is asked of it (HTTP)
    rival: str = ""           # its folder in peers/, with settings.md; weir has none
    package: str = ""         # of Debian, for its version
    needs: str = ""           # a file that must be there besides the program
    warm_s: float = 0         # of load before the measured time, where it compiles as it runs
    job: str = "echo"         # what a peer of several jobs is asked to do
    newer: bool = False       # from Debian 13's folder
    load: str = ""            # a load of its own, where it speaks a protocol of its own

    def missing(self, place):
        """Why it cannot run, or an empty string."""
        if self.newer and not os.path.isdir(NEWER):
            return "Debian 13's folder is not there (./dev bench --setup --newer)"
        why = settings.problem(os.path.join(PEERS, self.rival)) if self.rival else ""
        for name in filter(None, () if why else (self.command[0], self.needs)):
            path = name.format(bin=place.bin, newer=NEWER)
            if not (os.path.exists(path) or shutil.which(path)):
                return f"{os.path.basename(path)} is not there (./dev bench --setup)"
        return why

    def argv(self, place, port):
        values = {"bin": place.bin, "port": port, "root": place.root, "run": place.run,
                  "peers": PEERS, "newer": NEWER, "job": self.job, "netty": NETTY}
        if self.conf:
            with open(os.path.join(PEERS, self.conf), encoding="ascii") as file:
                text = file.read()
            for name, value in {**values, **self.values}.items():
                text = text.replace(f"@{name.upper()}@", str(value))
            text = text.replace(LOOPBACK, place.host)
            values["conf"] = os.path.join(place.run, os.path.basename(self.conf))
            with open(values["conf"], "w", encoding="ascii") as file:
                file.write(text)
        return [*place.enter,
                *(part.format(**values).replace(LOOPBACK, place.host) for part in self.command)]

    def version(self):
        """Debian's version of its package, or an empty string."""
        return package_version(self.package, NEWER if self.newer else "")


def package_version(package, root=""):
    where = [f"--admindir={root}/var/lib/dpkg"] if root else []
    try:
        out = subprocess.run(["dpkg-query", *where, "-W", "-f", "${Version}\n", package],
                             capture_output=True, text=True, check=False).stdout if package else ""
    except OSError:
        out = ""
    return re.sub(r"^\d+:", "", out.splitlines()[0]) if out else ""


def from_newer(candidate, program, package=""):
    """The same from Debian 13's folder, by the loader and the libraries there: what it is given stays
    outside, so that it sees the same files."""
    libraries = ":".join(f"{{newer}}/{folder}" for folder in
                         ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib"))
    machine = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
    loader = machine.get(os.uname().machine, "ld.so")
    return replace(candidate, name=candidate.name + "-new", newer=True,
                   needs=program.format(bin="{bin}", newer="{newer}"),
                   package=package or candidate.package,
                   command=[f"{{newer}}/usr/lib64/{loader}" if loader.endswith(".2")
                            else f"{{newer}}/usr/lib/{loader}",
                            "--library-path", libraries, program, *candidate.command[1:]])


def weir(name, program="weir_http", path="/", job="echo"):
    """weir on a back end, on the one that it takes itself ("auto"), or with a plain handler."""
    url = "http" if program == "weir_http" else "tcp"
    backend = "" if name == "auto" else name.split("-")[0]
    return Candidate(f"weir-{name}", backend,
                     [f"{{bin}}/{program}", url + "://127.0.0.1:{port}",
                      "{root}" if program == "weir_http" else "{job}"],
                     env={"WEIR_BACKEND": backend}, path=path, job=job)


def _bytes(job):
    """The candidates of a job on bytes."""
    def peer(name, program, rival, package="", backend="epoll", **more):
        return Candidate(name, backend, ["{bin}/" + program, "{port}", "{job}"], rival=rival,
                         package=package, job=job, **more)

    uv = peer("libuv", "echo_uv", "libuv", "libuv1")
    found = [weir(name, "weir_echo", job=job) for name in ("auto", "uring", "epoll")] + [
        peer("bare-uring", "echo_uring", "bare", "liburing2", "uring"),
        peer("bare-epoll", "echo_epoll", "bare"),
        uv, from_newer(uv, "{bin}/echo_uv", "libuv1t64"),
        peer("libevent", "echo_event", "libevent", "libevent-core-2.1-7"),
        peer("libev", "echo_ev", "libev", "libev4"),
        peer("asio", "echo_asio", "asio", "libasio-dev"),
        _go(job), _netty(job), _node(job),
    ]
    if job == "echo":
        found.append(replace(uv, name="libuv-guide", job="guide"))
    if job == "sink":
        found.append(Candidate("iperf3", "select", ["iperf3", "-s", "-B", "127.0.0.1", "-p",
                                                    "{port}"], rival="iperf3", package="iperf3",
                               load="iperf3"))
    return found


def _go(job, path="/"):
    return Candidate("go", "epoll", ["{bin}/go_peer", "{port}", "{job}", "{root}"], rival="go",
                     env={"GOMAXPROCS": "1", "GOGC": "400"}, job=job, path=path,
                     package="golang-go")


def _netty(job, path="/"):
    return Candidate("netty", "nio", ["java", "-XX:+UseSerialGC", "-Xms512m", "-Xmx512m", "-cp",
                                        "{bin}/netty:{netty}", "Peer", "{port}", "{job}", "{root}"],
                     rival="netty", needs="{bin}/netty/Peer.class", job=job, path=path,
                     package="libnetty-java", warm_s=2)


def _node(job, path="/"):
    return Candidate("node", "epoll", ["node", "--max-semi-space-size=64", "{peers}/node/peer.js",
                                       "{port}", "{job}", "{root}"], rival="node", job=job,
                     path=path, package="nodejs", warm_s=1, env={"NODE_ENV": "production"})


def _nginx(name, conf, path="/", **values):
    return Candidate(name, "epoll", ["nginx", "-e", "{run}/error.log", "-c", "{conf}"],
                     conf="nginx/" + conf, values=values, path=path, rival="nginx",
                     package="nginx-light" if package_version("nginx-light") else "nginx")


def _servers(path, nginx):
    """The whole servers and the HTTP libraries, asked for `path`."""
    h2o = Candidate("h2o", "epoll", ["h2o", "-m", "worker", "-c", "{conf}"], conf="h2o/h2o.conf",
                    path=path, rival="h2o", package="h2o")
    lighttpd = Candidate("lighttpd", "epoll", ["lighttpd", "-D", "-f", "{conf}"],
                         conf="lighttpd/lighttpd.conf", path="/tiny" if path == "/" else path,
                         rival="lighttpd", package="lighttpd",
                         values={"backend": "writev" if path != "/files/1m" else "sendfile"})
    caddy = Candidate("caddy", "epoll", ["caddy", "run", "--config", "{conf}"],
                      conf="caddy/caddy.json", path=path, rival="caddy", package="caddy",
                      env={"GOMAXPROCS": "1", "GOGC": "400", "HOME": "/nonexistent"})
    haproxy = Candidate("haproxy", "epoll", ["haproxy", "-db", "-f", "{conf}"],
                        conf="haproxy/haproxy.cfg", path=path, rival="haproxy", package="haproxy")
    found = nginx + [from_newer(one, "{newer}/usr/sbin/nginx", "nginx") for one in nginx] + [h2o]
    if path != "/files/1m":  # it keeps no file larger than one of its buffers
        found += [haproxy, from_newer(haproxy, "{newer}/usr/sbin/haproxy")]
    found += [lighttpd, from_newer(lighttpd, "{newer}/usr/sbin/lighttpd"),
              caddy, from_newer(caddy, "{newer}/usr/bin/caddy"),
              _go("http", path), _netty("http", path), _node("http", path)]
    return found


def _http(path):
    """weir and the bare loops, which serve from memory."""
    return [weir(name, path=path) for name in ("auto", "uring", "epoll")] + [
        Candidate(f"bare-{backend}", backend, ["{bin}/http_" + backend, "{port}"], rival="bare",
                  path=path.replace("/files", ""),
                  package="liburing2" if backend == "uring" else "")
        for backend in ("uring", "epoll")]


def _resp():
    """Servers of redis' protocol: weir has none yet."""
    redis = Candidate("redis", "epoll", ["redis-server", "--bind", "127.0.0.1", "--port", "{port}",
                                         "--save", "", "--appendonly", "no", "--io-threads", "1",
                                         "--tcp-backlog", "4096", "--dir", "{run}"],
                      rival="redis", package="redis-server")
    valkey = replace(redis, name="valkey", package="valkey-server")
    return [redis, from_newer(redis, "{newer}/usr/bin/redis-server"),
            from_newer(valkey, "{newer}/usr/bin/valkey-server")]


def _https(key, path="/"):
    """weir and nginx over TLS, with the same key and the same OpenSSL."""
    certificate = [f"{{run}}/{key}.pem", f"{{run}}/{key}.key"]
    found = [Candidate(f"weir-{name}", "" if name == "auto" else name,
                       ["{bin}/weir_https", "https://127.0.0.1:{port}", "{root}", *certificate],
                       env={"WEIR_BACKEND": "" if name == "auto" else name}, path=path)
             for name in ("auto", "uring", "epoll")]
    return found + [_nginx("nginx", "tls.conf", path, key=key)]


HTTPS = {key: _https(key) for key in ("ec", "rsa")}
HTTPS_FILES = _https("ec", "/files/1m")
RESP = _resp()
ECHO = _bytes("echo")
ACCEPT = _bytes("accept")
SINK = _bytes("sink")
FRAMES = [weir(name, "weir_echo", job="frames") for name in ("auto", "uring", "epoll")] + [
    candidate for candidate in ECHO if candidate.name in ("bare-uring", "bare-epoll")]
HTTP = _http("/") + [
    weir("uring-plain", path="/plain"), weir("epoll-plain", path="/plain"),
] + _servers("/", [_nginx("nginx", "tiny.conf")])
SMALL = _http("/files/1k") + _servers(
    "/files/1k", [_nginx("nginx-sendfile", "files.conf", "/files/1k", sendfile="on"),
                  _nginx("nginx-copy", "files.conf", "/files/1k", sendfile="off")])
VETH_FILES = [weir(name, path="/files/1m") for name in ("auto", "uring", "epoll")] + [
    _nginx(f"nginx-{name}", "files.conf", "/files/1m", sendfile=switch)
    for name, switch in (("sendfile", "on"), ("copy", "off"))]
FILES = _http("/files/1m") + _servers(
    "/files/1m", [_nginx("nginx-sendfile", "files.conf", "/files/1m", sendfile="on"),
                  _nginx("nginx-copy", "files.conf", "/files/1m", sendfile="off")])


def automatic(place):
    """The back end that weir takes when it is not told, on this machine."""
    env = {k: v for k, v in os.environ.items() if k != "WEIR_BACKEND"}
    out = subprocess.run([os.path.join(place.bin, "weir_echo"), "--backend"], env=env,
                         capture_output=True, text=True, check=False)
    return out.stdout.strip()


def everybody():
    """Every candidate, each name once."""
    found = {}
    for one in ECHO + ACCEPT + SINK + FRAMES + HTTP + SMALL + FILES + VETH_FILES + RESP:
        found.setdefault(one.name, one)
    return list(found.values())
