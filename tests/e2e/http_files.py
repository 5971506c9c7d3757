"""Static files and the access log over real sockets: http_files.py FILESERVER. WEIR_BACKEND says on what."""
import json
import os
import random
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PROGRAM = sys.argv[1]
ONLY = sys.argv[2:]
ROOT = tempfile.mkdtemp(prefix="weir-files-")
os.chmod(ROOT, 0o755)
NOBODY = 65534
SANITIZED = bool(os.environ.get("WEIR_SANITIZE"))  # which keeps what was freed for a while
CACHE_S = 1.0  # how long an entry is trusted; absences half of it
OLD = 1577836800  # 2020-01-01
DATE_OLD = "Wed, 01 Jan 2020 00:00:00 GMT"


class Response:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def __getitem__(self, name):
        values = [v for n, v in self.fields if n.lower() == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


class Connection:
    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        self.input = b""
        server.connections.append(self)

    def send(self, data):
        self.socket.sendall(data)

    def request(self, target, method="GET", fields=(), version="1.1"):
        if isinstance(target, str):
            target = target.encode("latin-1")
        head = method.encode() + b" " + target + b" HTTP/" + version.encode() + b"\r\nHost: t\r\n"
        for name, value in fields:
            head += f"{name}: {value}\r\n".encode("latin-1")
        self.send(head + b"\r\n")

    def more(self):
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError("closed after %r" % self.input[:200])
        self.input += data

    def head(self):
        while b"\r\n\r\n" not in self.input:
            self.more()
        head, self.input = self.input.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0])
        assert match, lines[0]
        return int(match[1]), [tuple(line.split(": ", 1)) for line in lines[1:]]

    def response(self, method="GET"):
        status, fields = self.head()
        response = Response(status, fields, b"")
        if method == "HEAD" or status in (204, 304):
            return response
        size = int(response["Content-Length"])
        while len(self.input) < size:
            self.more()
        response.body, self.input = self.input[:size], self.input[size:]
        return response

    def ask(self, target, method="GET", fields=(), version="1.1"):
        self.request(target, method, fields, version)
        return self.response(method)

    def close(self):
        self.socket.close()


