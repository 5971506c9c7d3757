import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

from cmd_support import BACKEND, SLOW, WEIR, Skipped, main, test, wait_until

OURS = [WEIR, "bench", "iperf3"]
THEIRS = ["iperf3"]
COOKIE = b"a" * 36 + b"\0"


def free_port():
    # On every address: a connection of any of them may hold a port.
    six = socket.has_dualstack_ipv6()
    with socket.create_server(("::" if six else "", 0), dualstack_ipv6=six,
                              family=socket.AF_INET6 if six else socket.AF_INET) as listener:
        return listener.getsockname()[1]


def theirs():
    if shutil.which("iperf3") is None:
        raise Skipped("iperf3 is not installed")
    return THEIRS


class Server:
    """One end that serves, weir's or iperf3's, on a port of its own."""

    def __init__(self, program, *arguments):
        self.ends = "-1" in arguments
        for _ in range(5):  # somebody may take the port in between
            self.port = free_port()
            self.process = subprocess.Popen(
                [*program, "-s", "-p", str(self.port), *arguments], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            wait_until(lambda: self.process.poll() is not None or self.listens(),
                       what="the server's start")
            if self.process.poll() is None:
                return
        raise AssertionError(self.process.stdout.read())

    def listens(self):
        # Not by connecting: iperf3 would take that for a client.
        return subprocess.run(["ss", "-Hltn", f"sport = :{self.port}"], capture_output=True).stdout

    def close(self, code=0):
        """Stops it, or waits for its end if it serves but one. What it said."""
        if not self.ends and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=20 * SLOW)
        assert code is None or self.process.returncode == code, (self.process.returncode, said)
        return said


def client(program, port, *arguments, code=0, host="127.0.0.1"):
    done = subprocess.run([*program, "-c", host, "-p", str(port), *arguments],
                          capture_output=True, text=True, timeout=60 * SLOW,
                          stdin=subprocess.DEVNULL)
    assert code is None or done.returncode == code, \
        f"{program[-1]} {arguments}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr}"
    return done.stdout, done.stderr


def measured(program, port, *arguments):
    """The client's report."""
    report = json.loads(client(program, port, "-J", *arguments)[0])
    assert "error" not in report, report["error"]
    return report


def one(server_program, client_program, *arguments):
    server = Server(server_program, "-1")
    report = measured(client_program, server.port, *arguments)
    server.close()
    return report


def pairs():
    """Who serves and who asks: iperf3 is always one of the two."""
    return ((theirs(), OURS), (OURS, theirs()))


@test
def tcp_both_ways_with_iperf3():
    for server, asking in pairs():
        for more in ([], ["-R"]):
            report = one(server, asking, "-n", "20M", "-P", "2", *more)
            end = report["end"]
            assert len(end["streams"]) == 2, end
            assert 20 << 20 <= end["sum_sent"]["bytes"], end["sum_sent"]
            assert end["sum_received"]["bytes"] > 1 << 20, end["sum_received"]
            # What one side counts the other has got, but for what was on its way at the end.
            if not more and server is OURS:
                assert end["sum_received"]["bytes"] == end["sum_sent"]["bytes"], end
            if more:
                assert end["sum_received"]["bytes"] >= 20 << 20, end
        report = one(server, asking, "-t", "1", "--bidir")
        end = report["end"]
        for name in ("sum_sent", "sum_received", "sum_sent_bidir_reverse",
                     "sum_received_bidir_reverse"):
            assert end[name]["bytes"] > 1 << 20, (name, end)
        assert [stream["sender"]["sender"] for stream in end["streams"]] == [True, False], end


