"""A plain client of a datagram echo: how many of COUNT datagrams came back as they were sent.

usage: datagrams.py unix:PATH | HOST:PORT COUNT [many]    many: from as many sockets as datagrams
"""

import os
import socket
import sys
import time


def client_of(target):
    if target.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind("")  # a name of the kernel's, to be answered at
        sock.connect(target[5:])
    else:
        host, port = target.rsplit(":", 1)
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((host, int(port)))
    sock.settimeout(1)
    return sock


def echoed(sock, data):
    """Sent again while nobody answers: the server may be starting, and datagrams may be lost."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            sock.send(data)
            return sock.recv(65536) == data
        except ConnectionRefusedError:
            time.sleep(0.02)
        except TimeoutError:
            pass
    return False


def main():
    target, count, many = sys.argv[1], int(sys.argv[2]), len(sys.argv) > 3
    good = 0
    sock = client_of(target)
    for i in range(count):
        if many and i > 0:
            sock.close()
            sock = client_of(target)
        good += echoed(sock, os.urandom(i % 50 * 20))
    print(f"{good} of {count}")


main()
