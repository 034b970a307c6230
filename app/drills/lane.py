"""Drills of the lane: its workers killed, paused, joined and left, its broker killed, its clock moved, under load."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.admin import ensure
from app.drills.clock import Clock
from app.drills.history import check_learners, check_transport
from app.drills.load import Load, Probes
from app.drills.processes import Worker
from app.drills.proxy import ProxiedKafka, Way
from app.drills.report import Report
from app.errors import UserError
from app.kafka import LocalKafka
from topics.telemetry import METRICS

WORKERS = 2
RECOVER_S = 60.0
CALM_S = 1.0  # of undisturbed work between two faults
ZOMBIE_S = 8.0  # longer than the group's session of six seconds


@dataclass
class Field:
    """Two workers of the lane on a Kafka of their own, under load."""

    folder: Path
    seed: int
    nodes: int = 1
    proxied: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        kafka = self.folder / "kafka"
        self.kafka = ProxiedKafka(kafka) if self.proxied else LocalKafka(kafka, self.nodes, heap_mb=384)
        self.kafka.start()
        self.broker = self.kafka.broker
        ensure(self.broker)
        self.workers = [self.worker() for _ in range(WORKERS)]
        self.probes = Probes(self.broker)
        self.load = Load(self.broker, self.seed).start()

    def worker(self) -> Worker:
        """One more worker, ready."""
        started = Worker("lane", self.broker, self.folder, self.environment)
        started.await_ready()
        return started

    def recovered(self, since: float) -> float:
        """Seconds from `since` until every partition moves. Raises UserError after a minute."""
        while not self.probes.all_since(max(since, time.monotonic() - 1.0)):
            if time.monotonic() - since > RECOVER_S:
                raise UserError(f"the partitions do not all go on after {RECOVER_S:g} s", f"Look at {self.folder}")
            time.sleep(0.02)
        return time.monotonic() - since

    def calm(self) -> None:
        """Let it work undisturbed, for a random while, so that faults meet every moment between two snapshots."""
        self.recovered(time.monotonic())
        time.sleep(CALM_S + self.rng.random())

    def finish(self, report: Report) -> None:
        """End the load, let the workers hand over and end, and hold what they kept against the log."""
        self.load.stop()
        time.sleep(1.5)
        self.recovered_backlog()
        report.figures["graceful_stop_s"] = round(max(worker.stop() for worker in self.workers), 3)
        self.probes.stop()
        check_transport(self.broker, self.load, self.probes, report)
        check_learners(self.broker, report)

    def recovered_backlog(self) -> None:
        """Return when the last acknowledged probes came out."""
        wanted = {name for name in self.load.acked if name.startswith("probe")}
        end = time.monotonic() + RECOVER_S
        while not wanted <= self.probes.seen.keys() and time.monotonic() < end:
            time.sleep(0.1)

    def close(self) -> None:
        self.load.stop()
        self.probes.stop()
        for worker in self.workers:
            worker.kill()
        self.kafka.stop()


@contextmanager
def opened(folder: Path, report: Report, **settings: object) -> Iterator[Field]:
    made = Field(folder, report.seed, **settings)  # type: ignore[arg-type]
    try:
        yield made
        made.finish(report)
    finally:
        made.close()


def _trials(field: Field, report: Report, trials: int, fault: Callable[[], float]) -> None:
    """Break something again and again; `fault` returns the moment from which recovery counts."""
    for _ in range(trials):
        field.calm()
        report.recoveries.append(field.recovered(fault()))
        report.trials += 1


def kill(folder: Path, report: Report, trials: int) -> None:
    """kill -9 one of two workers at a random moment, and start another."""
    with opened(folder, report) as field:

        def fault() -> float:
            number = field.rng.randrange(WORKERS)
            field.workers[number].kill()
            moment = time.monotonic()
            field.workers[number] = field.worker()
            return moment

        _trials(field, report, trials, fault)


def zombie(folder: Path, report: Report, trials: int) -> None:
    """Stop one of two workers for longer than its session, and let it go on."""
    with opened(folder, report) as field:

        def fault() -> float:
            worker = field.rng.choice(field.workers)
            worker.pause()
            moment = time.monotonic()
            time.sleep(ZOMBIE_S)
            taken_over = field.recovered(moment)
            report.figures["taken_over_s"] = round(max(taken_over, report.figures.get("taken_over_s", 0.0)), 3)
            worker.resume()
            return time.monotonic()

        _trials(field, report, trials, fault)
        report.check(all(worker.alive for worker in field.workers), "a worker ended instead of joining anew")


def join_leave(folder: Path, report: Report, trials: int) -> None:
    """A third worker joins, works, and leaves again by SIGTERM. The longest stall of any partition is kept."""
    with opened(folder, report) as field:

        def fault() -> float:
            moment = time.monotonic()
            third = field.worker()
            field.recovered(time.monotonic())
            third.stop()
            field.recovered(time.monotonic())
            now = time.monotonic()
            report.stall_s = max(report.stall_s, *(field.probes.gap(p, moment, now) for p in range(METRICS.partitions)))
            return now

        _trials(field, report, trials, fault)


def broker_kill(folder: Path, report: Report, trials: int) -> None:
    """kill -9 the only broker, and start it again: workers and load go on by themselves."""
    with opened(folder, report) as field:

        def fault() -> float:
            field.kafka.kill(1)
            moment = time.monotonic()
            time.sleep(0.5 + field.rng.random())
            field.kafka.start_node(1)
            return moment

        _trials(field, report, trials, fault)
        report.check(all(worker.alive for worker in field.workers), "a worker did not outlive its broker")


def one_of_three(folder: Path, report: Report, trials: int) -> None:
    """kill -9 one broker of three, let the others take over, start it again."""
    with opened(folder, report, nodes=3) as field:

        def fault() -> float:
            node = field.rng.choice(field.kafka.nodes).id
            field.kafka.kill(node)
            moment = time.monotonic()
            report.recoveries.append(field.recovered(moment + 0.2))
            field.kafka.start_node(node)
            time.sleep(8)
            return time.monotonic()

        _trials(field, report, trials, fault)


def network(folder: Path, report: Report, trials: int) -> None:
    """Cut, hold or slow down every connection to the broker, or lose its replies, for one to four seconds."""
    with opened(folder, report, proxied=True) as field:

        def fault() -> float:
            assert isinstance(field.kafka, ProxiedKafka)
            way = field.rng.choice([Way.CUT, Way.SILENT, Way.REPLY_LOST, Way.SLOW])
            field.kafka.proxy.set(way)
            time.sleep(field.rng.uniform(1.0, 4.0))
            field.kafka.proxy.set(Way.OPEN)
            report.figures[way] = report.figures.get(way, 0) + 1
            return time.monotonic()

        _trials(field, report, trials, fault)
        report.check(all(worker.alive for worker in field.workers), "a worker did not outlive the network")


def clock(folder: Path, report: Report, trials: int) -> None:
    """Move the wall clock of all workers by up to two hours, back and forth."""
    moved = Clock(folder)
    with opened(folder, report, environment=moved.environment) as field:

        def fault() -> float:
            moved.set(field.rng.uniform(-7200.0, 7200.0))
            return time.monotonic()

        _trials(field, report, trials, fault)
