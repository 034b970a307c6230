"""The routes of `opsloop receive`: who may post, how much at a time, and what is answered when.

A request is read within bounds, split into parts, and answered when the broker has acknowledged all that was taken.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.clock import now_ms
from app.ingest.receive import events, otlp, plain, remote_write
from app.ingest.receive.delivery import Delivery, Lagging, Outgoing, Undelivered
from app.ingest.receive.parts import Parts
from app.ingest.receive.posted import NotAccepted, Posted, Protocol, Reply, inflate, media_of
from app.ingest.settings import ReceiveSettings
from app.runtime import metrics
from topics.codec import Cause, DeadLetter, encode
from topics.formats.naming import Naming
from topics.spec import Raw

log = structlog.get_logger()

PROTOCOLS: Final = (remote_write.PROTOCOL, *otlp.PROTOCOLS, *plain.PROTOCOLS, *events.PROTOCOLS)
MOST_LETTERS: Final = 100  # of one request; what else is refused of it is only counted
KEPT_BYTES: Final = 100_000  # of a refused part
DECODING: Final = 2  # requests at a time: more would need memory and win nothing
RETRY_S: Final = 5
Answer = Callable[[int, str], Reply]


class Receiver:
    """Handles requests. `tokens` may post; without any everybody may."""

    def __init__(
        self, delivery: Delivery, settings: ReceiveSettings, tokens: Iterable[str] = (), naming: Naming | None = None
    ) -> None:  # fmt: skip
        self._delivery, self._settings = delivery, settings
        self._tokens = tuple(token.encode() for token in tokens)
        self._naming, self._named = naming or Naming(), threading.Lock()
        self._decoding = asyncio.Semaphore(DECODING)
        self._requests = 0
        self._letters = itertools.count(secrets.randbelow(2**30))  # told apart from those of other receivers

    def app(self) -> Starlette:
        """The application."""
        routes = [Route(p.path, self._handler(p), methods=["POST"]) for p in PROTOCOLS]
        routes += [Route("/healthz", self._health), Route("/metrics", self._metrics)]
        return Starlette(routes=routes, exception_handlers={HTTPException: _no_route})

    def _handler(self, protocol: Protocol) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            media, parameters = media_of(request.headers.get("content-type", ""))

            def answer(status: int, text: str) -> Reply:
                return protocol.refuse(media, status, text)

            try:
                reply = self._forbidden(request, answer) or self._waiting(protocol, answer)
                if reply is None:
                    reply = await self._take(protocol, request, media, parameters)
                else:
                    await self._drain(request)
            except NotAccepted as error:
                reply = answer(error.status, error.text)
            except Lagging as lagging:
                reply = _later(answer(protocol.busy, str(lagging)), lagging.retry_s)
            except Undelivered as error:
                log.warning("a request was not delivered", route=protocol.path, cause=str(error))
                reply = _later(answer(503, f"{error}: send it again"), RETRY_S)
            except ClientDisconnect:
                reply = answer(400, "the sender hung up")
            metrics.RECEIVED_REQUESTS.labels(protocol.path, str(reply.status)).inc()
            return _response(reply)

        return handle

    # --- who may, and when --------------------------------------------------------------------------------------------

    def _forbidden(self, request: Request, answer: Answer) -> Reply | None:
        if "origin" in request.headers:  # a page in somebody's browser, which can reach loopback addresses
            return answer(403, "requests of web pages are not taken")
        if self._allowed(request):
            return None
        reply = answer(401, "no token, or none that is known: send Authorization: Bearer TOKEN")
        return Reply(reply.status, reply.body, reply.media, {**reply.headers, "www-authenticate": "Bearer"})

    def _allowed(self, request: Request) -> bool:
        if not self._tokens:
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip().encode() if scheme.lower() in ("bearer", "token") else b""
        return any(hmac.compare_digest(given, known) for known in self._tokens)

    def _waiting(self, protocol: Protocol, answer: Answer) -> Reply | None:
        if self._requests >= self._settings.requests:
            return _later(answer(protocol.busy, "too many requests at a time"), 1)
        try:
            self._delivery.admit()
        except Lagging as lagging:  # told after the body was read away: its sender reads no answer before
            return _later(answer(protocol.busy, str(lagging)), lagging.retry_s)
        return None

    # --- taking -------------------------------------------------------------------------------------------------------

    async def _take(
        self, protocol: Protocol, request: Request, media: str, parameters: Mapping[str, str]
    ) -> Reply:  # fmt: skip
        self._requests += 1
        try:
            raw, headers = await self._body(request), dict(request.headers)
            encoding = headers.get("content-encoding", protocol.encoding)

            def decode() -> tuple[Posted, Parts, list[Outgoing]]:
                body = inflate(raw, encoding, self._settings.decoded_bytes)
                posted = Posted(protocol.path, body, media, parameters, headers, now_ms(), self._naming)
                with self._named:  # one request at a time: what is remembered of labels is shared
                    self._naming.begin(posted.arrived)
                    parts = _read(protocol, posted)
                    parts.entities(self._naming)
                return posted, parts, [*self._messages(protocol, parts)]

            async with self._decoding:
                posted, parts, messages = await run_in_threadpool(decode)
            await self._delivery.send(messages)
            _count(posted, parts)
            return protocol.answer(posted, parts)
        finally:
            self._requests -= 1

    async def _body(self, request: Request) -> bytes:
        """The body as it was sent. Raises NotAccepted: it is too large, or does not come."""
        most, body = self._settings.body_bytes, bytearray()
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            await self._drain(request)
            raise _too_large(most)
        try:
            async with asyncio.timeout(self._settings.read_s):
                async for part in request.stream():
                    body += part
                    if len(body) > most:
                        raise _too_large(most)
        except TimeoutError:
            raise NotAccepted(408, f"the body did not come within {self._settings.read_s:g} s") from None
        return bytes(body)

    async def _drain(self, request: Request) -> None:
        """Read what the sender still writes, so that it reads the answer; within the bounds of a body."""
        read = 0
        try:
            async with asyncio.timeout(self._settings.read_s):
                async for part in request.stream():
                    read += len(part)
                    if read > self._settings.body_bytes:
                        return
        except (TimeoutError, ClientDisconnect):
            return

    def _messages(self, protocol: Protocol, parts: Parts) -> Iterable[Outgoing]:
        for record in parts.records():
            message = encode(record)
            yield Outgoing(message.topic.name, message.key, message.value, message.headers)
        for refused in parts.refused[:MOST_LETTERS]:
            # no topic has such a name, so that a letter that is sent again goes to the topic it would have gone to
            raw = Raw(
                f"http:{protocol.path}", next(self._letters), parts.arrived, refused.key, refused.value[:KEPT_BYTES]
            )
            letter = DeadLetter(raw, refused.cause, refused.detail, protocol.topic.dlq)
            yield Outgoing(letter.topic, refused.key, refused.value[:KEPT_BYTES], letter.headers)

    # --- about itself -------------------------------------------------------------------------------------------------

    async def _health(self, _: Request) -> Response:
        trouble = await run_in_threadpool(self._delivery.trouble)
        body = orjson.dumps({"status": "behind" if trouble else "ok", "cause": trouble})
        return Response(body, 503 if trouble else 200, media_type="application/json")

    async def _metrics(self, request: Request) -> Response:
        if reply := self._forbidden(request, lambda status, text: Reply(status, text.encode())):
            return _response(reply)
        return Response(metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _read(protocol: Protocol, posted: Posted) -> Parts:
    """The parts of a request. One that breaks its reader is refused: its sender would send it again for ever."""
    try:
        return protocol.read(posted)
    except NotAccepted:
        raise
    except Exception as error:
        log.error("a request broke its reader", route=protocol.path, exc_info=error)
        metrics.RECEIVED_REFUSED.labels(protocol.path, str(Cause.HANDLER)).inc()
        raise NotAccepted(400, f"the request cannot be read: {type(error).__name__}") from None


def _count(posted: Posted, parts: Parts) -> None:
    metrics.RECEIVED_BYTES.labels(posted.path).inc(len(posted.body))
    metrics.RECEIVED_VALUES.labels(posted.path).inc(parts.taken - parts.passed)
    metrics.RECEIVED_PASSED.labels(posted.path).inc(parts.passed)
    for refused in parts.refused:
        metrics.RECEIVED_REFUSED.labels(posted.path, str(refused.cause)).inc()


def _later(reply: Reply, seconds: int) -> Reply:
    return Reply(reply.status, reply.body, reply.media, {**reply.headers, "retry-after": str(seconds)})


def _too_large(most: int) -> NotAccepted:
    return NotAccepted(413, f"the body has more than {most} bytes: send smaller batches")


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, headers=dict(reply.headers), media_type=reply.media)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    paths: Sequence[str] = [protocol.path for protocol in PROTOCOLS]
    text = "send it with POST" if error.status_code == 405 else f"there is no such route: {', '.join(paths)}"
    route = request.url.path if request.url.path in paths else "other"
    metrics.RECEIVED_REQUESTS.labels(route, str(error.status_code)).inc()
    return Response(text, error.status_code, headers=error.headers, media_type="text/plain")