@test
def blocks_rates_and_what_is_omitted():
    for server, asking in pairs():
        report = one(server, asking, "-k", "40", "-l", "32K")
        assert report["end"]["sum_sent"]["bytes"] == 40 * 32768, report["end"]["sum_sent"]
        report = one(server, asking, "-t", "2", "-O", "1", "-b", "80M", "-l", "10K", "-i", "1")
        assert [row["sum"]["omitted"] for row in report["intervals"]][:2] == [True, False]
        assert 14e6 < report["end"]["sum_sent"]["bytes"] < 22e6, report["end"]["sum_sent"]
        assert 14e6 < report["end"]["sum_received"]["bytes"] < 22e6, report["end"]["sum_received"]
        assert len([row for row in report["intervals"] if not row["sum"]["omitted"]]) >= 2


@test
def udp_with_iperf3():
    for server, asking in pairs():
        for more in ([], ["-R"], ["--udp-counters-64bit"]):
            end = one(server, asking, "-u", "-t", "1", "-b", "4M", "-l", "1000", *more)["end"]
            for name in ("sum", "sum_sent", "sum_received"):
                assert 430 <= end[name]["packets"] <= 700, (name, end)
            got = end["sum_received"]
            # On a busy machine some find no room; what came and what did not is all there was.
            assert got["lost_packets"] < 150, got
            assert abs(got["bytes"] - 1000 * (got["packets"] - got["lost_packets"])) <= 3000, got
            assert 0 <= end["sum_received"]["jitter_ms"] < 100, end
        end = one(server, asking, "-u", "-k", "300", "-b", "20M", "-l", "500")["end"]
        # 3.18 looks up from its sending only now and then.
        sent = end["sum_sent"]["packets"]
        assert sent == 300 or (sent > 300 and asking is THEIRS), end
        if server is OURS:
            assert end["sum_received"]["packets"] >= 0.95 * sent, end
        end = one(server, asking, "-u", "-t", "1", "-b", "4M", "-l", "1000", "--bidir", "-P", "2")
        end = end["end"]
        for name in ("sum_sent", "sum_received", "sum_sent_bidir_reverse",
                     "sum_received_bidir_reverse"):
            assert 860 <= end[name]["packets"] <= 1400, (name, end)
        end = one(server, asking, "-u", "-t", "1", "-O", "1", "-b", "4M", "-l", "1000")["end"]
        assert 430 <= end["sum_sent"]["packets"] <= 700, end


@test
def the_servers_report_comes_along():
    for server, asking in pairs():
        report = one(server, asking, "-t", "1", "--get-server-output")
        assert "receiver" in report["server_output_text"], report.keys()
        end = Server(server, "-1", "-J")
        report = measured(asking, end.port, "-t", "1", "--get-server-output")
        end.close()
        assert report["server_output_json"]["end"]["sum_received"]["bytes"] > 0, report
    server = Server(theirs(), "-1")
    out, _ = client(OURS, server.port, "-n", "10M", "--get-server-output")
    assert "Server output:" in out and "iperf Done." in out, out
    server.close()


def shape(value, path=""):
    """The paths of all fields."""
    if isinstance(value, dict):
        return {path} | set().union(*[shape(item, f"{path}.{name}") for name, item in value.items()])
    if isinstance(value, list):
        return {path} | set().union(*[shape(item, path + "[]") for item in value])
    return {path}


@test
def json_has_the_fields_of_iperf3():
    theirs()
    kinds = [["-n", "5M"], ["-u", "-k", "50", "-b", "10M"], ["-n", "5M", "-R"],
             ["-n", "5M", "--bidir"], ["-u", "-k", "50", "-b", "10M", "-R"],
             ["-u", "-k", "50", "-b", "10M", "--bidir"]]
    for words in kinds if BACKEND in ("auto", "epoll") else kinds[:1]:
        model = shape(one(THEIRS, THEIRS, *words))
        missing = model - shape(one(THEIRS, OURS, *words))
        assert not missing, (words, sorted(missing))
        ends = []
        for program in (THEIRS, OURS):
            server = Server(program, "-1", "-J")
            client(THEIRS, server.port, *words)
            ends.append(shape(json.loads(server.close())))
        assert not ends[0] - ends[1], (words, sorted(ends[0] - ends[1]))


