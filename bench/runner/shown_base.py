"""What the functions that show something share: their verdict, listeners, processes, and networks of
their own."""
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys

HOST = "127.0.0.1"
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def tell(seen, verdict, as_told):
    for line in seen:
        print("  " + line)
    print("  verdict: " + verdict if as_told else "  NOT AS THE PAGE TELLS")
    return 0 if as_told else 1


def listener(backlog=128, reuseport=False, port=0):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuseport:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind((HOST, port))
    one.listen(backlog)
    return one


class Child:
    """A function in a process of its own."""

    def __init__(self, function, *arguments):
        self.pid = os.fork()
        if self.pid == 0:
            try:
                function(*arguments)
            finally:
                os._exit(0)

    def switches(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("voluntary"):
                    return int(line.split()[1])
        return 0

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def sysctl(name, value=None):
    """Of this network; returns what it was."""
    path = "/proc/sys/net/ipv4/" + name
    with open(path, encoding="ascii") as file:
        before = file.read().strip()
    if value is not None:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(value))
    return before


def _own_network():
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if user != 0:
        if libc.unshare(CLONE_NEWUSER) != 0:
            return False
        for path, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"),
                           ("gid_map", f"0 {group} 1")):
            with open("/proc/self/" + path, "w", encoding="ascii") as file:
                file.write(text)
    if libc.unshare(CLONE_NEWNET) != 0:
        return False
    with socket.socket() as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    return True


def isolated(function):
    """Runs it in a child with a network of its own, whose settings it may change."""
    def run():
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if _own_network():
                    code = function()
                else:
                    print("  skip: no network namespaces here")
                    code = 77
            except OSError as error:
                print(f"  skip: {error}")
                code = 77
            finally:
                sys.stdout.flush()
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    run.__doc__ = function.__doc__
    return run
