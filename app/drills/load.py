"""Load with sequence numbers, and probes that show on every partition when it moves.

A probe is a message that the lane refuses: it comes out on the dead-letter topic as soon as its partition is worked on,
and leaves no trace in what is learned.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message, Producer

from app.broker import Broker, producer_config, tail
from topics.codec import encode
from topics.telemetry import METRICS, Sample

ENTITIES = 48
START_MS = 1_700_000_000_000
PROBE = b"probe "


@dataclass
class Load:
    """Samples and probes onto the metrics topic at a steady rate, until `stop`."""

    broker: Broker
    seed: int
    rate: float = 400.0  # samples a second
    probes_s: float = 0.1  # between two probes of one partition
    acked: set[str] = field(default_factory=set)  # of each sample and probe that the broker has
    refused: int = 0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._rng = random.Random(self.seed)
        self._sent = self._probes = 0
        self._producer = Producer(producer_config(self.broker))
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> Load:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Return when everything that was sent is acknowledged, or was refused."""
        self._over.set()
        self._thread.join()
        self._producer.flush(60)

    def _run(self) -> None:
        began = probed = time.monotonic()
        while not self._over.wait(0.01):
            clock = time.monotonic()
            while self._sent < (clock - began) * self.rate:
                self._send()
            if clock - probed >= self.probes_s:
                probed = clock
                self._probe()
            self._producer.poll(0)

    def _send(self) -> None:
        number, entity = divmod(self._sent, ENTITIES)
        spike = 40.0 if self._rng.random() < 0.002 else 0.0
        metrics = {f"m{i}": self._rng.gauss(10 + i, 1) + spike for i in range(4)}
        message = encode(Sample(entity=f"drill/s{entity}/0", ts=START_MS + 250 * number, metrics=metrics))
        self._produce(message.key, message.value, None, f"sample {self._sent}")
        self._sent += 1

    def _probe(self) -> None:
        for partition in range(METRICS.partitions):
            name = f"probe {self._probes}"
            self._produce(b"probe", name.encode(), partition, name)
            self._probes += 1

    def _produce(self, key: bytes, value: bytes, partition: int | None, name: str) -> None:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self.acked.add(name)
            else:
                self.refused += 1

        while True:
            try:
                self._producer.produce(
                    METRICS.name, value, key, -1 if partition is None else partition, on_delivery=delivered
                )
                return
            except BufferError:  # an outage: what waits is sent when it is over
                self._producer.poll(0.1)


class Probes:
    """Follows the probes through the dead-letter topic: when each partition was last seen to move, and what repeats."""

    def __init__(self, broker: Broker) -> None:
        self.seen: Counter[str] = Counter()
        self.times: dict[int, list[float]] = defaultdict(list)
        self._over = threading.Event()
        self._messages = tail(broker, [METRICS.dlq], stop=self._over.is_set)
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for raw in self._messages:
            if raw.value is not None and raw.value.startswith(PROBE):
                self.seen[raw.value.decode()] += 1
                origin = dict(raw.headers)["dlq_origin"].decode()
                self.times[int(origin.rsplit("-", 2)[1])].append(time.monotonic())

    def all_since(self, moment: float) -> bool:
        """Whether every partition has moved since `moment`."""
        return all(self.times[p] and self.times[p][-1] > moment for p in range(METRICS.partitions))

    def gap(self, partition: int, begin: float, end: float) -> float:
        """The longest time within [begin, end] in which a partition did not move, in seconds."""
        within = [begin, *(t for t in self.times[partition] if begin <= t <= end), end]
        return max(later - earlier for earlier, later in itertools.pairwise(within))

    def stop(self) -> None:
        self._over.set()
        self._thread.join(10)
