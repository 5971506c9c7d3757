"""Stopping under load: every request whose connection was accepted gets its whole answer."""
import os
import shutil
import signal
import socket
import subprocess

from cmd_load import Load
from cmd_support import *

BODY = os.urandom(3000)

def stop_under_load(keep_alive, *arguments, number=signal.SIGTERM):
    www = folder("drain", data=BODY)
    server = Server(*arguments, www)
    load = Load(server, keep_alive, BODY)
    wait_until(lambda: load.answered > 300, 20, "the load")
    began = time.monotonic()
    server.signal(number)
    code = server.wait()
    took = time.monotonic() - began
    load.halt.set()
    load.end()
    assert code == 0, (code, server.text())
    assert not load.lost, f"{len(load.lost)} lost of {load.answered}: {load.lost[:5]}"
    assert took < 9, f"it took {took:.1f} s"
    return load


@test
def one_connection_a_request():
    for arguments in (["--shape", "single"], ["--shape", "threads", "--loops", "3"],
                      ["--shape", "acceptor", "--loops", "2"]):
        for _ in range(3):
            stop_under_load(False, *arguments)


@test
def keep_alive():
    for arguments in (["--shape", "single"], ["--shape", "threads", "--loops", "3"],
                      ["--shape", "acceptor", "--loops", "2"]):
        for _ in range(2):
            stop_under_load(True, *arguments, number=signal.SIGQUIT)


@test
def beside_wrk():
    """The same while a faster client keeps the server busy."""
    if not shutil.which("wrk"):
        raise Skipped("no wrk")
    for fields in ([], ["-H", "Connection: close"]):
        www = folder("drain", data=BODY)
        server = Server("--loops", "2", www)
        wrk = subprocess.Popen(["wrk", "-t1", "-c40", "-d4s", *fields,
                                f"http://127.0.0.1:{server.port}/data"],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        loads = [Load(server, keep_alive, BODY, 4) for keep_alive in (True, False)]
        time.sleep(1)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0, server.text()
        for load in loads:
            load.halt.set()
            load.end()
            assert load.answered > 20 and not load.lost, load.lost[:5]
        text = wrk.communicate(timeout=60)[0]
        assert " requests in " in text and "Non-2xx" not in text, text


def long_answer():
    """A folder with a file that no socket's buffers hold."""
    www = folder("long")
    big = os.path.join(www, "big")
    if not os.path.exists(big):
        with open(big, "wb") as file:
            file.write(os.urandom(1 << 20) * 24)
    return www


@test
def who_waits_in_the_queue_is_served():
    """Connections that the kernel has accepted and the server has not seen yet, when it is told to
    stop: it is held while they come."""
    www = folder("drain", data=BODY)
    path = os.path.join(SCRATCH, "queue.sock")
    for arguments in (["--shape", "single"], ["--shape", "threads", "--loops", "3"],
                      ["--shape", "acceptor", "--loops", "2"]):
        server = Server("--listen", f"unix:{path}", *arguments, www)
        server.signal(signal.SIGSTOP)
        clients = [Client(server) for _ in range(150)]
        for client in clients:
            client.ask("/data")
        local = [socket.socket(socket.AF_UNIX) for _ in range(50)]
        for one in local:
            one.settimeout(20)
            one.connect(path)
            one.sendall(b"GET /data HTTP/1.0\r\nHost: t\r\n\r\n")
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGCONT)
        for number, client in enumerate(clients):
            assert client.response()[2] == BODY, f"{arguments}: {number}"
            client.close()
        for number, one in enumerate(local):
            got = b""
            while piece := one.recv(1 << 16):
                got += piece
            assert got.endswith(BODY), f"{arguments}: {number} of the unix socket"
            one.close()
        assert server.wait() == 0


@test
def a_long_answer_is_finished():
    www = long_answer()
    server = Server(www)
    client = Client(server)
    client.ask("/big")
    client.more()
    idle = Client(server)
    idle.get("/missing")
    server.signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.process.poll() is None, "it did not wait"
    try:
        Client(server)
        assert False, "still accepting"
    except ConnectionRefusedError:
        pass
    body = client.response()[2]
    with open(os.path.join(www, "big"), "rb") as file:
        assert body == file.read(), "not what the file holds"
    client.close()
    assert idle.closed()
    idle.close()
    assert server.wait() == 0


@test
def a_request_on_its_way_is_answered():
    """Half a head when the signal comes, the rest behind it."""
    www = folder("drain", data=BODY)
    server = Server(www)
    client = Client(server)
    client.send(b"GET /data HTTP/1.1\r\nHo")
    wait_until(lambda: server.stat("received_bytes") > 20, what="the half head")
    server.signal(signal.SIGTERM)
    time.sleep(0.2)
    client.send(b"st: t\r\n\r\n")
    status, head, body = client.response()
    assert status == 200 and body == BODY and "\r\nConnection: close" in head, head
    assert client.closed()
    client.close()
    assert server.wait() == 0


@test
def the_deadline_ends_it():
    www = long_answer()
    server = Server("--drain", "700ms", www)
    client = Client(server)
    client.ask("/big")
    client.more()
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert 0.6 < time.monotonic() - began < 5 * SLOW
    assert "did not finish within 700 ms" in server.text(), server.text()


@test
def a_second_signal_ends_it_at_once():
    www = long_answer()
    for shape in "single", "threads", "acceptor":
        server = Server("--shape", shape, www)
        clients = [Client(server) for _ in range(4)]
        for client in clients:
            client.ask("/big")
            client.more()
        server.signal(signal.SIGTERM)
        time.sleep(0.4)
        assert server.process.poll() is None, "it did not wait"
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - began < 3 * SLOW
        for client in clients:
            client.close()


@test
def interrupt_ends_it_at_once():
    www = long_answer()
    server = Server(www)
    client = Client(server)
    client.ask("/big")
    client.more()
    began = time.monotonic()
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert time.monotonic() - began < 3 * SLOW


main()
