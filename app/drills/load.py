"""Load with sequence numbers, and probes that show when each partition is processed.

A probe is a message that the lane refuses: it appears on the dead-letter topic as soon as its partition is processed,
and does not change what is learned.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from app.client import Publisher
from app.kafka.broker import Broker, producer_config, tail
from topics.codec import encode
from topics.frames import FrameBuilder
from topics.telemetry import METRICS, Sample

ENTITIES = 48
START_MS = 1_700_000_000_000
PROBE = b"probe "
TAUGHT = tuple(f"system.metric.{number}" for number in range(10))
TAUGHT_A_FRAME = 500  # entities in one frame
STEP_MS = 250  # ms of event time between two samples of one entity
REPEATED = LATE = 0.1  # shares of repeated and of late samples in an untidy load
LATEST_MS = 30_000


def teach(broker: Broker, entities: int) -> None:
    """Publish two samples of each of `entities` entities with ten metrics, for a large state of learners."""
    rng, each = np.random.default_rng(5), entities // METRICS.partitions
    with Publisher(broker) as publisher:
        for partition, first in itertools.product(range(METRICS.partitions), range(0, each, TAUGHT_A_FRAME)):
            frame = FrameBuilder()
            for moment, number in itertools.product(range(2), range(first, min(first + TAUGHT_A_FRAME, each))):
                values = dict(zip(TAUGHT, rng.normal(50, 5, len(TAUGHT)).tolist(), strict=True))
                frame.add(f"taught/{partition}/{number}", START_MS + moment * STEP_MS, values)
            publisher.send_raw(METRICS.name, b"taught", frame.take(), [("taught", b"")], partition)


@dataclass
class Load:
    """Publishes samples and probes to the metrics topic at a steady rate, until `stop`.

    untidy: a tenth of the samples is sent twice, and a tenth is up to 30 s of event time late.
    """

    broker: Broker
    seed: int
    untidy: bool = False
    rate: float = 400.0  # samples a second
    probes_s: float = 0.1  # seconds between two probes of one partition
    sent: Counter[str] = field(default_factory=Counter)  # times that each sample and probe was sent
    acked: set[str] = field(default_factory=set)  # samples and probes that the broker acknowledged at least once
    probed: int = 0  # probes that the broker acknowledged
    refused: int = 0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._rng = random.Random(self.seed)
        self._count = self._probes = 0
        self._held: list[tuple[int, int, bytes, bytes]] = []  # (due, number, key, value)
        self._producer = Producer(producer_config(self.broker))
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> Load:
        """Start to send, in a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop sending. Returns when every message was acknowledged or refused."""
        self._over.set()
        self._thread.join()
        self._producer.flush(60)

    def _run(self) -> None:
        began = probed = time.monotonic()
        while not self._over.wait(0.01):
            clock = time.monotonic()
            while self._count < (clock - began) * self.rate:
                self._send()
            if clock - probed >= self.probes_s:
                probed = clock
                self._probe()
            self._producer.poll(0)

    def _send(self) -> None:
        number, entity = divmod(self._count, ENTITIES)
        spike = 40.0 if self._rng.random() < 0.002 else 0.0
        metrics = {f"m{i}": self._rng.gauss(10 + i, 1) + spike for i in range(4)}
        message = encode(Sample(entity=f"drill/s{entity}/0", ts=START_MS + STEP_MS * number, metrics=metrics))
        for delay in self._delays():
            heapq.heappush(self._held, (self._count + delay, self._count, message.key, message.value))
        self._count += 1
        while self._held and self._held[0][0] < self._count:
            _, which, key, value = heapq.heappop(self._held)
            self._produce(key, value, None, f"sample {which}")

    def _delays(self) -> list[int]:
        """For each time that the next sample is sent: the number of other samples that are sent before it."""
        if not self.untidy:
            return [0]
        most = LATEST_MS // STEP_MS * ENTITIES
        late = self._rng.randrange(most) if self._rng.random() < LATE else 0
        return [late, self._rng.randrange(most)] if self._rng.random() < REPEATED else [late]

    def _probe(self) -> None:
        for partition in range(METRICS.partitions):
            name = f"probe {self._probes}"
            self._produce(b"probe", name.encode(), partition, name)
            self._probes += 1

    def _produce(self, key: bytes, value: bytes, partition: int | None, name: str) -> None:
        self.sent[name] += 1

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self.acked.add(name)
                self.probed += name.startswith("probe")
            else:
                self.refused += 1

        while True:
            try:
                self._producer.produce(
                    METRICS.name, value, key, -1 if partition is None else partition, on_delivery=delivered
                )
                return
            except BufferError:  # an outage: the queue is sent after it
                self._producer.poll(0.1)


class Probes:
    """Follows the probes on the dead-letter topic: when each partition was last processed, and which repeat."""

    def __init__(self, broker: Broker) -> None:
        self.seen: Counter[str] = Counter()
        self.order: dict[int, list[int]] = defaultdict(list)  # partition → probes in the order of their first output
        self.times: dict[int, list[float]] = defaultdict(list)
        self._over = threading.Event()
        self._messages = tail(broker, [METRICS.dlq], stop=self._over.is_set)
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for raw in self._messages:
            if raw.value is not None and raw.value.startswith(PROBE):
                name = raw.value.decode()
                partition = int(dict(raw.headers)["dlq_origin"].decode().rsplit("-", 2)[1])
                if name not in self.seen:
                    self.order[partition].append(int(name.removeprefix("probe ")))
                self.seen[name] += 1
                self.times[partition].append(time.monotonic())

    def all_since(self, moment: float) -> bool:
        """Whether every partition was processed since `moment`."""
        return all(self.times[p] and self.times[p][-1] > moment for p in range(METRICS.partitions))

    def gap(self, partition: int, begin: float, end: float) -> float:
        """The longest time within [begin, end] without a probe of the partition, in seconds."""
        within = [begin, *(t for t in self.times[partition] if begin <= t <= end), end]
        return max(later - earlier for earlier, later in itertools.pairwise(within))

    def stop(self) -> None:
        """Stop to follow."""
        self._over.set()
        self._thread.join(10)
