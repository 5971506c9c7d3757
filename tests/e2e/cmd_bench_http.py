import json
import math
import os
import re
import signal
import socket
import subprocess
import time

from bench_support import Stalling, Tiny, patient, text
from cmd_support import SCRATCH, SLOW, WEIR, main, test, weir


def bench(*arguments, code=0, conns="4", duration="0.3s"):
    """Runs weir bench http; the document of --json, what it said, standard error."""
    path = os.path.join(SCRATCH, "result.json")
    if os.path.exists(path):
        os.unlink(path)
    out, err = weir("bench", "http", "-c", conns, *(["-d", duration] if duration else []), "-t",
                    "1", "--json", path, *arguments, code=code)
    with open(path) as file:
        return json.load(file), out, err


def only(document):
    assert document["schema"] == "weir-bench-1"
    return document["runs"][document["chosen"]]


@test
def counts_agree_with_the_server():
    server = Tiny(lambda head, number: text(b"x" * 100))
    document, out, _ = bench(server.url, "-n", "500", duration=None)
    run = only(document)
    assert len(server.requests) == 500, len(server.requests)
    assert run["counts"]["requests"] == run["counts"]["sent"] == 500, run["counts"]
    assert run["counts"]["status_2xx"] == 500
    assert run["counts"]["body_bytes"] == 50000
    assert run["counts"]["received_bytes"] == 500 * len(text(b"x" * 100))
    assert run["errors"]["all"] == 0
    assert run["service"]["count"] == 500
    assert server.connections == 4
    assert "closed loop" in out and "500" in out
    times = run["service"]
    names = ["min_ns", "p50_ns", "p75_ns", "p90_ns", "p99_ns", "p99_9_ns", "max_ns"]
    values = [times[name] for name in names]
    assert values == sorted(values), times


@test
def the_request_is_what_was_asked_for():
    server = Tiny(lambda head, number: text())
    body = os.path.join(SCRATCH, "body")
    with open(body, "wb") as file:
        file.write(b"\0some bytes\xff" * 1000)
    bench(server.url + "a/b?c=d#e", "-n", "2", "-m", "PUT", "-H", "X-One: 1", "-H", "X-Two: 2",
          "--body-file", body, duration=None)
    for head, got in server.requests:
        lines = head.split(b"\r\n")
        assert lines[0] == b"PUT /a/b?c=d HTTP/1.1", lines
        assert b"X-One: 1" in lines and b"X-Two: 2" in lines
        assert f"Host: 127.0.0.1:{server.port}".encode() in lines
        assert got == b"\0some bytes\xff" * 1000
    bench(server.url, "-n", "1", "-b", "hello", "-H", "Host: other", duration=None)
    head, got = server.requests[-1]
    assert head.startswith(b"POST / HTTP/1.1\r\n") and got == b"hello"
    assert b"Host: other" in head and head.count(b"Host:") == 1


