#!/usr/bin/env python3
"""The HTTP server over raw sockets, by what a client can see of it: answers, framing, order, limits,
deadlines, ends."""
import ctypes
import os
import random
import resource
import select
import socket
import struct
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from http_client import Broken, Connection, Server, check, chunked, request, run, until

SLACK_S = 5 # a machine with much else to do is no reason to fail
PATTERN = bytes(ord("a") + i % 23 for i in range(1 << 20))
SANITIZED = os.environ.get("WEIR_SANITIZE", "") != "" # memory is not what it is otherwise


# ---- whole answers ----

def whole(backend):
    with Server(backend) as server, server.connect() as c:
        answer = c.ask("GET", "/")
        check(answer.status == 200 and answer.body == b"memory\n", "answer", answer.head)
        check(answer.fields["keep-alive"] == "timeout=60" and
              answer.fields["connection"] == "keep-alive", "keep-alive", answer.head)
        check(answer.fields["x-server"] == "test" and answer.fields["content-type"] == "text/plain",
              "fields", answer.head)
        stamp = time.strptime(answer.fields["date"], "%a, %d %b %Y %H:%M:%S GMT")
        check(abs(time.mktime(stamp) - time.mktime(time.gmtime())) < 3, "date", answer.head)
        for size in (0, 1, 1000, 1024, 1025, 16384, 16385, 60000, 500000):
            for way in ("bytes", "static", "own"):
                answer = c.ask("GET", "/%s/%d" % (way, size))
                check(answer.body == PATTERN[:size], "body of", way, size, len(answer.body))
        answer = c.ask("GET", "/static/1048576")
        check(answer.body == PATTERN, "static beyond the cap")
        answer = c.ask("GET", "/bytes/1048576")
        check(answer.status == 500, "a copy beyond the cap", answer.status)
        check(server.figures()["last"] == "WEIR_EFULL", "why")
        for size in (1, 1022, 1023, 1024, 30000, 65536):
            check(len(c.ask("GET", "/text/%d" % size).body) == size, "text", size)
        check(c.ask("GET", "/text/65537").status == 500, "text too long")


def requests_seen(backend):
    with Server(backend) as server, server.connect() as c:
        for path, text in (
                ("/hello/you", "Hello, you!"), ("/hello/a%20b%2Fc", "Hello, a b/c!"),
                ("/hello/%41", "Hello, A!"), ("/hel%6Co/x", "Hello, x!"),
                ("/params/1/2/x/", "a=1 b=2 rest= none="),
                ("/params/%31/2/x/a//b/%2e", "a=1 b=2 rest=a//b/. none="),
                ("/query", "q=(none) r=(none) raw="), ("/query?", "q=(none) r=(none) raw="),
                ("/query?q=a%20b+c&r", "q=a b c r= raw=q=a%20b+c&r"),
                ("/query?x=1&%71=2&q=3", "q=2 r=(none) raw=x=1&%71=2&q=3"),
                ("/query?q=" + "%41" * 2000, "q=%s r=(none) raw=q=%s" % ("A" * 2000, "%41" * 2000)),
                ("/hello/" + "x" * 5000, "Hello, %s!" % ("x" * 5000)),
                ("/hello/" + "%78" * 2600, "Hello, %s!" % ("x" * 2600))):
            answer = c.ask("GET", path)
            check(answer.status == 200 and answer.text == text + "\n", path, answer.status, answer.text)
        for path in ("/request", "/request-late"):
            answer = c.ask("GET", path + "?a", User_Agent="me " + "x" * 3000)
            check(answer.text == "GET %s?a %s me %s\n" % (path, path, "x" * 3000), "request", answer.text)
        answer = c.ask("PURGE", "/request")
        check(answer.text == "PURGE /request /request \n", "own method", answer.text)
        answer = c.ask("GET", "http://localhost/hello/you")
        check(answer.text == "Hello, you!\n", "absolute form", answer.text)
        check(c.ask("GET", "http://localhost").text == "memory\n", "absolute form without a path")


def errors(backend):
    with Server(backend) as server:
        for method, path, status in (
                ("GET", "/none-such", 404), ("GET", "/hello/%zz", 400), ("GET", "/hello/%00", 400),
                ("GET", "/hello/%4", 400), ("PATCH", "/hello", 405), ("FROB", "/hello", 501),
                ("TRACE", "/hello", 501), ("OPTIONS", "/hello", 204), ("OPTIONS", "*", 204),
                ("GET", "/none", 500), ("GET", "/status/100", 500), ("GET", "/status/99", 500),
                ("GET", "/status/1000", 500), ("GET", "/status/204", 204),
                ("GET", "/status/205", 205), ("GET", "/status/304", 304), ("GET", "/status/299", 299),
                ("GET", "/status/999", 999)):
            with server.connect() as c:
                answer = c.ask(method, path)
                check(answer.status == status, method, path, answer.status)
                if status in (405, 204) and method != "GET":
                    check("GET" in answer.fields["allow"] and "OPTIONS" in answer.fields["allow"],
                          "Allow", answer.head)
                if status == 205:
                    check(answer.body == b"", "a body with 205")
                c.alive()
        with server.connect() as c:
            allow = c.ask("PUT", "/request").fields["allow"]
            check(allow == "GET, HEAD, PURGE, OPTIONS", "Allow", allow)
            check(c.ask("POST", "/request", Expect="100-continue").status == 405, "no body")
        check(server.get("/own-refused").text == "abc", "own-refused")
        check("content-encoding" not in server.get("/fields-only").fields, "another's fields")


