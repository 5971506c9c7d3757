#!/usr/bin/env python3
"""Connections through SOCKS5 and HTTP proxies that do what a script says, and through real ones.

usage: via.py PROGRAM
"""

import base64
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

passed = failed = 0
HOST = "203.0.113.7"  # only ever told to a proxy
LONG_MS = 60000


def check(what, expected, got):
    global passed, failed
    if expected == got:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {what}\n  expected: {expected!r}\n  got:      {got!r}", flush=True)


# --- the program ---------------------------------------------------------------------------------


class Program:
    def __init__(self):
        self.process = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.told, self.count, self.changed = {}, 0, threading.Condition()
        self.log = b""
        for target in (self.read, self.read_log):
            threading.Thread(target=target, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            number, rest = line.decode().rstrip("\n").split(" ", 1)
            with self.changed:
                self.told.setdefault(int(number), []).append(rest)
                self.changed.notify_all()

    def read_log(self):
        for line in self.process.stderr:
            self.log += line

    def command(self, verb, url, via, ms=LONG_MS):
        self.count += 1
        with self.changed:
            self.told[self.count] = []
        self.process.stdin.write(f"{verb} {self.count} {url} {ms} {via}\n".encode())
        self.process.stdin.flush()
        return self.count

    def wait(self, number, what, seconds=60):
        """The lines about one of them, once `what` begins one."""
        last = time.monotonic() + seconds
        with self.changed:
            while not any(line.startswith(what) for line in self.told[number]):
                if self.process.poll() is not None or not self.changed.wait(last - time.monotonic()):
                    return self.told[number] + [f"... no {what} came"]
            return list(self.told[number])

    def ends(self, number):
        """What was told of it, its data in one piece."""
        out, data = [], ""
        for line in self.wait(number, ("close", "refused", "waited")):
            if line.startswith("data "):
                data += line[5:]
                continue
            if data:
                out.append("data " + bytes.fromhex(data).decode("latin-1"))
                data = ""
            out.append(line)
        return out

    def quit(self):
        self.process.stdin.write(b"quit\n")
        self.process.stdin.close()
        return self.process.wait(30)


# --- a scripted proxy ----------------------------------------------------------------------------


class Proxy:
    """Follows a script for each connection: bytes that must come, and bytes that are said. What is
    said is cut in two behind `cut` bytes in all, or ends there when `ends`."""

    def __init__(self, script, cut=None, ends=False, then=b"", stays=False, resets=False):
        self.script, self.cut, self.ends, self.then, self.stays = script, cut, ends, then, stays
        self.resets, self.heard, self.done = resets, [], threading.Event()
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(8)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def say(self, peer, data, said):
        if self.cut is not None and said <= self.cut < said + len(data):
            peer.sendall(data[:self.cut - said])
            if self.ends:
                return False
            time.sleep(0.002)
            data = data[self.cut - said:]
        peer.sendall(data)
        return True

    def serve(self):
        peer, _ = self.listener.accept()
        peer.settimeout(60)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said = 0
        try:
            for kind, data in self.script:
                if kind == "say":
                    if not self.say(peer, data, said):
                        break
                    said += len(data)
                    continue
                got = b""
                while len(got) < len(data):
                    piece = peer.recv(len(data) - len(got))
                    if not piece:
                        break
                    got += piece
                self.heard.append(got)
                if got != data:
                    break
            else:
                if self.then:
                    got = b""
                    while len(got) < len(self.then):
                        piece = peer.recv(100)
                        if not piece:
                            break
                        got += piece
                    self.heard.append(got)
            if self.stays:
                self.done.wait(60)
            if self.resets:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError as error:
            self.heard.append(repr(error).encode())
        peer.close()
        self.done.set()

    def close(self):
        self.done.set()
        self.listener.close()

    def heard_all(self):
        self.done.wait(60)
        return self.heard


def request(kind, data, port=80):
    return b"\5\1\0" + kind + data + struct.pack("!H", port)


IP4 = request(b"\1", socket.inet_aton(HOST))
OK4 = b"\5\0\0\1\1\2\3\4\0\x50"
OK6 = b"\5\0\0\4" + bytes(16) + b"\0\x50"
OKNAME = b"\5\0\0\3\3abc\0\x50"


def socks(reply=OK4, ask=IP4, method=b"\5\0", hello=b"\5\1\0"):
    return [("hear", hello), ("say", method), ("hear", ask), ("say", reply)]


def socks_auth(reply, user=b"al", password=b"se cret"):
    auth = b"\1" + bytes([len(user)]) + user + bytes([len(password)]) + password
    return [("hear", b"\5\2\0\2"), ("say", b"\5\2"), ("hear", auth), ("say", reply)]


def http(reply=b"HTTP/1.1 200 OK\r\n\r\n", target=HOST + ":80", extra=b""):
    ask = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode() + extra + b"\r\n"
    return [("hear", ask), ("say", reply)]


def through(program, script, scheme, url=f"tcp://{HOST}:80", verb="dial", secrets="", **how):
    proxy = Proxy(script, **how)
    number = program.command(verb, url, f"{scheme}://{secrets}127.0.0.1:{proxy.port}")
    told = program.ends(number)
    heard = proxy.heard_all() if not how.get("stays") else None
    proxy.close()
    return told, heard


GOOD = ["open", "data welcome", "close finished 0 0"]


def connects(program):
    """What is asked, by every way to name a target."""
    name = b"\x0bexample.com"
    for url, ask in ((f"tcp://{HOST}:80", IP4),
                     ("tcp://[2001:db8::1]:443",
                      request(b"\4", socket.inet_pton(socket.AF_INET6, "2001:db8::1"), 443)),
                     ("tcp://example.com:80", request(b"\3", name)),
                     ("http://example.com.", request(b"\3", name)),
                     ("tcp://localhost:80", request(b"\3", b"\x09localhost"))):
        for reply in (OK4, OK6, OKNAME):
            told, heard = through(program, socks(reply + b"welcome", ask), "socks5", url, then=b"hi")
            check(f"socks5 to {url}", (GOOD, [b"\5\1\0", ask, b"hi"]), (told, heard))
    for url, target in ((f"tcp://{HOST}:80", f"{HOST}:80"), ("tcp://[2001:db8::1]:443",
                                                             "[2001:db8::1]:443"),
                        ("http://example.com", "example.com:80")):
        script = http(b"HTTP/1.1 200 OK\r\n\r\nwelcome", target)
        told, heard = through(program, script, "http", url, then=b"hi")
        check(f"http to {url}", (GOOD, [script[0][1], b"hi"]), (told, heard))
    for scheme, script in (("socks5", socks()), ("http", http())):
        told, heard = through(program, script, scheme, verb="wait", then=b"hi")
        check(f"{scheme}, a coroutine", (["waited 0"], b"hi"), (told, heard[-1]))


def secrets(program):
    auth = [("hear", IP4), ("say", OK4 + b"welcome")]
    told, heard = through(program, socks_auth(b"\1\0") + auth, "socks5", secrets="al:se%20cret@",
                          then=b"hi")
    check("socks5, a password", (GOOD, b"hi"), (told, heard[-1]))
    told, _ = through(program, socks(OK4 + b"welcome", hello=b"\5\2\0\2"), "socks5", then=b"hi",
                      secrets="al:se%20cret@")
    check("socks5, a password that is not asked for", GOOD, told)
    told, _ = through(program, socks_auth(b"\1\1"), "socks5", secrets="al:se%20cret@")
    check("socks5, a wrong password", ["close error 0 WEIR_EPROXYAUTH"], told)
    told, _ = through(program, socks(method=b"\5\xff"), "socks5")
    check("socks5, no method", ["close error 0 WEIR_EPROXYAUTH"], told)
    told, _ = through(program, socks(method=b"\5\2"), "socks5")
    check("socks5, a method that was not offered", ["close error 0 WEIR_EPROXYREPLY"], told)
    for user in ("al:se%20cret", "al", "a%40b:" + "x" * 255):
        pair = user.replace("%20", " ").replace("%40", "@")
        pair += "" if ":" in pair else ":"
        field = b"Proxy-Authorization: Basic " + base64.b64encode(pair.encode()) + b"\r\n"
        told, heard = through(program, http(b"HTTP/1.1 200 OK\r\n\r\nwelcome", extra=field), "http",
                              secrets=user + "@", then=b"hi")
        check(f"http, {user[:10]}", (GOOD, b"hi"), (told, heard[-1]))
    check("no password in the log", False, b"cret" in program.log)


def refusals(program):
    names = {1: "FAILED", 2: "RULES", 3: "NET", 4: "HOST", 5: "REFUSED", 6: "TIME", 7: "VERB",
             8: "KIND", 9: "FAILED", 255: "FAILED"}
    for code, name in names.items():
        for reply in (bytes([5, code]), bytes([5, code, 0, 1]) + bytes(6)):
            told, _ = through(program, socks(reply), "socks5")
            check(f"socks5 {code}", [f"close error 0 WEIR_EPROXY{name}"], told)
    for status, name in ((407, "AUTH"), (403, "RULES"), (404, "FAILED"), (405, "VERB"),
                         (500, "FAILED"), (502, "HOST"), (503, "FAILED"), (504, "TIME"),
                         (302, "FAILED"), (101, "REPLY")):
        reply = f"HTTP/1.1 {status} no\r\nContent-Length: 5\r\n\r\nsorry".encode()
        told, _ = through(program, http(reply), "http")
        check(f"http {status}", [f"close error 0 WEIR_EPROXY{name}"], told)
    check("a status is told in the log", True, b"(HTTP status 503)" in program.log)
    told, _ = through(program, http(b"HTTP/1.1 503 no\r\n\r\n"), "http", verb="wait")
    check("http, a coroutine", ["waited WEIR_EPROXYFAILED"], told)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))  # and does not listen
    number = program.command("dial", f"tcp://{HOST}:80",
                             f"socks5://127.0.0.1:{listener.getsockname()[1]}")
    check("no proxy", ["close error 0 ECONNREFUSED"], program.ends(number))
    listener.close()


