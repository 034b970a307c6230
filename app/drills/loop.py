"""Drills of the loop: workers are killed and paused, and disks fill, while anomalies become commands."""

from __future__ import annotations

import bisect
import heapq
import itertools
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from app.client import Publisher
from app.clock import now_ms
from app.drills.disk import SmallKafka
from app.drills.processes import WorkerProcess, start_workers
from app.drills.report import Report
from app.drills.testbed import Cluster, one_node, partitions
from app.errors import UserError
from app.history.records import records
from app.kafka.admin import ensure
from app.kafka.broker import partition_of, tail
from models.safety.chain import verify
from topics.actions import COMMANDS, SignedCommand
from topics.audit import AUDIT, AuditEntry
from topics.codec import decode
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.signals import Anomaly, Contribution
from topics.spec import PARTITIONS, derive, system_of

EVERY_S = 0.5  # seconds between new incidents, none of which ends
RECOVER_S = 120.0
ZOMBIE_S = 7.5  # seconds; longer than the group's session of six seconds
CROWD = 4  # workers, of which up to all but one are broken at once
LATE_S = 5.0  # seconds by which the repeat of an anomaly may be late
AFTER = 2 * PARTITIONS  # incidents after a fault that must lead to commands before the next fault
MOST_OPEN = 40  # anomalies without a command; at this number sending pauses, so that a busy machine can catch up
AUTONOMOUS = {
    "OPSLOOP_SAFETY__MODE": "autonomous",
    "OPSLOOP_SAFETY__PER_SITE": "100000",
    "OPSLOOP_SAFETY__STALE_MS": "3600000",  # else incidents that waited for a new owner are too old to act on
}


