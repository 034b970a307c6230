"""What a lane says: queued for the broker, and all of it there before anything rests on it."""

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
    """A producer whose first failed send is the end of its worker. `stopping`: whether the worker was asked to end."""

    def __init__(self, config: Mapping[str, Any], stopping: Callable[[], bool]) -> None:
        self._producer = Producer(dict(config))
        self._stopping = stopping
        self._failure: KafkaException | None = None

    def say(self, outputs: Iterable[Record | DeadLetter], refused: Callable[[str], None]) -> int:
        """Queue what follows; how much it was. `refused` is told the cause of each dead letter."""
        count = 0
        for output in outputs:
            count += 1
            if isinstance(output, DeadLetter):
                refused(output.cause)
                self._produce(output.topic, output.raw.key, output.raw.value, output.headers)
            else:
                self.send(encode(output))
        return count

    def send(self, message: codec.Message, partition: int = -1, stood: Callable[[int], None] | None = None) -> None:
        """Queue one message; `stood` is told the offset that it was given."""
        self._produce(message.topic.name, message.key, message.value, message.headers, partition, stood)

    def poll(self) -> None:
        """Let delivery reports through. Raises KafkaException when the broker did not take something."""
        self._producer.poll(0)
        if self._failure is not None:
            raise self._failure

    def flush(self) -> None:
        """Wait until the broker has all that was said, across an outage. Raises KafkaException when it does not."""
        began = time.monotonic()
        while left := self._producer.flush(0.5):
            self.poll()
            if time.monotonic() - began > (STOPPING_S if self._stopping() else OUTAGE_S):
                raise KafkaException(
                    KafkaError(KafkaError._TIMED_OUT, f"the broker takes no output: {left} records wait")
                )
        self.poll()

    def drop(self) -> None:
        """Forget what still waits: it is somebody else's to say."""
        self._producer.purge()

    def _produce(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Any, partition: int = -1,
        stood: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        told = self._delivered if stood is None else partial(self._placed, stood)
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=told, headers=headers)
                return
            except BufferError:
                self._producer.poll(0.1)  # bounded by the client's own queue: wait for the broker

    def _placed(self, stood: Callable[[int], None], error: KafkaError | None, message: Message) -> None:
        if error is None:
            stood(message.offset() or 0)
        self._delivered(error, message)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = KafkaException(error)