def head_has_no_body(backend):
    """HEAD is GET without its body, in errors too; what follows is in its place."""
    paths = ["/", "/plain", "/bytes/70000", "/static/70000", "/own/70000", "/stream/3/100", "/trailers",
             "/stream-length/3/100", "/pull/70000", "/pull-length/70000", "/pull-wait/30/10", "/file",
             "/none", "/none-such", "/hello/%zz", "/later/10", "/sleep/10", "/ticks/2/10",
             "/status/204", "/status/304", "/status/205", "/text/3000"]
    with Server(backend) as server, server.connect() as c:
        for path in paths:
            head = c.ask("HEAD", path)
            get = c.ask("GET", path)
            check(head.status == get.status, path, head.status, get.status)
            check(head.framing == get.framing, path, head.framing, get.framing)
        c.send(b"".join(request("HEAD", path) for path in paths) + request("GET", "/hello/end"))
        for path in paths:
            c.answer("HEAD")
        check(c.answer().text == "Hello, end!\n", "pipelined")
    with Server(backend) as server:
        for fields in ({"Content_Length": "2000000"}, {"Expect": "nonsense"},
                       {"Content_Length": "x"}, {"Transfer_Encoding": "gzip"}):
            with server.connect() as c:
                answer = c.ask("HEAD", "/", **fields)
                check(answer.status >= 400, "HEAD refused", answer.status)
                if answer.closes:
                    c.finish()
                    c.ended()
                else:
                    c.alive()


def fields(backend):
    with Server(backend) as server, server.connect() as c:
        for count in (0, 1, 2, 5, 50, 240):
            answer = c.ask("GET", "/fields/%d" % count)
            check(answer.status == 200 and answer.names.count("X-Field") == count, "fields", count)
        answer = c.ask("GET", "/fields/300")
        check(answer.text == "WEIR_ETOOBIG\n" and answer.names.count("X-Field") > 200, "too many",
              answer.text)


def own_memory(backend):
    with Server(backend) as server:
        check(server.get("/own-refused").text == "abc", "answer")
        figures = server.figures()
        check(figures["lent"] == figures["released"] == "7", "given back", figures)
        connections = [server.connect(receive_buffer=4096) for _ in range(10)]
        for c in connections:
            c.send(request("GET", "/own/1000000"))
            c.bytes(1000)
        for c in connections:
            c.reset()
        until(lambda: server.figures()["lent"] == server.figures()["released"], "released")


# ---- order ----

def segments_received(connection):
    info = connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return struct.unpack_from("I", info, 152)[0]


def pipelining(backend):
    """A thousand requests at once: answers in order, and not one segment each."""
    with Server(backend) as server:
        for path in ("/hello/%d", "/request?%d", "/later/0?%d"):
            with server.connect() as c:
                count = 1000
                data = b"".join(request("GET", path % i) for i in range(count))
                thread = threading.Thread(target=c.send, args=(data,))
                thread.start()
                for i in range(count):
                    answer = c.answer()
                    check(str(i) in answer.text, "order", path, i, answer.text)
                thread.join()
                segments = segments_received(c)
                check("later" in path or segments < 100, "segments", segments)
                c.alive()
        with server.connect() as c: # all ways of answering, mixed
            paths = ["/", "/bytes/20000", "/static/3000", "/own/50", "/stream/2/10", "/pull/100",
                     "/sleep/1", "/later/1", "/pull-length/5000", "/none-such", "/plain"] * 20
            random.Random(1).shuffle(paths)
            lone = {path: server.get(path).body for path in set(paths)}
            thread = threading.Thread(
                target=c.send, args=(b"".join(request("GET", path) for path in paths),))
            thread.start()
            for path in paths:
                check(c.answer().body == lone[path], "mixed", path)
            thread.join()