class LoopTestbed:
    """Workers of the loop on a Kafka of their own, and a sequence of incidents, each of another system."""

    def __init__(self, folder: Path, report: Report, *, untidy: bool = False, cluster: Cluster = one_node) -> None:
        """untidy: a tenth of the anomalies is sent again, seconds later."""
        self.untidy = untidy
        self.folder, self.report = folder, report
        self.rng = random.Random(report.seed)
        self.kafka = cluster(folder / "kafka")
        self.workers: list[WorkerProcess] = []
        self.sent: list[str] = []
        self.began: list[float] = []  # when each was sent
        self.commands: dict[str, set[str]] = defaultdict(set)  # system → ids of its commands
        self.first: dict[str, float] = {}  # system → when its first command came
        self._over, self._closed = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=run, name=run.__name__, daemon=True) for run in (self._send, self._follow)
        ]

    def start(self) -> None:
        """Start all. Raises UserError when something does not start; `close` then ends the rest."""
        self.kafka.start()
        ensure(self.kafka.broker)
        self.workers = self.start_workers(CROWD)
        self._messages = tail(self.kafka.broker, [COMMANDS.name], stop=self._closed.is_set)
        for thread in self._threads:
            thread.start()

    def start_workers(self, count: int) -> list[WorkerProcess]:
        """Start `count` more workers and wait until they are ready."""
        return start_workers("loop", self.kafka.broker, self.folder, AUTONOMOUS, count)

    def _send(self) -> None:
        repeats: list[tuple[float, int, Anomaly]] = []  # (due, number, anomaly)
        systems = _systems()
        with Publisher(self.kafka.broker) as publisher:
            while not self._over.wait(EVERY_S):
                if len(self.sent) - len(self.commands) > MOST_OPEN:
                    continue
                system, began = next(systems), time.monotonic()
                anomaly = _anomaly(f"{system}/catalog/0")
                publisher.send(anomaly)
                if self.untidy and self.rng.random() < 0.1:
                    due = time.monotonic() + self.rng.uniform(0.0, LATE_S)
                    heapq.heappush(repeats, (due, len(self.sent), anomaly))
                while repeats and repeats[0][0] < time.monotonic():
                    publisher.send(heapq.heappop(repeats)[2])
                    self.report.figures["repeats"] = self.report.figures.get("repeats", 0) + 1
                publisher.flush(RECOVER_S)  # long enough for an outage of the broker
                self.began.append(began)
                self.sent.append(system)

    def _follow(self) -> None:
        for raw in self._messages:
            order = decode(raw).record
            if isinstance(order, SignedCommand):
                system = system_of(order.target)
                self.first.setdefault(system, time.monotonic())
                self.commands[system].add(order.id)

    def await_commands(self, count: int) -> None:
        """Wait until the first `count` systems have a command. Raises UserError when that takes too long."""
        end = time.monotonic() + RECOVER_S
        while len(self.sent) < count or not set(self.sent[:count]) <= self.commands.keys():
            if time.monotonic() > end:
                missing = [system for system in self.sent[:count] if system not in self.commands]
                raise UserError(f"no command for {missing[:5]} after {RECOVER_S:g} s", f"Look at {self.folder}")
            time.sleep(0.05)

    def await_recovery(self, moment: float) -> None:
        """Record the seconds from `moment` until every partition made commands of later incidents; check all came."""
        before = bisect.bisect(self.began, moment)
        self.await_commands(before + AFTER)
        after = self.sent[before : before + AFTER]  # two of each partition
        firsts = [min(self.first[system] for system in after[place::PARTITIONS]) for place in range(PARTITIONS)]
        self.report.recoveries.append(max(firsts) - moment)
        caught_up = max(self.first[system] for system in after) - moment
        self.report.figures["caught_up_max_s"] = round(max(self.report.figures.get("caught_up_max_s", 0), caught_up), 3)

    def finish(self) -> None:
        """Wait for all commands, stop the workers, and check commands, decisions and audit."""
        self._over.set()
        self._threads[0].join()
        report = self.report
        self.await_commands(len(self.sent))
        for worker in self.workers:
            worker.stop()
        for system in self.sent:
            ids = self.commands[system]
            report.check(len(ids) <= 1, f"{system} has {len(ids)} commands")
        self._contents()
        entries = [r.record for r in records(self.kafka.broker, [AUDIT]) if isinstance(r.record, AuditEntry)]
        broken = verify(entries)
        report.check(not broken, f"the audit chain is broken: {broken[:2]}")
        kept = {entry.origin for entry in entries}
        left_out = [r.origin for r in records(self.kafka.broker, [COMMANDS]) if str(r.origin) not in kept]
        report.check(not left_out, f"{len(left_out)} commands are not in the audit: {left_out[:2]}")
        report.figures |= {"incidents": len(self.sent), "audited": len(entries)}

    def _contents(self) -> None:
        """Check I4 and I5: one incident for each system, and repeated records of a decision's state are equal."""
        incidents: dict[str, set[str]] = defaultdict(set)
        states: dict[tuple[str, str], set[bytes]] = defaultdict(set)
        for read in records(self.kafka.broker, [INCIDENTS, DECISIONS]):
            if isinstance(read.record, Incident):
                incidents[system_of(read.record.entity)].add(read.record.id)
            elif isinstance(read.record, Decision):
                proposal = read.record.proposal
                said = (proposal.action, proposal.target, proposal.parameters, read.record.command)
                states[read.record.id, read.record.state].add(msgspec.json.encode(said))
        for system in self.sent:
            self.report.check(len(incidents[system]) == 1, f"{system} has {len(incidents[system])} incidents")
        for (identity, state), contents in states.items():
            self.report.check(len(contents) == 1, f"decision {identity} has {len(contents)} contents as {state}")

    def close(self) -> None:
        """End workers, load and broker."""
        self._over.set()
        self._closed.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        for worker in self.workers:
            worker.kill()
        self.kafka.stop()


def _systems() -> Iterator[str]:
    """Names of systems, with keys on one partition after the other."""
    for number in itertools.count():
        names = (f"drill{number}-{attempt}" for attempt in itertools.count())
        yield next(name for name in names if partition_of(name.encode(), PARTITIONS) == number % PARTITIONS)


