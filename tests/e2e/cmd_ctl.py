"""weir ctl against a running server, and the lines of JSON on its control socket."""
import os
import re
import signal
import socket
import stat
import threading

from cmd_support import *

NOINPUT, UNAVAILABLE, USAGE = 66, 69, 64


def ctl_path(server):
    return os.path.join(RUNTIME, "weir", f"127.0.0.1:{server.port}.ctl")


class Line:
    """A connection to the control socket."""

    def __init__(self, server):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20 * SLOW)
        self.socket.connect(ctl_path(server))
        self.input = b""

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        while b"\n" not in self.input:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self.input += data
        line, self.input = self.input.split(b"\n", 1)
        return json.loads(line)

    def ask(self, **request):
        self.send(json.dumps(request).encode() + b"\n")
        return self.answer()


@test
def only_its_owner_can_open_it():
    server = Server()
    folder = os.path.join(RUNTIME, "weir")
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(ctl_path(server)).st_mode) == 0o600
    server.stop()
    assert not os.path.exists(ctl_path(server)), "left behind"
    # A folder that others can enter is not used.
    os.chmod(folder, 0o755)
    server = Server()
    assert "control" not in server.text() and os.listdir(folder) == []
    server.stop()
    os.chmod(folder, 0o700)
    # None was asked for; and there is no folder to put one in.
    server = Server("--ctl", "none")
    assert os.listdir(folder) == []
    server.stop()
    server = Server(env={"XDG_RUNTIME_DIR": ""})
    assert "control" not in server.text()
    server.stop()


@test
def the_server_is_found():
    _, err = weir("ctl", "stats", code=UNAVAILABLE)
    assert "no server" in err
    one = Server()
    assert weir("ctl", "stats")[0].splitlines()[0].split()[0] == "sum"
    two = Server()
    _, err = weir("ctl", "stats", code=USAGE)
    assert f"127.0.0.1:{one.port}" in err and f"127.0.0.1:{two.port}" in err, err
    weir("ctl", "--socket", f"127.0.0.1:{one.port}", "stats")
    weir("ctl", "--socket", f"127.0.0.1:{one.port}.ctl", "stats")
    weir("ctl", "--socket", ctl_path(two), "stats")
    one.stop()
    # A server that was killed leaves its socket behind: it is passed over, and made anew.
    port = two.port
    two.process.kill()
    two.wait()
    assert os.path.exists(ctl_path(two))
    # The ring of a killed process is taken apart behind its end.
    wait_until(lambda: "its server has ended" in weir("ctl", "--socket", ctl_path(two), "stats",
                                                      code=None)[1], what="the refusal")
    weir("ctl", "--socket", ctl_path(two), "stats", code=UNAVAILABLE)
    _, err = weir("ctl", "stats", code=UNAVAILABLE)
    assert "no server" in err, err
    again = Server(listen=f"http://127.0.0.1:{port}")
    weir("ctl", "stats")
    again.stop()
    _, err = weir("ctl", "--socket", "/nowhere.ctl", "stats", code=NOINPUT)
    assert "/nowhere.ctl" in err
    _, err = weir("ctl", "stats", code=UNAVAILABLE, env={"XDG_RUNTIME_DIR": ""})
    assert "--socket" in err, err


# Of all loops the largest, where the others are added.
LARGEST = ("timer_slip_max_ns", "coroutines_peak", "stack_bytes", "stack_used_bytes")


