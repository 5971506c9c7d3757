"""What the figures were measured on."""
import os
import platform
import subprocess


def _first(path, prefix):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(prefix):
                    return line[len(prefix):].strip(" \t:=\"\n")
    except OSError:
        pass
    return ""


def _command(*argv):
    try:
        out = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return out.stdout.strip().splitlines()[0] if out.returncode == 0 and out.stdout else ""


def _congestion():
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as file:
        return file.read().strip()


def facts(root):
    """A dictionary for the results and the page."""
    return {
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cpus": os.cpu_count(),
        "memory_mb": int(_first("/proc/meminfo", "MemTotal").split()[0]) // 1024,
        "kernel": platform.release(),
        "system": _first("/etc/os-release", "PRETTY_NAME"),
        "congestion": _congestion(),
        "compiler": _command("cc", "--version"),
        "commit": _command("git", "-C", root, "describe", "--always", "--dirty"),
        "load_before": round(os.getloadavg()[0], 2),
    }
