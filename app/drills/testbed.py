"""Where the drills of the lane take place: workers on a Kafka of their own, under load."""

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
CALM_S = 1.0  # of undisturbed work between two faults
HEAP_MB = 384

Cluster = Callable[[Path], LocalKafka]


def one_node(folder: Path) -> LocalKafka:
    return LocalKafka(folder, heap_mb=HEAP_MB)


def three_nodes(folder: Path) -> LocalKafka:
    return LocalKafka(folder, 3, heap_mb=HEAP_MB)


@dataclass
class LaneTestbed:
    """Some workers of the lane on a Kafka of their own, under load."""

    folder: Path
    seed: int
    size: int = 2  # workers
    cluster: Cluster = one_node
    untidy: bool = False  # the load repeats itself and comes out of order
    resent: bool = False  # the broker is broken too, and so clients may send again what they have sent
    taught: int = 0  # entities of ten metrics each that are known before
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.kafka = self.cluster(self.folder / "kafka")
        self.workers: list[WorkerProcess] = []
        self.load: Load | None = None
        self.probes: Probes | None = None

    def start(self) -> None:
        """Raises UserError when something does not start; `close` ends what did."""
        self.kafka.start()
        self.broker = self.kafka.broker
        ensure(self.broker)
        teach(self.broker, self.taught)
        self.workers = self.start_workers(self.size)
        self.probes = Probes(self.broker)
        self.load = Load(self.broker, self.seed, untidy=self.untidy).start()

    def start_workers(self, count: int) -> list[WorkerProcess]:
        """So many more workers, ready."""
        return start_workers("lane", self.broker, self.folder, self.environment, count)

    def some(self, count: int) -> list[int]:
        """Places of so many workers, drawn."""
        return self.rng.sample(range(len(self.workers)), count)

    def await_recovery(self) -> None:
        """Return when every partition has moved within the last second. Raises UserError when one does not."""
        assert self.probes
        probes = self.probes
        self._await(lambda: probes.all_since(time.monotonic() - 1.0), "move of every partition")

    def calm(self) -> None:
        """Let it work undisturbed, for a random while, so that faults meet every moment between two snapshots."""
        self.await_recovery()
        time.sleep(CALM_S + self.rng.random())

    def stall(self, since: float) -> float:
        """The longest that any partition stood still since then, in seconds."""
        return max(self.gaps(since).values())

    def gaps(self, since: float) -> dict[int, float]:
        """By partition, the longest that it stood still since then, in seconds."""
        assert self.probes
        now = time.monotonic()
        return {partition: self.probes.gap(partition, since, now) for partition in range(METRICS.partitions)}

    def epochs(self) -> dict[int, int]:
        """By partition, how many owners have kept something of it: each new one writes under a higher number."""
        client = consumer_config(self.broker, "")
        return {
            partition: max((s.epoch for s in stores(client, LANE_STATE, partition).values()), default=0)
            for partition in range(METRICS.partitions)
        }

    def await_in_sync(self) -> None:
        """Return when every copy of every partition is up to date. Raises UserError when that takes too long."""
        self._await(lambda: all(len(p.isrs) == len(p.replicas) for p in partitions(self.broker)), "copies in sync")

    def await_offline(self, topic: str) -> None:
        """Return when no partition of a topic has a leader. Raises UserError when that takes too long."""
        self._await(lambda: all(p.leader < 0 for p in partitions(self.broker, topic)), f"the end of {topic}")

    def await_stall(self, since: float) -> None:
        """Return when nothing has moved for two seconds. Raises UserError when that takes too long."""
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
        """How many probes the broker has that have not come out."""
        assert self.load
        assert self.probes
        return self.load.probed - len(self.probes.seen)

    def finish(self, report: Report) -> None:
        """End the load, let the workers hand over and end, and hold what they kept against the log."""
        assert self.load
        assert self.probes
        self.load.stop()
        self._await_backlog(self.load, self.probes)
        time.sleep(2.5)  # a snapshot's period: the last samples are in one, or in the one at the end
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
        for running in (self.load, self.probes):
            if running is not None:
                running.stop()
        for worker in self.workers:
            worker.kill()
        self.kafka.stop()


def partitions(broker: Broker, topic: str | None = None) -> list[Any]:
    """What the broker tells of its partitions: leader, replicas, isrs."""
    client = admin(broker)
    found = client.list_topics(topic, timeout=10) if topic else client.list_topics(timeout=10)
    return [part for each in found.topics.values() for part in each.partitions.values()]


@contextmanager
def open_testbed(folder: Path, report: Report, **settings: object) -> Iterator[LaneTestbed]:
    """A field for one drill; what its workers kept is checked at the end."""
    made = LaneTestbed(folder, report.seed, **settings)  # type: ignore[arg-type]
    try:
        made.start()
        yield made
        made.finish(report)
    finally:
        made.close()


def in_turn(field: LaneTestbed, report: Report, trials: int, fault: Callable[[int], float], at_once: int = 1) -> None:
    """Break things again and again, up to `at_once` together, each of which is a trial.

    `fault` is told how many, and returns the moment from which recovery counts: how long any partition stood still
    after it.
    """
    while report.trials < trials:
        count = min(at_once, trials - report.trials)
        field.calm()
        moment = fault(count)
        time.sleep(0.2)
        field.await_recovery()
        report.recoveries.append(field.stall(moment))
        report.trials += count