def many_small_sources(backend):
    """Files and pull sources pipelined by the thousand are not a queue without bound."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")
        file.flush()
        with Server(backend, file=file.name) as server:
            for path, body in (("/file", b"x"), ("/pull/1", b"a"), ("/static/2000", PATTERN[:2000])):
                with server.connect() as c:
                    thread = threading.Thread(target=c.send, args=(request("GET", path) * 3000,))
                    thread.start()
                    for i in range(3000):
                        check(c.answer().body == body, path, i)
                    thread.join()


def waiting_holds_up_nobody(backend):
    with Server(backend) as server, server.connect() as slow, server.connect() as quick:
        began = time.monotonic()
        slow.send(request("GET", "/sleep/1500") + request("GET", "/hello/1") +
                  request("GET", "/later/100") + request("GET", "/hello/2"))
        for _ in range(20):
            quick.alive()
        check(time.monotonic() - began < 1.5, "held up")
        check(slow.answer().text == "slept\n", "first")
        check(time.monotonic() - began >= 1.5, "too early")
        check(slow.answer().text == "Hello, 1!\n", "second")
        check(slow.answer().text == "later /later/100\n", "third")
        check(slow.answer().text == "Hello, 2!\n", "fourth")


def fast_reader_starves_nobody(backend):
    """A handler that streams to a client that reads at once leaves turns to the others."""
    with Server(backend) as server, server.connect() as fast, server.connect() as other:
        fast.send(request("GET", "/stream/1000000/60000"))
        stop = []

        def read():
            while not stop and fast.socket.recv(1 << 20):
                pass
        thread = threading.Thread(target=read)
        thread.start()
        worst = 0
        for _ in range(30):
            began = time.monotonic()
            other.alive()
            worst = max(worst, time.monotonic() - began)
        stop.append(True)
        thread.join()
        fast.reset()
        check(worst < 1.0 + SLACK_S, "an answer took", worst)


# ---- streamed answers, sources ----

def streams(backend):
    with Server(backend) as server, server.connect() as c:
        for count, size in ((0, 5), (1, 1), (3, 100), (100, 1000), (10, 300000), (2, 1048576)):
            body = PATTERN[:size] * count
            check(c.ask("GET", "/stream/%d/%d" % (count, size)).body == body, "stream", count, size)
            check(c.ask("GET", "/stream-length/%d/%d" % (count, size)).body == body, "length")
        answer = c.ask("GET", "/trailers")
        check(list(answer.trailers.items()) == [("X-Sum", "14"), ("X-Refused", "yes")], "trailers",
              answer.trailers)
        check(c.ask("GET", "/stream-long").body == b"long", "no more than promised")
        check(server.figures()["last"] == "WEIR_ETOOBIG", "refused")
        check(c.ask("GET", "/twice").text == "first\n", "twice")
        check(server.figures()["last"] == "WEIR_EMISUSE", "the second time")
        check(c.ask("GET", "/ticks/3/20").body == b"tick\n" * 3, "ticks")
        check(c.ask("POST", "/misuse").status == 200, "misuse")
        c.send(request("GET", "/closes"))
        check(c.answer().text == "closing\n", "closes")
        c.ended()
    with Server(backend) as server:
        for path in ("/stream-short", "/begin-only", "/pull-short/100", "/pull-fail/100",
                     "/aborts"):
            with server.connect() as c:
                c.send(request("GET", path))
                try:
                    while c.more():
                        pass
                    check(False, "ended in order:", path, c.rest)
                except ConnectionResetError:
                    pass
        check(server.figures()["pulls_over"] == "2", "sources are told of their end")


def streams_to_old_clients(backend):
    """HTTP/1.0 knows no chunks: the end of the connection is the end of the body."""
    with Server(backend) as server:
        for path, body in (("/stream/3/100", PATTERN[:100] * 3), ("/pull/20000", None),
                           ("/trailers", b"with trailers\n"), ("/stream-length/2/10", PATTERN[:10] * 2)):
            c = server.connect()
            c.send(request("GET", path, version="1.0"))
            answer = c.answer()
            check(answer.closes and answer.framing[0] is None, path, answer.head)
            check(body is None or answer.body == body, path, answer.body)
            c.ended()


def old_clients(backend):
    with Server(backend) as server:
        c = server.connect()
        c.send(request("GET", "/hello/you", version="1.0"))
        check(c.answer().closes, "1.0 closes")
        c.ended()
        with server.connect() as c:
            for _ in range(3):
                c.send(request("GET", "/hello/you", version="1.0", Connection="keep-alive"))
                check(c.answer().fields["connection"] == "keep-alive", "1.0 keeps")
        c = server.connect()
        c.send(request("GET", "/hello/you", Connection="close"))
        check(c.answer().closes, "1.1 closes")
        c.ended()
    with Server(backend, idle=500) as server, server.connect() as c: # no whole second to name
        c.send(request("GET", "/hello/you", version="1.0", Connection="keep-alive"))
        answer = c.answer()
        check(answer.fields["connection"] == "keep-alive" and "keep-alive" not in answer.fields,
              "short idle", answer.head)


def pull_sources(backend):
    with Server(backend) as server, server.connect() as c:
        for size in (0, 1, 6999, 7000, 7001, 100000):
            whole_body = c.ask("GET", "/pull/%d" % size).body
            check(len(whole_body) == size, "pull", size)
            check(c.ask("GET", "/pull-length/%d" % size).body == whole_body, "pull with length", size)
        began = time.monotonic()
        check(len(c.ask("GET", "/pull-wait/100/20").body) == 100, "a source that waits")
        took = time.monotonic() - began # the kernel would hold each piece for 200 ms
        check(0.2 <= took < 1.7, "pieces are held back", took)
        # What is asked behind a source is answered behind it; the exchange lasts as long as it does.
        c.send(request("GET", "/pull-wait/30/50") + request("GET", "/hello/1"))
        check(len(c.answer().body) == 30 and c.answer().text == "Hello, 1!\n", "behind")
        one = server.connect()
        one.send(request("GET", "/pull-wait/100000/10"))
        one.bytes(100)
        one.reset()
        figures = lambda: server.figures()
        until(lambda: figures()["pulls"] == figures()["pulls_over"], "told that it is over")
        c.send(request("GET", "/pull-wait/20/10", Connection="close"))
        check(len(c.answer().body) == 20, "the last one")
        c.ended()


def files(backend):
    with tempfile.NamedTemporaryFile() as file:
        file.write(PATTERN * 3)
        file.flush()
        with Server(backend, file=file.name) as server:
            with server.connect() as c:
                c.alive()
                before = server.descriptors()
                for _ in range(3):
                    check(c.ask("GET", "/file").body == PATTERN * 3, "file")
                check(c.ask("HEAD", "/file").framing == (None, str(3 << 20)), "length")
                until(lambda: server.descriptors() <= before, "descriptors")
                c.send(request("GET", "/file", Connection="close"))
                check(c.answer().body == PATTERN * 3, "and closes")
                c.ended()
            with server.connect() as c: # it ends before what was promised of it
                c.send(request("GET", "/file-short"))
                try:
                    while c.more():
                        pass
                    check(False, "ended in order")
                except ConnectionResetError:
                    pass


def slow_client_bounds_memory(backend):
    """A client that does not read does not make the server hold what it should have sent."""
    with Server(backend) as server:
        before = server.memory_kb()
        connections = [server.connect(receive_buffer=4096) for _ in range(20)]
        for c in connections:
            c.send(request("GET", "/stream/100000/60000"))
        time.sleep(0.5)
        grown = server.memory_kb() - before
        check(SANITIZED or grown < 20 * 400, "grown by KB", grown)
        for c in connections:
            c.close()


# ---- ends ----

def only_from(sniffer, port):
    """Lets nothing through but TCP from a port: classic BPF, from the IP header on."""
    code = [(0x30, 0, 0, 9), (0x15, 0, 4, 6), (0xb1, 0, 0, 0), (0x48, 0, 0, 0), (0x15, 0, 1, port),
            (0x06, 0, 0, 0xffff), (0x06, 0, 0, 0)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
    sniffer.setsockopt(socket.SOL_SOCKET, 26, # SO_ATTACH_FILTER
                       struct.pack("HP", len(code), ctypes.addressof(program)))


def packets_of(port, talk):
    """Runs talk() and gives flags and payload length of each packet that the server sent."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    only_from(sniffer, port)
    sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sniffer.bind(("lo", 3)) # ETH_P_ALL
    talk()
    time.sleep(0.05)
    sniffer.setblocking(False)
    found = []
    try:
        while True:
            data, address = sniffer.recvfrom(1 << 17)
            ip = (data[0] & 15) * 4
            if address[2] != 4: # each packet passes twice: outgoing once
                continue
            total, = struct.unpack_from(">H", data, 2)
            header = (data[ip + 12] >> 4) * 4
            size = total - ip - header if total else len(data) - ip - header
            found.append((data[ip + 13], size))
    except BlockingIOError:
        pass
    sniffer.close()
    return found


def packets_possible():
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).close()
        return True
    except OSError:
        print("skip: packets cannot be looked at here")
        return False


