"""Records to the broker, and when it has them: a request is answered when the last of its messages is acknowledged.

What is on its way has bounds. Beyond them nothing more is taken, and senders are told when to come again: they keep
what they have, so nothing waits here that could be lost.
"""

from __future__ import annotations

import asyncio
import collections
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from app.errors import UserError
from app.ingest.settings import ReceiveSettings
from app.kafka.broker import Broker, probe, producer_config
from app.runtime.metrics import RECEIVED_LATENCY, RECEIVED_PENDING

log = structlog.get_logger()

POLL_S: Final = 0.05
LONGEST_RETRY_S: Final = 30
PROBED_S: Final = 2.0  # seconds for which a look at the broker holds
GRACE_S: Final = 5.0  # beyond the client's own time-out, after which a report is no longer waited for


class Outgoing(NamedTuple):
    """A message for the broker."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]

    @property
    def size(self) -> int:
        return len(self.key) + len(self.value)


class Lagging(Exception):
    """Nothing more is taken now; try again in `retry_s` seconds."""

    def __init__(self, text: str, retry_s: int = 1) -> None:
        super().__init__(text)
        self.retry_s = retry_s


class Undelivered(Exception):
    """The broker did not take a part of a request, or did not say so in time. It is to be sent again as a whole."""


class _Request:
    """The messages of one request that are on their way. Reports come in the thread that polls."""

    def __init__(self, messages: Sequence[Outgoing], done: Callable[[_Request], None]) -> None:
        self.left = len(messages)
        self.messages, self.size = len(messages), sum(message.size for message in messages)
        self.began = time.monotonic()
        self.failures: collections.Counter[str] = collections.Counter()
        self._done = done
        self._lock = threading.Lock()

    def report(self, error: KafkaError | None, _: Message | None = None) -> None:
        """Count one message as delivered, or as failed for `error`."""
        with self._lock:
            self.left -= 1
            if error is not None:
                self.failures[error.str()] += 1
            over = self.left == 0
        if over:
            self._done(self)


class Delivery:
    """A producer whose callers wait for the broker. `send` is called in one event loop; reports come from a thread."""

    def __init__(self, broker: Broker, settings: ReceiveSettings) -> None:
        self.settings = settings
        self._broker = broker
        self._probe = threading.Lock()
        self._probed, self._away = 0.0, ""  # when the broker was looked at, and why it did not answer
        self._config = producer_config(broker, compression="lz4", on_error=self._failed) | {
            "message.timeout.ms": int(settings.deliver_s * 1000),
            "queue.buffering.max.messages": 2 * settings.pending_messages + 100_000,
        }
        try:
            self._producer = Producer(self._config)
        except KafkaException as error:
            raise UserError(f"a setting of the client cannot be used ({error.args[0].str()})",
                            "Look at the OPSLOOP_KAFKA_* settings") from None  # fmt: skip
        self._going: dict[_Request, None] = {}  # in the order of their beginnings
        self._lock = threading.Lock()
        self._messages = self._bytes = 0
        self._broken = threading.Event()  # the producer can send nothing more, for example after its epoch was fenced
        self._over = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="delivery", daemon=True)
        self._poller.start()

    def admit(self, messages: int = 0, size: int = 0) -> None:
        """Return when so much more may be sent now. What is larger than the bounds is sent when nothing else is.

        Raises:
            Lagging: more is on its way than the settings allow, or something has been for too long.
        """
        with self._lock:
            first = next(iter(self._going), None)
            if first is None:
                return
            age_s = time.monotonic() - first.began
            full = (
                self._messages + messages > self.settings.pending_messages
                or self._bytes + size > self.settings.pending_bytes
            )
        if age_s > self.settings.lag_s:
            raise Lagging(f"the broker lags: it has not answered for {age_s:.0f} s", self._retry_s(age_s))
        if full:
            raise Lagging("the broker lags: too much waits for it", self._retry_s(age_s))

    def _retry_s(self, age_s: float) -> int:
        return min(LONGEST_RETRY_S, max(1, math.ceil(age_s)))

    def trouble(self) -> str:
        """Why requests are not taken now; empty: they are, and the broker answers. Takes up to two seconds."""
        try:
            self.admit()
        except Lagging as lagging:
            return str(lagging)
        with self._probe:
            if time.monotonic() - self._probed > PROBED_S:
                self._away = probe(self._broker, 2.0) or ""
                self._probed = time.monotonic()
        return self._away and f"the broker does not answer ({self._away})"

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Return when the broker has all messages.

        Raises:
            Lagging: nothing was sent, see `admit`.
            Undelivered: it does not have all of them; some may be there.
        """
        if not messages:
            return
        loop, delivered = asyncio.get_running_loop(), asyncio.Event()
        request = _Request(messages, lambda done: self._ended(done, loop, delivered))
        self.admit(request.messages, request.size)
        with self._lock:
            self._going[request] = None
            self._messages += request.messages
            self._bytes += request.size
            RECEIVED_PENDING.set(self._messages)
        for message in messages:
            await self._produce(message, request)
        try:
            await asyncio.wait_for(delivered.wait(), self.settings.deliver_s + GRACE_S)
        except TimeoutError:
            raise Undelivered("the broker did not answer in time") from None
        if request.failures:
            cause, count = request.failures.most_common(1)[0]
            raise Undelivered(f"the broker did not take {count} of {request.messages} messages ({cause})")

    async def _produce(self, message: Outgoing, request: _Request) -> None:
        end = request.began + self.settings.deliver_s
        while True:
            try:
                self._producer.produce(
                    message.topic, message.value, message.key, headers=message.headers, on_delivery=request.report
                )
                return
            except BufferError:  # the bounds of this class are below those of the client
                if time.monotonic() > end:
                    request.report(KafkaError(KafkaError._QUEUE_FULL))
                    return
                await asyncio.sleep(POLL_S)
            except KafkaException as error:
                self._failed(error.args[0])
                request.report(error.args[0])
                return

    def _ended(self, request: _Request, loop: asyncio.AbstractEventLoop, delivered: asyncio.Event) -> None:
        with self._lock:
            del self._going[request]
            self._messages -= request.messages
            self._bytes -= request.size
            RECEIVED_PENDING.set(self._messages)
        RECEIVED_LATENCY.observe(time.monotonic() - request.began)
        if not loop.is_closed():
            loop.call_soon_threadsafe(delivered.set)

    def _poll(self) -> None:
        while not self._over.is_set():
            self._producer.poll(POLL_S)
            if self._broken.is_set():
                self._broken.clear()
                old, self._producer = self._producer, Producer(self._config)
                old.flush(self.settings.deliver_s)  # its messages are reported as failed, and their senders come again

    def _failed(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            log.warning("the producer is made anew", cause=error.str())
            self._broken.set()
        else:
            log.debug("the client reports", cause=error.str())

    def close(self, limit_s: float) -> int:
        """Wait at most `limit_s` seconds for what is on its way. Returns how many messages the broker does not have."""
        left: int = self._producer.flush(limit_s)
        self._over.set()
        self._poller.join(10)
        return left
