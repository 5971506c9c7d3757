"""Listening sockets that the process is started with: systemd's way, and a shell's."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from cmd_support import *

BODY = os.urandom(3000)
# Becomes the command, with the descriptors where a manager puts them and its own number told.
STARTER = """import fcntl, os, sys
fds = [int(fd) for fd in sys.argv[1].split(",")]
kept = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
for number, fd in enumerate(kept):
    os.dup2(fd, 3 + number)
    os.set_inheritable(3 + number, True)
if sys.argv[2] == "own":
    os.environ["LISTEN_PID"] = str(os.getpid())
elif sys.argv[2] != "none":
    os.environ["LISTEN_PID"] = sys.argv[2]
os.closerange(3 + len(kept), 200)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Started:
    """weir serve, started with sockets from 3 on."""

    def __init__(self, sockets, *arguments, names=None, pid="own", env=None):
        www = folder("inherited", data=BODY)
        fds = [s.fileno() for s in sockets]
        environment = {**os.environ, **(env or {})}
        if pid != "none":
            environment["LISTEN_FDS"] = str(len(fds))
        if names:
            environment["LISTEN_FDNAMES"] = names
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTER, ",".join(map(str, fds)), pid, WEIR, "serve", "--ctl",
             "none", *arguments, www], pass_fds=fds, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        said = self.process.communicate(timeout=30 * SLOW)[1]
        assert self.process.returncode == 0, said
        return said

    def refused(self):
        said = self.process.communicate(timeout=30 * SLOW)[1]
        assert self.process.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT), said
        return said


def get(family, address):
    """The answer to one request; it waits for the server in the socket's queue."""
    with socket.socket(family) as client:
        client.settimeout(20 * SLOW)
        client.connect(address)
        client.sendall(b"GET /data HTTP/1.0\r\nHost: t\r\n\r\n")
        got = b""
        while piece := client.recv(1 << 16):
            got += piece
    assert got.endswith(BODY), got[:200]


def listener():
    return socket.create_server(("127.0.0.1", 0))


SHAPES = (["--shape", "single"], ["--shape", "threads", "--loops", "2"],
          ["--shape", "processes", "--workers", "2"])


@test
def a_managers_socket_by_its_name():
    for shape in SHAPES:
        web, other = listener(), listener()
        web.setblocking(False)  # as systemd's are
        server = Started([other, web], *shape, "--listen", "systemd:web", names="other:web")
        said = server.process.stderr.readline()  # workers may serve before the master says so
        for _ in range(6):
            get(socket.AF_INET, web.getsockname())
        server.end()
        assert f" on http://127.0.0.1:{web.getsockname()[1]}\n" in said, said
        assert str(other.getsockname()[1]) not in said, said
        web.close()
        other.close()


@test
def a_descriptor_is_taken_once():
    web = listener()
    for shape in SHAPES:
        for urls in (["fd:3", "fd:3"], ["systemd:web", "fd:3"]):
            listens = [word for url in urls for word in ("--listen", url)]
            said = Started([web], *shape, *listens, names="web").refused()
            assert "listened on twice" in said, said
    web.close()


@test
def all_of_them_and_unix_ones():
    path = os.path.join(SCRATCH, "inherited.sock")
    local = socket.socket(socket.AF_UNIX)
    local.bind(path)
    local.listen()
    web = listener()
    server = Started([web, local], "--listen", "systemd:", names="a:b")
    get(socket.AF_INET, web.getsockname())
    get(socket.AF_UNIX, path)
    server.end()
    assert os.path.exists(path), "its file is not ours to remove"
    os.remove(path)
    # A shell's: no manager at all.
    server = Started([web], "--listen", "http+fd:3", pid="none")
    get(socket.AF_INET, web.getsockname())
    server.end()


