"""The testbed of the lane's drills: workers on a Kafka of their own, under load."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from agents._snapshots import stores
from app.drills.history import check_learners, check_transport
from app.drills.load import Load, Probes, teach
from app.drills.processes import WorkerProcess, start_workers
from app.drills.report import Report
from app.errors import UserError
from app.kafka.admin import ensure
from app.kafka.broker import Broker, admin, consumer_config
from app.kafka.local import LocalKafka
from topics.state import LANE_STATE
from topics.telemetry import METRICS

RECOVER_S = 120.0
CALM_S = 1.0  # seconds of undisturbed work between two faults
HEAP_MB = 384

Cluster = Callable[[Path], LocalKafka]


def one_node(folder: Path) -> LocalKafka:
    """A Kafka of one node."""
    return LocalKafka(folder, heap_mb=HEAP_MB)


def three_nodes(folder: Path) -> LocalKafka:
    """A Kafka of three nodes."""
    return LocalKafka(folder, 3, heap_mb=HEAP_MB)


@dataclass
class LaneTestbed:
    """Workers of the lane on a Kafka of their own, under load."""

    folder: Path
    seed: int
    size: int = 2  # workers
    cluster: Cluster = one_node
    untidy: bool = False  # the load has repeated and late samples
    resent: bool = False  # the broker is broken too, so clients may send messages again
    taught: int = 0  # entities of ten metrics each that are learned before
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.kafka = self.cluster(self.folder / "kafka")
        self.workers: list[WorkerProcess] = []
        self.load: Load | None = None
        self.probes: Probes | None = None

    def start(self) -> None:
        """Start all. Raises UserError when something does not start; `close` then ends the rest."""
        self.kafka.start()
        self.broker = self.kafka.broker
        ensure(self.broker)
        teach(self.broker, self.taught)
        self.workers = self.start_workers(self.size)
        self.probes = Probes(self.broker)
        self.load = Load(self.broker, self.seed, untidy=self.untidy).start()

    def start_workers(self, count: int) -> list[WorkerProcess]:
        """Start `count` more workers and wait until they are ready."""
        return start_workers("lane", self.broker, self.folder, self.environment, count)

    def some(self, count: int) -> list[int]:
        """Indexes of `count` random workers."""
        return self.rng.sample(range(len(self.workers)), count)

    def await_recovery(self) -> None:
        """Wait until every partition was processed within the last second. Raises UserError when one is not."""
        assert self.probes
        probes = self.probes
        self._await(lambda: probes.all_since(time.monotonic() - 1.0), "move of every partition")

    def calm(self) -> None:
        """Wait for a random time, so that faults meet every moment between two snapshots."""
        self.await_recovery()
        time.sleep(CALM_S + self.rng.random())

    def stall(self, since: float) -> float:
        """The longest stall of any partition since then, in seconds."""
        return max(self.gaps(since).values())

    def gaps(self, since: float) -> dict[int, float]:
        """The longest stall of each partition since then, in seconds."""
        assert self.probes
        now = time.monotonic()
        return {partition: self.probes.gap(partition, since, now) for partition in range(METRICS.partitions)}

    def epochs(self) -> dict[int, int]:
        """The epoch of each partition's newest snapshot. Each new owner writes under a higher epoch."""
        client = consumer_config(self.broker, "")
        return {
            partition: max((s.epoch for s in stores(client, LANE_STATE, partition).values()), default=0)
            for partition in range(METRICS.partitions)
        }

    def await_in_sync(self) -> None:
        """Wait until every replica of every partition is in sync. Raises UserError when that takes too long."""
        self._await(lambda: all(len(p.isrs) == len(p.replicas) for p in partitions(self.broker)), "copies in sync")

    def await_offline(self, topic: str) -> None:
        """Wait until no partition of a topic has a leader. Raises UserError when that takes too long."""
        self._await(lambda: all(p.leader < 0 for p in partitions(self.broker, topic)), f"the end of {topic}")

    def await_stall(self, since: float) -> None:
        """Wait until no partition was processed for two seconds. Raises UserError when that takes too long."""
        probes = self.probes
        assert probes
        self._await(lambda: time.monotonic() - max(since, *(t[-1] for t in probes.times.values())) > 2.0, "a stall")

    def _await(self, so: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + RECOVER_S
        while time.monotonic() < end:
            with contextlib.suppress(KafkaException):
                if so():
                    return
            time.sleep(0.1)
        raise UserError(f"no {what} after {RECOVER_S:g} s", f"Look at {self.folder}")

    def lag(self) -> int:
        """The number of acknowledged probes without output."""
        assert self.load
        assert self.probes
        return self.load.probed - len(self.probes.seen)

    def finish(self, report: Report) -> None:
        """Stop the load and the workers, and check their snapshots against the log."""
        assert self.load
        assert self.probes
        self.load.stop()
        self._await_backlog(self.load, self.probes)
        time.sleep(2.5)  # a snapshot's period, so that the last samples are in a snapshot
        report.figures["graceful_stop_s"] = round(max(worker.stop() for worker in self.workers), 3)
        self.probes.stop()
        check_transport(self.broker, self.load, self.probes, report, resent=self.resent)
        check_learners(self.broker, report, untidy=self.untidy or report.figures["duplicated"] > 0)

    def _await_backlog(self, load: Load, probes: Probes) -> None:
        wanted = {name for name in load.acked if name.startswith("probe")}
        end = time.monotonic() + RECOVER_S
        while not wanted <= probes.seen.keys() and time.monotonic() < end:
            time.sleep(0.1)

    def close(self) -> None:
        """End load, workers and broker."""
        for running in (self.load, self.probes):
            if running is not None:
                running.stop()
        for worker in self.workers:
            worker.kill()
        self.kafka.stop()


def partitions(broker: Broker, topic: str | None = None) -> list[Any]:
    """The broker's metadata of partitions: leader, replicas, isrs."""
    client = admin(broker)
    found = client.list_topics(topic, timeout=10) if topic else client.list_topics(timeout=10)
    return [part for each in found.topics.values() for part in each.partitions.values()]


@contextmanager
def open_testbed(folder: Path, report: Report, **settings: object) -> Iterator[LaneTestbed]:
    """A testbed for one drill. At the end the snapshots of its workers are checked."""
    made = LaneTestbed(folder, report.seed, **settings)  # type: ignore[arg-type]
    try:
        made.start()
        yield made
        made.finish(report)
    finally:
        made.close()


def in_turn(field: LaneTestbed, report: Report, trials: int, fault: Callable[[int], float], at_once: int = 1) -> None:
    """Repeat `fault` until `trials` workers were broken, up to `at_once` at a time. Each is a trial.

    `fault(count)` breaks that many and returns the moment from which recovery is measured: the longest stall of any
    partition after it.
    """
    while report.trials < trials:
        count = min(at_once, trials - report.trials)
        field.calm()
        moment = fault(count)
        time.sleep(0.2)
        field.await_recovery()
        report.recoveries.append(field.stall(moment))
        report.trials += count