def refusals_do_not_reset(backend):
    """A client that goes on sending what nobody wants any more is not reset before it has read why."""
    if not packets_possible():
        return
    with Server(backend, header=200, body=200, body_max=1000) as server:
        late_head = b"GET / HTTP/1.1\r\nX: "
        late_body = request("POST", "/count", None, Content_Length=900)
        large = request("POST", "/count", None, Content_Length=2000)
        unread = request("POST", "/ignore", None, Content_Length=900, Expect="100-continue")
        last = request("GET", "/hello/you", Connection="close") + b"GET /more"
        asleep = request("GET", "/sleep/100", Connection="close")
        for data, status in ((late_head, 408), (late_body, 408), (large, 413), (b"bad\r\n", 400),
                             (unread, 200), (last, 200), (asleep, 200)):
            def talk():
                c = server.connect()
                c.send(data)
                while not select.select([c.socket], [], [], 0.02)[0]:
                    c.send(b"x")
                for _ in range(5): # before it reads
                    c.send(b"x")
                    time.sleep(0.01)
                check(c.answer().status == status, "status")
                c.ended()
            packets = packets_of(server.port, talk)
            check(not any(flags & 4 for flags, _ in packets), "reset", status, data, packets)


def last_answer_waits_for_nobody(backend):
    """With the last answer given and nothing unread the server does not wait for its client to close."""
    with Server(backend, linger=60000) as server:
        server.connect().alive()
        connections = []
        before = server.descriptors()
        for path in ("/hello/you", "/plain", "/stream/3/10", "/bytes/30000"):
            connections.append(server.connect())
            connections[-1].send(request("GET", path, Connection="close"))
            check(connections[-1].answer().closes, path)
        until(lambda: server.descriptors() <= before, "closed")


def end_leaves_with_the_data(backend):
    """Where the connection closes after the answer, the last data and the FIN are one segment."""
    fin, reset = 1, 4
    if not packets_possible():
        return
    with Server(backend, no_keep_alive=1) as server:
        # Not of a file: sendfile(2) pushes what it has.
        for path in ("/hello/you", "/plain", "/static/3000", "/bytes/30000", "/own/3000",
                     "/none-such", "/stream/3/10", "/trailers", "/sleep/10", "/later/10",
                     "/stream-length/2/10", "/pull/100", "/pull-length/100"):
            def talk():
                check(server.get(path).closes, path)
            packets = packets_of(server.port, talk)
            check(not any(flags & reset for flags, _ in packets), "reset", path, packets)
            ends = [size for flags, size in packets if flags & fin]
            check(len(ends) == 1 and ends[0] > 0, "the end of", path, packets)


def close_does_not_reset(backend):
    """Input behind the last request, unread or still coming, costs the client no answer."""
    with Server(backend) as server:
        for path in ("/hello/you", "/sleep/50", "/later/50", "/stream/3/1000"):
            for behind in (b"x", request("GET", "/"), request("GET", "/") * 3000):
                c = server.connect()
                thread = threading.Thread(target=send_quietly, args=(
                    c, request("GET", path, Connection="close") + behind))
                thread.start()
                time.sleep(0.1)
                check(c.answer().closes, path)
                thread.join()
                c.ended()
        c = server.connect()
        c.send(request("GET", "/sleep/100", Connection="close"))
        for _ in range(30): # while the handler works and after it has answered
            time.sleep(0.01)
            send_quietly(c, b"x" * 100)
        check(c.answer().text == "slept\n", "answer")
        c.ended()


def send_quietly(connection, data):
    try:
        connection.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def half_close(backend):
    """A client that ends its direction after its request gets its answer."""
    with Server(backend) as server:
        for path, method, body in (("/hello/you", "GET", None), ("/sleep/50", "GET", None),
                                   ("/later/50", "GET", None), ("/pull-wait/30/20", "GET", None),
                                   ("/stream/20/100000", "GET", None), ("/count", "POST", b"x" * 90000),
                                   ("/count-slow/10", "POST", b"x" * 90000),
                                   ("/count-plain", "POST", b"x" * 90000),
                                   ("/ignore-slow/50", "POST", b"x" * 1000)):
            for times in (1, 3):
                c = server.connect()
                c.send(request(method, path, body) * times)
                c.finish()
                for _ in range(times):
                    check(c.answer().status == 200, path)
                c.ended()
        c = server.connect()
        c.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        c.finish()
        c.ended()
        for path, status in (("/count", 400), ("/count-plain", 400), ("/ignore-slow/50", 200),
                             ("/ignore", 200)): # inside the body
            c = server.connect()
            c.send(request("POST", path, b"x" * 50, Content_Length=100))
            c.finish()
            check(c.answer().status == status, "cut body", path)
            c.ended()


def resets(backend):
    """Clients that go away at any moment: what waits for them ends, nothing is left over."""
    with Server(backend) as server:
        server.get("/")
        descriptors = server.descriptors()
        for path in ("/stream/10000/60000", "/sleep/200", "/later/200", "/pull-wait/1000/10",
                     "/static/1048576", "/ticks/1000/10", "/bytes/900000"):
            for i in range(6):
                c = server.connect(receive_buffer=4096)
                c.send(request("GET", path) + request("GET", "/") * (i % 2))
                time.sleep(0.01)
                c.reset()
        for path in ("/count", "/echo", "/count-plain", "/count-later", "/count-slow/5"):
            for _ in range(5):
                c = server.connect()
                c.send(request("POST", path, b"x" * 5000, Content_Length=1000000))
                time.sleep(0.01)
                c.reset()
        until(lambda: server.descriptors() <= descriptors, "descriptors go back")
        # Not with input behind the request: then nobody looks at the connection (K10).
        until(lambda: int(server.figures()["aborted"]) >= 9, "aborted is seen")
        time.sleep(0.3)
        figures = server.figures()
        check(figures["pulls"] == figures["pulls_over"], "sources", figures)
        check(server.get("/hello/you").status == 200, "it lives")