@test
def who_came_before_the_server_is_served():
    """That is what a manager's socket is for."""
    for shape in SHAPES:
        web = listener()
        clients = [socket.create_connection(web.getsockname(), 20 * SLOW) for _ in range(30)]
        for client in clients:
            client.sendall(b"GET /data HTTP/1.0\r\nHost: t\r\n\r\n")
        server = Started([web], *shape, "--listen", "systemd:")
        for client in clients:
            got = b""
            while piece := client.recv(1 << 16):
                got += piece
            assert got.endswith(BODY)
            client.close()
        server.end()
        web.close()


@test
def what_is_none_is_refused():
    """A file, a connection, a datagram socket, one that does not listen: each with its reason."""
    web = listener()
    plain = socket.socket()
    plain.bind(("127.0.0.1", 0))
    ends = socket.socketpair()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    file = tempfile.TemporaryFile()
    for what, why in ((file, "is no socket"), (ends[0], "does not listen"),
                      (plain, "does not listen"), (datagrams, "not one of streams")):
        said = Started([what], "--listen", "fd:3", pid="none").refused()
        assert why in said, said
    for url, why in (("fd:77", "no such descriptor"), ("fd:2", "a number from 3 on"),
                     ("fd:", "a number from 3 on"), ("fd:3x", "a number from 3 on"),
                     ("fd:99999999999", "a number from 3 on")):
        said = Started([web], "--listen", url, pid="none").refused()
        assert why in said, (url, said)
    said = Started([web], "--listen", "systemd:web", names="other").refused()
    assert "none of the sockets that were passed has that name" in said, said
    said = Started([web], "--listen", "systemd:web", names="web", pid="1").refused()
    assert "for another process" in said, said
    said = Started([web], "--listen", "systemd:web", pid="none").refused()
    assert "LISTEN_FDS is not set" in said, said
    for count in ("0", "-1", "many", "99999999", "1 "):
        code = "import os,sys; os.environ['LISTEN_PID']=str(os.getpid()); os.execv(sys.argv[1], " \
               "sys.argv[1:])"
        done = subprocess.run([sys.executable, "-c", code, WEIR, "serve", "--listen", "systemd:"],
                              env={**os.environ, "LISTEN_FDS": count}, capture_output=True,
                              text=True, timeout=30 * SLOW)
        assert done.returncode != 0 and "no number of sockets" in done.stderr, (count, done.stderr)
    said = Started([web], "--listen", "https+fd:3", pid="none").refused()
    assert "certificate" in said, said


@test
def the_manager_is_told():
    for name in (os.path.join(SCRATCH, "notify"), f"@weir-test-{os.getpid()}"):
        for shape in SHAPES:
            manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            manager.bind(name.replace("@", "\0"))
            manager.settimeout(20 * SLOW)
            web = listener()
            server = Started([web], *shape, "--listen", "systemd:", env={"NOTIFY_SOCKET": name})
            assert manager.recv(200) == f"READY=1\nMAINPID={server.process.pid}".encode()
            server.end()
            assert manager.recv(200).startswith(b"STOPPING=1\n")
            manager.setblocking(False)
            try:
                raise AssertionError(f"told more: {manager.recv(200)}")
            except BlockingIOError:
                pass
            manager.close()
            web.close()
            if name[0] != "@":
                os.remove(name)
    # A manager that cannot be told changes nothing.
    for name in ("nonsense", "/nowhere/at/all", "@", "/" + "x" * 200):
        web = listener()
        server = Started([web], "--listen", "systemd:", env={"NOTIFY_SOCKET": name})
        get(socket.AF_INET, web.getsockname())
        server.end()
        web.close()


@test
def with_systemds_own_tool():
    tool = shutil.which("systemd-socket-activate")
    if not tool:
        raise Skipped("no systemd-socket-activate (package systemd)")
    free = listener()
    port = free.getsockname()[1]
    free.close()
    www = folder("inherited", data=BODY)
    process = subprocess.Popen(
        [tool, "--listen", f"127.0.0.1:{port}", "--fdname=web", WEIR, "serve", "--ctl", "none",
         "--listen", "systemd:web", www], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    get(socket.AF_INET, ("127.0.0.1", port))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20 * SLOW) == 0


main()