class Server:
    def __init__(self, root, user=None, stdout=None, **options):
        arguments = [PROGRAM, root] + [f"{name}={value}" for name, value in options.items()]
        extra = {"user": user, "group": user} if user is not None else {}
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(arguments, stdout=stdout or subprocess.PIPE,
                                        stderr=self.errors, **extra)
        self.stdout = self.process.stdout
        self.connections = []
        self.stopped = False
        if stdout is None:
            self.port = int(self.stdout.readline().split()[1])

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for connection in self.connections:
            connection.close()
        self.stop()
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the server does not end")
        self.errors.seek(0)
        self.said = self.errors.read().decode(errors="replace")
        if kind is None:
            assert code == 0, f"the server ended with {code}: {self.said}"
            assert "ERROR" not in self.said and "Sanitizer" not in self.said, self.said
        elif self.said:
            print(self.said)

    def stop(self):
        if not self.stopped and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.stopped = True  # a second signal would abort

    def ask(self, *arguments, **options):
        connection = Connection(self)
        try:
            return connection.ask(*arguments, **options)
        finally:
            connection.close()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def write(path, data, mtime=OLD):
    path = os.path.join(ROOT, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
    if mtime is not None:
        os.utime(path, (mtime, mtime))
    return path


def same(actual, expected, what=""):
    if actual != expected:
        actual, expected = repr(actual), repr(expected)
        raise AssertionError(f"{what}: {actual[:300]} instead of {expected[:300]}")


SMALL = b"hello, file\n"
MIDDLE = random.Random(1).randbytes(300_000)
LARGE = random.Random(2).randbytes(5_000_000)


def make_www():
    write("www/small.txt", SMALL)
    write("www/empty", b"")
    write("www/index.html", "<h1>index</h1>")
    write("www/middle.bin", MIDDLE)
    write("www/large.bin", LARGE)
    write("www/sub/page.html", "sub")
    write("www/.hidden", "hidden")
    write("www/.well-known/thing", "known")
    write("www/indexed/index.html", "indexed")
    write("secret", "the secret")
    os.makedirs(f"{ROOT}/www/evil.com", exist_ok=True)
    os.makedirs(f"{ROOT}/www/a b&c", exist_ok=True)
    os.symlink("small.txt", f"{ROOT}/www/inside")
    os.symlink("../secret", f"{ROOT}/www/outside")
    os.symlink("..", f"{ROOT}/www/up")
    os.symlink("/etc", f"{ROOT}/www/absolute")
    os.symlink("inside", f"{ROOT}/www/twice")
    return f"{ROOT}/www"


WWW = make_www()


def test_whole():
    for options in ({}, {"cache": -1}, {"cache": 65536}, {"no_precompressed": 1}):
        with Server(WWW, **options) as s:
            c = Connection(s)
            for _ in range(3):
                for name, data, kind in (("small.txt", SMALL, "text/plain; charset=utf-8"),
                                         ("empty", b"", "application/octet-stream"),
                                         ("middle.bin", MIDDLE, "application/octet-stream"),
                                         ("large.bin", LARGE, "application/octet-stream"),
                                         ("", b"<h1>index</h1>", "text/html; charset=utf-8"),
                                         ("sub/page.html", b"sub", "text/html; charset=utf-8")):
                    r = c.ask("/" + name)
                    same(r.status, 200, name)
                    same(r.body, data, name)
                    same(r["Content-Type"], kind, name)
                    same(r["Last-Modified"], DATE_OLD, name)
                    same(r["Accept-Ranges"], "bytes", name)
                    same(r["Vary"], None if "no_precompressed" in options else "Accept-Encoding")
                    assert re.fullmatch(r'"[0-9a-f]+-[0-9a-f]+"', r["ETag"]), r["ETag"]
                    h = c.ask("/" + name, "HEAD")
                    strip = lambda x: [f for f in x.fields if f[0] != "Date"]
                    same(h.status, 200, name)
                    same(strip(h), strip(r), name)
            same(c.ask("/small.txt", version="1.0", fields=[("Connection", "keep-alive")]).body, SMALL)
            r = c.ask("/small.txt", "POST", [("Content-Length", "0")])
            same((r.status, r["Allow"]), (405, "GET, HEAD, OPTIONS"))
            same(c.ask("/small.txt?query=1").body, SMALL)
            same(c.ask("/%73mall.txt").body, SMALL)
            same(c.ask("/nothing").status, 404)
            same(c.ask("/nothing").status, 404)
            same(c.ask("/nothing", "HEAD").status, 404)


def test_pipelined():
    with Server(WWW) as s:
        c = Connection(s)
        names = ["small.txt", "nothing", "middle.bin", "", "large.bin", "empty", "sub", "middle.bin"] * 4
        for name in names:
            c.request("/" + name)
        for name in names:
            r = c.response()
            expected = {"small.txt": SMALL, "middle.bin": MIDDLE, "large.bin": LARGE, "empty": b"",
                        "": b"<h1>index</h1>"}
            if name in expected:
                same((r.status, r.body), (200, expected[name]), name)
            else:
                same(r.status, 404 if name == "nothing" else 301, name)


def parts_of(response):
    match = re.fullmatch(r"multipart/byteranges; boundary=([0-9a-f]{32})", response["Content-Type"])
    assert match, response["Content-Type"]
    pieces = (b"\r\n" + response.body).split(b"\r\n--" + match[1].encode())
    same(pieces[0], b"")
    same(pieces[-1], b"--\r\n")
    parts = []
    for piece in pieces[1:-1]:
        head, data = piece.split(b"\r\n\r\n", 1)
        lines = dict(line.split(": ") for line in head.decode().split("\r\n")[1:])
        parts.append((lines["Content-Type"], lines["Content-Range"], data))
    return parts


def test_ranges():
    for options in ({}, {"cache": -1}):
        with Server(WWW, **options) as s:
            c = Connection(s)
            for name, data in (("small.txt", SMALL), ("middle.bin", MIDDLE), ("large.bin", LARGE)):
                n = len(data)
                for text, first, end in ((f"0-0", 0, 1), ("0-", 0, n), (f"3-6", 3, 7), (f"-4", n - 4, n),
                                         (f"-{n + 9}", 0, n), (f"{n - 1}-", n - 1, n),
                                         (f"5-{n + 100}", 5, n),
                                         ("5-99999999999999999999999999", 5, n),
                                         ("0-1,1-3", 0, 4)):
                    r = c.ask("/" + name, fields=[("Range", "bytes=" + text)])
                    same(r.status, 206, text)
                    same(r["Content-Range"], f"bytes {first}-{end - 1}/{n}", text)
                    same(r.body, data[first:end], text)
                    assert r["ETag"] and r["Content-Type"] and r["Accept-Ranges"]
                for text in ("bytes=", "bytes=4-3", "bytes=a-b", "lines=0-1", "bytes=0-1,x",
                             "bytes=" + ",".join("0-0" for _ in range(17))):
                    r = c.ask("/" + name, fields=[("Range", text)])
                    same((r.status, r.body), (200, data), text)
                for text in (f"{n}-", f"{n + 5}-{n + 9}", "-0"):
                    r = c.ask("/" + name, fields=[("Range", "bytes=" + text)])
                    same((r.status, r["Content-Range"]), (416, f"bytes */{n}"), text)
                r = c.ask("/" + name, "HEAD", fields=[("Range", "bytes=0-1")])
                same((r.status, r["Content-Length"]), (200, str(n)))
                if n < 1000:
                    continue
                spans = [(0, 10), (n - 5, n), (100_000, 250_000), (1000, 1001)]
                r = c.ask("/" + name,
                          fields=[("Range", "bytes=" + ", ".join(f"{a}-{b - 1}" for a, b in spans))])
                same(r.status, 206)
                same(r["Content-Range"], None)
                same(parts_of(r), [("application/octet-stream", f"bytes {a}-{b - 1}/{n}", data[a:b])
                                   for a, b in spans])
            r = c.ask("/empty", fields=[("Range", "bytes=0-")])
            same((r.status, r.body), (200, b""))
            before = s.descriptors()
            for _ in range(20):
                r = c.ask("/large.bin", fields=[("Range", "bytes=0-1,100000-100001,-1")])
                same([len(p[2]) for p in parts_of(r)], [2, 2, 1])
                same(c.ask("/large.bin", fields=[("Range", "bytes=7-8")]).body, LARGE[7:9])
            assert s.descriptors() <= before + 2, (before, s.descriptors())


def test_conditions():
    for options in ({}, {"cache": -1}):
        with Server(WWW, **options) as s:
            c = Connection(s)
            for name, data in (("small.txt", SMALL), ("large.bin", LARGE)):
                tag = c.ask("/" + name, "HEAD")["ETag"]
                before, after = "Tue, 31 Dec 2019 23:59:59 GMT", "Wed, 01 Jan 2020 00:00:01 GMT"
                table = [
                    (200, [("If-None-Match", '"other"')]),
                    (304, [("If-None-Match", tag)]),
                    (304, [("If-None-Match", "W/" + tag)]),
                    (304, [("If-None-Match", f'"a", "b",{tag}')]),
                    (304, [("If-None-Match", '"a"'), ("If-None-Match", tag)]),
                    (200, [("If-None-Match", '"a"'), ("If-None-Match", '"b"')]),
                    (304, [("If-None-Match", "*")]),
                    (304, [("If-Modified-Since", DATE_OLD)]),
                    (304, [("If-Modified-Since", after)]),
                    (200, [("If-Modified-Since", before)]),
                    (200, [("If-Modified-Since", "yesterday")]),
                    (200, [("If-None-Match", '"other"'), ("If-Modified-Since", after)]),
                    (304, [("If-None-Match", tag), ("If-Modified-Since", before)]),
                    (200, [("If-Match", tag)]),
                    (200, [("If-Match", "*")]),
                    (412, [("If-Match", '"other"')]),
                    (412, [("If-Match", "W/" + tag)]),
                    (200, [("If-Unmodified-Since", DATE_OLD)]),
                    (412, [("If-Unmodified-Since", before)]),
                    (206, [("Range", "bytes=1-2"), ("If-Range", tag)]),
                    (200, [("Range", "bytes=1-2"), ("If-Range", '"other"')]),
                    (200, [("Range", "bytes=1-2"), ("If-Range", "W/" + tag)]),
                    (206, [("Range", "bytes=1-2"), ("If-Range", DATE_OLD)]),
                    (200, [("Range", "bytes=1-2"), ("If-Range", after)]),
                    (304, [("Range", "bytes=1-2"), ("If-None-Match", tag)]),
                    (200, [("Range", "bytes=99999999-"), ("If-Range", '"other"')]),
                ]
                for method in ("GET", "HEAD"):
                    for status, fields in table:
                        r = c.ask("/" + name, method, fields)
                        if method == "HEAD" and status == 206:
                            status = 200
                        same(r.status, status, (method, fields))
                        if status == 304:
                            same((r["ETag"], r["Last-Modified"], r["Vary"]),
                                 (tag, DATE_OLD, "Accept-Encoding"))
                            same((r["Content-Type"], r["Content-Length"]), (None, None))
                        if status == 200 and method == "GET":
                            same(r.body, data, fields)
                        if status == 206:
                            same(r.body, data[1:3], fields)
            # The first request for a file is judged as those that find it in memory.
        with Server(WWW, **options) as s:
            same(s.ask("/large.bin", fields=[("If-None-Match", tag)]).status, 304)
            same(s.ask("/middle.bin", fields=[("If-Match", '"x"')]).status, 412)


def test_precompressed():
    write("pre/page.html", "plain page" * 100)
    write("pre/page.html.gz", b"gzip bytes")
    write("pre/page.html.br", b"brotli bytes")
    write("pre/only.html.gz", b"nothing stands beside it")
    write("pre/gz.css", "css")
    write("pre/gz.css.gz", LARGE)  # a large neighbour
    write("pre/dir.css", "dir")
    os.makedirs(f"{ROOT}/pre/dir.css.gz", exist_ok=True)
    plain = b"plain page" * 100
    with Server(f"{ROOT}/pre") as s:
        c = Connection(s)
        for _ in range(2):
            for accept, coding, body in ((None, None, plain), ("gzip", "gzip", b"gzip bytes"),
                                         ("br", "br", b"brotli bytes"), ("", None, plain),
                                         ("gzip, deflate, br", "br", b"brotli bytes"),
                                         ("gzip;q=1, br;q=0.5", "gzip", b"gzip bytes"),
                                         ("br;q=0, *", "gzip", b"gzip bytes"),
                                         ("deflate", None, plain), ("identity", None, plain),
                                         ("gzip;q=0", None, plain), ("x, ;;", None, plain)):
                r = c.ask("/page.html", fields=[("Accept-Encoding", accept)] if accept is not None else [])
                same((r.status, r["Content-Encoding"], r.body), (200, coding, body), accept)
                same(r["Content-Type"], "text/html; charset=utf-8")
                same(r["Vary"], "Accept-Encoding")
            gz = c.ask("/page.html", fields=[("Accept-Encoding", "gzip")])
            assert gz["ETag"] != c.ask("/page.html")["ETag"]
            r = c.ask("/page.html", fields=[("Accept-Encoding", "gzip"), ("If-None-Match", gz["ETag"])])
            same((r.status, r["Vary"], r["Content-Encoding"]), (304, "Accept-Encoding", None))
            r = c.ask("/page.html", fields=[("Accept-Encoding", "gzip"), ("Range", "bytes=5-9")])
            same((r.status, r.body, r["Content-Encoding"]), (206, b"bytes", "gzip"))
            r = c.ask("/gz.css", fields=[("Accept-Encoding", "gzip")])
            same((r.status, r.body == LARGE, r["Content-Type"]), (200, True, "text/css; charset=utf-8"))
            same(c.ask("/gz.css", "HEAD", [("Accept-Encoding", "gzip")])["Content-Length"], str(len(LARGE)))
            same(c.ask("/only.html", fields=[("Accept-Encoding", "gzip")]).status, 404)
            r = c.ask("/dir.css", fields=[("Accept-Encoding", "gzip")])
            same((r.status, r.body, r["Content-Encoding"]), (200, b"dir", None))
            r = c.ask("/dir.css", fields=[("Accept-Encoding", "identity;q=0, gzip")])
            same((r.status, r["Vary"]), (406, "Accept-Encoding"))
            same(c.ask("/page.html", fields=[("Accept-Encoding", "*;q=0")]).status, 406)
    with Server(f"{ROOT}/pre", no_precompressed=1) as s:
        r = s.ask("/page.html", fields=[("Accept-Encoding", "gzip")])
        same((r.body, r["Vary"]), (plain, None))


def test_listing():
    names = ["plain.txt", "<script>alert(1)", 'quote"\'quote', "a&amp;b", "space in name",
             "new\nline", "ünï.txt", "perc%41ent", "back\\slash", "q?x#y", "part 10", "part 9"]
    for name in names:
        write("list/" + name, "x" * 5)
    write("list/.hidden", "h")
    with open(os.path.join(os.fsencode(ROOT), b"list", b"bad\xff\xfename"), "wb") as file:
        file.write(b"z")
    os.makedirs(f"{ROOT}/list/directory", exist_ok=True)
    os.mkfifo(f"{ROOT}/list/pipe")
    os.symlink("plain.txt", f"{ROOT}/list/link")
    os.symlink("/etc/passwd", f"{ROOT}/list/outside")
    write("list/deep/inner/file", "f")
    with Server(f"{ROOT}/list", listing=1) as s:
        r = s.ask("/")
        same((r.status, r["Content-Type"]), (200, "text/html; charset=utf-8"))
        same((r["X-Content-Type-Options"], r["Vary"]), ("nosniff", "Accept"))
        assert "default-src 'none'" in r["Content-Security-Policy"]
        assert b"<script" not in r.body.lower()
        assert b"&lt;script&gt;" in r.body and b"a&amp;amp;b" in r.body
        assert b".hidden" not in r.body and b"pipe" not in r.body
        assert b"link" not in re.sub(rb"<style.*?</style>", b"", r.body, flags=re.S).replace(b"<link", b"")
        for target in re.findall(rb'href="([^"]*)"', r.body):
            if target.startswith(b"/") and target not in (b"/", b"/directory/", b"/deep/"):
                # a backslash in a name is never served
                same(s.ask(target).status, 404 if b"%5C" in target else 200, target)
        same(s.ask("/", "HEAD")["Content-Length"], str(len(r.body)))
        j = s.ask("/", fields=[("Accept", "application/json")])
        same(j["Content-Type"], "application/json")
        listed = json.loads(j.body)
        seen = [e["name"] for e in listed["entries"]]
        same(sorted(n for n in seen if "\ufffd" not in n), sorted(names + ["directory", "deep"]))
        assert seen.index("part 9") < seen.index("part 10")
        same(len(seen), len(names) + 3)
        same(s.ask("/", fields=[("Accept", "text/html,application/json;q=0.9")])["Content-Type"],
             "text/html; charset=utf-8")
        same(json.loads(s.ask("/deep/inner/", fields=[("Accept", "application/json")]).body)
             ["entries"][0]["name"], "file")
        same(s.ask("/deep/none/").status, 404)
        same(s.ask("/plain.txt/").status, 404)
        same(s.ask("/../").status, 400)
    with Server(f"{ROOT}/list", listing=1, symlinks=1, hidden=1, prefix="/p r/x") as s:
        j = json.loads(s.ask("/p%20r/x/", fields=[("Accept", "application/json")]).body)
        seen = [e["name"] for e in j["entries"]]
        assert "link" in seen and ".hidden" in seen and "outside" not in seen, seen
        r = s.ask("/p%20r/x/directory/")
        assert b'href="/p%20r/x/"' in r.body, r.body
        r = s.ask("/p%20r/x")
        same((r.status, r["Location"]), (301, "/p%20r/x/"))
        r = s.ask("/p%20r/x?a=1")
        same((r.status, r["Location"]), (301, "/p%20r/x/?a=1"))
        r = s.ask("/p%20r/x/directory")
        same((r.status, r["Location"]), (301, "/p%20r/x/directory/"))
    with Server(f"{ROOT}/list") as s:
        for _ in range(2):
            same(s.ask("/").status, 403)
            same(s.ask("/deep/").status, 403)
            same(s.ask("/none/").status, 404)


def resident(s):
    with open(f"/proc/{s.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) * 1024


def reset(s, c):
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
    s.connections.remove(c)


def test_listing_many():
    """A large directory that many ask for at once: it is made once, shared, and holds up nobody."""
    count = 3000
    os.makedirs(f"{ROOT}/many/large", exist_ok=True)
    for i in range(count):
        os.close(os.open(f"{ROOT}/many/large/{i:0200}", os.O_CREAT | os.O_WRONLY))
    for i in range(20):
        write(f"many/other/{i}", b"other")

    def asks(s, target="/large/"):
        c = Connection(s)
        c.request(target)
        return c

    with Server(f"{ROOT}/many", listing=1, sndbuf=16384) as s:
        same(s.ask("/other/0").body, b"other")
        before = resident(s)
        slow = []
        for i in range(30):  # none of them reads
            c = Connection(s)
            c.request("/large/")
            c.request("/large/", fields=[("Accept", "application/json")])
            slow.append(c)
        gone = [asks(s) for _ in range(10)]
        for i in range(1, 10):  # not in the cache
            began = time.monotonic()
            same(s.ask(f"/other/{i}").body, b"other")
            assert time.monotonic() - began < 5, time.monotonic() - began
        for c in gone:  # they leave while they wait for their turn, or are being answered
            reset(s, c)
        same(s.ask("/large/", "HEAD").status, 200)
        grown = resident(s) - before
        assert SANITIZED or grown < 32 << 20, f"grown by {grown >> 20} MiB"
        pages = set()
        for c in slow[:5]:
            html, js = c.response(), c.response()
            same((html.status, js.status), (200, 200))
            same(len(json.loads(js.body)["entries"]), count)
            pages.add((html.body, js.body))
        same(len(pages), 1)
        write("many/large/A-new-one", b"new")
        time.sleep(CACHE_S + 0.1)
        for _ in range(400):
            if b"A-new-one" in s.ask("/large/").body:
                break
            time.sleep(0.05)
        assert b"A-new-one" in s.ask("/large/").body
        os.rename(f"{ROOT}/many/large", f"{ROOT}/many/gone")
        time.sleep(CACHE_S + 0.1)
        same(s.ask("/large/").status, 404)
        os.rename(f"{ROOT}/many/gone", f"{ROOT}/many/large")
        for c in slow:
            c.close()

    with Server(f"{ROOT}/many", listing=1, cache=-1, sndbuf=16384) as s:  # what is not shared is bounded
        size = len(s.ask("/large/").body)
        most = (64 << 20) // size
        before = resident(s)
        slow = []
        for _ in range(most + 10):
            c = Connection(s)
            c.request("/large/")
            slow.append(c)
        statuses = []
        for c in slow:
            c.socket.settimeout(60)
            c.socket.recv(1, socket.MSG_PEEK)
        grown = resident(s) - before
        assert SANITIZED or grown < 100 << 20, f"grown by {grown >> 20} MiB"
        for c in slow:
            r = c.response()
            statuses.append(r.status)
            assert r.status == 200 and len(r.body) == size or (r.status, r["Retry-After"]) == (503, "1")
        assert statuses.count(503) > 0 and statuses.count(200) > 0, statuses
        same(s.ask("/large/").status, 200)
    shutil.rmtree(f"{ROOT}/many")


def test_directories():
    with Server(WWW) as s:
        c = Connection(s)
        for _ in range(2):
            for target, location in (("/sub", "/sub/"), ("/sub?x=1&y=%41", "/sub/?x=1&y=%41"),
                                     ("//evil.com", "/evil.com/"), ("///evil.com", "/evil.com/"),
                                     ("/a%20b%26c", "/a%20b&amp;c/".replace("&amp;", "%26")),
                                     ("/./sub", "/sub/"), ("/sub?", "/sub/?")):
                r = c.ask(target)
                same((r.status, r["Location"]), (301, location), target)
            r = c.ask("/indexed/")
            same((r.status, r.body), (200, b"indexed"))
            same(c.ask("/indexed/index.html").body, b"indexed")
            same(c.ask("/sub/").status, 403)
            same(c.ask("/small.txt/").status, 404)
            same(c.ask("/small.txt/x").status, 404)
        same(c.ask("/" + "x" * 255).status, 404)
        same(c.ask("/" + "x" * 256).status, 404)
        assert c.ask("/" + "y/" * 3000).status in (404, 414)
        r = c.ask("/sub?" + "q" * 5000)
        same(r.status, 414)


def raw(server, request):
    """All that comes until the server closes."""
    c = Connection(server)
    c.send(request)
    data = b""
    while True:
        more = c.socket.recv(65536)
        if not more:
            break
        data += more
    c.close()
    return data


ATTACKS = [b"/../secret", b"/..%2fsecret", b"/%2e%2e/secret", b"/%2e%2e%2fsecret", b"/.%2e/secret",
           b"/sub/../../secret", b"/sub/%2e%2e/%2e%2e/secret", b"/sub/..%2f..%2fsecret",
           b"/..\\secret", b"/..%5csecret", b"/%5c..%5csecret", b"/....//secret", b"/..;/secret",
           b"/%252e%252e/secret", b"/\xc0\xae\xc0\xae/secret", b"/%c0%ae%c0%ae/secret", b"/outside",
           b"/up/secret", b"/absolute/passwd", b"/small.txt%00.html", b"/%00", b"/../../../../etc/passwd",
           b"//etc/passwd", b"/./../secret", b"/sub//../../secret", b"/..", b"/../", b"/%2e%2e",
           b"/sub/..", b"/.hidden", b"/%2ehidden", b"/./.hidden", b"/sub/../.hidden", b"/.", b"/...",
           b"http://t/../secret", b"/\x00secret", b"/small.txt\x7f", b"/%", b"/%4", b"/%zz", b"*", b"secret",
           b"/proc/self/environ", b"/dev/null", b"/up/www/small.txt", b"/absolute", b"/twice/../../secret"]


def test_traversal():
    for options in ({}, {"symlinks": 1}, {"cache": -1, "listing": 1}):
        with Server(WWW, **options) as s:
            for target in ATTACKS:
                for _ in range(2):
                    for method in (b"GET", b"HEAD"):
                        answer = raw(s, method + b" " + target + b" HTTP/1.1\r\nHost: t\r\n"
                                     b"Connection: close\r\n\r\n")
                        match = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
                        assert match, (target, answer[:100])
                        status = int(match[1])
                        assert b"the secret" not in answer and b"root:" not in answer, (target, answer)
                        allowed = {400, 403, 404}
                        if target in (b"/.", b"/./"):
                            allowed = {200}
                        assert status in allowed, (options, target, status)
            follow = 200 if "symlinks" in options else 404
            same(s.ask("/inside").status, follow)
            same(s.ask("/twice").status, follow)
            same(s.ask("/.well-known/thing").status, 200)
            same(s.ask("/small.txt").body, SMALL)
    with Server(WWW, hidden=1) as s:
        same(s.ask("/.hidden").body, b"hidden")
        same(s.ask("/../secret").status, 400)


def test_changes():
    for name in ("changed", "deleted", "renamed", "replaced", "forbidden", "linked", "to_directory"):
        write("change/" + name, "first")
    write("change/large", b"L" * 3_000_000)
    write("change/page", "page")
    with Server(f"{ROOT}/change", user=NOBODY if os.geteuid() == 0 else None) as s:
        c = Connection(s)
        tags = {}
        for name in os.listdir(f"{ROOT}/change"):
            r = c.ask("/" + name)
            same(r.status, 200, name)
            tags[name] = r["ETag"]
        same(c.ask("/created").status, 404)
        same(c.ask("/page", fields=[("Accept-Encoding", "gzip")]).body, b"page")
        began = time.monotonic()
        write("change/changed", "second", OLD + 1)
        os.unlink(f"{ROOT}/change/deleted")
        os.rename(f"{ROOT}/change/renamed", f"{ROOT}/change/elsewhere")
        write("change/new", "newer", OLD)  # the same size and time: another inode
        os.rename(f"{ROOT}/change/new", f"{ROOT}/change/replaced")
        os.chmod(f"{ROOT}/change/forbidden", 0)
        os.unlink(f"{ROOT}/change/linked")
        os.symlink("../secret", f"{ROOT}/change/linked")
        os.unlink(f"{ROOT}/change/to_directory")
        os.makedirs(f"{ROOT}/change/to_directory")
        write("change/created", "created")
        write("change/large", b"M" * 3_500_000, OLD + 1)
        write("change/page.gz", "zip")
        while time.monotonic() - began < CACHE_S + 0.2:
            for name in tags:  # asked for all the time, they must not stay as they were
                c.ask("/" + name, fields=[("Accept-Encoding", "gzip")] if name == "page" else [])
            time.sleep(0.05)
        same(c.ask("/changed").body, b"second")
        assert c.ask("/changed")["ETag"] != tags["changed"]
        same(c.ask("/deleted").status, 404)
        same(c.ask("/renamed").status, 404)
        same(c.ask("/elsewhere").body, b"first")
        same(c.ask("/replaced").body, b"newer")
        same(c.ask("/forbidden").status, 403)
        same(c.ask("/linked").status, 404)
        same(c.ask("/to_directory").status, 301)
        same(c.ask("/created").body, b"created")
        same(c.ask("/large").body, b"M" * 3_500_000)
        same(c.ask("/large", "HEAD")["Content-Length"], "3500000")
        same(c.ask("/page", fields=[("Accept-Encoding", "gzip")]).body, b"zip")
        same(c.ask("/page").body, b"page")
        assert s.descriptors() < 60, s.descriptors()


def test_young():
    """A file that has just changed may change again within the same tick of its clock."""
    path = write("young/file", "aaaa", None)
    with Server(f"{ROOT}/young") as s:
        os.utime(path, (time.time() + 1, time.time() + 1))
        r = s.ask("/file")
        assert r["ETag"].startswith("W/"), r["ETag"]
        r = s.ask("/file", fields=[("Range", "bytes=0-1"), ("If-Range", r["ETag"])])
        same(r.status, 200)
        status = os.stat(path)
        with open(path, "r+b") as file:
            file.write(b"bbbb")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        time.sleep(CACHE_S + 0.2)
        same(s.ask("/file").body, b"bbbb")
        os.utime(path, (time.time() + 1000, time.time() + 1000))
        time.sleep(CACHE_S + 0.2)
        same(s.ask("/file")["Last-Modified"], None)


def test_sparse():
    size = 3 << 30
    path = write("sparse/huge", "")
    os.truncate(path, size)
    with open(path, "r+b") as file:
        file.seek(size - 10)
        file.write(b"0123456789")
    os.utime(path, (OLD, OLD))
    with Server(f"{ROOT}/sparse") as s:
        c = Connection(s)
        r = c.ask("/huge", "HEAD")
        same((r.status, r["Content-Length"]), (200, str(size)))
        for text in ("-10", f"{size - 10}-"):
            r = c.ask("/huge", fields=[("Range", "bytes=" + text)])
            same((r.status, r.body), (206, b"0123456789"))
            same(r["Content-Range"], f"bytes {size - 10}-{size - 1}/{size}")
        r = c.ask("/huge", fields=[("Range", f"bytes=0-3,{size - 4}-")])
        same([p[2] for p in parts_of(r)], [b"\0\0\0\0", b"6789"])
        same(c.ask("/huge", fields=[("If-None-Match", r["ETag"])]).status, 304)
        # One who leaves in the middle, and one who never reads.
        c.request("/huge")
        c.head()
        c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
        idle = Connection(s)
        idle.request("/huge")
        idle.head()
        same(s.ask("/huge", "HEAD").status, 200)
        idle.close()
        for _ in range(50):
            if s.descriptors() < 40:
                break
            time.sleep(0.1)
        assert s.descriptors() < 40, s.descriptors()


def test_many():
    expected = {}
    for i in range(1000):
        expected[f"/{i % 7}/{i}.txt"] = f"file number {i}".encode() * (i % 50)
    for name, data in expected.items():
        write("many" + name, data)
    with Server(f"{ROOT}/many", loops=2) as s:
        failures = []

        def client(seed):
            try:
                c = Connection(s)
                names = list(expected)
                random.Random(seed).shuffle(names)
                for name in names:
                    same(c.ask(name).body, expected[name], name)
            except Exception:
                failures.append(traceback.format_exc())

        threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failures, failures[0]


def test_odd_files():
    write("odd/file", "file")
    write("odd/locked", "locked")
    os.chmod(f"{ROOT}/odd/locked", 0)
    os.makedirs(f"{ROOT}/odd/closed", exist_ok=True)
    write("odd/closed/file", "x")
    os.chmod(f"{ROOT}/odd/closed", 0)
    os.mkfifo(f"{ROOT}/odd/fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{ROOT}/odd/socket")
    with Server(f"{ROOT}/odd", user=NOBODY if os.geteuid() == 0 else None, listing=1) as s:
        began = time.monotonic()
        c = Connection(s)
        for _ in range(2):
            same(c.ask("/fifo").status, 404)
            same(c.ask("/fifo", "HEAD").status, 404)
            same(c.ask("/socket").status, 404)
            same(c.ask("/locked").status, 403)
            same(c.ask("/closed").status, 403)
            same(c.ask("/closed/").status, 403)
            same(c.ask("/closed/file").status, 403)
            same(c.ask("/file").body, b"file")
        assert time.monotonic() - began < 5
    os.chmod(f"{ROOT}/odd/closed", 0o755)
    listener.close()


def test_cut():
    """A file that becomes shorter while it is sent tears the connection: nothing else is true."""
    path = write("cut/file", b"x" * (64 << 20))
    with Server(f"{ROOT}/cut") as s:
        c = Connection(s)
        c.request("/file")
        status, fields = c.head()
        os.truncate(path, 1 << 20)
        received = len(c.input)
        try:
            while True:
                data = c.socket.recv(1 << 20)
                if not data:
                    break
                received += len(data)
        except ConnectionResetError:
            pass
        assert received < 64 << 20, received
        same(s.ask("/file", "HEAD").status, 200)
        # One that grows is sent as long as it was.
        path = write("cut/grows", b"y" * (16 << 20))
        c = Connection(s)
        c.request("/grows")
        status, fields = c.head()
        with open(path, "ab") as file:
            file.write(b"z" * 1000)
        size = int(dict(fields)["Content-Length"])
        same(size, 16 << 20)
        while len(c.input) < size:
            c.more()
        same(c.input, b"y" * size)


def test_mounts():
    with Server(WWW, prefix="/static/", second=f"{ROOT}/www/sub") as s:
        same(s.ask("/static/small.txt").body, SMALL)
        same(s.ask("/st%61tic/small.txt").body, SMALL)
        same(s.ask("/second/page.html").body, b"sub")
        same(s.ask("/second/small.txt").status, 404)
        same(s.ask("/small.txt").status, 404)
        r = s.ask("/static")
        same((r.status, r["Location"]), (301, "/static/"))
        same(s.ask("/static/").body, b"<h1>index</h1>")
        r = s.ask("/static/sub")
        same((r.status, r["Location"]), (301, "/static/sub/"))
        same(s.ask("/static/../secret").status, 400)
        same(s.ask("/static/%2e%2e/secret").status, 400)
    for arguments, said in ((["/nowhere/at/all"], "no such"), ([f"{WWW}/small.txt"], "directory"),
                            ([WWW, "log=/nowhere/log"], "access log"),
                            ([WWW, "log=/", "format=common"], "access log"),
                            ([WWW, "log=-", "format=rare"], "common, combined, json")):
        r = subprocess.run([PROGRAM] + arguments, capture_output=True, timeout=20)
        assert r.returncode == 1 and said in r.stderr.decode().lower(), r


def lines_of(path, count):
    for _ in range(60):
        lines = open(path).read().splitlines() if os.path.exists(path) else []
        if len(lines) >= count:
            return lines
        time.sleep(0.05)
    raise AssertionError(f"{len(lines)} lines of {count}: {lines}")


STAMP = r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\]"


def test_log_formats():
    log = f"{ROOT}/log-common"
    with Server(WWW, log=log, format="common") as s:
        s.ask("/small.txt")
        s.ask("/large.bin", "HEAD")
        raw(s, b"BAD\r\n\r\n")
        lines = lines_of(log, 3)
        assert re.fullmatch(rf'127\.0\.0\.1 - - {STAMP} "GET /small.txt HTTP/1.1" 200 12', lines[0]), lines
        assert re.fullmatch(rf'127\.0\.0\.1 - - {STAMP} "HEAD /large.bin HTTP/1.1" 200 [-0]', lines[1]), lines
        assert " 400 " in lines[2], lines
    log = f"{ROOT}/log-combined"
    with Server(WWW, log=log) as s:
        s.ask("/small.txt", fields=[("Referer", "http://r/"), ("User-Agent", 'a"b\\c')])
        s.ask("/none?x=\xff", fields=[])
        line = lines_of(log, 2)[0]
        assert line.endswith('"GET /small.txt HTTP/1.1" 200 12 "http://r/" "a\\"b\\\\c"'), line
    log = f"{ROOT}/log-json"
    with Server(WWW, log=log, format="json") as s:
        c = Connection(s)
        c.ask("/small.txt", fields=[("User-Agent", "agent")])
        c.ask("/middle.bin", fields=[("Range", "bytes=0-9")])
        c.ask("/x" * 1500)
        records = [json.loads(line) for line in lines_of(log, 3)]
        r = records[0]
        same((r["peer"], r["method"], r["target"], r["version"], r["status"], r["body_bytes"], r["agent"]),
             ("127.0.0.1", "GET", "/small.txt", "HTTP/1.1", 200, 12, "agent"))
        assert 0 < r["duration_ns"] < 10**10
        same((records[1]["status"], records[1]["body_bytes"]), (206, 10))
        same(records[2]["truncated"], ["target"])


def test_log_flush():
    """Lines come within a moment; those of the last moment come with the end; none is lost."""
    log = f"{ROOT}/log-flush"
    with Server(WWW, log=log, loops=2) as s:
        s.ask("/small.txt")
        began = time.monotonic()
        lines_of(log, 1)
        assert time.monotonic() - began < 2
        for _ in range(8):
            c = Connection(s)
            for _ in range(500):
                c.request("/small.txt")
            for _ in range(500):
                c.response()
    same(len(open(log).read().splitlines()), 4001)
    same(len({len(line) for line in open(log)}), 1)


def test_log_reopen():
    log = f"{ROOT}/rotate/log"
    os.makedirs(f"{ROOT}/rotate", exist_ok=True)
    with Server(WWW, log=log) as s:
        s.ask("/small.txt?before")
        lines_of(log, 1)
        os.rename(log, log + ".1")
        s.ask("/small.txt?between")
        lines_of(log + ".1", 2)
        s.process.send_signal(signal.SIGHUP)
        for _ in range(60):
            if os.path.exists(log):
                break
            time.sleep(0.05)
        same(oct(os.stat(log).st_mode & 0o137), "0o0")
        s.ask("/small.txt?after")
        lines = lines_of(log, 1)
        assert "?after" in lines[0] and len(lines) == 1, lines
        same(len(open(log + ".1").read().splitlines()), 2)
        os.rename(log, log + ".2")
        os.mkdir(log)  # it cannot be opened: the old one is written on
        s.process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        s.ask("/small.txt?still")
        assert "?still" in lines_of(log + ".2", 2)[1]
        os.rmdir(log)
        before = s.descriptors()
        for _ in range(5):
            s.process.send_signal(signal.SIGHUP)
            time.sleep(0.05)
        same(s.descriptors(), before)
        s.process.send_signal(0)
        s.errors.seek(0)
        text = s.errors.read().decode()
        assert "cannot open access log" in text and "directory" in text, text
        s.errors.truncate(0)


def test_log_pipe():
    """Through a pipe, from two loops: lines stay whole; nobody who reads slowly stops the server."""
    read_end, write_end = os.pipe()
    s = Server(WWW, stdout=write_end, log="-", loops=2, format="common")
    os.close(write_end)
    stream = os.fdopen(read_end, "rb")
    s.port = int(stream.readline().split()[1])
    with s:
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(stream.read().splitlines()))
        connections = [Connection(s) for _ in range(6)]
        for c in connections:
            for i in range(800):
                c.request(f"/small.txt?{i:04}")
        for c in connections:
            for _ in range(800):
                same(c.response().body, SMALL)
        reader.start()
    reader.join(20)
    for line in lines:
        assert re.fullmatch(rf'127\.0\.0\.1 - - {STAMP} "GET /small.txt\?\d{{4}} HTTP/1.1" 200 12',
                            line.decode()), line
    lost = [int(n) for n in re.findall(r"has lost (\d+) lines", s.said)]
    assert len(lines) > 1500 and (len(lines) == 4800 or lost), (len(lines), s.said)