def sleepers_are_woken(backend):
    """A handler that waits for nothing of its client's is told when that one leaves; not when it
    has only finished its direction."""
    with Server(backend, write=600) as server:
        def figure(name):
            return int(server.figures()[name])
        patient = server.connect()
        patient.send(request("GET", "/sleep/1500", Connection="close"))
        patient.finish()
        for i in range(10):
            c = server.connect()
            c.send(request("GET", "/sleep/60000"))
            time.sleep(0.01)
            c.reset()
        until(lambda: figure("gone") == 10, "reset", 2)
        for i in range(10):
            c = server.connect()
            c.send(request("GET", "/naps/400"))
            time.sleep(0.01)
            c.reset()
        time.sleep(0.1)
        check(figure("finished") == 10, "not cut short twice")
        until(lambda: figure("finished") == 20, "the second wait", 3)
        c = server.connect(receive_buffer=4096) # a deadline of the server's own
        c.send(request("GET", "/begin-and-sleep/60000"))
        until(lambda: figure("gone") == 11, "cut", 5)
        c.close()
        check(patient.answer().text == "slept\n", "half close")
        patient.ended()
    server = Server(backend, drain=100)
    c = server.connect()
    c.send(request("GET", "/naps/60000")) # who waits again ends with the loop
    time.sleep(0.1)
    began = time.monotonic()
    server.stop()
    check(time.monotonic() - began < 1 + SLACK_S, "took", time.monotonic() - began)
    c.close()


# ---- bodies ----

