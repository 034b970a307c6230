"""What other programs import: `Telemetry` publishes measurements, `Publisher` publishes records.

Both raise DeliveryError when the broker did not take something.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping

from app.clock import now_ms
from app.kafka.broker import Broker, partition_of
from app.kafka.publisher import DeliveryError, Publisher
from topics.frames import CONTENT_TYPE, FrameBuilder
from topics.spec import Instant
from topics.telemetry import METRICS

__all__ = ["DeliveryError", "Publisher", "Telemetry"]

MOST_BYTES = 700_000  # of a frame: brokers take a megabyte


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