@test
def stats_add_up():
    www = folder("stats", index_html=b"0123456789")
    server = Server("--loops", "3", www)
    clients = [Client(server) for _ in range(20)]
    for client in clients:
        for _ in range(3):
            assert client.get()[2] == b"0123456789"
    answer = server.ctl("stats")
    total = answer["sum"]
    loops = [loop["stats"] for loop in answer["loops"]]
    assert len(loops) == 3 and all(loop["answered"] for loop in answer["loops"])
    assert total["http_requests"] == 60, total
    assert total["accepted"] == 20 + 1 and total["conns"] == 20 + 1, total  # and this question
    for name, value in total.items():
        if name in LARGEST:
            assert value == max(loop[name] for loop in loops)
        else:
            assert value == sum(loop[name] for loop in loops), name
    sent = sum(len("HTTP/1.1 200 OK") + 10 for _ in range(60))
    assert total["sent_bytes"] > sent and total["received_bytes"] > 60 * 20
    for client in clients:
        client.close()
    wait_until(lambda: server.stat("conns") == 1, what="their end")
    assert server.stat("closed") >= 20
    text, _ = weir("ctl", "stats")
    assert re.search(r"^http_requests +60 ", text, re.M), text
    text, _ = weir("ctl", "stats", "--interval", "100ms")
    assert re.search(r"^http_requests +0\.0 .*requests/s$", text, re.M), text
    server.stop()


@test
def connections_are_listed():
    server = Server("--loops", "2")
    clients = [Client(server) for _ in range(5)]
    for client in clients:
        client.get()
    answer = server.ctl("connections")
    assert answer["total"] == 6 and not answer["more"]
    rows = answer["connections"]
    assert len({row["id"] for row in rows}) == 6
    ours = {f"tcp://127.0.0.1:{client.socket.getsockname()[1]}" for client in clients}
    assert ours <= {row["peer"] for row in rows}, rows
    row = next(row for row in rows if row["peer"] in ours)
    assert row["state"] == "open" and row["received_bytes"] > 10 and row["sent_bytes"] > 100
    assert row["queued_bytes"] == 0 and row["age_ms"] >= row["idle_ms"] >= 0
    answer = server.ctl("connections", "--limit", "2")
    assert len(answer["connections"]) == 2 and answer["more"] and answer["total"] >= 6
    text, _ = weir("ctl", "connections", "--limit", "2")
    assert "--limit shows more" in text and len(text.splitlines()) == 4, text
    server.stop()


@test
def one_that_does_not_read_shows_what_is_queued():
    www = folder("big")
    with open(os.path.join(www, "big"), "wb") as file:
        file.truncate(64 << 20)
    server = Server(www)
    client = Client(server)
    client.ask("/big")
    client.more()
    row = next(row for row in server.ctl("connections")["connections"] if row["peer"] != "unix:")
    assert row["unsent_bytes"] > 1 << 20 and row["queued_bytes"] < 1 << 20, row
    assert server.stat("conns_active") >= 1
    server.stop()


@test
def plan_loops_limits():
    server = Server("--loops", "2", "--idle", "never", "--header-timeout", "3s", "--memory", "64M")
    plan = server.ctl("plan")
    assert BACKEND in (plan["backend"], "auto") and plan["reason"]
    assert plan["features"] and all(row["reason"] for row in plan["features"])
    loops = server.ctl("loops")["loops"]
    assert [loop["answered"] for loop in loops] == [True, True]
    for loop in loops:
        assert os.path.exists(f"/proc/{server.pid}/task/{loop['thread']}"), loop
    limits = server.ctl("limits")
    assert limits["loop"]["memory_max_bytes"] == 32 << 20, limits
    mine = next(s for s in limits["services"] if s["listen"].startswith("http://"))["limits"]
    assert mine["idle_ms"] is None and mine["header_ms"] == 3000, mine
    for request in "plan", "loops", "limits":
        assert len(weir("ctl", request)[0].splitlines()) > 2
    server.stop()


@test
def log_level():
    server = Server()
    assert weir("ctl", "log-level")[0] == "warn\n"
    assert weir("ctl", "log-level", "debug")[0] == "debug (was warn)\n"
    assert weir("ctl", "log-level")[0] == "debug\n"
    _, err = weir("ctl", "log-level", "loud", code=UNAVAILABLE)
    assert "no such log level; one of error, warn" in err, err
    weir("ctl", "plan", "x", code=USAGE)
    server.stop()


@test
def drain():
    server = Server()
    client = Client(server)
    client.get()
    out, _ = weir("ctl", "drain")
    assert "finishes" in out
    assert server.wait() == 0
    assert client.closed()


