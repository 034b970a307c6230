"""Publish records to their topics. Every failed delivery is reported to the caller."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from app.errors import UserError
from app.kafka.broker import CREATE_TOPICS, SEE_DOCTOR, Broker, producer_config
from app.settings import know_domains
from topics.codec import DeadLetter, encode
from topics.spec import Instant, Record, Topic

Header = tuple[str, bytes]
OnDelivery = Callable[[KafkaError | None, Message], None]

ANSWER_S = 10.0
REFRESH_S = 60.0  # seconds after which the number of partitions of a topic is requested again
FULL_S = 30.0  # seconds that a caller waits for room in a full queue


class DeliveryError(UserError):
    """Messages that the broker did not acknowledge. They are lost unless the caller still has them."""

    def __init__(self, failures: collections.Counter[tuple[str, str]]) -> None:
        topic, cause = failures.most_common(1)[0][0]
        count = failures.total()
        remedy = CREATE_TOPICS if "nknown topic" in cause else SEE_DOCTOR
        super().__init__(f"{count} message{'s' * (count > 1)} to {topic} not delivered ({cause})", remedy, exit_code=1)
        self.count = count


class Publisher:
    """Writes records to the topics they belong on. May be used by several threads.

    `send` queues and returns; `flush` returns when all of it is on the broker. A failed delivery is raised by the next
    `send` or `flush`, once; with `on_delivery` it goes to that callback instead, which runs inside `send`, `poll` and
    `flush`.
    """

    def __init__(
        self, broker: Broker, *, compression: str = "", on_delivery: OnDelivery | None = None,
        on_error: Callable[[KafkaError], None] | None = None, settings: dict[str, object] | None = None,
    ) -> None:  # fmt: skip
        know_domains()  # they are the keys of records
        config = producer_config(broker, compression=compression, on_error=on_error) | (settings or {})
        self.producer = Producer(config)
        self._on_delivery = on_delivery or self._keep
        self._failures: collections.Counter[tuple[str, str]] = collections.Counter()
        self._lock = threading.Lock()
        self._partitions: dict[str, tuple[int, float]] = {}  # of each topic, and when the broker was asked (s)

    def send(self, record: Record | DeadLetter, topic: Topic | None = None) -> None:
        """Queue a record for its topic: to every partition when the topic is a broadcast.

        `topic` chooses among the topics that share a record (the snapshots).
        """
        if isinstance(record, DeadLetter):
            self.send_raw(record.topic, record.raw.key, record.raw.value, record.headers)
            return
        message = encode(record, topic)
        name = message.topic.name
        places: Iterable[int | None] = range(self.partitions(name, 0.0)) if message.topic.broadcast else (None,)
        for partition in places:
            self.send_raw(name, message.key, message.value, message.headers, partition)

    def send_raw(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Iterable[Header] = (),
        partition: int | None = None, timestamp: Instant = 0,
    ) -> None:  # fmt: skip
        """Queue a message unchanged. `timestamp` 0 is now. Waits while the queue is full.

        Raises:
            DeliveryError: an earlier message failed, or the queue stayed full.
        """
        self._raise()
        if not self.queue(topic, key, value, headers, partition, timestamp):
            self._raise()

    def queue(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Iterable[Header] = (),
        partition: int | None = None, timestamp: Instant = 0,
    ) -> bool:  # fmt: skip
        """Like `send_raw`, but raises nothing: `check` and `flush` report failures. True when the queue had room."""
        end = time.monotonic() + FULL_S
        while True:
            try:
                self.producer.produce(
                    topic, value, key, partition=-1 if partition is None else partition, headers=list(headers),
                    timestamp=timestamp, on_delivery=self._on_delivery,
                )  # fmt: skip
                break
            except BufferError:
                self.producer.poll(0.05)
                if time.monotonic() > end:
                    self._failed(topic, "the queue stays full")
                    return False
        self.producer.poll(0)
        return True

    def partitions(self, topic: str, age_s: float = REFRESH_S) -> int:
        """How many partitions `topic` has, as the broker reported at most `age_s` seconds ago: topics grow.

        Raises:
            UserError: there is no such topic, or no broker.
        """
        known = self._partitions.get(topic)
        if known is None or time.monotonic() - known[1] >= age_s:
            try:
                found = self.producer.list_topics(topic, timeout=ANSWER_S).topics[topic]
            except KafkaException as error:
                raise UserError(f"no answer from the broker ({error.args[0].str()})", SEE_DOCTOR) from None
            if found.error is not None:
                raise UserError(f"there is no topic {topic}", CREATE_TOPICS)
            known = self._partitions[topic] = len(found.partitions), time.monotonic()
        return known[0]

    def poll(self) -> None:
        """Serve delivery callbacks without sending anything."""
        self.producer.poll(0)

    def check(self) -> None:
        """Raise DeliveryError when a delivery failed since the last one was raised."""
        self._raise()

    def flush(self, limit_s: float = 30.0) -> None:
        """Wait until everything queued is on the broker.

        Raises:
            DeliveryError: a message failed, or was not acknowledged within `limit_s` seconds.
        """
        left = self.producer.flush(limit_s)
        self._raise()
        if left:
            raise DeliveryError(collections.Counter({("the broker", f"no answer within {limit_s:g} s"): left}))

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.flush()

    def _keep(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed(message.topic(), error.str())

    def _failed(self, topic: str, cause: str) -> None:
        with self._lock:
            self._failures[(topic, cause)] += 1

    def _raise(self) -> None:
        with self._lock:
            if not self._failures:
                return
            failures, self._failures = self._failures, collections.Counter()
        raise DeliveryError(failures)
