"""The runner of ./dev bench: run by bench_runner.sh with a scratch folder that has the programs."""
import copy
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as xml

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.join(os.path.dirname(os.path.dirname(HERE)), "bench")
sys.path.insert(0, BENCH)

from runner import co, goals, jobs, load, measure, plot, report  # noqa: E402
from runner import servers, settings, special, stats  # noqa: E402


def rows(server, costs, case="echo", **more):
    return [{"bench": "echo", "case": case, "server": server, "round": i, "cpu_us": cost, **more}
            for i, cost in enumerate(costs)]


def statistics():
    assert stats.median([3, 1, 2]) == 2
    # Of 15 values the 4th from each end hold the median with 96.5 %, the 5th with 88 %.
    assert stats.interval(list(range(15))) == (3, 11), stats.interval(list(range(15)))
    assert stats.interval([1, 2, 3]) == (1, 3)
    ours, theirs = rows("a", [2, 4, 9]), rows("b", [1, 2, 3])
    assert goals.ratios(ours, theirs) == [2, 2, 3]
    assert goals.ratios(ours, theirs[:1]) == [2], "only rounds that both have"


def judgements():
    def judge(goal, *groups):
        every = [row for group in groups for row in group]
        return goals.judge(goal, goals.by_server(every), every)

    floor = jobs.Goal("weir-auto", ["x", "y"], 1.0, "the better", "floor")
    steady = [0.9] * 15
    out = judge(floor, rows("weir-auto", steady), rows("x", [1.0] * 15), rows("y", [2.0] * 15))
    assert out["met"] and out["certain"] and out["ratio"] == 0.9, out
    out = judge(floor, rows("weir-auto", steady[:14]), rows("x", [1.0] * 14))
    assert out["met"] and not out["certain"] and "15 pairs" in out["why"], out
    wide = [0.8 + 0.02 * i for i in range(15)]
    out = judge(floor, rows("weir-auto", wide), rows("x", [1.0] * 15))
    assert not out["certain"] and "wide" in out["why"], out
    out = judge(floor, rows("weir-auto", [1.2] * 15), rows("x", [1.0] * 15))
    assert not out["met"] and out["certain"], out
    assert judge(floor, rows("weir-auto", steady)) is None, "nobody to compare with"
    out = judge(jobs.Speed("weir-auto", 2e6, "a second"), rows("weir-auto", [0.25] * 15))
    assert out["ratio"] == 4e6 and out["met"] and out["least"], out
    growth = jobs.Growth("weir-auto", ["bare"], "few", "many", 1.05, "growth")
    out = judge(growth, rows("weir-auto", [2] * 15, "few"), rows("weir-auto", [3] * 15, "many"),
                rows("bare", [1] * 15, "few"), rows("bare", [1.2] * 15, "many"))
    assert out["ratio"] == 1.25 and not out["met"], out


def suspicion():
    every = (rows("bare-epoll", [1.0] * 3) + rows("bare-uring", [1.2] * 3)
             + rows("weir-auto", [0.96] * 3) + rows("x", [0.94] * 3))
    found = goals.too_good("echo", every)
    assert [(one["server"], one["explained"]) for one in found] == [("x", "")], found
    jobs.EXPLAINED["echo", "x"] = "it sends less"
    assert goals.too_good("echo", every)[0]["explained"] == "it sends less"
    del jobs.EXPLAINED["echo", "x"]


def calls():
    table = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           3       200           sendto
 40.00    0.000400           2       201         1 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           2       401         1 total
