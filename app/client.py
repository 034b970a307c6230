"""Publishing: records to their topics, with every failed delivery brought to the caller."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import CREATE_TOPICS, SEE_DOCTOR, Broker, partition_of, producer_config
from topics.codec import DeadLetter, encode
from topics.frames import CONTENT_TYPE, FrameBuilder
from topics.spec import Instant, Record, Topic
from topics.telemetry import METRICS

Header = tuple[str, bytes]
OnDelivery = Callable[[KafkaError | None, Message], None]

MOST_BYTES = 700_000  # of a frame: brokers take a megabyte
ANSWER_S = 10.0
FULL_S = 30.0  # how long a full queue may hold up a caller


class DeliveryError(UserError):
    """Messages that the broker did not take. They are lost unless the caller has them still."""

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
        config = producer_config(broker, compression=compression, on_error=on_error) | (settings or {})
        self.producer = Producer(config)
        self._on_delivery = on_delivery or self._keep
        self._failures: collections.Counter[tuple[str, str]] = collections.Counter()
        self._lock = threading.Lock()
        self._partitions: dict[str, int] = {}

    def send(self, record: Record | DeadLetter, topic: Topic | None = None) -> None:
        """Queue a record for its topic: to every partition when the topic is a broadcast.

        `topic` chooses among the topics that share a record (the snapshots).
        """
        if isinstance(record, DeadLetter):
            self.send_raw(record.topic, record.raw.key, record.raw.value, record.headers)
            return
        message = encode(record, topic)
        name = message.topic.name
        places: Iterable[int | None] = range(self.partitions(name)) if message.topic.broadcast else (None,)
        for partition in places:
            self.send_raw(name, message.key, message.value, message.headers, partition)

    def send_raw(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Iterable[Header] = (),
        partition: int | None = None, timestamp: Instant = 0,
    ) -> None:  # fmt: skip
        """Queue a message as it is; `timestamp` 0 is now. Waits while the queue is full.

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
        """Like `send_raw`, but a failure, of this message too, waits for the next call that raises. Whether it fit."""
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

    def partitions(self, topic: str) -> int:
        """How many partitions the broker has for `topic`; asked once.

        Raises:
            UserError: there is no such topic, or no broker.
        """
        if topic not in self._partitions:
            try:
                found = self.producer.list_topics(topic, timeout=ANSWER_S).topics[topic]
            except KafkaException as error:
                raise UserError(f"no answer from the broker ({error.args[0].str()})", SEE_DOCTOR) from None
            if found.error is not None:
                raise UserError(f"there is no topic {topic}", CREATE_TOPICS)
            self._partitions[topic] = len(found.partitions)
        return self._partitions[topic]

    def poll(self) -> None:
        """Let delivery reports through without sending anything."""
        self.producer.poll(0)

    def check(self) -> None:
        """Raises DeliveryError when something failed since it was last raised."""
        self._raise()

    def flush(self, limit_s: float = 30.0) -> None:
        """Wait until everything queued is on the broker.

        Raises:
            DeliveryError: something is not, after `limit_s` seconds or for good.
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


class Telemetry:
    """Publishes measurements of any number of entities, many in one columnar frame.

    `record` keeps what it is given for at most `linger_s`, or until `most` values are waiting. One frame holds entities
    of one partition, so that a worker owns each entity wherever it is sent from. May be used by several threads.

        with Telemetry("127.0.0.1:9092") as telemetry:
            telemetry.record("web-1", {"system.cpu.utilization": 0.42})

    Leaving the `with` (or `close`) sends the rest and returns when the broker has all of it.
    """

    def __init__(self, broker: Broker | str, *, linger_s: float = 0.25, most: int = 20_000) -> None:
        """`broker`: bootstrap servers, with the OPSLOOP_KAFKA_* settings; or how to connect, in full."""
        self._publisher = Publisher(Broker.from_environment(broker) if isinstance(broker, str) else broker)
        self._linger, self._most = linger_s, most
        self._frames: dict[int, FrameBuilder] = collections.defaultdict(FrameBuilder)
        self._waiting: set[int] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._sender = threading.Thread(target=self._send_in_time, name="telemetry", daemon=True)
        self._sender.start()

    def record(self, entity: str, metrics: Mapping[str, float], ts: Instant | None = None) -> None:
        """Measurements of `entity` at `ts` (ms; now when not given).

        Raises:
            DeliveryError: an earlier frame was not taken. These measurements are queued all the same.
            ValueError: a name is empty, too long or one too many, or there is no metric; or it is closed.
            TypeError: a value is no number.
            UserError: there is no broker, or it has no such topic.
        """
        partition = partition_of(entity.encode(), self._publisher.partitions(METRICS.name))
        with self._lock:
            if self._closed.is_set():
                raise ValueError("this telemetry is closed")
            frame = self._frames[partition]
            frame.add(entity, now_ms() if ts is None else ts, metrics)
            self._waiting.add(partition)
            if frame.values >= self._most or frame.size >= MOST_BYTES:
                self._send(partition)
        self._publisher.check()

    def flush(self, limit_s: float = 30.0) -> None:
        """Send what is waiting, and wait until the broker has it. Raises DeliveryError: after `limit_s` too."""
        self._send_all()
        self._publisher.flush(limit_s)

    def close(self) -> None:
        """Flush, and take no more. Raises DeliveryError."""
        with self._lock:
            self._closed.set()
        self._sender.join()
        self.flush()

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()

    def _send_in_time(self) -> None:
        while not self._closed.wait(self._linger):
            self._send_all()
            self._publisher.poll()

    def _send_all(self) -> None:
        with self._lock:
            for partition in list(self._waiting):
                self._send(partition)

    def _send(self, partition: int) -> None:
        """Queue a frame, whatever became of those before it. One whose names alone are long begins them anew."""
        self._waiting.discard(partition)
        frame = self._frames[partition]
        value = frame.take()
        if frame.size >= MOST_BYTES / 2:
            del self._frames[partition]
        self._publisher.queue(METRICS.name, b"frame", value, [("content-type", CONTENT_TYPE)], partition)
