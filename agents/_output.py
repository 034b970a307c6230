"""The producer of a worker: records are queued, and `flush` waits until the broker has them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from topics import codec
from topics.codec import DeadLetter, encode
from topics.spec import Record

OUTAGE_S: Final = 120.0  # how long the broker may take no output before the worker gives up
STOPPING_S: Final = 10.0


class Output:
    """A producer of which the first failed send ends the worker. `stopping`: whether the worker was asked to stop."""

    def __init__(self, config: Mapping[str, Any], stopping: Callable[[], bool]) -> None:
        self._producer = Producer(dict(config))
        self._stopping = stopping
        self._failure: KafkaException | None = None

    def produce(self, outputs: Iterable[Record | DeadLetter], refused: Callable[[str], None]) -> int:
        """Queue `outputs`. Returns how many were queued. Calls `refused(cause)` for each dead letter."""
        count = 0
        for output in outputs:
            count += 1
            if isinstance(output, DeadLetter):
                refused(output.cause)
                self._queue(output.topic, output.raw.key, output.raw.value, output.headers)
            else:
                self.send(encode(output))
        return count

    def send(self, message: codec.Message, partition: int = -1, stored: Callable[[int], None] | None = None) -> None:
        """Queue one message. Calls `stored(offset)` when the broker has it."""
        self._queue(message.topic.name, message.key, message.value, message.headers, partition, stored)

    def poll(self) -> None:
        """Serve delivery callbacks. Raises KafkaException when a message was not delivered."""
        self._producer.poll(0)
        if self._failure is not None:
            raise self._failure

    def flush(self) -> None:
        """Wait until the broker has every message, for as long as an outage may last (`OUTAGE_S`).

        Raises:
            KafkaException: a message was not delivered, or the time is over.
        """
        began = time.monotonic()
        while left := self._producer.flush(0.5):
            self.poll()
            if time.monotonic() - began > (STOPPING_S if self._stopping() else OUTAGE_S):
                raise KafkaException(
                    KafkaError(KafkaError._TIMED_OUT, f"the broker takes no output: {left} records wait")
                )
        self.poll()

    def drop(self) -> None:
        """Discard queued messages. Called when partitions were lost: their new owners send them."""
        self._producer.purge()

    def _queue(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Any, partition: int = -1,
        stored: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        callback = self._delivered if stored is None else partial(self._stored, stored)
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=callback, headers=headers)
                return
            except BufferError:
                self._producer.poll(0.1)  # bounded by the client's own queue: wait for the broker

    def _stored(self, stored: Callable[[int], None], error: KafkaError | None, message: Message) -> None:
        if error is None:
            stored(message.offset() or 0)
        self._delivered(error, message)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = KafkaException(error)
