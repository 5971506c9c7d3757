#!/usr/bin/env python3
"""The resolver against a scripted name server: slow, dead, lying, truncated, malformed.

usage: resolver.py PROGRAM
"""

import ctypes
import ctypes.util
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

A, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT = 1, 5, 6, 12, 16, 28, 33, 41
NAMES = {A: "A", PTR: "PTR", TXT: "TXT", AAAA: "AAAA", SRV: "SRV"}
# What weir asks for by EDNS: nothing, where c-ares would take one server's word for all of them.
cares = ctypes.util.find_library("cares")
cares_version = ctypes.c_int()
if cares is not None:
    ctypes.CDLL(cares).ares_version(ctypes.byref(cares_version))
EDNS = 1232 if cares_version.value >= 0x011b00 else None
passed = failed = 0


def check(what, expected, got):
    global passed, failed
    if expected == got:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {what}\n  expected: {expected!r}\n  got:      {got!r}", flush=True)


def check_that(what, holds, got):
    check(what, True, True if holds else got)


# --- messages ------------------------------------------------------------------------------------


def wire(name):
    name = name.rstrip(".")
    return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p) + b"\0"


def rr(name, kind, ttl, data):
    owner = name if isinstance(name, bytes) else wire(name)
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def a(name, address, ttl=300):
    return rr(name, A, ttl, socket.inet_aton(address))


def aaaa(name, address, ttl=300):
    return rr(name, AAAA, ttl, socket.inet_pton(socket.AF_INET6, address))


def cname(name, to, ttl=300):
    return rr(name, CNAME, ttl, wire(to))


def soa(name, ttl, minimum):
    return rr(name, SOA, ttl, wire("ns.test") + wire("root.test") +
              struct.pack("!IIIII", 1, 2, 3, 4, minimum))


def srv(name, priority, weight, port, target, ttl=300):
    return rr(name, SRV, ttl, struct.pack("!HHH", priority, weight, port) + wire(target))


class Question:
    def __init__(self, data, tcp):
        self.data, self.tcp = data, tcp
        self.id, self.flags, count, _, _, extra = struct.unpack("!HHHHHH", data[:12])
        at, labels = 12, []
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode("latin-1"))
            at += 1 + data[at]
        self.name = ".".join(labels)
        self.kind, = struct.unpack("!H", data[at + 1:at + 3])
        self.question = data[12:at + 5]
        rest = data[at + 5:]
        self.edns = struct.unpack("!H", rest[3:5])[0] if extra and rest[1:3] == b"\0\x29" else None

    def answer(self, answers=(), authorities=(), rcode=0, flags=0, id=None, question=None, counts=None):
        count = counts if counts is not None else len(answers)
        return struct.pack("!HHHHHH", self.id if id is None else id, 0x8180 | flags | rcode, 1,
                           count, len(authorities), 0) + (question or self.question) + \
            b"".join(answers) + b"".join(authorities)