@test
def many_clients_at_once():
    server = Server(OURS)
    reports = [None] * 6

    def ask(index):
        program = THEIRS if index % 2 and shutil.which("iperf3") else OURS
        more = ["-u", "-b", "4M", "-l", "1000", "-P", "2"] if index % 3 == 0 else ["-b", "8M"]
        reports[index] = measured(program, server.port, "-t", "1", *more)
    threads = [threading.Thread(target=ask, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, report in enumerate(reports):
        assert report is not None, index
        wanted = 1e6
        assert 0.8 * wanted < report["end"]["sum_received"]["bytes"] < 1.2 * wanted, (index, report)
    said = server.close()
    assert said.count("Accepted connection") == 6, said
    # Nobody's lines stand between another's.
    for part in said.split("Accepted connection")[1:]:
        assert part.count("receiver") in (1, 3) and part.count("[ ID]") == 2, said


@test
def a_busy_server_says_so():
    server = Server(theirs(), "-1")
    long = subprocess.Popen([*OURS, "-c", "127.0.0.1", "-p", str(server.port), "-t", "30"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "Connecting" in long.stdout.readline()
    assert "connected" in long.stdout.readline()
    _, err = client(OURS, server.port, "-t", "1", code=69)
    assert "busy" in err, err
    long.send_signal(signal.SIGINT)
    out, err = long.communicate(timeout=10 * SLOW)
    assert long.returncode == 69 and "interrupted" in err, (long.returncode, err)
    assert "sender" in out, out
    server.close(code=None)


@test
def either_end_may_be_stopped():
    server = Server(OURS)
    long = subprocess.Popen([*OURS, "-c", "127.0.0.1", "-p", str(server.port), "-t", "30"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    long.stdout.readline(), long.stdout.readline()
    long.send_signal(signal.SIGINT)
    long.communicate(timeout=10 * SLOW)
    assert measured(OURS, server.port, "-n", "1M")["end"]["sum_received"]["bytes"] == 1 << 20
    for program in (OURS, THEIRS) if shutil.which("iperf3") else (OURS,):
        more = [] if program is OURS else ["--forceflush"]
        long = subprocess.Popen(
            [*program, "-c", "127.0.0.1", "-p", str(server.port), "-t", "30", *more],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        long.stdout.readline(), long.stdout.readline()
        if program is OURS:
            long.kill()
            long.wait()
    said = server.close()
    out, _ = long.communicate(timeout=10 * SLOW)
    assert program is OURS or "terminated" in out, out
    assert "ended the test" in said or "has left" in said, said


class Bent:
    """Between a client and a server: datagrams to the server are lost and swapped by number."""

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.front = socket.socket(type=socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", self.port))
        self.back = socket.socket(type=socket.SOCK_DGRAM)
        self.back.connect(self.target)
        self.seen = self.lost = self.swapped = 0
        for run in (self.accept, self.forth, self.return_):
            threading.Thread(target=run, daemon=True).start()

    def accept(self):
        while True:
            left, _ = self.listener.accept()
            right = socket.create_connection(self.target)
            for a, b in ((left, right), (right, left)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def forth(self):
        held = None
        while True:
            data, self.peer = self.front.recvfrom(65536)
            if len(data) < 12:
                self.back.send(data)
                continue
            number = struct.unpack(">I", data[8:12])[0]
            self.seen += 1
            if number % 10 == 0:
                self.lost += 1
            elif number % 20 == 3:
                held = data
            else:
                self.back.send(data)
                if held:
                    self.back.send(held)
                    self.swapped += 1
                    held = None

    def return_(self):
        while True:
            try:
                data = self.back.recv(65536)
            except OSError:
                continue
            self.front.sendto(data, self.peer)


@test
def loss_and_reordering_are_counted():
    server = Server(OURS, "-1", "-J")
    bent = Bent(server.port)
    report = measured(OURS, bent.port, "-u", "-k", "1005", "-b", "800K", "-l", "100")
    got = report["end"]["sum_received"]
    said = json.loads(server.close())["end"]
    assert bent.lost >= 90 and bent.swapped >= 45, vars(bent)
    # On a busy machine some never come as far as here.
    lost = bent.lost + 1005 - bent.seen
    assert got["packets"] == 1005 and got["lost_packets"] == lost, (got, vars(bent))
    assert abs(got["lost_percent"] - 100 * lost / 1005) < 1e-6, got
    assert said["streams"][0]["udp"]["out_of_order"] == bent.swapped, (said, vars(bent))
    assert said["sum_received"]["bytes"] == (1005 - lost) * 100, said


def talk(port, *parts):
    """What the server says to these, one by one, until it closes or is silent."""
    got = b""
    with socket.create_connection(("127.0.0.1", port)) as conn:
        conn.settimeout(0.3 * SLOW)
        for part in (*parts, b""):
            try:
                if part:
                    conn.sendall(part)
                while True:
                    data = conn.recv(65536)
                    if not data:
                        return got
                    got += data
            except socket.timeout:
                continue
            except OSError:
                return got
    return got


def framed(text):
    return struct.pack(">I", len(text)) + text


@test
def the_server_takes_no_nonsense():
    server = Server(OURS)
    good = {"tcp": True, "time": 1, "parallel": 1, "len": 1000}
    bad = [b"", b"{", b"[]", b"7", b'{"tcp":true}', b"\xff" * 50, b"[" * 5000]
    for change in ({"parallel": 129}, {"parallel": 0}, {"parallel": -1}, {"parallel": 1e300},
                   {"parallel": "1"}, {"len": 0}, {"len": 1 << 40}, {"time": 1e9}, {"omit": 1e9},
                   {"udp": True}, {"sctp": True}, {"reverse": True, "bidirectional": True},
                   {"num": -5}, {"time": 0}, {"congestion": "x" * 100}, {"bandwidth": -1},
                   {"bandwidth": "fast"}, {"title": "x" * 70000}):
        bad.append(json.dumps({**good, **change}).encode())
    for text in bad:
        got = talk(server.port, COOKIE + framed(text))
        assert got[:1] == b"\x09" and got[1:2] == b"\xfe" and len(got) == 10, (text[:80], got)
    for size in (0xffffffff, 0x80000000, 65537):
        got = talk(server.port, COOKIE + struct.pack(">I", size) + b"x" * 100)
        assert got[1:2] == b"\xfe", got
    # States that have no place, and a stream of a test that has none.
    text = framed(json.dumps(good).encode())
    assert talk(server.port, COOKIE, text, b"\x10").startswith(b"\x09\x0a\xfe")
    assert talk(server.port, COOKIE, text, b"\x55").startswith(b"\x09\x0a\xfe")
    assert talk(server.port, COOKIE[:20]) == b""
    with socket.create_connection(("127.0.0.1", server.port)) as conn:
        conn.sendall(COOKIE + text)
        time.sleep(0.1 * SLOW)
        with socket.create_connection(("127.0.0.1", server.port)) as stream:
            stream.sendall(COOKIE)
            time.sleep(0.1 * SLOW)
            assert talk(server.port, COOKIE) == b"\xff"  # it has all its streams
            conn.sendall(b"\x04")
            time.sleep(0.1 * SLOW)
            conn.sendall(framed(b'{"streams":[{"id":1}]}'))
            time.sleep(0.1 * SLOW)
            got = conn.recv(100)
            assert got.startswith(b"\x09\x0a\x01\x02\x0d\xfe"), got
    # A stream that leaves before the other one comes, and a client that leaves in the middle.
    two = framed(json.dumps({**good, "parallel": 2}).encode())
    with socket.create_connection(("127.0.0.1", server.port)) as conn:
        conn.sendall(COOKIE + two)
        time.sleep(0.1 * SLOW)
        socket.create_connection(("127.0.0.1", server.port)).sendall(COOKIE)
    report = measured(OURS, server.port, "-n", "5M")
    assert report["end"]["sum_received"]["bytes"] == 5 << 20, report["end"]
    said = server.close()
    assert "make no sense" in said and "has no place here" in said, said


@test
def whoever_waits_is_not_waited_for():
    server = Server(OURS, "--connect-timeout", "300ms")
    good = json.dumps({"tcp": True, "time": 1, "parallel": 2, "len": 1000}).encode()
    for said in (b"", COOKIE[:20], COOKIE, COOKIE + framed(good)[:20], COOKIE + framed(good)):
        with socket.create_connection(("127.0.0.1", server.port)) as conn:
            conn.settimeout(5 * SLOW)
            conn.sendall(said)
            began = time.monotonic()
            try:
                while conn.recv(100):
                    pass
            except ConnectionResetError:
                pass
            assert 0.2 < time.monotonic() - began, said
    server.close()


def pretend(*answers):
    """A server that says these, one behind each thing that it hears."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        conn, _ = listener.accept()
        for answer in answers:
            conn.recv(65536)
            conn.sendall(answer)
        try:
            while conn.recv(65536):
                pass
        except OSError:
            pass
        conn.close()
    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


@test
def the_client_takes_no_nonsense():
    for answers, word, code in (
            ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "no place here", 76),
            ([b"\x0a"], "no place here", 76), ([b"\x02"], "no place here", 76),
            ([b"\x0d"], "no place here", 76), ([b"\x0e"], "no place here", 76),
            ([b"\xff"], "busy", 69), ([b"\x0b"], "ended the test", 69),
            ([b"\xfe" + struct.pack(">ii", 102, 98)], "cannot listen", 69),
            ([b"\xfe" + struct.pack(">ii", -5, 1 << 30)], "failed", 69),
            ([b"\x09", b"\x09"], "no place here", 76)):
        _, err = client(OURS, pretend(*answers), "-t", "1", code=code)
        assert word in err, (answers, err)
    port = free_port()
    _, err = client(OURS, port, "-t", "1", code=69)
    assert "connection refused" in err, err
    out, _ = client(OURS, port, "-t", "1", "-J", code=69)
    assert "connection refused" in json.loads(out)["error"], out
    _, err = client(OURS, pretend(), "-t", "1", "--connect-timeout", "300ms", code=69)
    assert "does not answer" in err, err


@test
def wrong_words_are_explained():
    for words, hint in (([], "server or client"), (["-s", "-c", "x"], "server or client"),
                        (["-c", "127.0.0.1", "-R", "--bidir"], "choose one"),
                        (["-c", "127.0.0.1", "-4", "-6"], "choose one"),
                        (["-c", "127.0.0.1", "-t", "1", "-n", "1M"], "choose one"),
                        (["-c", "127.0.0.1", "-b", "fast"], "bits a second"),
                        (["-c", "127.0.0.1", "-u", "-l", "70000"], "datagram"),
                        (["-c", "127.0.0.1", "-P", "200"], "128"), (["x"], "named with -c")):
        done = subprocess.run([*OURS, *words], capture_output=True, text=True, timeout=20 * SLOW)
        assert done.returncode == 64 and hint in done.stderr, (words, done.stderr)
    done = subprocess.run([*OURS, "--help"], capture_output=True, text=True, timeout=20 * SLOW)
    assert "weir bench iperf3 -c" in done.stdout and done.returncode == 0


@test
def ipv6_and_other_addresses():
    if not os.path.exists("/proc/net/if_inet6") or not open("/proc/net/if_inet6").read():
        raise Skipped("no IPv6 here")
    server = Server(OURS)
    for host in ("::1", "127.0.0.1", "localhost"):
        for more in ([], ["-u", "-b", "10M"]):
            out, _ = client(OURS, server.port, "-n", "100K", *more, host=host)
            assert "iperf Done." in out
    out, _ = client(OURS, server.port, "-n", "1M", "-B", "127.0.0.9")
    assert "local 127.0.0.9:" in out, out
    server.close()
    server = Server(OURS, "-B", "127.0.0.5", "-1")
    client(OURS, server.port, "-n", "1M", "-u", "-b", "100M", host="127.0.0.5")
    server.close()


main()