@test
def every_kind_of_answer_is_read():
    chunked = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
               b"1;a=b\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n")
    kinds = [text(), chunked, b"HTTP/1.1 204 No Content\r\n\r\n",
             b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
             b"HTTP/1.1 100 Continue\r\n\r\n" + text(status=b"404 Not Found"),
             (b"HTTP/1.1 500 Oops\r\n\r\nuntil the end", None),
             (text(more=b"Connection: close\r\n"), None)]
    server = Tiny(lambda head, number: kinds[number % len(kinds)])
    document, _, _ = bench(server.url, "-n", "700", duration=None)
    counts = only(document)["counts"]
    assert only(document)["errors"]["all"] == 0, only(document)["errors"]
    assert counts["requests"] == 700
    assert counts["status_2xx"] == 400 and counts["status_3xx"] == 100
    assert counts["status_4xx"] == 100 and counts["status_5xx"] == 100
    assert counts["body_bytes"] == 100 * (5 + 6 + 5 + 13 + 5)
    server = Tiny(lambda head, number: b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    document, _, _ = bench(server.url, "-n", "50", "-m", "HEAD", duration=None)
    assert only(document)["counts"]["requests"] == 50 and only(document)["errors"]["all"] == 0


@test
def pipelined_requests_stay_in_order():
    server = Tiny(lambda head, number: text(head.split(b" ")[1]))
    document, _, _ = bench(server.url + "one", server.url + "three", "--weights", "1,3", "-p", "16",
                           "-n", "4000", conns="2", duration=None)
    assert only(document)["counts"]["requests"] == 4000
    assert only(document)["errors"]["all"] == 0
    ones = sum(head.startswith(b"GET /one ") for head, _ in server.requests)
    assert abs(ones - 1000) <= 2, ones
    assert server.connections == 2
    assert document["pipeline"] == 16


@test
def several_addresses_share_by_weight():
    one, two = (Tiny(lambda head, number: text()) for _ in range(2))
    bench(one.url, two.url, "--weights", "3,1", "-n", "400", conns="8", duration=None)
    assert one.connections == 6 and two.connections == 2, (one.connections, two.connections)


@test
def a_connection_for_each_request():
    server = Tiny(lambda head, number: (text(), None))
    document, _, _ = bench(server.url, "-n", "200", "--close", duration=None)
    run = only(document)
    assert run["counts"]["requests"] == 200 and run["errors"]["all"] == 0, run
    assert server.connections == 200, server.connections
    assert b"Connection: close" in server.requests[0][0]
    assert run["connect"]["count"] == 200
    # The time of a request includes that of its connection.
    assert run["service"]["mean_ns"] > run["connect"]["mean_ns"]
    server = Tiny(lambda head, number: (text(), None))
    document, _, _ = bench(server.url, "--close", "-R", "200", duration="1s")
    run = only(document)
    assert run["errors"]["all"] == 0, run["errors"]
    assert run["counts"]["requests"] > 150, run["counts"]


@test
def a_server_that_keeps_what_should_end_is_left():
    server = Tiny(lambda head, number: text())
    document, _, _ = bench(server.url, "-n", "50", "--close", duration=None)
    assert only(document)["counts"]["requests"] == 50
    assert server.connections == 50
    document, _, _ = bench(server.url, "-n", "50", "--close", "--reset", duration=None)
    assert only(document)["counts"]["requests"] == 50


@test
def errors_have_their_kind():
    cases = [("cut", lambda head, number: (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", None)),
             ("cut", lambda head, number: None),
             ("malformed", lambda head, number: (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", None)),
             ("malformed", lambda head, number: text() + b"HTTP/1.1 200 OK\r\n\r\nmore")]
    for kind, answer in cases:
        server = Tiny(answer)
        document, out, _ = bench(server.url, "-n", "20", conns="1", duration=None, code=None)
        errors = only(document)["errors"]
        assert errors[kind] >= 10, (kind, errors)
        assert errors[kind] == errors["all"], (kind, errors)
    assert only(document)["malformed"] == "bytes came that no request asked for"
    _, _, err = bench(Tiny(cases[0][1]).url, "-n", "3", duration=None, code=69)
    assert "no request succeeded" in err


@test
def a_request_without_an_answer_times_out():
    server = Tiny(lambda head, number: time.sleep(30) or text())
    document, _, _ = bench(server.url, "--timeout", "200ms", duration="1s", code=69)
    run = only(document)
    assert run["errors"]["timeout"] >= 8, run["errors"]
    assert run["service"]["min_ns"] >= 200e6, run["service"]


@test
def nobody_there_is_said_with_cause_and_fix():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        out, err = weir("bench", "http", f"http://127.0.0.1:{held.getsockname()[1]}/", code=69)
    assert "connection refused" in err and "start the server" in err, err
    out, err = weir("bench", "http", "--unix", os.path.join(SCRATCH, "none.sock"), "http://x/",
                    code=69)
    assert "connection refused" in err, err
    _, err = weir("bench", "http", "https://127.0.0.1/", code=69)
    assert "connection refused" in err or "without TLS" in err, err
    _, err = weir("bench", "http", "--features=-nonsense", "http://127.0.0.1:1/", code=None)
    assert "unknown feature" in err, err
    for arguments in ([], ["-c", "0", "x"], ["-d", "never", "x"], ["-H", "bad", "http://127.0.0.1/"],
                      ["--weights", "1,2", "http://127.0.0.1/"], ["--nonsense"], ["-c"],
                      ["--fail-if", "p99", "http://127.0.0.1/"], ["http://127.0.0.1:99999/"],
                      ["-p", "2", "--close", "http://127.0.0.1/"], ["http://127.0.0.1/a b"],
                      ["-R", "1", "--rate-per-conn", "1", "http://127.0.0.1/"],
                      ["-H", "Content-Length: 3", "http://127.0.0.1/"]):
        _, err = weir("bench", "http", *arguments, code=64)
        assert err.strip(), arguments


@test
@patient
def the_open_loop_keeps_its_rate():
    server = Tiny(lambda head, number: text())
    for how, rate in (("-R", 200), ("--rate-per-conn", 50 * 4)):
        document, out, _ = bench(server.url, how, str(rate if how == "-R" else 50), duration="1s")
        run = only(document)
        due = rate * run["measured_ns"] / 1e9
        # The first and the last instant are both in the measured time.
        assert abs(run["counts"]["sent"] + run["counts"]["missed"] - due) <= 5, run
        assert run["response"]["count"] >= due - 5, run
        assert run["loop"] == "open" and "open loop" in out and "response" in out
    document, _, _ = bench(server.url, "-R", "300", "--poisson", duration="1s")
    run = only(document)
    due = 300 * run["measured_ns"] / 1e9
    # Random times: within five deviations, if what was missed is little.
    assert run["counts"]["missed"] > 20 or abs(run["counts"]["sent"] - due) < 5 * due ** 0.5, run


def stalled(*how):
    server = Stalling(0.5, 0.8)
    document, _, _ = bench(server.url, *how, duration="2s")
    return server, only(document)


@test
@patient
def a_stall_is_not_omitted():
    for how in (["-R", "200"], ["--rate-per-conn", "50"]):
        server, run = stalled(*how)
        response, service = run["response"], run["service"]
        assert response["count"] >= 396, response
        expected = server.expected(200)
        for name, quantile in (("p75_ns", 0.75), ("p90_ns", 0.9), ("p95_ns", 0.95),
                               ("p99_ns", 0.99), ("max_ns", 1.0)):
            want = expected[math.ceil(quantile * len(expected)) - 1]
            got = response[name] / 1e9
            assert abs(got - want) < 0.05 * SLOW, (how, name, got, want)
        # And by arithmetic: two requests in five were due in the stall, evenly spread over it.
        assert 0.7 < response["p99_ns"] / 1e9 < 1.2 * SLOW, response
        assert 0.25 < response["p75_ns"] / 1e9, response
        # The requests that were really waiting are as many as there are connections.
        assert service["p95_ns"] / 1e9 < 0.2 * SLOW, service
        assert run["counts"]["waited"] >= 100, run["counts"]
    # A closed loop hides it, which is why it says what it is.
    _, run = stalled()
    assert run["service"]["p99_ns"] / 1e9 < 0.2 * SLOW, run["service"]


@test
@patient
def what_never_left_is_counted():
    server = Tiny(lambda head, number: time.sleep(0.05) or text())
    document, out, _ = bench(server.url, "-R", "1000", conns="2", duration="1s")
    run = only(document)
    assert run["counts"]["missed"] > 700, run["counts"]
    assert run["counts"]["sent"] < 100
    assert run["response"]["count"] >= 990, run["response"]
    assert run["response"]["p50_ns"] > 0.3e9
    assert "missed" in out
    # A rate that nobody can keep must not keep the generator busy with counting.
    began = time.monotonic()
    document, _, _ = bench(server.url, "-R", "1G", conns="2", duration="300ms")
    run = only(document)
    assert 2.5e8 < run["counts"]["missed"] < 1e9 * SLOW, run["counts"]
    assert 0.1e9 < run["response"]["p50_ns"] < 0.3e9 * SLOW, run["response"]
    assert time.monotonic() - began < 3 * SLOW


@test
@patient
def warm_up_and_ramp_are_not_measured():
    server = Tiny(lambda head, number: (time.sleep(0.2) if number < 9 else None) or text())
    document, _, _ = bench(server.url, "--warmup", "600ms", "--ramp", "200ms", duration="500ms")
    run = only(document)
    assert run["service"]["max_ns"] < 0.15e9 * SLOW, run["service"]
    assert run["connect_phase_ns"] >= 0.14e9
    assert len(server.requests) > run["counts"]["requests"]
    document, _, _ = bench(server.url, "--warmup", "200ms", "-n", "300", duration=None)
    assert only(document)["counts"]["requests"] == 300, only(document)["counts"]


@test
def conditions_decide_the_exit_code():
    server = Tiny(lambda head, number: text(status=b"503 Busy"))
    _, _, err = bench(server.url, "--fail-if", "max>1ns", code=1)
    assert "failed by --fail-if max>1ns" in err
    bench(server.url, "--fail-if", "p99>100s", "--fail-if", "rps<1", "--fail-if", "errors>0")
    bench(server.url, "--fail-if", "bad>50%", code=1)
    bench(server.url, "--fail-if", "errors>=0", code=1)


@test
@patient
def runs_are_repeated_and_searched():
    server = Tiny(lambda head, number: text())
    document, out, _ = bench(server.url, "--repeat", "3", duration="200ms")
    assert len(document["runs"]) == 3 and "3 runs" in out and "spread" in out
    rates = sorted(run["requests_s"] for run in document["runs"])
    assert document["runs"][document["chosen"]]["requests_s"] == rates[1]
    slow = Tiny(lambda head, number: time.sleep(0.01) or text())
    _, out, _ = bench(slow.url, "--find", "p50<40ms", conns="2", duration="300ms", code=None)
    found = re.search(r"holds up to (\d+) requests a second", out)
    assert found and 60 < int(found[1]) < 230, out  # two connections, 10 ms each


@test
def results_go_to_files():
    server = Tiny(lambda head, number: text())
    hgrm, svg, lines = (os.path.join(SCRATCH, name) for name in ("a.hgrm", "a.svg", "a.jsonl"))
    document, _, err = bench(server.url, "--hgrm", hgrm, "--svg", svg, "--json-stream", lines, "-i",
                             "100ms", duration="500ms")
    with open(hgrm) as file:
        table = file.read()
    assert re.search(r"^ +Value +Percentile +TotalCount 1/\(1-Percentile\)$", table, re.M), table
    assert f"Total count    = {only(document)['service']['count']:12}]" in table, table[-300:]
    with open(svg) as file:
        drawn = file.read()
    assert drawn.startswith("<svg") and drawn.rstrip().endswith("</svg>")
    with open(lines) as file:
        rows = [json.loads(line) for line in file]
    assert 4 <= len(rows) <= 6, rows
    assert sum(row["counts"]["requests"] for row in rows) <= only(document)["counts"]["requests"]
    assert len(re.findall(r"p99", err)) >= 4, err  # plain lines: it is not a terminal
    out, err = weir("bench", "http", "-q", "-d", "100ms", "--json", "-", server.url)
    assert json.loads(out)["runs"][0]["counts"]["requests"] > 0 and err == ""
    _, err = weir("bench", "http", "-d", "100ms", "--json", "/nowhere/x", server.url, code=73)
    assert "/nowhere/x" in err


@test
def unix_sockets_are_asked_too():
    path = os.path.join(SCRATCH, "http.sock")
    server = Tiny(lambda head, number: text(), socket.AF_UNIX, path)
    document, _, _ = bench("--unix", path, "http://name.example/x", "-n", "100", duration=None)
    assert only(document)["counts"]["requests"] == 100
    assert server.requests[0][0].startswith(b"GET /x HTTP/1.1\r\nHost: name.example")
    document, _, _ = bench("unix:" + path, "-n", "100", duration=None)
    assert only(document)["counts"]["requests"] == 100


@test
def names_are_looked_up():
    server = Tiny(lambda head, number: text())
    document, _, _ = bench(f"http://localhost:{server.port}/", "-n", "10", duration=None)
    assert only(document)["counts"]["requests"] == 10
    assert f"Host: localhost:{server.port}".encode() in server.requests[0][0]
    _, err = weir("bench", "http", "http://no-such-name.invalid/", code=64)
    assert "cannot look up no-such-name.invalid" in err, err


@test
def an_interrupt_prints_what_there_is():
    server = Tiny(lambda head, number: text())
    for arguments in ([], ["-R", "100"]):
        run = subprocess.Popen([WEIR, "bench", "http", "-d", "60s", *arguments, server.url],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.7 * SLOW)
        began = time.monotonic()
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=20 * SLOW)
        assert run.returncode == 0, run.returncode
        assert "interrupted" in out and "requests" in out, out
        assert time.monotonic() - began < 4 * SLOW


@test
def threads_share_the_work():
    server = Tiny(lambda head, number: text())
    document, _, _ = bench(server.url, "-t", "3", "-n", "301", conns="7", duration=None)
    run = only(document)
    assert len(run["loops"]) == 3 and run["counts"]["requests"] == 301
    assert sum(loop["requests"] for loop in run["loops"]) == 301
    assert server.connections == 7


main()