def _anomaly(entity: str) -> Anomaly:
    now = now_ms()
    return Anomaly(
        id=derive("anomaly", entity, "drill"), entity=entity, ts=now, state="raised", kind="point", score=9.0,
        grade="critical", confidence=0.99, metric="up.refused", direction="up", value=1.0, expected=0.0, low=0.0,
        high=0.0, onset=now, attribution=(Contribution("up.refused", 99.0, 1.0, 0.0),), detector="drill",
        detector_version=1, evidence="opsloop.telemetry.metrics-0-0",
    )  # fmt: skip


def _drill(
    field: LoopTestbed, trials: int, fault: Callable[[LoopTestbed, list[int]], float], at_once: int = CROWD - 1
) -> None:
    report = field.report
    try:
        field.start()
        while report.trials < trials:
            time.sleep(1.0 + field.rng.random())
            places = field.rng.sample(range(CROWD), min(at_once, trials - report.trials))
            moment = fault(field, places)
            field.await_recovery(moment)
            report.trials += len(places)
        field.finish()
    finally:
        field.close()


def _kill(field: LoopTestbed, places: list[int]) -> float:
    for place in places:
        field.workers[place].kill()
    moment = time.monotonic()
    for place, worker in zip(places, field.start_workers(len(places)), strict=True):
        field.workers[place] = worker
    return moment


def kill(folder: Path, report: Report, trials: int) -> None:
    """Kill up to three of four workers of the loop with SIGKILL while incidents come, and start others."""
    _drill(LoopTestbed(folder, report), trials, _kill)


def duplicates(folder: Path, report: Report, trials: int) -> None:
    """Send a tenth of all anomalies twice, the second time up to five seconds late, and kill workers in between."""
    _drill(LoopTestbed(folder, report, untidy=True), trials, _kill)


def zombie(folder: Path, report: Report, trials: int) -> None:
    """Pause up to three of four workers of the loop beyond their session, and resume them. They end; others start."""

    def fault(field: LoopTestbed, places: list[int]) -> float:
        asleep = [field.workers[place] for place in places]
        for worker in asleep:
            worker.pause()
        moment = time.monotonic()
        time.sleep(ZOMBIE_S)
        for worker in asleep:
            worker.resume()
        end = time.monotonic() + 20
        while any(worker.alive for worker in asleep) and time.monotonic() < end:
            time.sleep(0.05)
        report.check(not any(worker.alive for worker in asleep), "a worker that slept beyond its session went on")
        for place, worker in zip(places, field.start_workers(len(places)), strict=True):
            field.workers[place].stop()
            field.workers[place] = worker
        return moment

    _drill(LoopTestbed(folder, report), trials, fault)


def audit_full(folder: Path, report: Report, trials: int) -> None:
    """Fill the disk of the audit topic, make room, and restart the broker and the workers that have ended."""
    kafka = SmallKafka(folder / "kafka", (AUDIT,))

    def fault(field: LoopTestbed, _: list[int]) -> float:
        kafka.disk.fill(0)
        end = time.monotonic() + RECOVER_S
        while any(part.leader >= 0 for part in partitions(kafka.broker, AUDIT.name)) and time.monotonic() < end:
            time.sleep(0.2)
        report.check(time.monotonic() < end, "the audit's disk was never full")
        time.sleep(5.0)
        moment = time.monotonic()
        kafka.restart()
        ended = [place for place, worker in enumerate(field.workers) if not worker.alive]
        report.figures["workers_ended"] = report.figures.get("workers_ended", 0) + len(ended)
        for place, worker in zip(ended, field.start_workers(len(ended)), strict=True):
            field.workers[place] = worker
        return moment

    _drill(LoopTestbed(folder, report, cluster=lambda _: kafka), trials, fault, at_once=1)