class Server:
    """Answers by UDP and TCP on one port; `script` maps a name to a function of the question that
    returns answers: bytes each, or a number of seconds to wait before the next, or none."""

    def __init__(self, script, host="127.0.0.1"):
        self.script, self.log, self.ended = script, [], False
        for _ in range(50):
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind((host, 0))
            self.port = self.udp.getsockname()[1]
            self.tcp = socket.socket()
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self.tcp.bind((host, self.port))
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        self.tcp.listen(16)
        self.address = f"{host}:{self.port}"
        self.threads = [threading.Thread(target=f, daemon=True)
                        for f in (self.serve_udp, self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    def asked(self, name=None, kind=None):
        return [(q.name, NAMES.get(q.kind, q.kind)) for q in list(self.log)
                if (name is None or q.name == name) and (kind is None or q.kind == kind)]

    def replies(self, data, tcp, peer=None):
        question = Question(data, tcp)
        question.peer = peer
        self.log.append(question)
        for suffix, handler in self.script.items():
            if question.name == suffix or (suffix.startswith("*") and
                                           question.name.endswith(suffix[1:])):
                found = handler(question)
                return found if isinstance(found, (list, tuple)) else [] if found is None else [found]
        return [question.answer(rcode=3, authorities=[soa("test", 60, 60)])]

    def serve_udp(self):
        while not self.ended:
            try:
                data, peer = self.udp.recvfrom(65535)
            except OSError:
                return
            threading.Thread(target=self.send_udp, args=(data, peer), daemon=True).start()

    def send_udp(self, data, peer):
        for reply in self.replies(data, False, peer):
            if isinstance(reply, (int, float)):
                time.sleep(reply)
                continue
            try:
                self.udp.sendto(reply, peer)
            except OSError:
                return

    def serve_tcp(self):
        while not self.ended:
            try:
                peer, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.send_tcp, args=(peer,), daemon=True).start()

    def send_tcp(self, peer):
        with peer:
            while True:
                head = peer.recv(2, socket.MSG_WAITALL)
                if len(head) < 2:
                    return
                data = peer.recv(struct.unpack("!H", head)[0], socket.MSG_WAITALL)
                for reply in self.replies(data, True):
                    if isinstance(reply, (int, float)):
                        time.sleep(reply)
                        continue
                    peer.sendall(struct.pack("!H", len(reply)) + reply)

    def close(self):
        self.ended = True
        self.tcp.close()
        self.udp.close()


class Dead:
    """A port that takes questions and says nothing."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"

    def close(self):
        self.socket.close()


# --- the program ---------------------------------------------------------------------------------


class Program:
    def __init__(self, **options):
        arguments = [f"{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen([sys.argv[1]] + arguments, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.number, self.told, self.buffer = 0, {}, b""

    def send(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def line(self, patience_s=8):
        end = time.monotonic() + patience_s
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            if not ready:
                return None
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def put(self, name, kind="A", deadline_ms=0, flags=0):
        self.number += 1
        self.send(f"ask {self.number} {name} {kind} {deadline_ms} {flags}")
        return str(self.number)

    def get(self, number, patience_s=8):
        """What was told of one question: its lines in their order, the first one now."""
        while not self.told.get(number):
            line = self.line(patience_s)
            if line is None:
                return "nothing"
            first, rest = line.split(" ", 1)
            self.told.setdefault(first, []).append(rest)
        return self.told[number].pop(0)

    def ask(self, name, kind="A", deadline_ms=0, flags=0):
        return self.get(self.put(name, kind, deadline_ms, flags))

    def reverse(self, address, deadline_ms=0):
        self.number += 1
        self.send(f"rev {self.number} {address} {deadline_ms}")
        return self.get(str(self.number))

    def stats(self):
        self.send("stats")
        return {k: int(v) for k, v in (w.split("=") for w in self.get("stats").split())}

    def quit(self):
        self.send("quit")
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        check("the program ends in order", 0, code)


def timed(call):
    began = time.monotonic()
    result = call()
    return result, time.monotonic() - began


# --- cases ---------------------------------------------------------------------------------------


def records():
    hostile = b"\x07a\n$(b).\x03x.y\0"
    server = Server({
        "host.test": lambda q: q.answer([a(q.name, "192.0.2.1", 300), a(q.name, "192.0.2.2", 100)]
                                        if q.kind == A else [aaaa(q.name, "2001:db8::1")]),
        "four.test": lambda q: q.answer([a(q.name, "192.0.2.4")]) if q.kind == A
        else q.answer(authorities=[soa("test", 60, 60)]),
        "_x._tcp.test": lambda q: q.answer([srv(q.name, 20, 1, 80, "two.test"),
                                            srv(q.name, 10, 2, 81, "one.test"),
                                            srv(q.name, 10, 3, 82, "other.test")]),
        "text.test": lambda q: q.answer([rr(q.name, TXT, 9, b"\x02ab\x00\x03c\x00d")]),
        "1.2.0.192.in-addr.arpa": lambda q: q.answer([rr(q.name, PTR, 5, wire("back.test"))]),
        "2.2.0.192.in-addr.arpa": lambda q: q.answer([rr(q.name, PTR, 5, hostile)]),
        "alias.test": lambda q: q.answer([a("c.test", "192.0.2.9", 50), cname("b.test", "c.test", 7),
                                          cname("alias.test", "b.test")]),
        "UPPER.test": lambda q: None,
        "upper.test": lambda q: q.answer([a("uPPer.TEST", "192.0.2.5")]),
        "*.d.0.1.0.0.2.ip6.arpa": lambda q: q.answer([rr(q.name, PTR, 5, wire("six.test"))]),
        "packed.test": lambda q: q.answer([a(b"\xc0\x0c", "192.0.2.6")]),
    })
    p = Program(servers=server.address)
    check("A", "told dns 0 host.test tcp://192.0.2.1:0/100 tcp://192.0.2.2:0/100",
          p.ask("host.test", "A"))
    check("AAAA", "told dns 0 host.test tcp://[2001:db8::1]:0/300", p.ask("host.test", "AAAA"))
    check("both, from memory", "told cache 0 host.test tcp://[2001:db8::1]:0/",
          p.ask("HOST.test.", "HOST")[:45])
    check("asked once each", [("host.test", "A"), ("host.test", "AAAA")], server.asked("host.test"))
    check("one family", "told dns 0 four.test tcp://192.0.2.4:0/300", p.ask("four.test", "HOST"))
    check("SRV by priority", "told dns 0 _x._tcp.test 10,2,81,one.test/300 10,3,82,other.test/300 "
          "20,1,80,two.test/300", p.ask("_x._tcp.test", "SRV"))
    check("TXT", "told dns 0 text.test x6162630064/9", p.ask("text.test", "TXT"))
    check("PTR", "told dns 0 1.2.0.192.in-addr.arpa back.test/5", p.reverse("192.0.2.1"))
    check("a hostile PTR", "told dns 0 2.2.0.192.in-addr.arpa "
          "a\\010\\036\\040b\\041\\046.x\\046y/5", p.reverse("192.0.2.2"))
    check("IPv6 PTR", "six.test/5", p.reverse("[2001:db8::1]")[-10:])
    check("aliases in any order, the smallest time", "told dns 0 c.test tcp://192.0.2.9:0/7",
          p.ask("alias.test"))
    check("case", "told dns 0 upper.test tcp://192.0.2.5:0/300", p.ask("UPPER.tesT"))
    check("a compressed owner", "told dns 0 packed.test tcp://192.0.2.6:0/300", p.ask("packed.test"))
    check("EDNS", {EDNS}, {q.edns for q in server.log})
    check("a literal", "told literal 0 192.0.2.77 tcp://192.0.2.77:0/0", p.ask("192.0.2.77", "HOST"))
    check("a literal of IPv6", "told literal 0 ::1 tcp://[::1]:0/0", p.ask("::1", "HOST"))
    check("the wrong family", "error WEIR_ENODATA", p.ask("::1", "A"))
    check("localhost", "told literal 0 a.localhost tcp://[::1]:0/0 tcp://127.0.0.1:0/0",
          p.ask("a.localhost", "HOST"))
    check("invalid", "error WEIR_ENONAME", p.ask("x.invalid"))
    for name in ("a..b", ".a", "a" * 64 + ".test", "a." * 127 + "b", "a:80", "a/b", "a\\b", "h\u00f6"):
        check(f"no name: {name[:20]}", "error WEIR_EADDRESS", p.ask(name))
    check("nothing was asked for them", [], [n for n in server.asked() if "local" in n[0]])
    p.quit()
    server.close()


def no():
    server = Server({
        "none.test": lambda q: q.answer(rcode=3, authorities=[soa("test", 60, 1)]),
        "unkept.test": lambda q: q.answer(rcode=3),
        "empty.test": lambda q: q.answer(authorities=[soa("test", 60, 60)]),
        "fails.test": lambda q: q.answer(rcode=2),
        "refuses.test": lambda q: q.answer(rcode=5),
        "short.test": lambda q: q.answer([a(q.name, "192.0.2.1", 1)]),
        "zero.test": lambda q: q.answer([a(q.name, "192.0.2.1", 0)]),
        "negative.test": lambda q: q.answer([a(q.name, "192.0.2.1", 0x80000001)]),
    })
    p = Program(servers=server.address, attempts=1)
    check("short", "told dns 0 short.test tcp://192.0.2.1:0/1", p.ask("short.test"))
    for name, times in (("none.test", 1), ("unkept.test", 2), ("empty.test", 1)):
        error = "error WEIR_ENODATA" if name == "empty.test" else "error WEIR_ENONAME"
        check(name, error, p.ask(name))
        check(name + ", again", error, p.ask(name))
        check(name + " is asked for", times, len(server.asked(name)))
    check("short, kept", "told cache", p.ask("short.test")[:10])
    for name in ("zero.test", "negative.test"):
        check(name, f"told dns 0 {name} tcp://192.0.2.1:0/0", p.ask(name))
        check(name + " is not kept", f"told dns 0 {name} tcp://192.0.2.1:0/0", p.ask(name))
    for name in ("fails.test", "refuses.test"):
        check(name, "error WEIR_ENAMESERVER", p.ask(name))
        check(name + ", again", "error WEIR_ENAMESERVER", p.ask(name))
        check(name + ": a failure is kept for a second", 1, len(server.asked(name)))
    time.sleep(1.1)
    p.ask("none.test"), p.ask("short.test"), p.ask("fails.test")
    for name in ("none.test", "short.test", "fails.test"):
        check(name + " is asked for anew", 2, len(server.asked(name)))
    s = p.stats()
    check_that("counted", s["cached_no"] >= 4 and s["failures"] == 3 and s["waiting"] == 0, s)
    p.quit()
    server.close()


def servers():
    good = Server({"*": lambda q: q.answer([a(q.name, "192.0.2.1")])})
    dead = [Dead() for _ in range(4)]
    p = Program(servers=" ".join([d.address for d in dead] + [good.address]), timeout_ms=60)
    answer, took = timed(lambda: p.ask("fifth.test"))
    check("the fifth server", "told dns 0 fifth.test tcp://192.0.2.1:0/300", answer)
    check_that("after four time-outs", 0.2 <= took < 3, took)
    p.quit()
    p = Program(servers=dead[0].address, timeout_ms=50, attempts=2)
    answer, took = timed(lambda: p.ask("dead.test"))
    check("nobody answers", "error ETIMEDOUT", answer)
    check_that("after 50 and 100 ms", 0.13 <= took < 3, took)
    p.quit()
    gone = Dead()
    gone.close()
    p = Program(servers=gone.address, timeout_ms=2000, attempts=1)
    answer, took = timed(lambda: p.ask("gone.test"))
    check("nobody is there", "error WEIR_ENAMESERVER", answer)
    check_that("which is known at once", took < 1.5, took)
    p.quit()
    with tempfile.TemporaryDirectory() as folder:
        second = Server({"*": lambda q: q.answer([a(q.name, "192.0.2.2")])})
        path = os.path.join(folder, "resolv.conf")
        with open(path, "w") as file:
            file.write(f"nameserver [{good.address.split(':')[0]}]:{good.port}\n"
                       f"nameserver {second.address}\noptions rotate\n")
        p = Program(resolv_conf=path)
        for i in range(8):
            p.ask(f"r{i}.test.")
        check_that("rotate", len(second.asked()) in (3, 4, 5), second.asked())
        p.quit()
        second.close()
    for d in dead:
        d.close()
    good.close()


def slow():
    server = Server({
        "slow.test": lambda q: [0.4, q.answer([a(q.name, "192.0.2.1")])],
        "parts.test": lambda q: [0.3 if q.kind == AAAA else 0.01, q.answer(
            [a(q.name, "192.0.2.1")] if q.kind == A else [aaaa(q.name, "2001:db8::1")])],
        "six.test": lambda q: [0.3 if q.kind == A else 0.01, q.answer(
            [aaaa(q.name, "2001:db8::1")] if q.kind == AAAA else [])],
    })
    p = Program(servers=server.address)
    answer, took = timed(lambda: p.ask("slow.test", "A", 100))
    check("the deadline", "error WEIR_ETIMEDOUT", answer)
    check_that("is kept", 0.1 <= took < 0.35, took)
    many = [p.put("slow.test") for _ in range(10)]
    for number in many:
        check("shared", "told dns 0 slow.test tcp://192.0.2.1:0/300", p.get(number))
    check("asked once", 1, len(server.asked("slow.test")))
    check("joined", 10, p.stats()["shared"])
    first = p.put("parts.test", "HOST", 0, 1)
    answer, took = timed(lambda: p.get(first))
    check("the first part", "told dns 1 parts.test tcp://192.0.2.1:0/300", answer)
    check_that("comes early", took < 0.25, took)
    check("the second part", "told dns 0 parts.test tcp://[2001:db8::1]:0/300", p.get(first))
    first = p.put("six.test", "HOST", 0, 1)
    check("IPv6 first", "told dns 1 six.test tcp://[2001:db8::1]:0/300", p.get(first))
    check("no IPv4", "error WEIR_ENODATA", p.get(first))
    p.send(f"cancel {p.put('slow2.slow.test')}")
    number = p.put("slow.test.", "TXT")
    p.send(f"cancel {number}")
    check("canceled", "canceled 1", p.get(number))
    check("nothing more", "nothing", p.get(number, 0.6))
    check("what was canceled is over", 0, p.stats()["waiting"])
    p.put("slow.test", "SRV")  # the end comes while it is asked
    p.quit()
    server.close()


def truncated():
    many = [f"10.0.{i // 250}.{i % 250}" for i in range(400)]

    def large(q):
        return q.answer([a(q.name, address) for address in many]) if q.tcp else q.answer(flags=0x200)

    server = Server({
        "large.test": large,
        "thousand.test": lambda q: q.answer([a(b"\xc0\x0c", "10.1.2.3")] * 1025) if q.tcp
        else q.answer(flags=0x200),
        "cut.test": lambda q: q.answer(flags=0x200) if not q.tcp else q.answer([a(q.name, "1.2.3.4")])[:-2],
        "formerr.test": lambda q: q.answer(rcode=1) if q.edns else q.answer([a(q.name, "192.0.2.1")]),
    })
    p = Program(servers=server.address, attempts=1)
    answer = p.ask("large.test").split()
    check("all of them, by TCP", ["tcp://%s:0/300" % address for address in many], answer[4:])
    check("asked twice", 2, len(server.asked("large.test")))
    check("too many", "error WEIR_ETOOBIG", p.ask("thousand.test"))
    check("cut off", "error WEIR_EPROTO", p.ask("cut.test"))
    check("a server without EDNS", "told dns 0 formerr.test tcp://192.0.2.1:0/300", p.ask("formerr.test"))
    p.quit()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "resolv.conf")
        with open(path, "w") as file:
            file.write(f"nameserver {server.address}\noptions use-vc\n")
        p = Program(resolv_conf=path)
        p.ask("large.test")
        check("use-vc", [True], [q.tcp for q in server.log][-1:])
        check("once", 3, len(server.asked("large.test")))
        p.quit()
    server.close()


def lies():
    def elsewhere(q):  # the first answer comes from another port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(q.answer([a(q.name, "6.6.6.6")]), q.peer)
        return [0.05, q.answer([a(q.name, "192.0.2.1")])]

    good = "192.0.2.1"
    server = Server({
        "port.test": elsewhere,
        "id.test": lambda q: [q.answer([a(q.name, "6.6.6.6")], id=q.id ^ 1),
                              q.answer([a(q.name, good)])],
        "question.test": lambda q: [q.answer([a(q.name, "6.6.6.6")],
                                             question=wire("other.test") + b"\0\1\0\1"),
                                    q.answer([a(q.name, good)])],
        "type.test": lambda q: [q.answer([a(q.name, "6.6.6.6")], question=q.question[:-3] + b"\x1c\0\1"),
                                q.answer([a(q.name, good)])],
        "owner.test": lambda q: q.answer([a("other.test", "6.6.6.6"), a(q.name, good),
                                          cname("other.test", "owner.test")]),
        "stranger.test": lambda q: q.answer([a("bank.test", "6.6.6.6")]),
        "bank.test": lambda q: q.answer([a(q.name, good)]),
        "loop.test": lambda q: q.answer([cname("loop.test", "b.test"), cname("b.test", "loop.test")]),
        "long.test": lambda q: q.answer([cname("long.test", "c0.test")] + [
            cname(f"c{i}.test", f"c{i + 1}.test") for i in range(20)] + [a("c20.test", "6.6.6.6")]),
        "class.test": lambda q: q.answer([wire(q.name) + struct.pack("!HHIH", A, 3, 9, 4) + b"\6\6\6\6"]),
        "query.test": lambda q: [q.data, q.answer([a(q.name, good)])],
    })
    p = Program(servers=server.address, timeout_ms=300, attempts=1)
    for name in ("port", "id", "question", "type", "owner"):
        check(f"a false {name}", f"told dns 0 {name}.test tcp://{good}:0/300", p.ask(f"{name}.test"))
    check("records of somebody else", "error WEIR_ENODATA", p.ask("stranger.test"))
    check("are not learned", f"told dns 0 bank.test tcp://{good}:0/300", p.ask("bank.test"))
    check("aliases in a circle", "error WEIR_EPROTO", p.ask("loop.test"))
    check("too many aliases", "error WEIR_EPROTO", p.ask("long.test"))
    check("another class", "error WEIR_ENODATA", p.ask("class.test"))
    check_that("a question for an answer", "6.6" not in p.ask("query.test"), "it was taken")
    p.quit()
    server.close()


def malformed():
    def counted(q, counts):
        return q.answer([a(q.name, "192.0.2.1")], counts=counts)

    bad = {
        "empty": lambda q: b"",
        "short": lambda q: q.answer()[:11],
        "head": lambda q: q.answer()[:12],
        "noquestion": lambda q: struct.pack("!HHHHHH", q.id, 0x8180, 0, 1, 0, 0) + a(q.name, "6.6.6.6"),
        "more": lambda q: counted(q, 2),
        "most": lambda q: counted(q, 65535),
        "cut": lambda q: q.answer([a(q.name, "192.0.2.1")])[:-1],
        "self": lambda q: q.answer([a(b"\xc0" + bytes([12 + len(q.question)]), "6.6.6.6")]),
        "ahead": lambda q: q.answer([a(b"\xc0\xff", "6.6.6.6")]),
        "outside": lambda q: q.answer([a(b"\xff\xff", "6.6.6.6")]),
        "label": lambda q: q.answer([a(b"\x80abc\0", "6.6.6.6")]),
        "five": lambda q: q.answer([rr(q.name, A, 9, b"\1\2\3\4\5")]),
        "three": lambda q: q.answer([rr(q.name, A, 9, b"\1\2\3")]),
        "length": lambda q: q.answer([wire(q.name) + struct.pack("!HHIH", A, 1, 9, 500) + b"\6\6\6\6"]),
        "noise": lambda q: struct.pack("!H", q.id) + b"\x81\x80" + os.urandom(100),
        "alias": lambda q: q.answer([rr(q.name, CNAME, 9, wire("b.test") + b"x"), a("b.test", "6.6.6.6")]),
        "longname": lambda q: q.answer([a(b"\x3f" + b"a" * 63 + (b"\x3f" + b"a" * 63) * 3 + b"\0",
                                          "6.6.6.6")]),
    }
    server = Server({f"{name}.bad.test": handler for name, handler in bad.items()} | {
        "*.text.test": lambda q: q.answer([rr(q.name, TXT, 9, {"t0": b"", "t1": b"\5ab"}[q.name[:2]])]),
        "*.srv.test": lambda q: q.answer([rr(q.name, SRV, 9, {
            "s0": b"", "s1": b"\0\1\0\1\0", "s2": b"\0\1\0\1\0\1", "s3": b"\0\1\0\1\0\1\0x"}[q.name[:2]])]),
        "after.test": lambda q: q.answer([a(q.name, "192.0.2.1")]),
    })
    p = Program(servers=server.address, timeout_ms=150, attempts=1)
    numbers = {name: p.put(f"{name}.bad.test") for name in bad}
    for name, number in numbers.items():
        answer = p.get(number)
        check_that(f"malformed: {name}", answer.startswith("error ") and answer not in (
            "error WEIR_ENONAME", "error WEIR_ENODATA"), answer)
    for name in ("t0", "t1"):
        check(f"malformed text {name}", "error WEIR_EPROTO", p.ask(f"{name}.text.test", "TXT"))
    for name in ("s0", "s1", "s2", "s3"):
        check(f"malformed service {name}", "error WEIR_EPROTO", p.ask(f"{name}.srv.test", "SRV"))
    check("it lives", "told dns 0 after.test tcp://192.0.2.1:0/300", p.ask("after.test"))
    check_that("counted", p.stats()["malformed"] >= 10, p.stats())
    p.quit()
    server.close()


def search():
    server = Server({
        "www.b.example": lambda q: q.answer([a(q.name, "192.0.2.2")] if q.kind == A else []),
        "empty": lambda q: q.answer(),
        "x.y": lambda q: q.answer([a(q.name, "192.0.2.3")]),
        "mixed.a.example": lambda q: q.answer(rcode=2),
        "mixed.b.example": lambda q: q.answer([a(q.name, "192.0.2.4")]),
        "broken.a.example": lambda q: q.answer(rcode=2),
    })
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "resolv.conf")
        with open(path, "w") as file:
            file.write(f"; comment\nnameserver {server.address} # first\nsearch a.example b.example.\n"
                       "options ndots:2 timeout:1 attempts:1 edns0\nnonsense\n")
        p = Program(resolv_conf=path)
        check("found by search", "told dns 0 www.b.example tcp://192.0.2.2:0/300", p.ask("www", "HOST"))
        check("in order", ["www.a.example", "www.b.example"],
              [name for name, kind in server.asked(kind=A)])
        del server.log[:]
        check("ndots", "told dns 0 x.y tcp://192.0.2.3:0/300", p.ask("x.y"))
        check("search first", ["x.y.a.example", "x.y.b.example", "x.y"], [n for n, _ in server.asked()])
        del server.log[:]
        check("a dot at the end", "error WEIR_ENONAME", p.ask("www."))
        check("no search", ["www"], [n for n, _ in server.asked()])
        check("the flag", "error WEIR_ENONAME", p.ask("www", "A", 0, 2))
        check("empty", "error WEIR_ENODATA", p.ask("empty"))
        check("a failure on the way", "told dns 0 mixed.b.example tcp://192.0.2.4:0/300", p.ask("mixed"))
        check("a failure, and no name", "error WEIR_ENAMESERVER", p.ask("broken"))
        p.quit()
    server.close()


def files():
    server = Server({"both.test": lambda q: q.answer([a(q.name, "192.0.2.1")]),
                     "dns.test": lambda q: q.answer([a(q.name, "192.0.2.2")])})
    with tempfile.TemporaryDirectory() as folder:
        hosts, switch, resolv = (os.path.join(folder, n) for n in ("hosts", "nsswitch", "resolv"))

        def write(path, text):
            with open(path + ".new", "w") as file:
                file.write(text)
            os.rename(path + ".new", path)

        write(hosts, "10.0.0.1 both.test alias # not.this\n10.0.0.2\tBoth.Test\n::5 both.test\r\n"
              "# 10.0.0.9 comment.test\nnonsense line\n10.0.0.3 only.test.")
        write(resolv, f"nameserver {server.address}\n")
        p = Program(hosts=hosts, nsswitch=switch, resolv_conf=resolv)
        check("files first", "told files 0 both.test tcp://[::5]:0/0 tcp://10.0.0.1:0/0 "
              "tcp://10.0.0.2:0/0", p.ask("both.TEST", "HOST"))
        check("an alias", "told files 0 alias tcp://10.0.0.1:0/0", p.ask("alias"))
        check("a comment", "error WEIR_ENONAME", p.ask("not.this"))
        check("the last line", "told files 0 only.test tcp://10.0.0.3:0/0", p.ask("only.test"))
        check("back", "told files 0 both.test both.test/0", p.reverse("10.0.0.2"))
        check("then DNS", "told dns 0 dns.test tcp://192.0.2.2:0/300", p.ask("dns.test"))
        p.quit()
        write(switch, "passwd: files\nhosts: mymachines [SUCCESS=return] dns [!UNAVAIL=return] files\n")
        p = Program(hosts=hosts, nsswitch=switch, resolv_conf=resolv)
        check("DNS first", "told dns 0 both.test tcp://192.0.2.1:0/300", p.ask("both.test"))
        check("DNS is the last word", "error WEIR_ENONAME", p.ask("only.test"))
        write(switch, "hosts: files [NOTFOUND=return] dns\n")
        write(hosts, "10.0.0.7 new.test\n")
        other = Server({"moved.test": lambda q: q.answer([a(q.name, "192.0.2.8")])})
        silent = Dead()
        write(resolv, f"nameserver {silent.address}\n")
        time.sleep(1.1)
        check("a changed hosts file", "told files 0 new.test tcp://10.0.0.7:0/0", p.ask("new.test"))
        check("files are the last word now", "error WEIR_ENONAME", p.ask("dns.test"))
        write(switch, "hosts: files dns\n")
        time.sleep(1.1)
        waiting = p.put("moved.test")
        time.sleep(0.2)
        write(resolv, f"nameserver {other.address}\n")
        time.sleep(1)
        check("other servers", "told dns 0 moved.test tcp://192.0.2.8:0/300", p.ask("moved.test"))
        check("who waited is asked for anew", "told dns 0 moved.test tcp://192.0.2.8:0/300",
              p.get(waiting))
        check_that("counted", p.stats()["reloads"] >= 5, p.stats())
        p.quit()
        silent.close()
        other.close()
    server.close()


def limits():
    server = Server({"*.slow.test": lambda q: None,
                     "*": lambda q: q.answer([a(q.name, "192.0.2.1")])})
    p = Program(servers=server.address, questions_max=4, cache_max=3, lookups_max=6, timeout_ms=5000)
    waiting = [p.put(f"w{i}.slow.test", "A", 400) for i in range(5)]
    check("too many questions", "error WEIR_EFULL", p.get(waiting[4]))
    more = [p.put("w0.slow.test", "A", 400) for _ in range(3)]
    check("too many lookups", "error WEIR_EFULL", p.get(more[2]))
    for number in waiting[:4] + more[:2]:
        check("the others wait", "error WEIR_ETIMEDOUT", p.get(number))
    check("both are counted", 2, p.stats()["refused"])
    p.quit()
    p = Program(servers=server.address, cache_max=3)
    for i in (1, 2, 3, 1, 4):
        p.ask(f"k{i}.test")
    s = p.stats()
    check("kept", (3, 1), (s["kept"], s["dropped"]))
    check("what was used stays", "told cache", p.ask("k1.test")[:10])
    check("what was not is gone", "told dns", p.ask("k2.test")[:8])
    p.send("forget")
    check("forgotten", 0, p.stats()["kept"])
    p.quit()
    p = Program(servers="nonsense")
    check("servers that make no sense", "refused WEIR_EADDRESS", p.line())
    check("the program ends", 1, p.process.wait(10))
    server.close()


def connecting():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    port = listener.getsockname()[1]
    server = Server({
        "two.test": lambda q: q.answer([a(q.name, "127.0.0.1")] if q.kind == A else
                                       [aaaa(q.name, "::1")]),  # where nobody listens
        "slow.test": lambda q: [0.3, q.answer([a(q.name, "127.0.0.1")] if q.kind == A else [])],
        "never.test": lambda q: None,
        "half.test": lambda q: q.answer([a(q.name, "127.0.0.1")]) if q.kind == A else None,
    })
    p = Program(servers=server.address, timeout_ms=5000)

    def connect(url, deadline_ms=None):
        p.number += 1
        if deadline_ms is None:
            p.send(f"connect {p.number} {url}")
        else:
            p.send(f"wait {p.number} {url} {deadline_ms}")
        return p.get(str(p.number))

    for how in (None, 3000):
        what = "by events" if how is None else "by a coroutine"
        opened = f"open tcp://127.0.0.1:{port}"
        check(f"two families, {what}", opened, connect(f"tcp://two.test:{port}", how))
        check(f"a slow name, {what}", opened, connect(f"tcp://slow.test:{port}", how))
        answer, took = timed(lambda: connect(f"tcp://half.test:{port}", how))
        check(f"one family is never told, {what}", opened, answer)
        check_that(f"50 ms are waited for, {what}", 0.03 <= took < 1, took)
        check(f"no name, {what}", "error WEIR_ENONAME", connect(f"tcp://none.test:{port}", how))
        check(f"nobody listens, {what}", "error ECONNREFUSED", connect("tcp://two.test:1", how))
        p.send("forget")
    answer, took = timed(lambda: connect(f"tcp://never.test:{port}", 200))
    check("the deadline is the name's too", "error WEIR_ETIMEDOUT", answer)
    check_that("is kept", 0.2 <= took < 1, took)
    check("nothing waits any more", 0, p.stats()["waiting"])
    p.number += 1
    p.send(f"connect {p.number} tcp://never.test:{port}")  # the end comes meanwhile
    p.stats()
    p.quit()
    listener.close()
    server.close()


def dnsmasq():
    program = shutil.which("dnsmasq") or shutil.which("dnsmasq", path="/usr/sbin:/sbin")
    if program is None:
        print("no dnsmasq here")
        return
    for _ in range(5):  # somebody may take the port meanwhile
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            udp.bind(("127.0.0.1", port))
        daemon = subprocess.Popen([
            program, "--keep-in-foreground", f"--port={port}", "--listen-address=127.0.0.1",
            "--bind-interfaces", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file",
            "--user=", "--group=", "--local=/real.test/", "--local-ttl=77",
            "--host-record=host.real.test,192.0.2.1,2001:db8::1",
            "--cname=alias.real.test,host.real.test",
            "--srv-host=_x._tcp.real.test,host.real.test,81,1,2",
            "--txt-record=text.real.test,hello,there"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):  # it takes a moment to be there
            with socket.socket() as probe:
                ready = probe.connect_ex(("127.0.0.1", port)) == 0
            if ready or daemon.poll() is not None:
                break
            time.sleep(0.05)
        if ready and daemon.poll() is None:
            break
    try:
        p = Program(servers=f"127.0.0.1:{port}", timeout_ms=1000)
        check("dnsmasq: host", "told dns 0 host.real.test tcp://[2001:db8::1]:0/77 tcp://192.0.2.1:0/77",
              p.ask("host.real.test", "HOST"))
        check("dnsmasq: alias", "told dns 0 host.real.test tcp://192.0.2.1:0/77", p.ask("alias.real.test"))
        check("dnsmasq: service", "told dns 0 _x._tcp.real.test 1,2,81,host.real.test/77",
              p.ask("_x._tcp.real.test", "SRV"))
        check("dnsmasq: text", "told dns 0 text.real.test x" + b"hellothere".hex() + "/77",
              p.ask("text.real.test", "TXT"))
        check("dnsmasq: back", "told dns 0 1.2.0.192.in-addr.arpa host.real.test/77", p.reverse("192.0.2.1"))
        check("dnsmasq: no", "error WEIR_ENONAME", p.ask("none.real.test"))
        p.quit()
    finally:
        daemon.kill()
        daemon.wait()


for case in (records, no, servers, slow, truncated, lies, malformed, search, files, limits, connecting, dnsmasq):
    began, before = time.monotonic(), failed
    case()
    print(f"{case.__name__}: {'passed' if failed == before else 'FAILED'}, "
          f"{time.monotonic() - began:.1f} s", flush=True)
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
