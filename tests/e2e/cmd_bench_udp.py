import atexit
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

from bench_support import patient
from cmd_support import BACKEND, SCRATCH, SLOW, TESTS, WEIR, main, test, wait_until, weir

ASK, DATA, BEGIN, COOKIE, BEGUN, START, ALIVE, END, REPORT = range(1, 10)


class Server:
    """weir bench serve on a UDP port and a unix datagram socket of its own."""

    def __init__(self, host="127.0.0.1"):
        self.path = os.path.join(SCRATCH, f"serve-{time.monotonic_ns()}.sock")
        self.process = subprocess.Popen(
            [WEIR, "bench", "serve", "--listen", f"udp://{host}:0", "--listen",
             "unix-dgram:" + self.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)
        line = self.process.stderr.readline()
        self.port = int(re.search(r"udp://\S+:(\d+)", line)[1])
        self.url = f"udp://{host}:{self.port}"
        self.unix = "unix-dgram:" + self.path
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def close(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20 * SLOW) == 0
        self.reader.join(5)
        return self.lines


def head(data):
    """What a datagram of a load is, and its number; (0, 0): it is none."""
    if len(data) < 32 or data[:4] != b"WBD1":
        return 0, 0
    return data[4], struct.unpack_from("<Q", data, 16)[0]


class Echo:
    """A datagram echo. `answer(data, send)` sends what it likes; without it everything goes back."""

    def __init__(self, answer=None, path=None):
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(path or ("127.0.0.1", 0))
        self.url = "unix-dgram:" + path if path else \
            f"udp://127.0.0.1:{self.socket.getsockname()[1]}"
        self.answer = answer
        self.seen = 0
        self.peers = set()
        self.last = None
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                data, peer = self.socket.recvfrom(65536)
            except OSError:
                return
            self.seen += 1
            self.peers.add(peer)
            self.last = data

            def send(answer, peer=peer):
                try:
                    self.socket.sendto(answer, peer)
                except OSError:
                    pass
            if self.answer is None:
                send(data)
            else:
                self.answer(data, send)

    def close(self):
        self.socket.close()


class Relay:
    """Stands between one client and a server. `judge(kind, number, up)` says what becomes of a
    datagram: how long it is held for each copy that goes on; "behind": until the next has gone."""

    def __init__(self, port, judge):
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back.connect(("127.0.0.1", port))
        self.url = f"udp://127.0.0.1:{self.front.getsockname()[1]}"
        self.judge = judge
        self.client = None
        self.held = {}
        self.counts = {}
        for up in (True, False):
            threading.Thread(target=self.carry, args=(up,), daemon=True).start()

    def send(self, up, data):
        try:
            if up:
                self.back.send(data)
            elif self.client is not None:  # what came for whoever had this port before goes nowhere
                self.front.sendto(data, self.client)
        except OSError:
            pass

    def carry(self, up):
        while True:
            try:
                if up:
                    data, self.client = self.front.recvfrom(65536)
                else:
                    data = self.back.recv(65536)
            except ConnectionRefusedError:
                continue
            except OSError:
                return
            kind, number = head(data)
            self.counts[kind, up] = self.counts.get((kind, up), 0) + 1
            verdict = self.judge(kind, number, up)
            if verdict == "behind":
                self.held[up] = data
                continue
            for delay in verdict:
                if delay == 0:
                    self.send(up, data)
                else:
                    threading.Timer(delay, self.send, (up, data)).start()
            if up in self.held and kind == DATA:
                self.send(up, self.held.pop(up))

    def close(self):
        for end in (self.front, self.back):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


def bench(*arguments, code=0):
    path = os.path.join(SCRATCH, "result.json")
    if os.path.exists(path):
        os.unlink(path)
    out, err = weir("bench", *arguments, "--json", path, code=code)
    with open(path) as file:
        document = json.load(file)
    return document["runs"][document["chosen"]], out, err


@test
def requests_and_answers():
    server = Server()
    run, out, _ = bench("udp", "rr", "-n", "1000", server.url)
    counts = run["counts"]
    assert counts["requests"] == counts["sent"] == counts["received_datagrams"] == 1000, run
    assert counts["lost"] == counts["duplicates"] == counts["overdue"] == run["errors"]["all"] == 0
    assert counts["sent_bytes"] == counts["received_bytes"] == 64000
    assert counts["sent_wire_bytes"] == 1000 * 110 and run["datagrams"]["wire_bytes"] == 110
    assert run["service"]["count"] == 1000 and run["connect"]["count"] == 1
    assert "64 bytes are 110 on Ethernet" in out and re.search(r"lost +0 ", out), out
    run, _, _ = bench("udp", "rr", "-n", "1000", "-c", "7", "-p", "8", "-s", "1000", server.url)
    assert run["counts"]["requests"] == 1000 and run["errors"]["all"] == 0, run
    assert run["counts"]["received_bytes"] == 1000 * 1000
    run, _, _ = bench("udp", "rr", "-n", "60", "-s", "40", "--answer", "2000", server.url)
    assert run["counts"]["requests"] == 60 and run["errors"]["all"] == 0, run
    assert run["counts"]["received_bytes"] == 60 * 2000
    assert run["datagrams"]["answer_wire_bytes"] == 2000 + 8 + 2 * 38
    run, _, _ = bench("udp", "rr", "-n", "20", "-s", "65507", server.url)
    assert run["counts"]["requests"] == 20 and run["counts"]["sent_bytes"] == 20 * 65507, run
    lines = server.close()
    assert any("1000 answers" in line and "1 socket " in line for line in lines), lines
    assert any("1000 answers" in line and "7 sockets" in line for line in lines), lines
    assert any("60 answers" in line for line in lines), lines


@test
def unix_datagrams():
    server = Server()
    run, out, _ = bench("unix", "rr", "-n", "500", "-c", "3", server.unix)
    assert run["counts"]["requests"] == 500 and run["counts"]["lost"] == 0, run
    assert run["datagrams"]["wire_bytes"] == 0 and "Ethernet" not in out
    run, _, _ = bench("unix", "rr", "-n", "50", "--answer", "9000", server.unix)
    assert run["counts"]["received_bytes"] == 50 * 9000, run
    # None is lost between unix sockets: who does not read makes the sender wait.
    run, _, _ = bench("unix", "stream", "--bytes", "2M", server.unix)
    up = run["datagrams"]["up"]
    assert up["lost"] == 0 and up["received"] == up["sent"] == -(-(2 << 20) // 1400), run
    run, _, _ = bench("unix", "stream", "--reverse", "--bytes", "200k", server.unix)
    down = run["datagrams"]["down"]
    assert down["lost"] == 0 and down["received"] == -(-(200 << 10) // 1400), run
    weir("bench", "unix", "crr", server.unix, code=64)
    server.close()
    path = os.path.join(SCRATCH, "echo-dgram.sock")
    echo = Echo(path=path)
    run, _, _ = bench("unix", "rr", "-n", "300", "-c", "3", "unix-dgram:" + path)
    assert run["counts"]["requests"] == 300 and run["errors"]["all"] == 0, run
    echo.close()


@test
@patient
def any_echo_server_will_do():
    echo = Echo()
    for plain in ([], ["--plain"]):
        run, _, _ = bench("udp", "rr", "-n", "300", "-c", "3", *plain, echo.url)
        assert run["counts"]["requests"] == 300 and run["counts"]["lost"] == 0, run
    run, _, _ = bench("udp", "rr", "-R", "200", "-c", "4", "-d", "1s", echo.url)
    assert run["response"]["count"] >= 198 and run["errors"]["all"] == 0, run
    run, _, _ = bench("udp", "rr", "--rate-per-conn", "50", "-c", "4", "-d", "1s", echo.url)
    assert run["response"]["count"] >= 196, run
    # Who takes a stream without a word is not asked what arrived.
    before = echo.seen
    run, _, _ = bench("udp", "stream", "--plain", "-d", "300ms", "--bitrate", "2M", echo.url)
    assert run["datagrams"]["up"] is None and run["counts"]["lost"] == 0, run
    assert run["counts"]["sent"] > 20 and echo.seen - before > 10, (run, echo.seen)
    echo.close()


@test
def sockets_come_from_the_sources():
    echo = Echo()
    weir("bench", "udp", "rr", "-q", "-n", "60", "-c", "7", "--source", "127.0.7.0/29", "--source",
         "127.0.9.9", echo.url)
    assert {host for host, _ in echo.peers} == \
        {f"127.0.7.{i}" for i in range(1, 7)} | {"127.0.9.9"}, echo.peers
    echo.close()


@test
@patient
def lost_late_and_double_answers_are_told_apart():
    told = {"lost": 0, "overdue": 0, "duplicates": 0}

    def answer(data, send):
        number = head(data)[1] >> 10
        if number % 10 == 4:
            told["lost"] += 1
        elif number % 10 == 8 and number < 100:
            told["lost"] += 1
            told["overdue"] += 1
            threading.Timer(0.6 * SLOW, send, (data,)).start()
        elif number % 10 == 6:
            told["duplicates"] += 1
            send(data)
            send(data)
        else:
            send(data)
    echo = Echo(answer)
    timeout = f"{300 * SLOW}ms"
    run, out, _ = bench("udp", "rr", "-R", "100", "-c", "2", "-d", f"{3 * SLOW}s", "--timeout",
                        timeout, echo.url)
    counts = run["counts"]
    assert told["overdue"] >= 5 and told["duplicates"] >= 10
    assert counts["overdue"] == told["overdue"], (counts, told)
    assert abs(counts["lost"] + counts["unfinished"] - told["lost"]) <= 2, (counts, told)
    assert abs(counts["duplicates"] - told["duplicates"]) <= 2, (counts, told)
    assert re.search(rf"lost +{counts['lost']} .*no answer within", out), out
    assert counts["waited"] == 0 and "up to 1024 requests in flight" in out, (counts, out)
    # The lost stand in the times with what they were given.
    assert run["response"]["max_ns"] >= 0.3e9, run["response"]
    echo.close()

    # A closed loop goes on when the time of a lost one has passed.
    echo = Echo(lambda data, send: send(data) if head(data)[1] >> 10 != 5 else None)
    timeout = f"{200 * SLOW}ms"
    run, _, _ = bench("udp", "rr", "-n", "100", "--timeout", timeout, echo.url)
    assert run["counts"]["requests"] == 99 and run["counts"]["lost"] == 1, run["counts"]
    assert run["service"]["count"] == 100 and run["service"]["max_ns"] >= 0.2e9, run["service"]
    weir("bench", "udp", "rr", "-q", "-n", "50", "--timeout", timeout, "--fail-if", "lost>0",
         echo.url, code=1)
    weir("bench", "udp", "rr", "-q", "-n", "50", "--timeout", timeout, "--fail-if", "lost>50%",
         echo.url)
    echo.close()


@test
def answers_may_overtake_each_other():
    held = []

    def answer(data, send):
        if head(data)[1] >> 10 in (20, 40):
            held.append(data)
            return
        send(data)
        while held:
            send(held.pop())
    echo = Echo(answer)
    run, _, _ = bench("udp", "rr", "-n", "100", "-p", "4", echo.url)
    assert run["counts"]["requests"] == 100 and run["counts"]["reordered"] == 2, run["counts"]
    assert run["counts"]["lost"] == 0
    echo.close()


def spoil(kind, number, up):
    """Every tenth is lost, another comes twice, another behind its successor."""
    if kind != DATA:
        return (0,)
    return {0: (), 3: (0, 0), 5: "behind"}.get(number % 10, (0,))


@test
@patient
def loss_order_and_doubles_of_streams_are_known():
    server = Server()
    for way, name in (([], "up"), (["--reverse"], "down")):
        relay = Relay(server.port, spoil)
        run, out, _ = bench("udp", "stream", "--bytes", "140000", "--bitrate", "4M", *way, relay.url)
        flow = run["datagrams"][name]
        assert flow["streams"] == 1 and flow["silent"] == 0, run
        assert (flow["sent"], flow["received"], flow["lost"]) == (100, 90, 10), (name, flow)
        assert (flow["reordered"], flow["duplicates"]) == (10, 10), (name, flow)
        assert run["counts"]["lost"] == 10 and run["errors"]["all"] == 0, run
        assert 250 < flow["sent_s"] < 400 and flow["sent_bytes_s"] == \
            max(flow["sent_bytes_s"], 350000), flow
        assert re.search(r"lost +10 +10 %", out), out
        weir("bench", "udp", "stream", "-q", "--bytes", "14000", "--bitrate", "4M", *way,
             "--fail-if", "lost>5%", relay.url, code=1)
        relay.close()
    lines = server.close()
    assert any("lost 10  reordered 10  twice 10" in line for line in lines), lines


@test
@patient
def jitter_is_that_of_rfc_3550():
    server = Server()
    # Each second datagram takes 8 ms longer, and they are 10 ms apart: all differences of transit
    # times are 8 ms.
    for way, name, up in (([], "up", True), (["--reverse"], "down", False)):
        relay = Relay(server.port, lambda kind, number, to:
                      (0.008 if kind == DATA and number % 2 else 0,))
        run, out, _ = bench("udp", "stream", "-d", "1s", "--bitrate", "1.12M", *way, relay.url)
        jitter = run["datagrams"][name]["jitter_ns"]
        assert 6e6 < jitter < 14e6 * SLOW, (name, run["datagrams"])
        assert "jitter" in out
        relay.close()
    server.close()


@test
@patient
def streams_for_a_time_and_at_a_rate():
    server = Server()
    for way in ([], ["--reverse"], ["--bidir"]):
        run, out, _ = bench("udp", "stream", "-d", "1s", "-w", "300ms", "--bitrate", "8M", *way,
                            server.url)
        for name in ("up", "down"):
            flow = run["datagrams"][name]
            if (name == "up") == (way == ["--reverse"]) and way != ["--bidir"]:
                assert flow is None, (way, run["datagrams"])
                continue
            assert flow["silent"] == 0 and 600 < flow["received"] < 800, (way, flow)
            assert flow["lost"] <= 0.02 * flow["sent"] and flow["duplicates"] == 0, (way, flow)
            assert 0.9e6 < flow["received_bytes_s"] < 1.1e6, (way, flow)
            assert 600 < flow["sent_s"] < 800 and 600 < flow["received_s"] < 800, (way, flow)
        assert run["errors"]["all"] == 0, (way, run)
    run, out, _ = bench("udp", "stream", "-P", "3", "-d", "300ms", "-s", "100", server.url)
    assert run["datagrams"]["up"]["streams"] == 3 and run["counts"]["sent"] > 1000, run
    assert run["datagrams"]["up"]["received"] > 100 and "as fast as they go" in out, (run, out)
    run, _, _ = bench("udp", "stream", "-d", "300ms", "--reverse", "-s", "8000", server.url)
    assert run["datagrams"]["down"]["received"] > 100 and run["errors"]["all"] == 0, run
    lines = server.close()
    assert len(lines) == 5 and any("3 sockets" in line for line in lines), lines


@test
def several_clients_at_once_have_results_of_their_own():
    server = Server()
    runs = []

    def one(name, *arguments):
        path = os.path.join(SCRATCH, name + ".json")
        weir("bench", "udp", *arguments, "--json", path, server.url)
        with open(path) as file:
            runs.append((name, json.load(file)["runs"][0]))
    clients = [threading.Thread(target=one, args=arguments) for arguments in (
        ("a", "rr", "-n", "400", "-R", "400"),
        ("b", "rr", "-n", "300", "-R", "300", "-s", "100", "--answer", "200"),
        ("c", "stream", "--bytes", "140000", "--bitrate", "1M"),
        ("d", "stream", "--reverse", "--bytes", "70000", "--bitrate", "600k"))]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    runs = dict(runs)
    assert runs["a"]["counts"]["requests"] == 400 and runs["b"]["counts"]["requests"] == 300, runs
    assert runs["b"]["counts"]["received_bytes"] == 300 * 200
    assert runs["c"]["datagrams"]["up"]["received"] == 100, runs["c"]["datagrams"]
    assert runs["d"]["datagrams"]["down"]["received"] == 50, runs["d"]["datagrams"]
    wait_until(lambda: len(server.lines) == 4, what="a line for each load")
    lines = server.close()
    for part in ("400 answers", "300 answers", "100 in, 0 out", "0 in, 50 out"):
        assert sum(part in line for line in lines) == 1, (part, lines)


@test
def ipv6_has_longer_heads():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return
    server = Server("[::1]")
    run, _, _ = bench("udp", "rr", "-n", "100", server.url)
    assert run["counts"]["requests"] == 100 and run["datagrams"]["wire_bytes"] == 130, run
    run, _, _ = bench("udp", "stream", "--reverse", "--bytes", "28000", "--bitrate", "4M", server.url)
    assert run["datagrams"]["down"]["received"] == 20, run
    server.close()


@test
@patient
def a_generator_that_stops_is_late_and_the_server_is_not_to_blame():
    server = Server()
    path = os.path.join(SCRATCH, "late.json")
    process = subprocess.Popen([WEIR, "bench", "udp", "rr", "-q", "-c", "1", "-R", "1000", "-d", "1.5s",
                                "--json", path, server.url], stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.4)
    process.send_signal(signal.SIGCONT)
    assert process.wait(20 * SLOW) == 0
    server.close()
    with open(path) as file:
        run = json.load(file)["runs"][0]
    assert run["counts"]["late"] >= 350 and run["counts"]["waited"] == 0, run["counts"]
    assert not run["valid"] and any("late" in reason for reason in run["invalid"]), run["invalid"]
    # They count from when they were due.
    assert run["response"]["max_ns"] >= 0.35e9, run["response"]


@test
def answers_of_another_size_are_errors_and_not_lost():
    echo = Echo(lambda data, send: send(data + b"more" if head(data)[1] >> 10 == 5 else data))
    run, _, _ = bench("udp", "rr", "-n", "20", "--timeout", "200ms", echo.url, code=None)
    assert run["errors"]["malformed"] == run["errors"]["all"] == 1, run["errors"]
    assert run["counts"]["requests"] == 19 and run["counts"]["lost"] == 0, run["counts"]
    assert "size" in run["malformed"], run["malformed"]
    echo.close()


@test
def nobody_there_is_said():
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    probe.bind(("127.0.0.1", 0))
    url = f"udp://127.0.0.1:{probe.getsockname()[1]}"
    # A socket that is there, and says nothing.
    _, err = weir("bench", "udp", "rr", "-d", "100ms", "--timeout", "300ms", url, code=69)
    assert "does not answer" in err and "echo server" in err, err
    _, err = weir("bench", "udp", "stream", "-d", "100ms", "--timeout", "300ms", url, code=69)
    assert "weir bench serve" in err, err
    probe.close()
    _, err = weir("bench", "udp", "rr", "-d", "100ms", url, code=69)
    assert "connection refused" in err, err
    _, err = weir("bench", "unix", "rr", "-d", "100ms", "unix-dgram:" + SCRATCH + "/none", code=69)
    assert "connection refused" in err, err


@test
def a_server_that_goes_is_noticed():
    server = Server()
    killer = threading.Timer(0.7, server.process.kill)
    killer.start()
    run, _, _ = bench("udp", "stream", "-d", "5s", "--bitrate", "1M", server.url, code=69)
    assert run["errors"]["all"] >= 1 and run["measured_ns"] < 5e9 * SLOW, run
    server = Server()
    killer = threading.Timer(0.7, server.process.kill)
    killer.start()
    run, _, _ = bench("udp", "rr", "-d", "2s", "--timeout", "200ms", server.url)
    assert run["counts"]["requests"] > 0 and run["errors"]["refused"] >= 1, run
    assert run["errors"]["refused"] < 50, run["errors"]  # it is not asked as fast as that goes


@test
def a_rate_that_is_not_reached_is_invalid():
    server = Server()
    run, out, _ = bench("udp", "stream", "-d", "400ms", "--bitrate", "900G", server.url, code=None)
    assert not run["valid"] and any("bit rate" in reason for reason in run["invalid"]), run
    assert "INVALID" in out
    weir("bench", "udp", "stream", "-q", "-d", "400ms", "--bitrate", "900G", "--strict", server.url,
         code=75)
    server.close()


@test
@patient
def what_is_lost_in_our_own_buffer_is_invalid():
    echo = Echo()
    path = os.path.join(SCRATCH, "dropped.json")
    process = subprocess.Popen([WEIR, "bench", "udp", "rr", "-q", "-d", "2s", "--json", path,
                                echo.url], stdout=subprocess.DEVNULL)
    wait_until(lambda: echo.seen > 200, what="the load")
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    for _ in range(3000):
        echo.socket.sendto(echo.last, next(iter(echo.peers)))
    process.send_signal(signal.SIGCONT)
    assert process.wait(20 * SLOW) == 0
    with open(path) as file:
        run = json.load(file)["runs"][0]
    assert run["counts"]["dropped"] > 1000 and run["counts"]["duplicates"] > 10, run["counts"]
    assert not run["valid"] and any("receive buffer" in reason for reason in run["invalid"]), run
    echo.close()


@test
def the_other_forms_of_a_result():
    server = Server()
    path = os.path.join(SCRATCH, "stream.jsonl")
    weir("bench", "udp", "rr", "-d", "650ms", "-i", "200ms", "--json-stream", path, "--hgrm",
         os.path.join(SCRATCH, "r.hgrm"), "--svg", os.path.join(SCRATCH, "r.svg"), server.url)
    with open(path) as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 3 and all(row["counts"]["requests"] > 0 for row in rows), rows
    files = []
    for name in ("one", "two"):
        files.append(os.path.join(SCRATCH, name + ".json"))
        weir("bench", "udp", "stream", "-d", "200ms", "--bitrate", "8M", "--repeat", "3", "--json",
             files[-1], server.url)
    out, _ = weir("bench", "compare", *files)
    assert re.search(r"^datagrams/s ", out, re.M) and re.search(r"^jitter ", out, re.M), out
    out, _ = weir("bench", "udp", "rr", "-q", "-d", "200ms", "--find", "lost<1%", "-R", "20k",
                  "--timeout", "100ms", server.url, code=None)
    assert "holds" in out, out
    server.close()


@test
def nobody_is_sent_more_before_he_has_shown_his_address():
    server = Server()
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(0.3 * SLOW)
    client.connect(("127.0.0.1", server.port))

    def say(kind, number=0, more=b""):
        client.send(b"WBD1" + bytes([kind, 0, 0, 0]) + struct.pack("<QQQ", 7, number, 0) + more)

    def begin(cookie, ask=3):
        say(BEGIN, more=struct.pack("<QIIIIQQ", cookie, 0, ask, 1000, 1000, 0, 3000))

    def hear():
        try:
            return client.recv(65536)
        except TimeoutError:
            return None
    say(START)
    assert hear() is None
    say(END)
    assert hear() is None
    begin(0)
    first = hear()
    assert head(first)[0] == COOKIE and len(first) == 72, first
    cookie = struct.unpack_from("<Q", first, 32)[0]
    begin(cookie ^ 2)
    assert head(hear())[0] == COOKIE
    say(START)
    assert hear() is None
    begin(cookie)
    assert head(hear())[0] == BEGUN
    say(START)
    kinds = [head(hear()) for _ in range(4)]
    assert [kind for kind, _ in kinds] == [DATA, DATA, DATA, REPORT], kinds
    assert [number for _, number in kinds[:3]] == [1, 2, 3], kinds
    say(END)
    got = hear()
    while head(got)[0] != REPORT or got[5] != 1:
        got = hear()
    assert struct.unpack_from("<Q", got, 80)[0] == 3, got  # sent
    for data in (b"", b"x", b"WBD1", b"WBD1" + bytes(28), b"WBD2" + bytes([2]) + bytes(40)):
        client.send(data)
        assert hear() == data, data  # no word of ours: an echo
    # Nor is an answer answered: it may be one to a request that was forged.
    say(ASK, number=5, more=b"x" * 8)
    got = hear()
    assert head(got) == (ASK, 5) and got[5] == 1 and len(got) == 40, got
    client.send(got)
    assert hear() is None
    # Two that echo would never end: nobody is answered who has the server's own port, or a system's.
    for port in (server.port, 1023) if os.geteuid() == 0 else (server.port,):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.2", port))
            other.settimeout(0.2 * SLOW)
            other.sendto(b"to and fro", ("127.0.0.1", server.port))
            try:
                got = other.recv(100)
            except TimeoutError:
                got = None
            assert got is None, (port, got)
    begin(cookie, ask=9)
    assert hear() is None
    client.send(b"WBD1" + bytes([BEGIN]) + bytes(30))
    assert hear() is None
    client.close()
    server.close()


@test
def who_falls_silent_is_sent_no_more():
    server = Server()
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", server.port))

    def say(kind, more=b""):
        client.send(b"WBD1" + bytes([kind, 0, 0, 0]) + struct.pack("<QQQ", 7, 0, 0) + more)
    for cookie in (lambda: 0, lambda: struct.unpack_from("<Q", answer, 32)[0]):
        say(BEGIN, struct.pack("<QIIIIQQ", cookie(), 0, 3, 100, 100, 10000, 0))  # 100 a second
        answer = client.recv(65536)
    say(START)
    began, last = time.monotonic(), 0
    client.settimeout(0.7)
    try:
        while time.monotonic() - began < 8 * SLOW:
            client.recv(65536)
            last = time.monotonic() - began
    except TimeoutError:
        pass
    assert 2.5 < last < 5 * SLOW, last
    client.close()
    server.close()


@test
def wrong_words_are_explained():
    for words, hint in ((["udp"], "rr or stream"), (["udp", "crr", "udp://127.0.0.1:1"], "rr or stream"),
                        (["udp", "rrr"], "did you mean"), (["udp", "rr", "--reverse"], "for streams"),
                        (["udp", "stream", "--reverse", "--bidir"], "choose one"),
                        (["udp", "stream", "--reverse", "--plain"], "--plain"),
                        (["udp", "rr", "-s", "31"], "from 32 to 65507"),
                        (["udp", "rr", "-s", "65508"], "from 32 to 65507"),
                        (["udp", "rr", "tcp://127.0.0.1:1"], "udp://HOST:PORT"),
                        (["udp", "rr", "--fail-if", "lots>1"], "lost>0.1%")):
        _, err = weir("bench", *words, code=64)
        assert hint in err, (words, err)
    out, _ = weir("bench", "udp", "--help")
    assert "weir bench udp" in out and "Examples" in out


# Above the back end all is the same: on the others a few will do.
if BACKEND not in ("uring", "auto"):
    TESTS[:] = [requests_and_answers, unix_datagrams, sockets_come_from_the_sources,
                loss_order_and_doubles_of_streams_are_known]
    if BACKEND == "epoll":
        TESTS += [streams_for_a_time_and_at_a_rate, a_server_that_goes_is_noticed]

main()
