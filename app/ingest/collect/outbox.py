"""A bounded queue of records that the broker does not have yet. It survives outages and drops the oldest first."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, Message

from app.client import Publisher
from app.kafka.broker import Broker
from topics.codec import encode
from topics.spec import Record

log = structlog.get_logger()

WINDOW: Final = 500  # messages in the client's queue at a time; only those that wait here can be dropped


class _Waiting(NamedTuple):
    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    since: float

    @property
    def size(self) -> int:
        return len(self.key) + len(self.value)


class Outbox:
    """A queue in front of a publisher. Not thread-safe.

    It keeps `keep_s` seconds or `keep_bytes` bytes, whichever is less. Dropped records are counted and logged.
    """

    def __init__(
        self, broker: Broker, keep_s: float, keep_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._publisher = Publisher(
            broker, on_delivery=self._delivered, settings={"message.timeout.ms": max(1_000, int(keep_s * 1000))}
        )
        self._keep_s, self._keep_bytes, self._clock = keep_s, keep_bytes, clock
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._bytes = 0
        self._outside = 0
        self.sent = 0
        self.dropped = 0
        self._told = 0

    @property
    def pending(self) -> int:
        """Messages that the broker does not have yet."""
        return len(self._waiting) + self._outside

    def add(self, record: Record) -> None:
        """Queue a record. Drops the oldest ones when the queue is full."""
        message = encode(record)
        waiting = _Waiting(message.topic.name, message.key, message.value, message.headers, self._clock())
        self._waiting.append(waiting)
        self._bytes += waiting.size
        while self._waiting and (self._bytes > self._keep_bytes or self._too_old(self._waiting[0])):
            self._take()
            self.dropped += 1

    def pump(self) -> None:
        """Give records to the client, serve its delivery callbacks, and log what was dropped."""
        while self._waiting and self._outside < WINDOW:
            waiting = self._take()
            self._outside += 1
            self._publisher.send_raw(waiting.topic, waiting.key, waiting.value, waiting.headers)
        self._publisher.poll()
        if self.dropped > self._told:
            log.warning("gave up the oldest measurements", dropped=self.dropped - self._told, waiting=self.pending)
            self._told = self.dropped

    def flush(self, limit_s: float) -> int:
        """Send the rest for at most `limit_s` seconds. Returns the number of messages that the broker does not have."""
        end = time.monotonic() + limit_s
        while self.pending and time.monotonic() < end:
            self.pump()
            self._publisher.producer.poll(0.02)
        return self.pending

    def _too_old(self, waiting: _Waiting) -> bool:
        return self._clock() - waiting.since > self._keep_s

    def _take(self) -> _Waiting:
        waiting = self._waiting.popleft()
        self._bytes -= waiting.size
        return waiting

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._outside -= 1
        if error is None:
            self.sent += 1
        else:
            self.dropped += 1