def test_log_standard_file():
    """Standard output that is a file: behind what stands there, and before what comes later."""
    path = f"{ROOT}/log-standard"
    with open(path, "wb") as file:
        file.write(b"before\n")
        file.flush()
        s = Server(WWW, stdout=file, log="-", loops=2, format="common")
        for _ in range(100):
            match = re.search(r"port (\d+)", open(path).read())
            if match:
                break
            time.sleep(0.05)
        s.port = int(match[1])
        with s:
            for _ in range(3):
                s.ask("/small.txt")
                time.sleep(0.3)
        file.write(b"after\n")
    lines = open(path).read().splitlines()
    same((lines[0], lines[1][:5], lines[-1], len(lines)), ("before", "port ", "after", 6), lines)


def test_log_full():
    """A disk without room costs lines, which are counted, and nothing else."""
    with Server(WWW, log="/dev/full") as s:
        for _ in range(3):
            same(s.ask("/small.txt").body, SMALL)
            time.sleep(0.3)
    assert re.search(r"has lost \d lines of the access log so far: No space left", s.said), s.said


def test_two_services():
    """Two applications on one loop: each request is answered by its own."""
    for i in range(40):
        write(f"two/a/{i}", f"a{i}" * 100)
        write(f"two/b/{i}", f"b{i}" * 100)
    with Server(f"{ROOT}/two/a", other=f"{ROOT}/two/b", listing=1) as s:
        a = [Connection(s) for _ in range(10)]
        s.port = int(s.stdout.readline().split()[1])
        b = [Connection(s) for _ in range(10)]
        for turn in range(4):
            for i in range(10):
                target = f"/{turn * 10 + i}" if turn < 3 else "/"
                a[i].request(target)
                b[i].request(target)
            for i in range(10):
                for name, c in (("a", a[i]), ("b", b[i])):
                    r = c.response()
                    same(r.status, 200)
                    if turn < 3:
                        same(r.body, f"{name}{turn * 10 + i}".encode() * 100)


