"""weir serve: what it says when it starts, what its options do, signals, the access log."""
import json
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import urllib.request

from cmd_support import *


def curl(server, target="/", *arguments):
    done = subprocess.run(["curl", "-sS", "--max-time", "20", *arguments,
                           f"http://127.0.0.1:{server.port}{target}"], capture_output=True)
    assert done.returncode == 0, done
    return done.stdout


@test
def says_where_and_how():
    www = folder(index_html=b"hello\n")
    path = os.path.join(SCRATCH, "web.sock")
    server = Server("--listen", f"unix:{path}", "--loops", "2", "--max-conns", "77", "--idle", "15s",
                    "--write-timeout", "5s", "--max-body", "2M", www)
    text = server.text()
    assert server.urls == [f"http://127.0.0.1:{server.port}", f"unix:{path}"], server.urls
    assert f"serves {www} on" in text and re.search(r"back end  \w+: \S+", text), text
    assert "2, each accepts for itself (threads)" in text, text
    assert "77 connections, idle 15s, header 10s, write 5s, body 2MiB" in text, text
    if BACKEND != "auto":
        assert f"back end  {BACKEND}: WEIR_BACKEND names it" in text, text
    assert "  try  " not in text, "hints are for terminals"
    # Both addresses serve.
    assert curl(server) == b"hello\n"
    done = subprocess.run(["curl", "-sS", "--unix-socket", path, "http://t/"], capture_output=True)
    assert done.stdout == b"hello\n", done
    server.stop()
    assert not os.path.exists(path)


@test
def quiet_says_nothing():
    server = Server("--quiet", listen="http://127.0.0.1:0", banner=False)
    sockets = os.path.join(RUNTIME, "weir")
    wait_until(lambda: os.path.isdir(sockets) and os.listdir(sockets), what="the control socket")
    server.stop()
    assert server.text() == "", server.text()


@test
def a_signal_right_behind_its_start():
    """As soon as there is a socket's file a signal ends it in order, and takes the file away."""
    path = os.path.join(SCRATCH, "early.sock")
    for _ in range(10):
        process = subprocess.Popen([WEIR, "serve", "--quiet", "--listen", f"unix:{path}"],
                                   stdin=subprocess.DEVNULL)
        while not os.path.exists(path):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20 * SLOW) == 0
        assert not os.path.exists(path)


@test
def hints_on_a_terminal():
    import pty
    ours, theirs = pty.openpty()
    process = subprocess.Popen([WEIR, "serve", "--listen", "http://127.0.0.1:0"], stderr=theirs,
                               stdin=subprocess.DEVNULL)
    os.close(theirs)
    said = b""
    while b"Ctrl-C" not in said:
        said += os.read(ours, 4096)
    assert re.search(rb"try +curl -i http://127\.0\.0\.1:\d+/", said), said
    assert b"weir ctl stats" in said
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    os.close(ours)


@test
def welcome_without_a_folder():
    server = Server()
    page = curl(server).decode()
    assert "<!doctype html>" in page.lower() and "weir" in page
    assert "404" in curl(server, "/nothing", "-o", "/dev/null", "-w", "%{http_code}").decode()
    server.stop()


@test
def every_shape_serves():
    www = folder(index_html=b"hello\n")
    for arguments in (["--shape", "single"], ["--shape", "threads", "--loops", "3", "--pin"],
                      ["--shape", "acceptor", "--loops", "2"],
                      ["--shape", "acceptor", "--loops", "2", "--spread", "least-conns"],
                      ["--shape", "acceptor", "--loops", "2", "--spread", "source-hash"]):
        server = Server(*arguments, www)
        clients = [Client(server) for _ in range(12)]
        for client in clients:
            assert client.get()[2] == b"hello\n"
        loops = server.ctl("loops")["loops"]
        assert len(loops) == {"single": 1, "threads": 3, "acceptor": 3}[arguments[1]], loops
        if "least-conns" in arguments:
            shares = [loop["conns"] for loop in loops if not loop["listeners"]]
            assert shares == [6, 6], shares
        for client in clients:
            client.close()
        server.stop()


