import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

from bench_support import Echo, Tiny, text
from cmd_support import BACKEND, SCRATCH, SLOW, WEIR, main, test, wait_until, weir


class Server:
    """weir bench serve on a port and a unix socket of its own."""

    def __init__(self):
        self.path = os.path.join(SCRATCH, "serve.sock")
        self.process = subprocess.Popen(
            [WEIR, "bench", "serve", "--listen", "tcp://127.0.0.1:0", "--listen",
             "unix:" + self.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        self.port = int(re.search(r"tcp://127.0.0.1:(\d+)", line)[1])
        self.url = f"tcp://127.0.0.1:{self.port}"
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


def bench(*arguments, code=0):
    path = os.path.join(SCRATCH, "result.json")
    if os.path.exists(path):
        os.unlink(path)
    out, err = weir("bench", *arguments, "--json", path, code=code)
    with open(path) as file:
        document = json.load(file)
    return document["runs"][document["chosen"]], out, err


@test
def requests_and_answers_of_bytes():
    server = Server()
    run, _, _ = bench("tcp", "rr", "-n", "1000", server.url)
    assert run["counts"]["requests"] == 1000 and run["errors"]["all"] == 0, run
    assert run["counts"]["sent_bytes"] == run["counts"]["received_bytes"] == 64000
    run, _, _ = bench("tcp", "rr", "-n", "1000", "-c", "7", "-p", "8", "-s", "1000", server.url)
    assert run["counts"]["requests"] == 1000 and run["errors"]["all"] == 0, run
    assert run["counts"]["received_bytes"] == 1000 * 1000
    run, _, _ = bench("tcp", "rr", "-n", "50", "-s", "10", "--answer", "300000", server.url)
    assert run["counts"]["requests"] == 50 and run["errors"]["all"] == 0, run
    assert run["counts"]["received_bytes"] == 50 * 300000
    run, _, _ = bench("unix", "rr", "-n", "500", "-c", "3", server.path)
    assert run["counts"]["requests"] == 500 and run["errors"]["all"] == 0, run
    run, _, _ = bench("tcp", "rr", "-R", "200", "-c", "4", "-d", "1s", server.url)
    assert run["response"]["count"] >= 198 and run["errors"]["all"] == 0, run
    lines = server.close()
    assert any("50 answers" in line for line in lines), lines


@test
def a_connection_for_each():
    server = Server()
    for kind, address in (("tcp", server.url), ("unix", "unix:" + server.path)):
        run, _, _ = bench(kind, "crr", "-n", "300", "-c", "4", address)
        assert run["counts"]["requests"] == 300 and run["errors"]["all"] == 0, run
        assert run["connect"]["count"] == 300
    lines = server.close()
    assert sum("300 connections" in line and "300 answers" in line for line in lines) == 2, lines
    echo = Echo()
    run, _, _ = bench("tcp", "crr", "-n", "50", "--plain", "--reset", f"tcp://127.0.0.1:{echo.port}")
    assert run["counts"]["requests"] == 50 and run["errors"]["all"] == 0, run
    echo.close()


@test
def any_echo_server_will_do():
    echo = Echo()
    run, _, _ = bench("tcp", "rr", "-n", "300", "-c", "3", f"127.0.0.1:{echo.port}")
    assert run["counts"]["requests"] == 300 and run["errors"]["all"] == 0, run
    echo.close()
    path = os.path.join(SCRATCH, "echo.sock")
    echo = Echo(path)
    run, _, _ = bench("unix", "rr", "-n", "300", "-c", "3", path)
    assert run["counts"]["requests"] == 300 and run["errors"]["all"] == 0, run
    echo.close()


@test
def streams_of_so_many_bytes():
    server = Server()
    size = 20 << 20
    run, out, _ = bench("tcp", "stream", "-P", "2", "--bytes", "20M", server.url)
    assert run["counts"]["sent_bytes"] == 2 * size, run["counts"]
    assert run["server_bytes"] == 2 * size and run["errors"]["all"] == 0, run
    assert "Gbit/s" in out
    run, _, _ = bench("tcp", "stream", "--reverse", "-P", "2", "--bytes", "20M", server.url)
    assert run["counts"]["received_bytes"] == 2 * size and run["errors"]["all"] == 0, run
    run, _, _ = bench("tcp", "stream", "--bidir", "--bytes", "20M", server.url)
    assert run["counts"]["received_bytes"] == run["counts"]["sent_bytes"] == size, run["counts"]
    assert run["errors"]["all"] == 0, run["errors"]
    run, _, _ = bench("unix", "stream", "--bytes", "20M", "-s", "10000", server.path)
    assert run["server_bytes"] == size and run["errors"]["all"] == 0, run
    lines = server.close()
    assert sum("20.0 MiB" in line for line in lines) >= 2 and len(lines) == 4, lines


@test
def streams_for_a_time_and_at_a_rate():
    server = Server()
    for how in ([], ["--reverse"], ["--bidir"]):
        run, _, _ = bench("tcp", "stream", "-d", "300ms", *how, server.url)
        assert run["counts"]["sent_bytes"] + run["counts"]["received_bytes"] > 1 << 20, run
        assert run["errors"]["all"] == 0, (how, run["errors"])
        assert 0.25e9 < run["measured_ns"] < 1e9 * SLOW
    for how, ways in (([], ("sent",)), (["--reverse"], ("received",)), (["--bidir"], ("sent", "received"))):
        run, _, _ = bench("tcp", "stream", "-d", "700ms", "--bitrate", "80M", *how, server.url)
        assert run["errors"]["all"] == 0, run["errors"]
        for way in ways:
            assert 6e6 < run["counts"][way + "_bytes"] < 7.35e6, (how, run["counts"])
    began = time.monotonic()
    run, _, _ = bench("tcp", "stream", "--reverse", "--bytes", "1M", "--bitrate", "24M", server.url)
    assert run["counts"]["received_bytes"] == 1 << 20 and time.monotonic() - began > 0.3, run
    server.close()


@test
def what_limits_a_stream_is_told():
    server = Server()
    run, out, _ = bench("tcp", "stream", "-d", "1s", "--bitrate", "8M", server.url)
    tcp = run["tcp"]
    assert tcp["samples"] == 1 and 900 <= tcp["age_ms"] < 3000 * SLOW, tcp
    assert tcp["busy_ms"] < 0.7 * tcp["age_ms"], tcp  # there is little to send
    assert re.search(r"nothing to send \d+ %", out) or tcp["busy_ms"] == 0, out
    run, out, _ = bench("tcp", "stream", "-P", "2", "--bytes", "50M", server.url)
    assert run["tcp"]["samples"] == 2 and run["tcp"]["delivery_bytes_s"] > 0, run["tcp"]
    server.close()
    # Somebody who takes nothing: the window is full.
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    run, out, _ = bench("tcp", "stream", "-d", "1s", "--plain",
                        f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    tcp = run["tcp"]
    assert tcp["receiver_limited_ms"] > 0.5 * tcp["busy_ms"] > 200, tcp
    assert re.search(r"limited +by the network \d+ %, the receiver's window ([5-9]\d|100) %", out), out
    listener.close()


@test
def a_stream_that_nobody_takes_is_an_error():
    listener = socket.create_server(("127.0.0.1", 0))

    def leave():
        client, _ = listener.accept()
        client.recv(1000)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    threading.Thread(target=leave, daemon=True).start()
    run, _, _ = bench("tcp", "stream", "-d", "2s", f"tcp://127.0.0.1:{listener.getsockname()[1]}",
                      code=69)
    assert run["errors"]["all"] == 1, run["errors"]
    assert run["measured_ns"] < 1.5e9 * SLOW  # there is nothing more to measure


@test
def connections_are_held():
    server = Server()
    run, out, _ = bench("conns", "-c", "200", "-d", "500ms", "-t", "2", server.url)
    assert run["open_conns"] == 200 and run["counts"]["requests"] == 0, run
    assert run["connect"]["count"] == 200 and run["errors"]["all"] == 0
    assert re.search(r"held +200 +of 200", out), out
    run, _, _ = bench("conns", "-c", "50", "-d", "1s", "--beat", "100ms", server.url)
    assert 450 <= run["service"]["count"] + run["counts"]["missed"] <= 550, run["counts"]
    assert run["errors"]["all"] == 0
    run, _, _ = bench("conns", "-c", "20", "-d", "1500ms", "--life", "300ms", server.url)
    assert run["counts"]["connects"] >= 40 and run["open_conns"] >= 15, run
    run, _, _ = bench("conns", "-c", "300", "-d", "500ms", "-t", "2", "--prove", server.url)
    assert run["counts"]["requests"] == 300 == run["open_conns"], run
    assert run["errors"]["all"] == 0, run
    weir("bench", "conns", "--prove", "--beat", "1s", server.url, code=64)
    server.close()
    http = Tiny(lambda head, number: text())
    run, _, _ = bench("conns", "-c", "20", "-d", "500ms", "-t", "2", "--prove", http.url)
    assert run["counts"]["requests"] == 20 and len(http.requests) == 40, run
    mute = Tiny(lambda head, number: text() if number <= 15 else None)  # then it only hangs up
    run, _, _ = bench("conns", "-c", "20", "-d", "500ms", "--prove", mute.url, code=None)
    assert run["errors"]["all"] + run["counts"]["closed"] > 0, run
    run, _, _ = bench("conns", "-c", "20", "-d", "500ms", "--beat", "100ms", http.url)
    assert run["counts"]["status_2xx"] >= 60 and run["open_conns"] == 20, run


@test
def connections_come_from_the_sources():
    http = Tiny(lambda head, number: (text(), None))
    weir("bench", "http", "-n", "60", "-c", "6", "--close", "--source", "127.0.7.0/29", "--source",
         "127.0.9.9", http.url)
    assert http.peers == {f"127.0.7.{i}" for i in range(1, 7)} | {"127.0.9.9"}, http.peers
    _, err = weir("bench", "http", "--source", "nowhere", http.url, code=64)
    assert "nowhere" in err
    _, err = weir("bench", "http", "-d", "200ms", "--source", "192.0.2.1", http.url, code=None)
    assert err.strip(), err


@test
def raw_answers_end_where_they_should():
    def answer(server, data):
        while True:
            client, _ = server.accept()
            while True:
                got = client.recv(1000)
                if not got:
                    break
                for _ in range(got.count(b"PING\r\n")):
                    client.sendall(data)
    for end, data in ((r"\r\n.\r\n", b"one\r\n..\r\n\r\n.\r\n"), ("aab", b"aaaab"),
                      (r"\x00", b"text\0"), ("abab", b"abaabab")):
        server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=answer, args=(server, data), daemon=True).start()
        run, _, _ = bench("raw", "--request", r"PING\r\n", "--end", end, "-c", "1", "-p", "3", "-n",
                          "99", f"tcp://127.0.0.1:{server.getsockname()[1]}")
        assert run["counts"]["requests"] == 99 and run["errors"]["all"] == 0, (end, run)
        assert run["counts"]["received_bytes"] == 99 * len(data)
    run, _, _ = bench("raw", "--request", r"PING\r\n", "--answer", "7", "-c", "1", "-n", "20",
                      f"tcp://127.0.0.1:{server.getsockname()[1]}")
    assert run["counts"]["requests"] == 20, run
    http = Tiny(lambda head, number: (text(), None))
    run, _, _ = bench("raw", "--request", r"GET / HTTP/1.0\r\n\r\n", "--close", "-n", "30", "-c", "3",
                      f"tcp://127.0.0.1:{http.port}")
    assert run["counts"]["requests"] == 30 and run["errors"]["all"] == 0, run
    names = [os.path.join(SCRATCH, name) for name in ("request", "end", "empty")]
    for name, data in zip(names, (b"PING\r\n", b"\0abab", b"")):
        with open(name, "wb") as file:
            file.write(data)
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=answer, args=(server, b"a\0aba\0abab"), daemon=True).start()
    url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    run, _, _ = bench("raw", "--request-file", names[0], "--end-file", names[1], "-c", "1", "-p", "3",
                      "-n", "99", url)
    assert run["counts"]["requests"] == 99 and run["errors"]["all"] == 0, run
    _, err = weir("bench", "raw", "--request", "x", "--end-file", names[2], url, code=64)
    assert "empty" in err, err
    weir("bench", "raw", "--request", "x", "--end-file", SCRATCH, url, code=66)


@test
def wrong_words_are_explained():
    for words, hint in ((["tcp"], "rr, crr or stream"), (["tcp", "rrr"], "did you mean"),
                        (["htp", "x"], "did you mean http"), (["http://x/"], "weir bench http"),
                        (["tcp", "rr", "--reverse"], "for streams"),
                        (["tcp", "stream", "--reverse", "--bidir"], "choose one"),
                        (["unix", "rr"], "needs an address"),
                        (["raw", "tcp://127.0.0.1:1"], "--request"),
                        (["raw", "--request", "x", "tcp://127.0.0.1:1"], "where does an answer end"),
                        (["raw", "--request", "x", "--end-file", __file__, "--answer", "3",
                          "tcp://127.0.0.1:1"], "choose one"),
                        (["tcp", "stream", "--bitrate", "9000000G"], "8k to"),
                        (["tcp", "stream", "--reverse", "--plain"], "--plain"),
                        (["conns"], "needs an address"), (["compare", "x"], "two files"),
                        (["tcp", "rr", "udp://127.0.0.1:1"], "tcp://HOST:PORT")):
        _, err = weir("bench", *words, code=64)
        assert hint in err, (words, err)
    _, err = weir("bench", "tcp", "rr", "-d", "100ms", "tcp://127.0.0.1:1", code=69)
    assert "connection refused" in err
    for kind in ("http", "tcp", "unix", "conns", "raw", "serve", "compare"):
        out, _ = weir("bench", kind, "--help")
        assert f"weir bench {kind}" in out and "Examples" in out


@test
def results_are_compared():
    slow = Tiny(lambda head, number: wait_a_moment() or text())
    fast = Tiny(lambda head, number: text())
    files = []
    for name, server in (("slow", slow), ("fast", fast)):
        path = os.path.join(SCRATCH, name + ".json")
        weir("bench", "http", "-c", "2", "-d", "150ms", "--repeat", "3", "--json", path, server.url)
        files.append(path)
    out, _ = weir("bench", "compare", *files)
    assert re.search(r"^requests/s .*\+.* %  better$", out, re.M), out
    assert re.search(r"^service p50 .*-.* %  better$", out, re.M), out
    out, _ = weir("bench", "compare", *reversed(files))
    assert re.search(r"^service p50 .*worse$", out, re.M), out
    out, _ = weir("bench", "compare", files[0], files[0])
    assert "within the noise" in out and "better" not in out
    out, _ = weir("bench", "compare", "--json", *files)
    document = json.loads(out)
    assert document["schema"] == "weir-bench-compare-1"
    assert document["rows"][0]["verdict"] == "better"
    other = os.path.join(SCRATCH, "other.json")
    with open(other, "w") as file:
        file.write("[1, 2]")
    _, err = weir("bench", "compare", files[0], other, code=65)
    assert "was not written by" in err
    weir("bench", "compare", files[0], "/nowhere", code=66)


def wait_a_moment():
    time.sleep(0.02)


@test
def a_hello_may_come_in_parts():
    server = Server()
    hello = b"WEIRBNC1" + bytes([1, 1, 0, 0]) + struct.pack("<IQQ", 4, 6, 99)
    for step in (1, 5, 31):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = hello + b"ask!"
            for at in range(0, len(data), step):
                client.sendall(data[at:at + step])
            got = b""
            while True:
                more = client.recv(100)
                if not more:
                    break
                got += more
            assert len(got) == 6, got
    for data in (b"WEIRBNC0 is no hello", b"W", b"WEIRBNC1"):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            got = b""
            while True:
                more = client.recv(100)
                if not more:
                    break
                got += more
            assert got == (data if data.startswith(b"WEIRBNC0") else b""), (data, got)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"WEIRBNC1" + bytes([9]) + bytes(23))
        try:
            assert client.recv(10) == b""
        except ConnectionResetError:
            pass
    server.close()


main()