def test_end_while_loading():
    """TERM while files are being looked at and sent."""
    for _ in range(3):
        with Server(WWW, log=f"{ROOT}/log-end") as s:
            connections = [Connection(s) for _ in range(20)]
            for i, c in enumerate(connections):
                c.request(("/large.bin", "/middle.bin", "/nothing", "/sub")[i % 4])
            for c in connections[:10]:
                c.close()
            s.stop()
            for i, c in enumerate(connections[10:]):
                try:
                    assert c.response().status in (200, 301, 404)
                except (EOFError, ConnectionResetError):
                    pass  # it had not been read when the listener closed


def test_leaving_while_loading():
    """Clients that reset while files are looked at: nothing is left over, changes are still seen."""
    write(f"{WWW}/watched.txt", b"before")
    with Server(WWW, listing=1) as s:
        same(s.ask("/watched.txt").body, b"before")
        descriptors = s.descriptors()
        write(f"{WWW}/watched.txt", b"after", OLD + 5)
        end = time.monotonic() + 3
        count = 0
        while time.monotonic() < end:
            for target in ("/watched.txt", "/large.bin", "/middle.bin", "/sub/", f"/none-{count}"):
                c = Connection(s)
                c.request(target)
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                c.close()
                s.connections.remove(c)
                count += 1
        assert count > 100, count
        time.sleep(CACHE_S + 0.1)
        s.ask("/watched.txt")
        same(s.ask("/watched.txt").body, b"after")
        for _ in range(100):
            if s.descriptors() <= descriptors:
                break
            time.sleep(0.02)
        assert s.descriptors() <= descriptors, s.descriptors()
    os.unlink(f"{WWW}/watched.txt")


