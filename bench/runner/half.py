"""Latency at half load: how long requests take when they come at half the rate that nginx can bear."""
import time

from . import goals, load, servers
from .goodput import open_loop
from .measure import say
from .process import Server, free_port
from .stats import interval, median


class Shape:
    """What load.http asks of a job."""
    conns, depth, size, close = 64, 1, 14, False


class HalfLoad:
    """Requests come in an open loop, at moments that do not depend on the answers (Poisson), at half of
    what nginx answers in a closed loop: the same rate for everybody. Latencies count from the moment at
    which the request came."""
    name = bench = "half-load"
    quick = False
    title = "HTTP/1.1 tiny body, requests come at half of nginx's peak"
    candidates = [one for one in servers.HTTP
                  if one.name in ("weir-auto", "weir-uring", "weir-epoll", "bare-uring", "bare-epoll",
                                  "nginx", "h2o")]
    seconds, warm_s, patience_s = 1, 0.5, 1
    goal = 1.0

    def run(self, candidates, place, pairs, results):
        rows, failed = [], {}
        rate = self.rate(candidates, place, results)
        for turn in range(pairs if rate else 0):
            for candidate in candidates:
                if candidate.name in failed:
                    continue
                try:
                    rows.append({**self.once(candidate, place, rate), "round": turn})
                except (load.LoadError, RuntimeError, OSError) as error:
                    failed[candidate.name] = str(error)
                    say(f"bench: half-load: {candidate.name} FAILED: {error}")
            say(f"bench: half-load: round {turn + 1} of {pairs}")
        rows = [row for row in rows if row["server"] not in failed]
        results["failed"] += [{"bench": self.name, "server": name, "why": why}
                              for name, why in failed.items()]
        results["rows"] += rows
        results["goals"] += self.goals(rows)

    def rate(self, candidates, place, results):
        """Half of nginx's peak, a second; 0 when nginx is not there."""
        for candidate in candidates:
            if candidate.name == "nginx":
                port = free_port()
                with Server(candidate.argv(place, port), port, candidate.env,
                            f"{place.run}/server.log") as server:
                    out = load.http(Shape, candidate, server, place, 2)
                return out["requests"] * 1e9 / out["wall_ns"] / 2
        say("bench: half-load: SKIPPED: the rate is half of nginx's, and it is not there")
        results["skipped"].append({"bench": self.name, "server": "all", "why": "no nginx"})
        return 0

    def once(self, candidate, place, rate):
        port = free_port()
        with Server(candidate.argv(place, port), port, candidate.env,
                    f"{place.run}/server.log") as server:
            load.check(Shape, candidate, server)
            out = open_loop(place, server, candidate, rate, self.seconds, self.warm_s,
                            self.patience_s, False)
        lost = out["late"] + out["failed"] + out["refused"] + out["unsent"]
        return {"bench": self.name, "date": time.strftime("%Y-%m-%d"), "server": candidate.name,
                "backend": candidate.backend or place.auto, "version": place.version(candidate),
                "rate": round(rate), "rps": round(out["good"] * 1e9 / out["wall_ns"]), "lost": lost,
                "cpu_us": round(out["cpu_ns"] / max(1, out["good"]) / 1000, 4),
                "p50_us": out["p50_us"], "p99_us": out["p99_us"],
                "server_cpu": round(out["cpu_ns"] / out["wall_ns"], 3),
                "cpu0_busy": round(out["busy_ns"] / out["wall_ns"], 3)}

    def goals(self, rows):
        groups = goals.by_server(rows)
        if "weir-auto" not in groups or "nginx" not in groups:
            return []
        values = goals.ratios(groups["weir-auto"], groups["nginx"], "p99_us")
        low, high = interval(values)
        return [{"bench": self.name, "server": "weir-auto", "kind": "floor", "limit": self.goal,
                 "against": "nginx's p99", "ratio": round(median(values), 3), "low": round(low, 3),
                 "high": round(high, 3), "pairs": len(values), "met": median(values) <= self.goal,
                 "certain": high <= self.goal or low > self.goal}]


def table(rows, title):
    lines = [f"### half-load: {title}", "",
             f"{median([row['rate'] for row in rows]):,.0f} requests a second, in an open loop. Medians.",
             "", "| server | version | answered a second | lost | p50 µs | p99 µs | CPU µs per request "
             "| server CPU |", "|---|---|---|---|---|---|---|---|"]
    groups = goals.by_server(rows)
    for name in sorted(groups, key=lambda name: median([row["p99_us"] for row in groups[name]])):
        own = groups[name]
        lines.append(
            f"| {name} | {own[0]['version']} | {median([row['rps'] for row in own]):,.0f} "
            f"| {sum(row['lost'] for row in own)} | {median([row['p50_us'] for row in own]):,.0f} "
            f"| {median([row['p99_us'] for row in own]):,.0f} "
            f"| {median([row['cpu_us'] for row in own]):.3f} "
            f"| {median([row['server_cpu'] for row in own]):.0%} |")
    return "\n".join(lines) + "\n"
