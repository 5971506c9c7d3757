"""Loads: one measured run of a job against a server that is up."""
import http.client as http_client
import json
import os
import ssl
import subprocess

from .process import LOAD_CPU, on_cpu
from .servers import HERE


class LoadError(RuntimeError):
    pass


def _run(argv, seconds, host="127.0.0.1"):
    try:
        done = subprocess.run([str(part) for part in argv], capture_output=True, text=True,
                              check=False, preexec_fn=on_cpu(LOAD_CPU), start_new_session=True,
                              timeout=seconds + 30, env={**os.environ, "BENCH_HOST": host})
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{argv[0]} did not end") from error
    if done.returncode != 0 or not done.stdout.strip():
        raise LoadError((done.stderr or done.stdout).strip()[-300:] or f"{argv[0]} failed")
    return done.stdout.strip()


def warm_s(job, candidate, seconds):
    """Of load before the measured time: many connections need longer to fall into step."""
    return max(min(0.2, seconds / 2), candidate.warm_s, job.conns * 5e-5)


def measured_s(job, seconds):
    """A message on each connection several times: 10 000 connections are measured for a second."""
    return max(seconds, job.conns * 1e-4)


def _own(program, job, candidate, server, place, seconds, trace, *more):
    """Our clients read the server's account themselves, at both ends of the measured time."""
    warm, seconds = warm_s(job, candidate, seconds), measured_s(job, seconds)
    argv = [f"{place.bin}/{program}", "-a", server.port, "-c", job.conns, "-d", job.depth,
            "-s", job.size, "-t", seconds, "-w", warm, "-p", ",".join(map(str, server.pids())),
            *(["-k"] if job.close else []), *(["-S", trace] if trace else []), *more]
    return json.loads(_run(argv, seconds + warm, server.host).splitlines()[-1])


def echo(job, candidate, server, place, seconds, trace=None):
    return _own("echo_load", job, candidate, server, place, seconds, trace,
                *(["-f"] if job.frames else []))


def stream(job, candidate, server, place, seconds, trace=None):
    return _own("stream_load", job, candidate, server, place, seconds, trace)


def http(job, candidate, server, place, seconds, trace=None):
    check(job, candidate, server)
    return _own("http_load", job, candidate, server, place, seconds, trace, "-u", candidate.path)


def _between(server, before):
    after = server.account()
    return {**{name: after[name] - before[name] for name in before if name != "rss_kb"},
            "rss_kb": after["rss_kb"]}


def _load_cpu(before):
    now = os.times()
    return int((now.children_user + now.children_system
                - before.children_user - before.children_system) * 1e9)


def wrk(job, candidate, server, place, seconds, trace=None):
    """wrk knows whole seconds only, and nothing of the server: it is read before and after. Opening
    64 connections in it is some 0.2 % of the time, alike for all."""
    check(job, candidate, server)
    seconds = max(1, round(seconds))
    argv = ["wrk", "-t", "1", "-c", str(job.conns), "-d", f"{seconds}s", "--timeout", "5s",
            "-s", os.path.join(HERE, "load", "wrk.lua")]
    if job.close:
        argv += ["-H", "Connection: close"]
    argv += [f"http://{server.host}:{server.port}{candidate.path}", "--", str(job.depth)]
    before, times = server.account(), os.times()
    out = json.loads(_run(argv, seconds).splitlines()[-1])
    if out["errors"]:
        raise LoadError(f"wrk counted {out['errors']} errors")
    return {**out, **_between(server, before), "load_cpu_ns": _load_cpu(times)}


def iperf3(job, candidate, server, place, seconds, trace=None):
    """iperf3's server speaks with its own client only; what it took is what the server says. It
    measures whole seconds; the account has its handshake too, a few packets."""
    seconds = max(1, round(seconds))
    before, times = server.account(), os.times()
    out = json.loads(_run(["iperf3", "-c", "127.0.0.1", "-p", server.port, "-t", seconds, "-J",
                           "-l", job.size], seconds))
    got = out["end"]["sum_received"]
    return {"requests": got["bytes"] // job.size, "wall_ns": int(got["seconds"] * 1e9),
            "p50_us": 0, "p99_us": 0, **_between(server, before), "load_cpu_ns": _load_cpu(times)}


