"""Drills of the loop: its workers killed and paused while anomalies become commands."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import msgspec

from app.admin import ensure
from app.client import Publisher
from app.clock import now_ms
from app.drills.processes import Worker
from app.drills.report import Report
from app.errors import UserError
from app.kafka import LocalKafka
from app.story import records
from models.safety.chain import verify
from topics.actions import COMMANDS, Order
from topics.audit import AUDIT, Entry
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.signals import Anomaly, Contribution
from topics.spec import derive, system_of

EVERY_S = 0.25  # a new incident so often
RECOVER_S = 60.0
ZOMBIE_S = 8.0
AFTER = 12  # incidents that begin after a fault: of systems on all partitions, so that all have to be taken over
AUTONOMOUS = {"OPSLOOP_SAFETY__MODE": "autonomous", "OPSLOOP_SAFETY__PER_SITE": "100000"}


class Field:
    """Two workers of the loop on a Kafka of their own, and one incident of a system of its own after the other."""

    def __init__(self, folder: Path, report: Report) -> None:
        self.folder, self.report = folder, report
        self.rng = random.Random(report.seed)
        self.kafka = LocalKafka(folder / "kafka", heap_mb=384)
        self.kafka.start()
        ensure(self.kafka.broker)
        self.workers = [self.worker(), self.worker()]
        self.sent: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def worker(self) -> Worker:
        started = Worker("loop", self.kafka.broker, self.folder, AUTONOMOUS)
        started.await_ready()
        return started

    def _run(self) -> None:
        with Publisher(self.kafka.broker) as publisher:
            while not self._over.wait(EVERY_S):
                system = f"drill{len(self.sent)}"
                publisher.send(_anomaly(f"{system}/catalog/0"))
                publisher.flush()
                self.sent.append(system)

    def commanded(self) -> dict[str, set[str]]:
        """The ids of the commands of each system."""
        found: dict[str, set[str]] = defaultdict(set)
        for read in records(self.kafka.broker, [COMMANDS]):
            if isinstance(read.record, Order):
                found[system_of(read.record.target)].add(read.record.id)
        return found

    def await_commands(self, systems: list[str]) -> bool:
        """Whether each has a command within a minute."""
        end = time.monotonic() + RECOVER_S
        while time.monotonic() < end:
            if set(systems) <= self.commanded().keys():
                return True
            time.sleep(0.2)
        return False

    def finish(self) -> None:
        self._over.set()
        self._thread.join()
        report = self.report
        report.check(self.await_commands(self.sent), "not every incident has led to a command")
        for worker in self.workers:
            worker.stop()
        for system in self.sent:
            ids = self.commanded()[system]
            report.check(len(ids) <= 1, f"{system} has {len(ids)} commands")
        self._contents()
        entries = [r.record for r in records(self.kafka.broker, [AUDIT]) if isinstance(r.record, Entry)]
        broken = verify(entries)
        report.check(not broken, f"the audit chain is broken: {broken[:2]}")
        report.figures |= {"incidents": len(self.sent), "audited": len(entries)}

    def _contents(self) -> None:
        """I4, I5: one incident a system; one content of each state of a decision, whenever it was said."""
        incidents: dict[str, set[str]] = defaultdict(set)
        states: dict[tuple[str, str], set[bytes]] = defaultdict(set)
        for read in records(self.kafka.broker, [INCIDENTS, DECISIONS]):
            if isinstance(read.record, Incident):
                incidents[system_of(read.record.entity)].add(read.record.id)
            elif isinstance(read.record, Decision):
                wish = read.record.proposal
                said = (wish.action, wish.target, wish.parameters, read.record.command)
                states[read.record.id, read.record.state].add(msgspec.json.encode(said))
        for system in self.sent:
            self.report.check(len(incidents[system]) == 1, f"{system} has {len(incidents[system])} incidents")
        for (identity, state), contents in states.items():
            self.report.check(len(contents) == 1, f"decision {identity} has {len(contents)} contents as {state}")

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        for worker in self.workers:
            worker.kill()
        self.kafka.stop()


def _anomaly(entity: str) -> Anomaly:
    now = now_ms()
    return Anomaly(
        id=derive("anomaly", entity, "drill"), entity=entity, ts=now, state="raised", kind="point", score=9.0,
        grade="critical", confidence=0.99, metric="up.refused", direction="up", value=1.0, expected=0.0, low=0.0,
        high=0.0, onset=now, attribution=(Contribution("up.refused", 99.0, 1.0, 0.0),), detector="drill",
        detector_version=1, evidence="opsloop.telemetry.metrics-0-0",
    )  # fmt: skip


def _drill(folder: Path, report: Report, trials: int, fault: Callable[[Field], float]) -> None:
    field = Field(folder, report)
    try:
        for _ in range(trials):
            time.sleep(1.0 + field.rng.random())
            before = len(field.sent)
            moment = fault(field)
            while len(field.sent) < before + AFTER:
                time.sleep(0.02)
            if not field.await_commands(field.sent[: before + AFTER]):
                raise UserError(f"no command after {RECOVER_S:g} s", f"Look at {folder}")
            report.recoveries.append(time.monotonic() - moment)
            report.trials += 1
        field.finish()
    finally:
        field.close()


def kill(folder: Path, report: Report, trials: int) -> None:
    """kill -9 one of two workers of the loop while incidents come, and start another."""

    def fault(field: Field) -> float:
        number = field.rng.randrange(len(field.workers))
        field.workers[number].kill()
        moment = time.monotonic()
        field.workers[number] = field.worker()
        return moment

    _drill(folder, report, trials, fault)


def zombie(folder: Path, report: Report, trials: int) -> None:
    """Stop one of two workers of the loop beyond its session, and let it go on: it ends, and another is started."""

    def fault(field: Field) -> float:
        number = field.rng.randrange(len(field.workers))
        field.workers[number].pause()
        moment = time.monotonic()
        time.sleep(ZOMBIE_S)
        field.workers[number].resume()
        end = time.monotonic() + 10
        while field.workers[number].alive and time.monotonic() < end:
            time.sleep(0.05)
        report.check(not field.workers[number].alive, "a worker that slept beyond its session went on")
        field.workers[number].stop()
        field.workers[number] = field.worker()
        return moment

    _drill(folder, report, trials, fault)