@test
def lines_of_json():
    server = Server("--loops", "2")
    line = Line(server)
    commands = [row["command"] for row in line.ask(command="help")["commands"]]
    for command in commands:
        if command != "drain":
            answer = line.ask(command=command)
            assert answer["ok"] is True, answer
    # Mistakes are answered, and the next line is heard.
    for mistake in (b"{}\n", b"\n", b"stats\n", b"[]\n", b'{"command":7}\n', b'{"command":"stat"}\n',
                    b'{"command":"' + b"x" * 500 + b'"}\n', b"{" * 40 + b"\n",
                    b'{"command":"log-level","level":"loud"}\n', b"[" + b"1," * 100 + b"1]\n"):
        line.send(mistake)
        answer = line.answer()
        assert answer["ok"] is False and answer["error"] and answer["fix"], (mistake, answer)
    assert line.ask(command="plan")["ok"]
    # Byte by byte, and with CR LF.
    for byte in b'{ "command" : "loops" }\r\n':
        line.send(bytes([byte]))
    assert line.answer()["ok"]
    # Two at once: the second may be refused, since one is answered at a time, but never lost.
    line.send(b'{"command":"stats"}\n{"command":"stats"}\n')
    first, second = line.answer(), line.answer()
    assert first["ok"] or second["ok"]
    # A line that is too long ends the connection, and only that.
    line.send(b'{"command":"' + b"x" * 5000)
    try:
        assert line.socket.recv(1) == b""
    except ConnectionResetError:
        pass
    assert Line(server).ask(command="plan")["ok"]
    server.stop()


@test
def clients_that_leave():
    """The loops are asked, and nobody is there to be told: nothing is left behind."""
    server = Server("--loops", "4")
    for number in range(200):
        line = Line(server)
        line.send(b'{"command":"connections"}\n')
        if number % 3 == 0:
            line.socket.shutdown(socket.SHUT_WR)
            assert line.answer()["ok"], "the answer still comes behind the client's end"
        line.socket.close()
    wait_until(lambda: server.stat("conns") == 1, what="their end")
    server.stop()


@test
def asked_while_it_stops():
    """Questions under way when the loops end: no crash, whatever the order."""
    for _ in range(10):
        server = Server("--loops", "4")
        stop = threading.Event()

        def pester():
            try:
                line = Line(server)
                while not stop.is_set():
                    line.ask(command="stats")
            except (OSError, EOFError, ValueError):
                pass

        threads = [threading.Thread(target=pester) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.03)
        server.signal(signal.SIGTERM)
        code = server.wait()
        stop.set()
        for thread in threads:
            thread.join()
        assert code == 0, (code, server.text())


@test
def a_held_loop_is_reported():
    """One thread of the server is stopped by a debugger's means; the others still tell."""
    try:
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
    except OSError:
        raise Skipped("no ctypes")
    server = Server("--loops", "2")
    loops = server.ctl("loops")["loops"]
    other = next(loop for loop in loops if loop["thread"] != server.pid)
    seize, interrupt, detach = 0x4206, 0x4207, 17
    if libc.ptrace(seize, other["thread"], None, None) != 0:
        raise Skipped("ptrace is not allowed here")
    try:
        assert libc.ptrace(interrupt, other["thread"], None, None) == 0
        time.sleep(0.1)
        began = time.monotonic()
        answer = server.ctl("stats")
        assert time.monotonic() - began >= 0.9
        silent = next(loop for loop in answer["loops"] if loop["loop"] == other["loop"])
        assert silent["answered"] is False and "handlers hold it" in silent["error"], silent
        text, _ = weir("ctl", "loops")
        assert f"loop {other['loop']}: no answer within a second" in text, text
    finally:
        os.waitpid(other["thread"], 0x40000000 | os.WNOHANG)  # __WALL: a thread, not a child
        libc.ptrace(detach, other["thread"], None, None)
    wait_until(lambda: all(loop["answered"] for loop in server.ctl("loops")["loops"]),
               what="its answer")
    server.stop()


main()