@test
def file_options():
    www = folder("options", a_txt=b"a", b_txt=b"b")
    with open(os.path.join(www, ".secret"), "w") as file:
        file.write("s")
    with open(os.path.join(www, "a.txt.gz"), "wb") as file:
        file.write(b"zipped")
    link = os.path.join(www, "link")
    if not os.path.islink(link):
        os.symlink("a.txt", link)

    def statuses(server):
        return [curl(server, target, "-o", "/dev/null", "-w", "%{http_code}").decode()
                for target in ("/", "/.secret", "/link")]

    plain = Server(www)
    assert statuses(plain) == ["403", "404", "404"], statuses(plain)
    assert curl(plain, "/a.txt", "-H", "Accept-Encoding: gzip") == b"zipped"
    plain.stop()
    server = Server("--listing", "--hidden", "--symlinks", "--no-precompressed",
                    "--header", "X-One: 1", "--header", "X-Two: 2", www)
    assert statuses(server) == ["200", "200", "200"], statuses(server)
    assert b"b.txt" in curl(server)
    assert curl(server, "/a.txt", "-H", "Accept-Encoding: gzip") == b"a"
    head = curl(server, "/a.txt", "-i").decode()
    assert "\r\nX-One: 1\r\n" in head and "\r\nX-Two: 2\r\n" in head, head
    server.stop()


@test
def bounds_of_requests():
    server = Server("--max-body", "10", "--header-timeout", "300ms", "--idle", "400ms")
    client = Client(server)
    client.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n")
    assert client.response()[0] in (405, 413)
    slow = Client(server)
    slow.send(b"GET / HTTP/1.1\r\nHo")
    assert slow.response()[0] == 408
    assert slow.closed()
    idle = Client(server)
    assert "timeout=0" not in idle.get()[1]
    began = time.monotonic()
    assert idle.closed()
    assert 0.3 < time.monotonic() - began < 5 * SLOW
    server.stop()


def at_the_limit(overload):
    server = Server("--max-conns", "3", "--loops", "1", "--overload", overload)
    inside = [Client(server) for _ in range(3)]
    for client in inside:
        client.get()
    return server, inside


@test
def overload_is_answered():
    server, inside = at_the_limit("answer")
    beyond = Client(server)
    status, head, _ = beyond.response()
    assert status == 503 and "\r\nRetry-After: " in head, head
    assert beyond.closed()
    assert inside[0].get()[0] == 200
    stats = server.ctl("stats")["sum"]
    assert stats["refused_limit"] == 1, stats
    inside[0].close()
    wait_until(lambda: server.stat("conns") <= 3, what="the end of a connection")
    assert Client(server).get()[0] == 200
    server.stop()


@test
def overload_is_reset():
    server, inside = at_the_limit("reset")
    try:
        beyond = Client(server)
        assert beyond.socket.recv(1) == b"", "served beyond the limit"
        assert False, "closed in order, not reset"
    except ConnectionResetError:
        pass
    server.stop()


@test
def overload_is_left_in_the_queue():
    server, inside = at_the_limit("leave")
    beyond = Client(server)
    beyond.ask()
    beyond.socket.settimeout(0.5)
    try:
        beyond.more()
        assert False, "served beyond the limit"
    except TimeoutError:
        pass
    beyond.socket.settimeout(20)
    inside[0].close()
    assert beyond.response()[0] == 200
    server.stop()


@test
def accept_rate():
    server = Server("--accept-rate", "20", "--loops", "1")
    began = time.monotonic()
    for _ in range(43):  # three at once, then one in 50 ms
        client = Client(server)
        assert client.get()[0] == 200
        client.close()
    assert 1.9 < time.monotonic() - began < 5 * SLOW, time.monotonic() - began
    assert server.stat("rate_pauses") > 30
    server.stop()


@test
def access_log_and_signals():
    www = folder(a_txt=b"abc")
    log = os.path.join(SCRATCH, "access.log")
    server = Server("--access-log", log, "--access-format", "json", www)
    for number, reopen in enumerate((signal.SIGHUP, signal.SIGUSR1)):
        curl(server, f"/a.txt?{number}")
        wait_until(lambda: os.path.getsize(log), what="a line of the log")
        old = f"{log}.{number}"
        os.rename(log, old)
        server.signal(reopen)
        wait_until(lambda: os.path.exists(log), what="a new log")
        with open(old) as file:
            line = json.loads(file.read())
        assert f"/a.txt?{number}" in json.dumps(line), line
    curl(server, "/a.txt?last")
    for number in (signal.SIGUSR2, signal.SIGWINCH, signal.SIGPIPE):
        server.signal(number)
    wait_until(lambda: "USR2 is ignored" in server.text(), what="the word about USR2")
    assert b"abc" in curl(server, "/a.txt")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    with open(log) as file:
        assert "/a.txt?last" in file.read()
    assert stat.S_IMODE(os.stat(log).st_mode) & 0o7 == 0


