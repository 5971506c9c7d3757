"""Loads: one measured run of a job against a server that is up."""
import http.client as http_client
import json
import os
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


def check(job, candidate, server):
    """Every candidate gives the whole answer, before it is measured."""
    client = http_client.HTTPConnection(server.host, server.port, timeout=5)
    client.request("GET", candidate.path,
                   headers={"Connection": "close" if job.close else "keep-alive"})
    answer = client.getresponse()
    body = answer.read()
    client.close()
    if answer.status != 200 or len(body) != job.size:
        raise LoadError(f"GET {candidate.path} gave {answer.status} with {len(body)} bytes "
                        f"instead of 200 with {job.size}")


LOADS = {"echo": echo, "stream": stream, "http": http, "wrk": wrk, "iperf3": iperf3,
         "resp": resp}
