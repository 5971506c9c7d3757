"""Loads: one measured run of a job against a server that is up."""
import http.client as http_client
import json
import os
import subprocess

from .process import LOAD_CPU, on_cpu
from .servers import HERE


class LoadError(RuntimeError):
    pass


def _run(argv, seconds):
    done = subprocess.run(argv, capture_output=True, text=True, check=False,
                          preexec_fn=on_cpu(LOAD_CPU), start_new_session=True,
                          timeout=seconds + 30)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        raise LoadError((done.stderr or done.stdout).strip()[-300:] or f"{argv[0]} failed")
    return lines[-1]


def _own(program, job, server, place, seconds, warm, *more):
    """Our clients read the server's account themselves, at both ends of the measured time."""
    if warm is None:
        warm = min(0.2, seconds / 2)
    argv = [f"{place.bin}/{program}", "-a", server.port, "-c", job.conns, "-d", job.depth,
            "-t", seconds, "-w", warm, "-p", ",".join(map(str, server.pids())), *more]
    return json.loads(_run([str(part) for part in argv], seconds))


def echo(job, candidate, server, place, seconds, warm=None):
    return _own("echo_load", job, server, place, seconds, warm, "-s", job.size)


def http(job, candidate, server, place, seconds, warm=None):
    check(job, candidate, server)
    return _own("http_load", job, server, place, seconds, warm, "-u", candidate.path,
                *(["-k"] if job.close else []))


def wrk(job, candidate, server, place, seconds, warm=None):
    """wrk knows whole seconds only, and nothing of the server: it is read before and after. Opening
    64 connections in it is some 0.2 % of the time, alike for all."""
    check(job, candidate, server)
    seconds = max(1, round(seconds))
    argv = ["wrk", "-t", "1", "-c", str(job.conns), "-d", f"{seconds}s", "--timeout", "5s",
            "-s", os.path.join(HERE, "load", "wrk.lua")]
    if job.close:
        argv += ["-H", "Connection: close"]
    argv += [f"http://127.0.0.1:{server.port}{candidate.path}", "--", str(job.depth)]
    before, children = server.account(), os.times()
    out = json.loads(_run(argv, seconds))
    after, ended = server.account(), os.times()
    if out["errors"]:
        raise LoadError(f"wrk counted {out['errors']} errors")
    out.update({name: after[name] - before[name] for name in before})
    out["load_cpu_ns"] = int((ended.children_user + ended.children_system
                              - children.children_user - children.children_system) * 1e9)
    return out


def check(job, candidate, server):
    """Every candidate gives the whole answer, before it is measured."""
    client = http_client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    client.request("GET", candidate.path,
                   headers={"Connection": "close" if job.close else "keep-alive"})
    answer = client.getresponse()
    body = answer.read()
    client.close()
    if answer.status != 200 or len(body) != job.size:
        raise LoadError(f"GET {candidate.path} gave {answer.status} with {len(body)} bytes "
                        f"instead of 200 with {job.size}")


LOADS = {"echo": echo, "http": http, "wrk": wrk}
