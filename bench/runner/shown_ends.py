"""How connections end and what is refused, shown: see shown.py."""
import errno
import os
import select
import socket
import tempfile
import time

from .shown_base import HOST, listener, tell


def _receive(sock):
    got = b""
    try:
        while data := sock.recv(65536):
            got += data
        return got, "an end"
    except OSError as error:
        return got, error.strerror or "nothing for 2 s"


def half_close():
    """A client says that it has finished, and waits for the answer; and a server that closes while
    there is something that it has not read."""
    one, seen = listener(), []
    client = socket.create_connection(one.getsockname())
    client.settimeout(2)
    server = one.accept()[0]
    server.settimeout(2)
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    question = _receive(server)
    server.sendall(b"answer")
    server.close()
    answer = _receive(client)
    seen.append(f"behind the client's end: the server got {question}, the client {answer}")
    client = socket.create_connection(one.getsockname())
    client.settimeout(2)
    server = one.accept()[0]
    client.sendall(b"more than is read")
    server.recv(4)
    server.sendall(b"answer")
    server.close()
    torn = _receive(client)
    seen.append(f"closed with bytes unread: the client got {torn}")
    return tell(seen, "one direction may end alone; a close with unread bytes is a reset, which may "
                "destroy the answer: read to the end first",
                answer == (b"answer", "an end") and torn[1] == "Connection reset by peer")


def _bind_again(port, reuse):
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            again.bind((HOST, port))
            again.listen()
            return "binds"
        except OSError as error:
            return error.strerror


def time_wait():
    """A server that closed first is started again on its port at once."""
    def serve_and_close(first):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((HOST, 0))
        one.listen()
        port = one.getsockname()[1]
        client = socket.create_connection((HOST, port))
        server = one.accept()[0]
        one.close()
        for end in (server, client) if first == "server" else (client, server):
            end.close()
        return port

    port = serve_and_close("server")
    without, with_it = _bind_again(port, 0), _bind_again(port, 1)
    other = _bind_again(serve_and_close("client"), 0)
    return tell([f"the server closed first: without SO_REUSEADDR: {without}; with it: {with_it}",
                 f"the client closed first: without SO_REUSEADDR: {other}"],
                "TIME_WAIT stays, for a minute, with whoever closes first; a server that binds "
                "sets SO_REUSEADDR, which is safe on Linux: a listener still excludes others",
                (without, with_it) == ("Address already in use", "binds"))


def _burst(family, address):
    """(connected, under way, refused at once) of 200 that do not wait, to a queue of 16."""
    one = socket.socket(family)
    one.bind(address)
    one.listen(16)
    counts, keep = [0, 0, 0], []
    for _ in range(200):
        client = socket.socket(family)
        client.setblocking(False)
        keep.append(client)
        try:
            client.connect(one.getsockname())
        except BlockingIOError as error:
            if error.errno == errno.EAGAIN:
                counts[2] += 1
                keep.pop().close()
    time.sleep(0.1)
    counts[0] = len(select.select([], keep, [], 0)[1])
    counts[1] = len(keep) - counts[0]
    for client in keep:
        client.close()
    one.close()
    return counts


def unix_burst():
    """200 clients connect at once, without waiting, to a server whose queue has room for 16."""
    with tempfile.TemporaryDirectory(prefix="weir-shown-") as folder:
        unix = _burst(socket.AF_UNIX, os.path.join(folder, "s"))
    tcp = _burst(socket.AF_INET, (HOST, 0))
    return tell([f"{name}: {counts[0]} connected, {counts[1]} under way, {counts[2]} told EAGAIN"
                 for name, counts in (("unix", unix), ("TCP", tcp))],
                "a unix socket is not unstable: its connect says at once that the queue is full, "
                "where TCP tries again by itself, after a second; who gets EAGAIN tries again, or "
                "waits in a blocking connect; and the backlog is to be large",
                unix[2] > 150 and tcp[2] == 0)