def bodies(backend):
    rng = random.Random(2)
    with Server(backend) as server, server.connect() as c:
        for path in ("/count", "/count-plain", "/count-later", "/count-slow/1"):
            for size in (0, 1, 1000, 65535, 65536, 65537, 300000):
                text = "%d bytes\n" % size
                check(c.ask("POST", path, b"b" * size).text == text, path, size)
                pieces = [b"b" * part for part in parts_of(size, rng)]
                c.send(request("POST", path, chunked(*pieces), Transfer_Encoding="chunked"))
                check(c.answer().text == text, path, "chunked", size)
        data = bytes(rng.randrange(256) for _ in range(5000)) * 40
        check(c.ask("POST", "/echo", data).body == data, "echo")
        c.send(request("POST", "/echo", chunked(*[data[i:i + 777] for i in range(0, 50000, 777)],
                                                trailers=b"X-Sum: 1\r\nX-More: 2\r\n"),
                       Transfer_Encoding="chunked"))
        check(c.answer().body == data[:50505][:50000 // 777 * 777 + 777], "echo chunked")
        # Cut into pieces of any size, with pauses: heads, chunks and trailers too.
        whole_data = b"".join(request("POST", path, chunked(b"abc", b"d" * 20, trailers=b"X: y\r\n"),
                                      Transfer_Encoding="chunked")
                              for path in ("/count", "/count-plain", "/ignore", "/count-later"))
        for cut in (1, 2, 7, 31):
            for i in range(0, len(whole_data), cut):
                c.send(whole_data[i:i + cut])
                if i % 40 < cut:
                    time.sleep(0.001)
            for text in ("23 bytes\n", "23 bytes\n", "memory\n", "23 bytes\n"):
                check(c.answer().text == text, "cut", cut)


def parts_of(size, rng):
    while size > 0:
        part = min(size, rng.randrange(1, 60000))
        yield part
        size -= part


def expect_continue(backend):
    with Server(backend) as server:
        with server.connect() as c:
            for path in ("/count", "/count-plain", "/count-later"):
                c.send(request("POST", path, None, Content_Length=5, Expect="100-continue"))
                check(c.answer(interim=True).status == 100, "invited", path)
                c.quiet(0.05)
                c.send(b"12345")
                check(c.answer().text == "5 bytes\n", path)
            c.send(request("POST", "/count", b"12345", Expect="100-continue")) # not waited for
            check(c.answer(interim=True).status == 100, "invited all the same")
            check(c.answer().text == "5 bytes\n", "answer")
            c.send(request("POST", "/count", b"", Expect="100-continue")) # no body, no leave
            check(c.answer().text == "0 bytes\n", "none")
        for path, status in (("/ignore", 200), ("/none-such", 405), ("/hello", 405)):
            c = server.connect() # refused before the body: no leave, and the connection closes
            c.send(request("POST", path, None, Content_Length=5, Expect="100-continue"))
            answer = c.answer()
            check(answer.status == status and answer.closes, path, answer.head)
            c.ended()
        c = server.connect()
        c.send(request("POST", "/count", None, Content_Length=2000000, Expect="100-continue"))
        check(c.answer().status == 413, "too large")
        c.ended()
        with server.connect() as c:
            check(c.ask("GET", "/", Expect="nonsense").status == 417, "unknown expectation")
            c.alive()
        c = server.connect()
        c.send(request("POST", "/count", b"12345", Expect="nonsense"))
        answer = c.answer()
        check(answer.status == 417 and answer.closes, "with a body", answer.head)
        c.ended()
        c = server.connect()
        c.send(request("POST", "/count", b"12345", version="1.0", Expect="100-continue"))
        check(c.answer().text == "5 bytes\n", "1.0 is not asked")
        c.ended()


def body_limits(backend):
    with Server(backend, body_max=100000) as server:
        with server.connect() as c:
            check(c.ask("POST", "/count", b"x" * 100000).status == 200, "at the limit")
            c.alive()
        for path in ("/count", "/count-plain", "/ignore", "/sleep/10"):
            c = server.connect()
            c.send(request("POST", path, None, Content_Length=100001))
            answer = c.answer()
            check(answer.status == 413 and answer.closes, "by length", path, answer.status)
            c.ended()
        for path in ("/count", "/count-plain", "/count-later"):
            c = server.connect()
            send_quietly(c, request("POST", path, chunked(b"x" * 60000, b"y" * 60000, b"z" * 900000),
                                    Transfer_Encoding="chunked"))
            answer = c.answer()
            check(answer.status == 413 and answer.closes, "by chunks", path, answer.status)
            c.ended()
        c = server.connect()
        send_quietly(c, request("POST", "/echo", chunked(b"x" * 60000, b"y" * 60000),
                                Transfer_Encoding="chunked"))
        try: # begun already: the answer is cut
            while c.more():
                pass
            check(not c.rest.endswith(b"0\r\n\r\n"), "ended as if whole")
        except ConnectionResetError:
            pass


def plain_echo(backend):
    """A handler that cannot wait answers what it is given: reading pauses for it."""
    data = PATTERN * 16
    with Server(backend, body_max=1 << 30) as server, server.connect() as c:
        for path, pause in (("/echo-plain", 0), ("/echo-plain", 0.5), ("/echo-late", 0.5)):
            thread = threading.Thread(target=c.send, args=(request("POST", path, data),))
            thread.start()
            time.sleep(pause)
            check(c.answer().body == data, "echo")
            thread.join()
            check(server.figures()["last"] == "OK", "last")


def stale_handles(backend):
    """Who answers late, when the client is gone, does not answer another one's request."""
    with Server(backend) as server:
        gone = [server.connect() for _ in range(20)]
        for c in gone:
            c.send(request("GET", "/later/400"))
        time.sleep(0.1)
        for c in gone:
            c.reset()
        time.sleep(0.1)
        with server.connect() as c:
            c.send(request("GET", "/sleep/600") + request("GET", "/hello/1"))
            check(c.answer().text == "slept\n" and c.answer().text == "Hello, 1!\n", "another's answer")
        check(server.figures()["aborted"] == "20", "aborted")


def unread_bodies(backend):
    with Server(backend) as server:
        with server.connect() as c: # small: read away, the connection is kept
            for path in ("/ignore", "/ignore-plain", "/ignore-slow/30", "/none-such", "/read-some/1"):
                for body, extra in ((b"x" * 1000, {}), (b"x" * 65536, {}),
                                    (chunked(b"x" * 1000, b"y" * 100), {"Transfer_Encoding": "chunked"})):
                    c.send(request("POST", path, body, **extra) + request("GET", "/hello/behind"))
                    answer = c.answer()
                    check(answer.status in (200, 405) and not answer.closes, path, answer.head)
                    check(c.answer().text == "Hello, behind!\n", path)
            for path in ("/ignore", "/ignore-slow/30"): # it comes after the answer
                c.send(request("POST", path, None, Content_Length=1000))
                check(c.answer().status == 200, path)
                for _ in range(10):
                    time.sleep(0.005)
                    c.send(b"x" * 100)
                c.alive()
        for path in ("/ignore", "/ignore-plain", "/ignore-slow/30", "/none-such"): # large: not
            c = server.connect()
            thread = threading.Thread(target=send_quietly,
                                      args=(c, request("POST", path, b"x" * 900000)))
            thread.start()
            answer = c.answer()
            check(answer.closes, path, answer.head)
            thread.join()
            c.ended()
        c = server.connect() # chunked, and it never ends
        c.send(request("POST", "/ignore", None, Transfer_Encoding="chunked"))
        check(c.answer().status == 200, "chunked")
        for _ in range(40):
            send_quietly(c, b"1000\r\n" + b"x" * 4096 + b"\r\n")
        c.ended()
        with server.connect() as c: # after its answer there is nothing to read
            check(c.ask("POST", "/read-some/10", b"x" * 30000).text == "some\n", "some")
            check(server.figures()["last"] == "WEIR_EMISUSE", "reading after the answer")
            c.alive()
            # Who is called with its pieces is told that it will be no more.
            check(c.ask("POST", "/early", b"x" * 60000).text == "early\n", "early")
            figures = server.figures()
            check(figures["last"] == "WEIR_ECANCELED" and figures["body_over"] == "1", "told", figures)
            c.alive()


def backpressure(backend):
    """A gigabyte pushed at a handler that reads, and at one that reads slowly: bounded memory."""
    size = 1 << 30
    with Server(backend, body_max=size, drain=100) as server:
        before = server.memory_kb("VmHWM")
        block = b"x" * (1 << 20)
        for path, push in (("/count", size), ("/count-plain", size >> 2), ("/count-slow/5", 24 << 20)):
            with server.connect(timeout=30) as c:
                c.send(request("POST", path, None, Content_Length=push))
                for _ in range(push >> 20):
                    c.send(block)
                check(c.answer().text == "%d bytes\n" % push, path)
        grown = server.memory_kb("VmHWM") - before
        check(SANITIZED or grown < 20000, "grown by KB", grown)
        # Nobody reads for a while: the client is stopped, not the server filled.
        with server.connect(timeout=0.5) as c:
            c.send(request("POST", "/count-slow/3000", None, Content_Length=size))
            try:
                for _ in range(size >> 20):
                    c.send(block)
                check(False, "all was taken")
            except socket.timeout:
                pass
            check(SANITIZED or server.memory_kb("VmHWM") - before < 20000, "grown")
        server.stop() # the handler still sleeps


# ---- deadlines ----

def closes_after(connection, least, most):
    began = time.monotonic()
    connection.ended()
    took = time.monotonic() - began
    check(least <= took <= most + SLACK_S, "closed after", took)


def head_deadline(backend):
    with Server(backend, header=300, first=300, idle=20000) as server:
        with server.connect() as c: # nothing at all: closed without a word
            closes_after(c, 0.2, 1.0)
        c = server.connect()
        c.send(b"GET / HTTP/1.1\r\n")
        answer = c.answer()
        check(answer.status == 408 and answer.closes, "408", answer.head)
        c.ended()
        c = server.connect() # drops do not help
        began = time.monotonic()
        try:
            for _ in range(60):
                c.send(b"X")
                time.sleep(0.02)
        except (BrokenPipeError, ConnectionResetError):
            pass
        check(c.answer().status == 408, "408")
        c.ended()
        with server.connect() as c: # a later request has its own
            c.alive()
            time.sleep(0.5)
            c.alive()
            c.send(b"GET / HT")
            check(c.answer().status == 408, "408 later")
            c.ended()
        with server.connect() as c: # behind a handler: it counts from when it is looked at
            c.send(request("GET", "/sleep/500") + b"GET /hello/x HTTP/1.1\r\n")
            check(c.answer().text == "slept\n", "slept")
            c.send(b"Host: x\r\n\r\n")
            check(c.answer().text == "Hello, x!\n", "behind")


def body_deadline(backend):
    with Server(backend, body=400, idle=20000) as server:
        for path in ("/count", "/count-plain", "/count-later"):
            c = server.connect()
            c.send(request("POST", path, b"x" * 10, Content_Length=1000))
            began = time.monotonic()
            answer = c.answer()
            check(answer.status == 408 and answer.closes, path, answer.head)
            check(0.3 < time.monotonic() - began < 1.5 + SLACK_S, "after", time.monotonic() - began)
            c.ended()
        for path in ("/count", "/count-plain"): # a byte now and then is not progress
            c = server.connect()
            c.send(request("POST", path, None, Content_Length=1000))
            for drops in range(500):
                if select.select([c.socket], [], [], 0.02)[0]:
                    break
                c.send(b"x")
            check(drops < 499 and c.answer().status == 408, "drops", drops)
            c.ended()
        with server.connect() as c:
            # The handler's own slowness is not the client's.
            check(c.ask("POST", "/count-slow/700", b"x" * 100000).text == "100000 bytes\n", "slow reader")
            c.send(request("POST", "/read-deadline", None, Content_Length=5))
            time.sleep(0.15)
            c.send(b"12345")
            check(c.answer().text == "WEIR_ETIMEDOUT 5\n", "a deadline ends the wait only")
    with Server(backend, body=1000) as server, server.connect() as c:
        c.send(request("POST", "/count", None, Content_Length=60000))
        for _ in range(20): # a kilobyte in each interval is enough
            c.send(b"x" * 3000)
            time.sleep(0.1)
        check(c.answer().text == "60000 bytes\n", "slow but steady")
    with Server(backend, body=400) as server:
        c = server.connect() # a body that nobody reads has to come, too
        c.send(request("POST", "/ignore", None, Content_Length=1000))
        check(c.answer().status == 200, "answered")
        closes_after(c, 0.3, 1.5)


def idle_deadline(backend):
    with Server(backend, idle=1000) as server:
        c = server.connect()
        check(c.ask("GET", "/").fields["keep-alive"] == "timeout=1", "timeout")
        closes_after(c, 0.9, 1.8)
        with server.connect() as c: # a handler at work is not idleness
            for path in ("/sleep/1500", "/later/1500", "/pull-wait/10/1500"):
                check(c.ask("GET", path).status == 200, path)
            c.alive()
            c.send(request("POST", "/count-slow/1500", b"x"))
            check(c.answer().text == "1 bytes\n", "a slow reader")
            closes_after(c, 0.9, 1.8)
        with server.connect() as c: # nor is a body that is read away; after it the time begins anew
            c.send(request("POST", "/ignore", None, Content_Length=20))
            check(c.answer().status == 200, "answered")
            for _ in range(4):
                time.sleep(0.5)
                c.send(b"12345")
            closes_after(c, 0.9, 1.8)


# ---- limits ----

def head_limits(backend):
    with Server(backend, line=1000, head=2000, fields=10) as server:
        def status(data):
            with server.connect() as c:
                c.send(data)
                answer = c.answer()
                if answer.closes:
                    c.ended()
                else:
                    c.alive()
                return answer.status
        line = b"GET /hello/%s HTTP/1.1\r\nHost: x\r\n"
        check(status(line % (b"x" * 980) + b"\r\n") == 200, "line at its limit")
        check(status(line % (b"x" * 981) + b"\r\n") == 414, "line too long")
        check(status(line % b"x" + b"X: " + b"y" * 1961 + b"\r\n\r\n") == 200, "head at its limit")
        check(status(line % b"x" + b"X: " + b"y" * 1962 + b"\r\n\r\n") == 431, "head too large")
        check(status(line % b"x" + b"X: y\r\n" * 9 + b"\r\n") == 200, "fields at their limit")
        check(status(line % b"x" + b"X: y\r\n" * 10 + b"\r\n") == 431, "too many fields")
        check(status(b"GET / HTTP/1.1\n") == 400, "bare LF")
        check(status(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n") == 505, "version")
        check(status(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n") == 501,
              "coding")
    with Server(backend, head=65536, line=60000) as server, server.connect() as c:
        check(c.ask("GET", "/request?" + "x" * 50000).status == 200, "a large head")
    with Server(backend, requests=3) as server:
        c = server.connect()
        c.send(request("GET", "/") * 5)
        check([c.answer().closes for _ in range(3)] == [False, False, True], "requests_max")
        c.ended()
    for wrong in ({"head": 70000}, {"fields": 65}, {"line": 20000}, {"stack": 1000}):
        try:
            Server(backend, **wrong)
            check(False, "started with", wrong)
        except Broken as error:
            check("HTTP options" in str(error), "says", error)


def overload(backend):
    """At the limit of connections: an answer that says when to come again, and no reset."""
    with Server(backend, conns=3, linger=300) as server:
        kept = [server.connect() for _ in range(3)]
        for c in kept:
            c.alive()
        for speaks in (True, False, True):
            c = server.connect()
            if speaks:
                c.send(request("GET", "/hello/you"))
            answer = c.answer()
            check(answer.status == 503 and answer.fields["retry-after"] == "1" and answer.closes,
                  "refusal", answer.head)
            c.ended()
        for c in kept:
            c.alive()
        kept.pop().close()
        until(lambda: server.connect().ask("GET", "/").status == 200, "room again")
        for c in kept:
            c.close()


def handlers_limit(backend):
    with Server(backend, handlers=50) as server:
        waiting = [server.connect() for _ in range(50)]
        for c in waiting:
            c.send(request("GET", "/sleep/2500"))
        time.sleep(0.5)
        with server.connect() as c:
            answer = c.ask("GET", "/hello/you")
            check(answer.status == 503 and answer.fields["retry-after"] == "1", "refusal", answer.head)
            check(c.ask("GET", "/plain").status == 200, "plain handlers need no stack")
            for other in waiting:
                check(other.answer().text == "slept\n", "slept")
            c.alive()
        for c in waiting:
            c.close()


def many_handlers(backend):
    """Ten thousand handlers wait at once; memory goes back afterwards."""
    count = 10000 if backend in ("uring", "epoll") else 400
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20000, resource.getrlimit(
        resource.RLIMIT_NOFILE)[1]),) * 2)
    count = min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)
    with Server(backend) as server:
        before = server.memory_kb()
        connections = [server.connect(timeout=20) for _ in range(count)]
        for c in connections:
            c.send(request("GET", "/sleep/1500"))
        time.sleep(0.5)
        with server.connect() as c:
            c.alive()
        each = (server.memory_kb() - before) / count
        for c in connections:
            check(c.answer().text == "slept\n", "slept")
        for c in connections:
            c.close()
        check(SANITIZED or each < 16, "KB for each waiting handler", each)


def two_servers_on_a_loop(backend):
    """Their exchanges are not mistaken for one another's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Server(backend, second="http://127.0.0.1:%d" % port) as server:
        first, second = server.connect(), Connection(port)
        for i in range(20):
            first.send(request("GET", "/later/10?first%d" % i) + request("GET", "/request-late?first"))
            second.send(request("GET", "/later/5?second%d" % i) + request("GET", "/request-late?second"))
            check("first%d" % i in first.answer().text, "first")
            check("second%d" % i in second.answer().text, "second")
            check("first" in first.answer().text and "second" in second.answer().text, "late")
        first.close()
        second.close()


def deep_stack(backend):
    with Server(backend) as server:
        check(server.get("/deep").status == 200, "deep")
    if not SANITIZED:
        with Server(backend, stack=16384) as server, server.connect() as c: # the least
            for path in ("/hello/you", "/stream/3/1000", "/fields/50", "/text/3000", "/none"):
                c.ask("GET", path)
            check(c.ask("POST", "/count", b"x" * 100000).text == "100000 bytes\n", "small stack")


# ---- stopping ----

def drain_under_load(backend):
    drain_loops(backend, 1)
    drain_loops(backend, 3)


def drain_loops(backend, loops):
    """TERM while clients ask: each request that got an answer's first byte got all of it, and who was
    accepted was answered."""
    server = Server(backend, loops=loops)
    stop, failures, answered = threading.Event(), [], [0]
    paths = ["/hello/you", "/sleep/20", "/later/20", "/stream/3/1000", "/bytes/100000", "/pull/50000"]

    def keeps(number):
        rng = random.Random(number)
        try:
            c = server.connect(timeout=5)
            while not stop.is_set():
                path = rng.choice(paths)
                depth = rng.choice((1, 1, 4))
                c.send(request("GET", path) * depth)
                for i in range(depth):
                    answer = c.answer()
                    check(answer.status == 200, path)
                    answered[0] += 1
                    if answer.closes:
                        check(i == depth - 1, "requests behind the last answer:", path, i, depth)
                        c.ended()
                        return
        except (Broken, OSError) as error:
            failures.append("keep-alive: %s: %s" % (type(error).__name__, error))

    def connects(number):
        rng = random.Random(number)
        while not stop.is_set():
            path = rng.choice(paths)
            try:
                c = server.connect(timeout=5)
            except OSError:
                return # nobody listens any more
            try:
                c.send(request("GET", path))
                check(c.answer().status == 200, path)
                answered[0] += 1
                c.close()
            except (Broken, OSError) as error:
                failures.append("one by one: %s: %s" % (type(error).__name__, error))

    threads = [threading.Thread(target=function, args=(i,))
               for i in range(6) for function in (keeps, connects)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    began = time.monotonic()
    server.term()
    errors = server.stop()
    took = time.monotonic() - began
    stop.set()
    for thread in threads:
        thread.join()
    check(not failures, "failures", len(failures), failures[:3])
    check(errors == "", "it said", errors)
    check(answered[0] > 50 and took < 5 + SLACK_S, "answers, seconds", answered[0], took)


def drain_idle(backend):
    """Idle connections end soon, those at work when they are done."""
    server = Server(backend)
    idle, fresh, slow, late = [server.connect() for _ in range(4)]
    idle.alive()
    slow.send(request("GET", "/sleep/1200"))
    late.send(b"GET /hello/late HTTP/1.1\r\n")
    time.sleep(0.1)
    server.term()
    time.sleep(0.2)
    late.send(b"Host: x\r\n\r\n")
    answer = late.answer()
    check(answer.text == "Hello, late!\n" and answer.closes, "late", answer.head)
    closes_after(idle, 0, 1)
    closes_after(fresh, 0, 1)
    answer = slow.answer()
    check(answer.text == "slept\n" and answer.closes, "slow", answer.head)
    slow.ended()
    server.stop()


def stop_while_waiting(backend):
    """The end of the drain cuts what is left; nothing leaks."""
    server = Server(backend, drain=200)
    connections = [server.connect() for _ in range(40)]
    paths = ["/sleep/60000", "/later/60000", "/pull-wait/1000/60000", "/ticks/5/60000", "/own/1000000",
             "/stream/100000/60000", "/count"]
    for i, c in enumerate(connections):
        path = paths[i % len(paths)]
        method = "POST" if path == "/count" else "GET"
        c.send(request(method, path, Content_Length=100) if method == "POST"
               else request(method, path))
    time.sleep(0.3)
    began = time.monotonic()
    errors = server.stop()
    check(time.monotonic() - began < 2 + SLACK_S, "took", time.monotonic() - began)
    check("aborted" in errors, "says what it cut", errors)
    for c in connections:
        c.close()


TESTS = [whole, requests_seen, errors, head_has_no_body, fields, own_memory, pipelining,
         many_small_sources, waiting_holds_up_nobody, fast_reader_starves_nobody, streams,
         streams_to_old_clients, old_clients, pull_sources, files, slow_client_bounds_memory,
         end_leaves_with_the_data, refusals_do_not_reset, last_answer_waits_for_nobody,
         close_does_not_reset, half_close, resets, sleepers_are_woken, stale_handles, bodies, plain_echo, expect_continue,
         body_limits, unread_bodies, backpressure, head_deadline, body_deadline, idle_deadline,
         head_limits, overload, handlers_limit, many_handlers, two_servers_on_a_loop, deep_stack,
         drain_under_load, drain_idle, stop_while_waiting]

if __name__ == "__main__":
    sys.exit(run(TESTS))