@test
def log_on_a_pipe_whose_reader_goes():
    """SIGPIPE kills nobody."""
    ours, theirs = os.pipe()
    server = Server("--access-log", "-", "--access-format", "common", stdout=theirs)
    os.close(theirs)
    assert curl(server)
    line = os.read(ours, 4096).decode()
    assert re.match(r'127\.0\.0\.1 - - \[.*\] "GET / HTTP/1\.1" 200 \d+', line), line
    os.close(ours)
    for _ in range(5):
        assert curl(server)
        time.sleep(0.05)
    wait_until(lambda: server.stat("http_log_lost") > 0, what="the count of lost lines")
    server.stop()


@test
def log_on_a_pipe_that_nobody_reads():
    """It holds up neither the requests nor the end, and what was lost is counted."""
    ours, theirs = os.pipe()
    server = Server("--loops", "2", "--access-log", "-", folder(small_txt=b"s"), stdout=theirs)
    os.close(theirs)
    clients = [Client(server) for _ in range(6)]
    for _ in range(300):
        for client in clients:
            assert client.get("/small.txt")[0] == 200
    time.sleep(0.5) # the pipe is full now, and the loops have found it so
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert time.monotonic() - began < 6 * SLOW, f"{time.monotonic() - began:.1f} s"
    os.set_blocking(ours, False)
    assert len(os.read(ours, 1 << 20)) > 60000
    os.close(ours)


@test
def log_on_a_pipe_that_is_read_slowly():
    """Every line comes, and whole, while the reader is no slower than the requests."""
    ours, theirs = os.pipe()
    server = Server("--loops", "2", "--access-log", "-", "--access-format", "common", folder(small_txt=b"s"),
                    stdout=theirs)
    os.close(theirs)
    clients = [Client(server) for _ in range(4)]
    for number in range(400):
        for client in clients:
            assert client.get(f"/small.txt?{number:04}")[0] == 200
    time.sleep(0.5) # the pipe was full once: 1600 lines of some 80 bytes
    lines = b""
    while lines.count(b"\n") < 1600:
        lines += os.read(ours, 4096)
        time.sleep(0.005)
    for line in lines.decode().splitlines():
        assert re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET /small\.txt\?\d{4} HTTP/1\.1" 200 1', line), line
    assert server.stat("http_log_lost") == 0
    server.stop()
    os.close(ours)


@test
def standard_error_may_be_closed_too():
    ours, theirs = os.pipe()
    noisy = subprocess.Popen([WEIR, "serve", "-vv", "--listen", "http://127.0.0.1:0", "--ctl",
                              os.path.join(SCRATCH, "noisy.ctl")], stderr=theirs)
    os.close(theirs)
    said = b""
    while b"control" not in said:
        said += os.read(ours, 4096)
    os.close(ours)
    port = int(re.search(rb"on http://127.0.0.1:(\d+)", said)[1])
    for _ in range(5):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == 200
        weir("ctl", "--socket", os.path.join(SCRATCH, "noisy.ctl"), "log-level", "debug")
    noisy.send_signal(signal.SIGTERM)
    assert noisy.wait(20) == 0


@test
def log_that_may_not_grow():
    """A full disk, as a limit on the file: lines are lost and counted, the server goes on, and what is
    written once there is room again does not begin in the middle of a line."""
    log = os.path.join(SCRATCH, "limited.log")
    server = Server("--loops", "1", "--access-log", log, "--access-format", "json", folder(small_txt=b"s"))
    hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (2000, hard))
    client = Client(server)
    for i in range(60):
        assert client.get(f"/small.txt?before-{i}")[0] == 200
    wait_until(lambda: server.stat("http_log_lost") > 0, what="the loss of lines")
    assert os.path.getsize(log) == 2000
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    for i in range(10):
        assert client.get(f"/small.txt?after-{i}")[0] == 200
    client.close()
    wait_until(lambda: "after-9" in open(log).read(), what="the last line")
    lost = server.stat("http_log_lost")
    server.stop()
    torn, seen = 0, []
    for line in open(log).read().splitlines():
        try:
            seen.append(json.loads(line)["target"])
        except ValueError:
            torn += 1
    assert torn <= 1 and [f"/small.txt?after-{i}" for i in range(10)] == seen[-10:], (torn, seen)
    assert len(seen) + lost == 70, (len(seen), lost)


@test
def ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        raise Skipped("no IPv6 here")
    server = Server(listen="http://[::1]:0")
    done = subprocess.run(["curl", "-gsS", server.urls[0]], capture_output=True)
    assert b"weir" in done.stdout, done
    server.signal(signal.SIGINT)
    assert server.wait() == 0


main()
