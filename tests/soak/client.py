"""An HTTP/1.1 client for the load: one connection, on asyncio, that checks every byte it gets."""
import asyncio
import os
import random
import re
import socket
import struct

BLOCK = random.Random(7).randbytes(65521)  # a prime: no power of two lies on its border


def content(offset, size):
    """Any cut of the endless text that all files are beginnings of."""
    start = offset % len(BLOCK)
    return (BLOCK * ((start + size) // len(BLOCK) + 1))[start:start + size]


class Wrong(Exception):
    """The server did what it must not."""


class Closed(Exception):
    """It has closed the connection."""


class Client:
    def __init__(self):
        self.input = b""
        self.socket = None

    @classmethod
    async def to(cls, port, receive_bytes=0, source=None):
        self = cls()
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        if source:
            self.socket.bind((source, 0))
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", port))
        except BaseException:
            self.close()
            raise
        return self

    def close(self):
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    async def send(self, data):
        try:
            await asyncio.get_running_loop().sock_sendall(self.socket, data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    async def some(self, most=1 << 18):
        try:
            data = await asyncio.get_running_loop().sock_recv(self.socket, most)
        except ConnectionResetError as error:
            raise Closed from error
        if not data:
            raise Closed
        return data

    @staticmethod
    def request(target, fields=(), method="GET"):
        head = f"{method} {target} HTTP/1.1\r\nHost: soak\r\n"
        return (head + "".join(f"{field}\r\n" for field in fields) + "\r\n").encode()

    async def ask(self, target, fields=(), method="GET"):
        await self.send(self.request(target, fields, method))

    async def head(self, bodyless=False):
        """Status, the head's text, and how many bytes of body follow."""
        while b"\r\n\r\n" not in self.input:
            if len(self.input) > 65536:
                raise Wrong("a head without end")
            self.input += await self.some()
        head, self.input = self.input.split(b"\r\n\r\n", 1)
        head = head.decode("latin-1")
        if not re.match(r"HTTP/1\.1 \d\d\d ", head):
            raise Wrong(f"no status line: {head[:80]!r}")
        status = int(head[9:12])
        size = re.search(r"\r\nContent-Length: (\d+)", head, re.I)
        if status == 304 or bodyless:
            return status, head, 0
        if not size:
            raise Wrong(f"no length: {head!r}")
        return status, head, int(size[1])

    async def body(self, size):
        while len(self.input) < size:
            self.input += await self.some()
        body, self.input = self.input[:size], self.input[size:]
        return body

    async def expect(self, offset, size, piece=1 << 18, pause_s=0.0):
        """Takes `size` bytes, which must be the content from `offset` on."""
        end = offset + size
        while offset < end:
            if not self.input:
                if pause_s:
                    await asyncio.sleep(pause_s)
                self.input = await self.some(piece)
            take = min(len(self.input), end - offset)
            if self.input[:take] != content(offset, take):
                raise Wrong(f"wrong bytes behind {offset}")
            offset += take
            self.input = self.input[take:]

    async def file(self, name, size, fields=()):
        """Asks for a file of this size and takes it."""
        await self.ask(name, fields)
        status, head, length = await self.head()
        if status != 200 or length != size:
            raise Wrong(f"{name}: status {status}, {length} bytes: {head!r}")
        await self.expect(0, size)
        return head

    async def ends(self):
        """Takes what comes until the server closes."""
        try:
            while True:
                self.input += await self.some()
        except Closed:
            return self.input


def make_files(folder):
    """Name and size of each, from 0 B to 64 MiB."""
    files = {}
    for size in (0, 1, 11, 100, 1000, 1460, 4096, 16384, 65535, 65536, 65537, 262144, 1 << 20,
                 16 << 20, 64 << 20):
        name = f"f{size}.bin"
        files["/" + name] = size
        with open(os.path.join(folder, name), "wb") as file:
            for offset in range(0, size, len(BLOCK)):
                file.write(content(offset, min(len(BLOCK), size - offset)))
    return files
