"""The part of HTTP/1.1 that the site's processes use: GET without a body, answers with a length, kept connections.

Not aiohttp: importing it takes 0.35 s of CPU, in each replica, at the start of the site and after each restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple, cast

HOST: Final = "127.0.0.1"
MOST_HEAD: Final = 16_384  # bytes of a request's head
_END: Final = b"\r\n\r\n"
_REASONS: Final = {200: "OK", 400: "Bad Request", 405: "Method Not Allowed", 500: "Internal Server Error"}


class Answer(NamedTuple):
    """The status and body of an answer."""

    status: int
    text: str
    kind: str = "text/plain; charset=utf-8"

    def encode(self) -> bytes:
        """The answer as bytes of HTTP/1.1."""
        body = self.text.encode()
        reason = _REASONS.get(self.status, "Unknown")
        head = f"HTTP/1.1 {self.status} {reason}\r\nContent-Type: {self.kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


Handler = Callable[[str], Awaitable[Answer]]


class _Serving(asyncio.Protocol):
    """One connection of a server. When the client closes it, the handler is cancelled."""

    def __init__(self, handler: Handler, all_of: set[_Serving]) -> None:
        self._handler, self._all = handler, all_of
        self._buffer = b""
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._all.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > MOST_HEAD:
            self.transport.abort()
        self._next()

    def connection_lost(self, _: Exception | None) -> None:
        self._all.discard(self)
        if self.task is not None:
            self.task.cancel()

    def _next(self) -> None:
        if self.task is None and _END in self._buffer:
            head, _, self._buffer = self._buffer.partition(_END)
            self.task = asyncio.create_task(self._answer(head))

    async def _answer(self, head: bytes) -> None:
        method, _, rest = head.partition(b" ")
        path, _, rest = rest.partition(b" ")
        if method != b"GET" or not path.isascii():
            answer = Answer(405 if path.startswith(b"/") else 400, "only GET is understood\n")
        else:
            answer = await self._handler(path.decode())
        self.transport.write(answer.encode())
        if method != b"GET" or b"connection: close" in rest.lower():
            self.transport.close()
        self.task = None
        self._next()


class Server:
    """Answers requests on a port of this host."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[_Serving] = set()

    async def start(self, port: int) -> None:
        """Listen on the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Serving(self._handler, self._connections), HOST, port)

    async def stop(self, patience_s: float) -> None:
        """Stop listening, wait up to `patience_s` seconds for running requests, and close all connections."""
        self._server.close()
        inside = [connection.task for connection in self._connections if connection.task]
        if inside:
            await asyncio.wait(inside, timeout=patience_s)
        for connection in tuple(self._connections):
            connection.transport.close()
        await asyncio.sleep(0)


class _Asking(asyncio.Protocol):
    """One connection of a client, with at most one request at a time."""

    def __init__(self) -> None:
        self._lost = False
        self._buffer = b""
        self._status: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def get(self, path: str) -> int:
        if self._lost:
            raise ConnectionResetError("the server ended the connection")
        self._buffer = b""
        self._status = asyncio.get_running_loop().create_future()
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        return await self._status

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(_END)
        if end and self._status is not None and not self._status.done() and len(body) >= _length(head):
            self._status.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if self._status is not None and not self._status.done():
            self._status.set_exception(error or ConnectionResetError("the server ended the connection"))

    def close(self) -> None:
        self._transport.abort()


class Client:
    """Sends requests to one port of this host over kept connections."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Asking] = []

    async def get(self, path: str, timeout_s: float) -> int:
        """Send a GET. Returns the status. Raises TimeoutError, or ConnectionError when nothing listens."""
        async with asyncio.timeout(timeout_s):
            while self._idle:
                with suppress(ConnectionError):  # a kept connection may have ended: try another one
                    return await self._ask(self._idle.pop(), path)
            _, made = await asyncio.get_running_loop().create_connection(_Asking, HOST, self._port)
            return await self._ask(made, path)

    async def _ask(self, connection: _Asking, path: str) -> int:
        try:
            status = await connection.get(path)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return status

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])