class Rude:
    """A client that asks for anything, in any piece, and leaves when it likes."""
    TARGETS = ["/", "/small", "/middle", "/large", "/sub/", "/sub", "/sub/page", "/none", "/none/", "/link",
               "/../x", "/%2e%2e/x", "/small/", "/sub//page", "/.hidden", "/" + "x" * 5000, "/gone/deep/"]
    FIELDS = ["Range: bytes=0-9", "Range: bytes=0-0,500-600,-1", "Range: bytes=99999999-", "Range: x",
              "Accept-Encoding: gzip, br", "Accept-Encoding: *;q=0", "If-None-Match: *", "Connection: close",
              'If-None-Match: "x"', "If-Modified-Since: " + DATE_OLD, "If-Range: " + DATE_OLD, "Expect: 100-continue",
              "Content-Length: 10", "Transfer-Encoding: chunked", "Accept: application/json"]

    def __init__(self, s, rng):
        self.socket = socket.create_connection(("127.0.0.1", s.port), timeout=20)
        self.socket.setblocking(False)
        self.rng, self.data = rng, b""

    def step(self):
        rng = self.rng
        if not self.data:
            for _ in range(rng.choice((1, 1, 3, 20))):
                fields = "".join(f + "\r\n" for f in rng.sample(self.FIELDS, rng.choice((0, 0, 1, 2))))
                method = rng.choice(("GET", "GET", "GET", "HEAD", "POST"))
                self.data += f"{method} {rng.choice(self.TARGETS)} HTTP/1.1\r\nHost: t\r\n{fields}\r\n".encode()
        action = rng.random()
        try:
            if action < 0.4:
                self.data = self.data[self.socket.send(self.data[:rng.choice((1, 40, 100000))]):]
            elif action < 0.95:
                return self.socket.recv(rng.choice((10, 5000, 1 << 20))) != b""
            elif action < 0.97:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            elif action < 0.975:
                return False
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


