"""Servers as processes: started on one CPU, accounted as a tree, ended by their own number."""
import os
import socket
import subprocess
import time

SERVER_CPU, LOAD_CPU = 0, 1
nice = 0  # of servers and loads: --nice


def on_cpu(*cpus):
    """For preexec_fn: the process and its children stay on these CPUs."""
    def prepare():
        os.sched_setaffinity(0, cpus)
        if nice:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
            try:  # sched(7), autogroup: its own priority counts among its session only
                with open("/proc/self/autogroup", "w", encoding="ascii") as file:
                    file.write(str(nice))
            except OSError:
                pass
    return prepare


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _read(path):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _field(text, name):
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def cpu_clock(cpu):
    """Busy and softirq nanoseconds of a CPU since the machine started, in ticks of 10 ms."""
    for line in _read("/proc/stat").splitlines():
        if line.startswith(f"cpu{cpu} "):
            n = [int(x) for x in line.split()[1:9]]
            tick = 10**9 // os.sysconf("SC_CLK_TCK")
            return (n[0] + n[1] + n[2] + n[5] + n[6]) * tick, n[6] * tick
    return 0, 0


class Server:
    """A running server. `with Server(argv) as server:` waits until its port answers."""

    def __init__(self, argv, port, env=None, log=None, host="127.0.0.1",
                 cpus=(SERVER_CPU,)):
        self.port = port
        self.host = host
        self.log_path = log
        self.log = open(log, "wb") if log else subprocess.DEVNULL
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env={**{k: v for k, v in os.environ.items() if not k.startswith("WEIR_")},
                 **{k: v for k, v in (env or {}).items() if v}}, preexec_fn=on_cpu(*cpus),
            start_new_session=True)

    def __enter__(self):
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection((self.host, self.port), 1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError("the server did not start: " + self.last_words()) from None
                time.sleep(0.01)
        time.sleep(0.05)  # nginx's worker is started by then
        return self

    def __exit__(self, kind, *_):
        died = self.process.poll() is not None
        self.stop()
        if died and kind is None:
            raise RuntimeError("the server ended during the run: " + self.last_words())

    def last_words(self):
        return _read(self.log_path)[-400:].strip() if self.log_path else "no log"

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                for pid in reversed(self.pids()):
                    os.kill(pid, 9)
                self.process.wait()
        if self.log_path:
            self.log.close()

    def pids(self):
        """The process and all that descend from it."""
        found = [self.process.pid]
        for pid in found:
            for thread in self._threads(pid):
                found += [int(p) for p in _read(f"/proc/{pid}/task/{thread}/children").split()]
        return found

    @staticmethod
    def _threads(pid):
        try:
            return os.listdir(f"/proc/{pid}/task")
        except OSError:
            return []

    def account(self):
        """CPU nanoseconds and context switches of every thread of the tree so far."""
        cpu = switches = 0
        for pid in self.pids():
            for thread in self._threads(pid):
                folder = f"/proc/{pid}/task/{thread}"
                cpu += int((_read(f"{folder}/schedstat").split() or ["0"])[0])
                status = _read(f"{folder}/status")
                switches += _field(status, "voluntary_ctxt_switches")
                switches += _field(status, "nonvoluntary_ctxt_switches")
        busy, softirq = cpu_clock(SERVER_CPU)
        return {"cpu_ns": cpu, "switches": switches, "busy_ns": busy, "softirq_ns": softirq,
                "rss_kb": self.resident_kb()}

    def resident_kb(self):
        """What is resident of the tree, shared pages counted in each process."""
        return sum(_field(_read(f"/proc/{pid}/status"), "VmRSS:") for pid in self.pids())