def resp(job, candidate, server, place, seconds, trace=None):
    """PING as clients write it, by weir bench raw, whose every request counts from the first: the
    account is the server's before and after, with the opening of the connections."""
    path = f"{place.run}/resp.json"
    before, times = server.account(), os.times()
    _run([f"{place.bin}/../weir", "bench", "raw", "-t", 1, "-c", job.conns, "-p", job.depth,
          "-d", f"{seconds}s", "--request", "*1\\r\\n$4\\r\\nPING\\r\\n", "--end", "+PONG\\r\\n",
          "--json", path, f"tcp://{server.host}:{server.port}"], seconds)
    after = _between(server, before)
    with open(path, encoding="utf-8") as file:
        run = json.load(file)["runs"][0]
    if run["errors"]["all"] or not run["counts"]["requests"]:
        raise LoadError(f"weir bench raw counted {run['counts']} and {run['errors']}")
    return {"requests": run["counts"]["requests"], "wall_ns": run["measured_ns"],
            "p50_us": run["service"]["p50_ns"] / 1000, "p99_us": run["service"]["p99_ns"] / 1000,
            **after, "load_cpu_ns": _load_cpu(times)}


def handshakes_fit(job, whole, resumed):
    """Whether the handshakes of the measured time were those that the job is about."""
    wanted, others = (resumed, whole) if job.resume else (whole, resumed)
    return not job.close or (wanted > 0 and others <= wanted // 20)


INTERVAL_S = 0.1  # of what weir bench tells while it runs


def https(job, candidate, server, place, seconds, trace=None):
    """weir bench, which tells what was answered in each interval: the server is read at the first and
    the last of them, so that what comes before, the opening of connections that are kept, is not
    measured."""
    check(job, candidate, server)
    path = f"{place.run}/https.json"
    seconds = max(1.0, seconds)
    argv = [f"{place.bin}/../weir", "bench", "http", "-q", "-t", "1", "-c", str(job.conns), "-k",
            "-w", "200ms", "-d", f"{seconds}s", "-i", f"{int(INTERVAL_S * 1000)}ms", "--reset",
            "--json-stream", "-", "--json", path]
    argv += [*(["--close"] if job.close else []), *(["--resume"] if job.resume else []),
             *(["--tls-max", job.version] if job.version else [])]
    marks, times = [], os.times()
    with subprocess.Popen([*argv, f"https://{server.host}:{server.port}{candidate.path}"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=on_cpu(LOAD_CPU), start_new_session=True) as process:
        for line in process.stdout:
            row = json.loads(line)
            if row["phase"] == "measuring":
                marks.append((row, server.account()))
        said = process.stderr.read()
    if process.returncode != 0 or len(marks) < 3:
        raise LoadError(f"weir bench told of {len(marks)} intervals: {said[-300:]}")
    with open(path, encoding="utf-8") as file:
        run = json.load(file)["runs"][0]
    rows = [row for row, _ in marks[1:]]
    requests = sum(row["counts"]["requests"] for row in rows)
    shaken = [sum(row["counts"][kind] for row in rows) for kind in ("handshakes", "resumed")]
    if run["errors"]["all"] or not requests or not handshakes_fit(job, *shaken):
        raise LoadError(f"weir bench counted {run['errors']} and {shaken} handshakes (whole, resumed)")
    first, last = marks[0][1], marks[-1][1]
    return {"requests": requests, "wall_ns": rows[-1]["end_ns"] - rows[0]["begin_ns"],
            "p50_us": run["service"]["p50_ns"] / 1000, "p99_us": run["service"]["p99_ns"] / 1000,
            **{name: last[name] - first[name] for name in first if name != "rss_kb"},
            "rss_kb": last["rss_kb"], "load_cpu_ns": _load_cpu(times)}


def check(job, candidate, server):
    """Every candidate gives the whole answer, before it is measured."""
    if job.load == "https":
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        client = http_client.HTTPSConnection(server.host, server.port, timeout=5, context=trusting)
    else:
        client = http_client.HTTPConnection(server.host, server.port, timeout=5)
    client.request("GET", candidate.path,
                   headers={"Connection": "close" if job.close else "keep-alive"})
    answer = client.getresponse()
    body = answer.read()
    client.close()
    if answer.status != 200 or len(body) != job.size:
        raise LoadError(f"GET {candidate.path} gave {answer.status} with {len(body)} bytes "
                        f"instead of 200 with {job.size}")


LOADS = {"echo": echo, "stream": stream, "http": http, "https": https, "wrk": wrk,
         "iperf3": iperf3, "resp": resp}