"""
    assert measure.parse_strace(table) == {"sendto": 200, "recvfrom": 201}


def peers(scratch):
    """Every rival has its settings, and one without them is not compared."""
    for one in servers.everybody():
        if one.rival:
            why = settings.problem(os.path.join(servers.PEERS, one.rival))
            assert not why, why
    folder = os.path.join(scratch, "rival")
    os.mkdir(folder)
    assert "not there" in settings.problem(folder)
    path = os.path.join(folder, settings.FILE)
    for text, why in (("# rival\n", "no settings"),
                      ("## fast\n\nSource: a page\n\nOn.\n", "no quote"),
                      ("## fast\n\n> Turn it on.\n\nOn.\n", "no source"),
                      ("## fast\n\n> Turn it on.\n\nSource: a page\n", "no text"),
                      ("## fast\n\n> Turn it on.\n\nSource: a page\n\nOn.\n", "")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        found = settings.problem(folder)
        assert why in found and bool(found) == bool(why), (text, found)
    one = servers.Candidate("rival", "epoll", ["sh"], rival="no such rival")
    assert "settings.md is not there" in one.missing(None)


def coroutines():
    """./dev bench co says of each goal what became of it, and fails for those far off."""
    for figure, verdict, failed in ((6.0, "met", False), (6.5, "missed, by less than 10 %", False),
                                    (6.7, "MISSED", True)):
        one = co.judged("switch_ns", figure, 6, "ns", "a switch")
        assert (one["verdict"], one["failed"]) == (verdict, failed), one


def page():
    """The report on recorded results."""
    with open(os.path.join(HERE, "bench_results.json"), encoding="utf-8") as file:
        results = json.load(file)
    every = results["rows"]
    ended = [job for job in jobs.JOBS if goals.case_rows(every, job.name)]
    assert [job.name for job in ended] == ["echo-pipelined", "http-close"]
    for job in ended:
        results["goals"] += goals.judge_job(job, every)
        results["invalid"] += goals.too_good(job.name, every)
    assert {one["bench"] for one in results["goals"]} == {"echo-pipelined", "http-close"}
    text = report.page(jobs.JOBS + special.SPECIAL, results, {"http-close": "benchmarks/a.svg"})
    for part in ("### echo-pipelined:", "![", "benchmarks/a.svg", "| libuv | epoll | 1.44.2-1+deb12u1 |",
                 "recvfrom 1.00", "fewer than 15 pairs", "(../bench/peers/nginx/settings.md)"):
        assert part in text, part
    assert "caddy" not in text.split("## Settings")[1], "it was not compared"
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| weir-auto")}
    assert widths == {len(report.HEAD) + 1}, widths
    worse = copy.deepcopy(results)
    for row in worse["rows"]:
        if row["server"] == "libuv":
            row["cpu_us"] /= 2
    worse["invalid"] = goals.too_good("echo-pipelined", worse["rows"])
    assert "libuv **INVALID**" in report.page(jobs.JOBS, worse)
    picture = xml.fromstring(plot.bars("a < b", goals.by_server(goals.case_rows(every, "http-close"))))
    assert sum(part.tag.endswith("rect") for part in picture) == 1 + 3


def real(scratch):
    path = os.path.join(scratch, "results.json")
    done = subprocess.run([sys.executable, os.path.join(BENCH, "run"), "echo-16k", "--pairs", "2",
                           "--seconds", "0.1", "--only", "weir-epoll,bare-epoll", "--json", path],
                          capture_output=True, text=True, check=False, timeout=100)
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    seen = {(row["case"], row["server"]) for row in results["rows"]}
    assert {("echo-16k", "weir-epoll"), ("echo-16k", "bare-epoll")} <= seen, (done.stdout, done.stderr)
    first = [row for row in results["rows"] if row["case"] == "echo-16k"]
    assert sorted(row["round"] for row in first) == [0, 0, 1, 1]
    assert [row["server"] for row in first] == ["weir-epoll", "bare-epoll"] * 2, "alternating"
    for row in first:
        wanted = ("bench", "server", "backend", "conns", "pipeline", "size", "rps", "cpu_us", "p50_us",
                  "p99_us", "rss_kb", "switches", "syscalls")
        assert all(key in row for key in wanted), row
        assert (row["bench"], row["conns"], row["pipeline"], row["size"]) == ("echo", 64, 1, 16000)
        assert row["requests"] > 0 and row["cpu_us"] > 0 and row["rss_kb"] > 100, row
        assert row["syscalls"] is None or 1 < row["syscalls"] < 4, row
    assert "### echo-16k: 16 000-byte echo" in done.stdout
    assert done.returncode == 0, done.stderr


def secure(scratch):
    """Jobs over TLS, of kept connections and of resumed handshakes, which fails when they are not."""
    if not os.path.exists(os.path.join(scratch, "bench", "weir_https")):
        print("skip: built without TLS: no job over it was run")
        return
    path = os.path.join(scratch, "secure.json")
    command = [sys.executable, os.path.join(BENCH, "run"), "tls-resumed-12", "https", "--pairs", "1",
               "--seconds", "1", "--only", "weir-epoll", "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, (done.stdout, done.stderr)
    with open(path, encoding="utf-8") as file:
        rows_ = {row["case"]: row for row in json.load(file)["rows"]}
    assert set(rows_) == {"tls-resumed-12", "https"}, done.stderr
    for row in rows_.values():
        assert row["requests"] > 0 and row["cpu_us"] > 0 and row["rss_kb"] > 100, row
    assert rows_["https"]["cpu_us"] < rows_["tls-resumed-12"]["cpu_us"], "no handshake costs less"
    resumed = next(job for job in jobs.JOBS if job.name == "tls-resumed")
    assert load.handshakes_fit(resumed, 1, 100) and not load.handshakes_fit(resumed, 100, 100)
    assert not load.handshakes_fit(resumed, 0, 0), "there were none"
    whole = next(job for job in jobs.JOBS if job.name == "tls-full")
    assert load.handshakes_fit(whole, 100, 0) and not load.handshakes_fit(whole, 100, 100)
    kept = next(job for job in jobs.JOBS if job.name == "https")
    assert load.handshakes_fit(kept, 0, 0)


def main(scratch):
    statistics()
    judgements()
    suspicion()
    calls()
    coroutines()
    peers(scratch)
    page()
    if os.cpu_count() < 2:
        print("skip: the comparison needs two CPUs")
        return 77
    real(scratch)
    secure(scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