def test_chaos():
    """Anything is asked for while everything is being changed."""
    seed = int(os.environ.get("WEIR_SEED", time.time_ns() % 10**9))
    print("# seed", seed)
    rng = random.Random(seed)
    seconds = float(os.environ.get("WEIR_SECONDS", 5))
    root = f"{ROOT}/chaos"

    def change():
        name = rng.choice(("small", "middle", "large", "sub/page", "sub/index.html", "small.gz", "middle.br"))
        size = rng.choice((0, 10, 5000, 300000, 3000000))
        action = rng.random()
        try:
            if action < 0.4:
                write("chaos/" + name, os.urandom(64) * (size // 64 + 1))
            elif action < 0.6:
                os.truncate(f"{root}/{name}", size)
            elif action < 0.8:
                os.rename(f"{root}/{name}", f"{root}/{rng.choice(('small', 'large', 'x'))}")
            elif action < 0.9:
                os.unlink(f"{root}/{name}")
            else:
                os.rename(f"{root}/sub", f"{root}/gone")
                os.rename(f"{root}/gone", f"{root}/sub")
        except OSError:
            pass

    os.makedirs(f"{root}/sub", exist_ok=True)
    os.symlink("small", f"{root}/link")
    with Server(root, listing=1, symlinks=1, log=f"{ROOT}/log-chaos", format="json", loops=2, idle=500,
                cache=4 << 20) as s:
        s.ask("/")
        descriptors = s.descriptors()
        clients = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if len(clients) < 40:
                clients.append(Rude(s, rng))
            if rng.random() < 0.05:
                change()
            client = rng.choice(clients)
            for _ in range(rng.choice((1, 5, 20))):
                if not client.step():
                    client.socket.close()
                    clients.remove(client)
                    break
        for client in clients:
            client.socket.close()
        for _ in range(400):
            if s.descriptors() <= descriptors:
                break
            time.sleep(0.05)
        assert s.descriptors() <= descriptors, (s.descriptors(), descriptors)
        write("chaos/last", b"it lives")
        same(s.ask("/last").body, b"it lives")
    statuses = {}
    for line in open(f"{ROOT}/log-chaos", encoding="ascii"):
        status = json.loads(line)["status"]
        statuses[status] = statuses.get(status, 0) + 1
    print("#", sorted(statuses.items()))
    assert {200, 206, 304, 400, 404, 405, 416} <= set(statuses), statuses


def main():
    failed = 0
    tests = [(name, fn) for name, fn in globals().items() if name.startswith("test_")]
    for name, fn in tests:
        if ONLY and name not in ONLY:
            continue
        began = time.monotonic()
        try:
            fn()
            print(f"ok {name} {time.monotonic() - began:.1f} s", flush=True)
        except Exception:
            failed += 1
            print(f"failed {name} on {os.environ.get('WEIR_BACKEND')}", flush=True)
            traceback.print_exc()
    shutil.rmtree(ROOT, ignore_errors=True)
    sys.exit(1 if failed else 0)


main()