def hostile(program):
    """What is no answer is not taken for one, and answers have an end."""
    for what, reply in (("another version", b"\4\0"), ("http", b"HTTP/1.1 200 OK\r\n\r\n"),
                        ("nothing but zeros", bytes(1000))):
        told, _ = through(program, socks(method=reply), "socks5")
        check(f"socks5: {what}", ["close error 0 WEIR_EPROXYREPLY"], told)
    told, _ = through(program, socks(b"\5\0\0\2" + bytes(300)), "socks5")
    check("socks5: an unknown kind of address", ["close error 0 WEIR_EPROXYREPLY"], told)
    told, _ = through(program, socks_auth(b"\5\0"), "socks5", secrets="al:se%20cret@")
    check("socks5: auth of another version", ["close error 0 WEIR_EPROXYREPLY"], told)
    told, _ = through(program, socks(b"\5\0\0\3\xff" + b"x" * 257 + b"welcome"), "socks5", then=b"hi")
    check("socks5: the longest answer", GOOD, told)
    ok = b"HTTP/1.1 200 OK\r\n\r\n"
    for what, reply in (("no HTTP", b"SSH-2.0-x\r\n"), ("a bare LF", b"HTTP/1.1 200 OK\n\n"),
                        ("a head without end", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 3000),
                        ("a line without end", b"HTTP/1.1 200 " + b"x" * 20000),
                        ("too many fields", b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 65 + b"\r\n"),
                        ("too many heads", b"HTTP/1.1 100 Wait\r\n\r\n" * 9 + ok)):
        told, _ = through(program, http(reply, HOST + ":80"), "http")
        check(f"http: {what}", ["close error 0 WEIR_EPROXYREPLY"], told)
    for what, reply in (("some heads before", b"HTTP/1.1 100 Wait\r\n\r\n" * 8 + ok),
                        ("HTTP/1.0", b"HTTP/1.0 200 Connection established\r\n\r\n"),
                        ("lengths, which mean nothing here",
                         b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
                        ("another 2xx", b"HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n"),
                        ("a large head", b"HTTP/1.1 200 OK\r\na: " + b"b" * 8000 + b"\r\n\r\n")):
        told, _ = through(program, http(reply + b"welcome"), "http", then=b"hi")
        check(f"http: {what}", GOOD, told)


def cuts(program):
    """Each way in two pieces at every byte, and over at every byte."""
    head = b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 200 OK\r\nServer: x\r\n\r\n"
    auth = socks_auth(b"\1\0") + [("hear", IP4), ("say", OKNAME)]
    for scheme, script, secret in (("socks5", socks(OK6), ""), ("socks5", auth, "al:se%20cret@"),
                                   ("http", http(head), "")):
        size = sum(len(data) for kind, data in script if kind == "say")
        whole = script[:-1] + [("say", script[-1][1] + b"welcome")]
        for cut in range(1, size + 7):
            told, heard = through(program, whole, scheme, cut=cut, then=b"hi", secrets=secret)
            check(f"{scheme}, cut at {cut}", (GOOD, b"hi"), (told, heard[-1]))
        for cut in range(size):
            told, _ = through(program, whole, scheme, cut=cut, ends=True, secrets=secret)
            check(f"{scheme}, over at {cut}", ["close error 0 WEIR_EPROXYCUT"], told)


def times(program):
    """One deadline is for all of it: a proxy that says a byte now and then gains nothing."""
    for scheme, script in (("socks5", [("hear", b"\5\1\0")]), ("socks5", socks(OK4[:7])),
                           ("http", http(b"HTTP/1.1 200 OK\r\n"))):
        proxy = Proxy(script, stays=True)
        number = program.command("dial", f"tcp://{HOST}:80", f"{scheme}://127.0.0.1:{proxy.port}", 150)
        check(f"{scheme}: deadline", ["close deadline 1 WEIR_ETIMEDOUT"], program.ends(number))
        proxy.close()
        proxy = Proxy(script, stays=True)
        number = program.command("wait", f"tcp://{HOST}:80", f"{scheme}://127.0.0.1:{proxy.port}", 150)
        check(f"{scheme}: a coroutine's", ["waited WEIR_ETIMEDOUT"], program.ends(number))
        proxy.close()
    proxy = Proxy(socks(OK4), then=b"hi", stays=True)  # and none is left behind the answer
    number = program.command("dial", f"tcp://{HOST}:80", f"socks5://127.0.0.1:{proxy.port}", 150)
    program.wait(number, "open")
    time.sleep(0.4)
    check("open beyond the deadline", ["open"], program.wait(number, "open"))
    proxy.close()
    check("and then", ["open", "close finished 0 0"], program.ends(number))
    proxy = Proxy([("hear", b"\5\1\0"), ("say", b"\5")], resets=True)
    number = program.command("dial", f"tcp://{HOST}:80", f"socks5://127.0.0.1:{proxy.port}")
    check("a reset", ["close reset 0 ECONNRESET"], program.ends(number))
    proxy.close()


def urls(program):
    for via in ("socks4://127.0.0.1:1", "https://127.0.0.1:1", "127.0.0.1:1", "socks5://", "http://@h:1",
                "socks5://al@127.0.0.1:1", "socks5://:x@127.0.0.1:1", "http://a%3ab@127.0.0.1:1",
                "http://a%0d%0ab:c@127.0.0.1:1", "http://a%4:c@127.0.0.1:1", "http://127.0.0.1:0",
                "http://127.0.0.1:70000", "http://h/path", "socks5://" + "x" * 256 + ":p@127.0.0.1:1",
                "http://*:80", "socks5://" + "h" * 300, "http://[::1"):
        number = program.command("dial", f"tcp://{HOST}:80", via)
        check(f"via {via[:40]}", ["refused WEIR_EADDRESS"], program.ends(number))
    number = program.command("dial", f"tcp://{HOST}:80", "http://127.0.0.1:1 " * 9)
    check("nine proxies", ["refused WEIR_EFULL"], program.ends(number))
    number = program.command("dial", f"tcp://{HOST}:80", "socks5://a-name:1")
    check("a name without a resolver", ["refused WEIR_EADDRESS"], program.ends(number))
    for url, error in (("unix:/x", "NOTSUP"), ("udp://1.2.3.4:5", "NOTSUP"), ("tcp://*:1", "NOTSUP"),
                       ("tls://h:1", "INVALID"), ("tcp://1.2.3:4", "ADDRESS")):
        number = program.command("dial", url, "http://127.0.0.1:1")
        check(f"{url} through a proxy", [f"refused WEIR_E{error}"], program.ends(number))


def chains(program):
    """The first proxy is asked for the second, and that one for the target."""
    proxy = None
    second = "CONNECT second.test:8080 HTTP/1.1\r\n"
    inner = f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n\r\n".encode()
    script = socks(OK4, request(b"\3", b"\x0bsecond.test", 8080))
    script += [("hear", inner), ("say", b"HTTP/1.1 200 OK\r\n\r\nwelcome")]
    proxy = Proxy(script, then=b"hi")
    number = program.command("dial", f"tcp://{HOST}:80",
                             f"socks5://127.0.0.1:{proxy.port} http://second.test")
    check("a chain", (GOOD, b"hi"), (program.ends(number), proxy.heard_all()[-1]))
    proxy.close()
    script = [("hear", second.encode() + b"Host: second.test:8080\r\n\r\n"),
              ("say", b"HTTP/1.1 200 OK\r\n\r\n"), ("hear", b"\5\1\0"), ("say", b"\5\0"),
              ("hear", IP4), ("say", b"\5\5")]
    proxy = Proxy(script)
    number = program.command("dial", f"tcp://{HOST}:80",
                             f"http://127.0.0.1:{proxy.port} socks5://second.test:8080")
    check("a chain whose end refuses", ["close error 0 WEIR_EPROXYREFUSED"], program.ends(number))
    proxy.close()


# --- real ones -----------------------------------------------------------------------------------


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def await_port(port, process):
    for _ in range(600):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return True
        if process.poll() is not None:
            return False
        time.sleep(0.05)
    return False


class Server:
    """Says welcome to whoever comes, and ends when "hi" has come back."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(8)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            peer.sendall(b"welcome")
            peer.recv(2, socket.MSG_WAITALL)
            peer.close()


def real(program, scheme, tool, command):
    """Through a proxy that exists, to a server that does, and to one that does not."""
    path = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")
    if path is None:
        print(f"no {tool} here: not tried")
        return None
    server, port = Server(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command(path, port, folder), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            check(f"{tool} begins", True, await_port(port, process))
            via = f"{scheme}://al:secret@127.0.0.1:{port}"
            for host in ("127.0.0.1", "localhost"):
                number = program.command("dial", f"tcp://{host}:{server.port}", via)
                check(f"{tool} to {host}", GOOD, program.ends(number))
            if tool == "microsocks":  # tinyproxy does not connect to itself
                number = program.command("dial", f"tcp://127.0.0.1:{server.port}", f"{via} {via}")
                check(f"{tool} through itself", GOOD, program.ends(number))
            wrong = f"{scheme}://al:wrong@127.0.0.1:{port}"
            number = program.command("dial", f"tcp://127.0.0.1:{server.port}", wrong)
            check(f"{tool}, a wrong password", ["close error 0 WEIR_EPROXYAUTH"], program.ends(number))
            number = program.command("dial", f"tcp://127.0.0.1:{free_port()}", via)
            return program.ends(number)
        finally:
            process.kill()
            process.wait()
            server.listener.close()


def tinyproxy(path, port, folder):
    config = os.path.join(folder, "tinyproxy.conf")
    with open(config, "w") as file:
        file.write(f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\n"
                   f"BasicAuth al secret\nLogFile \"{folder}/log\"\nPidFile \"{folder}/pid\"\n")
    return [path, "-d", "-c", config]


def main():
    program = Program()
    for part in (connects, secrets, refusals, hostile, cuts, times, urls, chains):
        part(program)
    refused = real(program, "socks5", "microsocks",
                   lambda path, port, folder: [path, "-i", "127.0.0.1", "-p", str(port), "-u", "al",
                                               "-P", "secret"])
    if refused is not None:
        check("microsocks, nobody there", ["close error 0 WEIR_EPROXYREFUSED"], refused)
    refused = real(program, "http", "tinyproxy", tinyproxy)
    if refused is not None:
        check("tinyproxy, nobody there", ["close error 0 WEIR_EPROXYFAILED"], refused)
    check("the program's end", 0, program.quit())
    print(f"{passed} passed, {failed} failed")
    return failed != 0


sys.exit(main())
