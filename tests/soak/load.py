"""The kinds of load, each a coroutine that goes on until it is told to stop. All rates are held down
by sleeping: the load is to be varied, not heavy."""
import asyncio
import random
import re

from client import Client, Closed, Wrong, content

SMALL = ("/f0.bin", "/f1.bin", "/f11.bin", "/f100.bin", "/f1000.bin", "/f1460.bin", "/f4096.bin",
         "/f16384.bin")
MEDIUM = ("/f65535.bin", "/f65536.bin", "/f65537.bin", "/f262144.bin")
BIG = "/f67108864.bin"

# What is wrong with each, and the status it must get.
BAD = ((b"GET / HTTP/1.1\r\n\r\n", 400),
       (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
       (b"GET / HTTP/1.1\nHost: a\n\n", 400),
       (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
       (b"GET / HTTP/2.7\r\nHost: a\r\n\r\n", 505),
       (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
       (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70000 + b"\r\n\r\n", 431),
       (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
       (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
       (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
       (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40, 400))


class Load:
    def __init__(self, port, files, seed):
        self.port = port
        self.files = files
        self.random = random.Random(seed)
        self.stopping = asyncio.Event()
        self.done = {}   # how often each kind got what it wanted
        self.wrong = []  # what must not have been

    def count(self, kind, number=1):
        self.done[kind] = self.done.get(kind, 0) + number

    async def pause(self, seconds):
        """Sleeps so long on average, less when the load is to stop."""
        try:
            await asyncio.wait_for(self.stopping.wait(),
                                   seconds * self.random.uniform(0.5, 1.5))
        except asyncio.TimeoutError:
            pass

    async def connect(self, **options):
        return await Client.to(self.port, **options)

    # One pass of each kind; `work` repeats it.

    async def keep_alive(self):
        client = await self.connect()
        try:
            for _ in range(self.random.randrange(1, 300)):
                name = self.random.choice(SMALL if self.random.random() < 0.9 else MEDIUM)
                await client.file(name, self.files[name])
                self.count("keep_alive")
                if self.stopping.is_set():
                    break
                await self.pause(0.08)
        finally:
            client.close()

    async def pipelined(self):
        client = await self.connect()
        try:
            for _ in range(self.random.randrange(1, 50)):
                names = [self.random.choice(SMALL) for _ in range(16)]
                await client.send(b"".join(client.request(name) for name in names))
                for name in names:
                    status, head, size = await client.head()
                    if status != 200 or size != self.files[name]:
                        raise Wrong(f"{name} in a pipeline: {head!r}")
                    await client.expect(0, size)
                self.count("pipelined", len(names))
                if self.stopping.is_set():
                    break
                await self.pause(0.4)
        finally:
            client.close()

    async def connection_each(self):
        client = await self.connect()
        try:
            name = self.random.choice(SMALL)
            last = self.random.random() < 0.5
            await client.file(name, self.files[name], ["Connection: close"] if last else ())
            if last and await client.ends():
                raise Wrong("bytes behind the last answer")
            self.count("connection_each")
        finally:
            client.close()

    async def ranges(self):
        client = await self.connect()
        try:
            for _ in range(20):
                name = self.random.choice(("/f1048576.bin", "/f16777216.bin", BIG))
                size = self.files[name]
                first = self.random.randrange(size)
                last = min(size - 1, first + self.random.randrange(100000))
                second = self.random.randrange(size - 10)
                several = self.random.random() < 0.3
                more = f", {second}-{second + 9}" if several else ""
                await client.ask(name, [f"Range: bytes={first}-{last}{more}"])
                status, head, length = await client.head()
                if status != 206:
                    raise Wrong(f"a range: {head!r}")
                if several:
                    body = await client.body(length)
                    if content(first, last + 1 - first) not in body:
                        raise Wrong(f"{first}-{last} is not in its parts")
                else:
                    if length != last + 1 - first:
                        raise Wrong(f"{first}-{last}: {length} bytes")
                    await client.expect(first, length)
                self.count("ranges")
                await self.pause(0.2)
        finally:
            client.close()

    async def not_modified(self):
        client = await self.connect()
        try:
            head = await client.file("/f4096.bin", 4096)
            etag = re.search(r"\r\nETag: (\S+)", head, re.I)[1]
            for _ in range(50):
                await client.ask("/f4096.bin", [f"If-None-Match: {etag}"])
                status, head, _ = await client.head()
                if status != 304:
                    raise Wrong(f"not modified: {head!r}")
                self.count("not_modified")
                await self.pause(0.1)
        finally:
            client.close()

    async def others(self):
        """HEAD, a listing, what is not there, a method that is not allowed."""
        client = await self.connect()
        try:
            for method, target, wanted in (("HEAD", BIG, 200), ("GET", "/", 200),
                                           ("GET", "/no/such", 404), ("DELETE", "/f1.bin", 405)):
                await client.ask(target, method=method)
                status, head, size = await client.head(method == "HEAD")
                if status != wanted:
                    raise Wrong(f"{method} {target}: {head!r}")
                await client.body(size)
                self.count("others")
        finally:
            client.close()

    async def whole_file(self):
        client = await self.connect()
        try:
            await client.file(BIG, self.files[BIG])
            self.count("whole_file")
        finally:
            client.close()

    async def slow_reader(self):
        client = await self.connect(receive_bytes=8192)
        try:
            name = "/f1048576.bin"
            await client.ask(name)
            _, _, size = await client.head()
            await client.expect(0, size, 16384, 0.1)
            self.count("slow_reader")
        finally:
            client.close()

    async def slow_loris(self):
        client = await self.connect()
        try:
            text = b"GET / HTTP/1.1\r\nHost: t\r\nX-Slow: " + b"x" * 1000
            for at in range(60):
                await client.send(text[at:at + 1])
                await self.pause(0.5)
                if self.stopping.is_set():
                    return
            raise Wrong("a slow head was waited for half a minute")
        except Closed:
            self.count("slow_loris")
        finally:
            client.close()

    async def reset(self):
        client = await self.connect()
        name = self.random.choice(("/f1048576.bin", BIG, "/f1.bin"))
        asked = client.request(name)
        cut = self.random.random()
        if cut < 0.3:
            await client.send(asked[:self.random.randrange(len(asked))])
        else:
            await client.send(asked)
            if cut < 0.9:
                await client.some()
        client.reset()
        self.count("reset")

    async def idle(self):
        client = await self.connect()
        try:
            if self.random.random() < 0.7:
                await client.file("/f11.bin", 11)
            await self.pause(self.random.choice((1, 5, 15, 40)))
            if self.random.random() < 0.5:
                await client.file("/f11.bin", 11)
        except Closed:
            pass  # it was idle too long
        finally:
            client.close()
        self.count("idle")

    async def bad(self):
        client = await self.connect()
        try:
            text, wanted = self.random.choice(BAD)
            try:
                await client.send(text)
                status, head, size = await client.head()
                await client.body(size)
                if status != wanted:
                    raise Wrong(f"{text[:40]!r} got {head!r}")
                await client.ends()
            except Closed:
                if len(text) < 1000:
                    raise Wrong(f"{text[:40]!r} was closed without an answer") from None
            self.count("bad")
        finally:
            client.close()

    async def never_reads(self):
        client = await self.connect(receive_bytes=4096)
        try:
            await client.ask(BIG)
            await self.pause(40)
            self.count("never_reads")
        finally:
            client.close()

    async def silent(self):
        """Comes and says nothing, or leaves at once."""
        client = await self.connect()
        try:
            await self.pause(self.random.choice((0.01, 1)))
            self.count("silent")
        finally:
            client.close()

    # kind, how many of it at the same time, seconds between its passes
    KINDS = (("keep_alive", 12, 0.2), ("pipelined", 6, 0.2), ("connection_each", 8, 0.15),
             ("ranges", 4, 0.3), ("not_modified", 4, 0.2), ("others", 1, 1.0),
             ("whole_file", 1, 12.0), ("slow_reader", 6, 0.5), ("slow_loris", 6, 1.0),
             ("reset", 6, 0.4), ("idle", 240, 1.0), ("bad", 4, 0.6), ("never_reads", 2, 2.0),
             ("silent", 2, 0.5))

    async def work(self, kind, between_s):
        await self.pause(self.random.uniform(0.1, 2))
        while not self.stopping.is_set():
            try:
                await asyncio.wait_for(getattr(self, kind)(), 300)
            except Wrong as wrong:
                self.wrong.append(f"{kind}: {wrong}")
            except Closed:
                self.wrong.append(f"{kind}: the server closed")
            except asyncio.TimeoutError:
                self.wrong.append(f"{kind}: it hangs")
            except OSError as error:
                self.wrong.append(f"{kind}: {error}")
            await self.pause(between_s)

    async def run(self, seconds):
        """All of it for so long; returns when every connection of it is closed."""
        self.stopping.clear()
        tasks = [asyncio.create_task(self.work(kind, between_s))
                 for kind, many, between_s in self.KINDS for _ in range(many)]
        await asyncio.sleep(seconds)
        self.stopping.set()
        await asyncio.gather(*tasks)
