"""A link of its own: the server stands in a network namespace, the load outside, and a veth pair is
between them, over which packets go through the neighbour's and the device's queues as on a wire."""
import contextlib
import os
import shutil
import subprocess
from dataclasses import replace

HOST, PEER = "198.18.77.1", "198.18.77.2"  # of the range for benchmarks, RFC 2544

# The server's end sends the files: it has the congestion control of the load's. It lives until its
# input ends, and the link goes with it.
HOLD = ('ip link set lo up && echo "$0" >/proc/sys/net/ipv4/tcp_congestion_control && echo up && '
        'read -r _')


def problem():
    """Why there can be no such link, or an empty string."""
    missing = [name for name in ("ip", "unshare", "nsenter") if not shutil.which(name)]
    if missing:
        return f"{missing[0]} is not there"
    return "" if os.geteuid() == 0 else "a network namespace needs root"


def _must(*argv):
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")


@contextlib.contextmanager
def link(place):
    """A place like this one whose servers are at the other end; RuntimeError when it cannot be made."""
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as file:
        congestion = file.read().strip()
    here, there = f"wb{os.getpid()}a", f"wb{os.getpid()}b"
    with subprocess.Popen(["unshare", "-n", "sh", "-c", HOLD, congestion], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as holder:
        try:
            if holder.stdout.readline() != "up\n":
                raise RuntimeError("no network namespace: " + holder.stderr.read()[-200:].strip())
            enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
            _must("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", holder.pid)
            _must("ip", "address", "add", HOST + "/30", "dev", here)
            _must("ip", "link", "set", here, "up")
            _must(*enter, "ip", "address", "add", PEER + "/30", "dev", there)
            _must(*enter, "ip", "link", "set", there, "up")
            yield replace(place, host=PEER, enter=enter)
        finally:
            subprocess.run(["ip", "link", "delete", here], capture_output=True, check=False)
            holder.stdin.close()
            holder.wait()
