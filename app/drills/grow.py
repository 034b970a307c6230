"""A drill of growing: what is decided next, and how the next samples score, is the same as if nothing had grown."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from agents._agent import Agent
from agents._partition import PartitionState
from agents._state import Stateful
from agents.attest import Attest
from agents.record import AuditWriter
from app import pipeline
from app.client import Publisher
from app.clock import now_ms
from app.drills.processes import WorkerProcess, start_workers
from app.drills.report import Report
from app.errors import UserError
from app.history.audit import examine
from app.history.records import records
from app.kafka.admin import connected, ensure
from app.kafka.broker import Broker, partition_of
from app.kafka.families import FAMILIES
from app.kafka.grow import Job, grow, left_over
from app.kafka.local import LocalKafka
from app.kafka.settings import TopicsSettings
from app.kafka.split import LaneStates, LoopStates, lane_name
from app.runtime.drivers import client_config
from app.security.keys import WORKER, keys_of
from app.settings import Settings
from app.system import Parts
from app.testing import MemoryLoop
from models.safety.modes import Mode
from models.safety.roles import Role
from models.safety.settings import SafetySettings
from models.safety.signing import sign_proposal, sign_setting, sign_vote
from topics.actions import COMMANDS, Command, Result, SignedCommand
from topics.approvals import Approval, subject
from topics.audit import AUDIT, AuditEntry, Checkpoint
from topics.catalog import topic_of
from topics.chunk import chunk_of
from topics.codec import encode
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.incidents import INCIDENTS, Incident, State
from topics.proposals import Proposal
from topics.settings import Setting
from topics.signals import Anomaly, Contribution
from topics.spec import Instant, Raw, Record, Topic, derive, system_of
from topics.telemetry import METRICS, Sample

BEFORE, AFTER = 2, 4  # partitions
WAIT_S: Final = 90.0
AHEAD_S: Final = 40.0  # of counted time in which decisions are compared
ENTITIES: Final = 12
TAUGHT: Final = 120  # samples of each entity before the partitions grow
NEXT: Final = 30  # samples of each afterwards, of which the last ones are far off
KINDS: Final = ("acted", "helped", "failed", "asked")  # how far the system's incident or proposal has come
SAFETY: Final = SafetySettings(mode=Mode.AUTONOMOUS, stale_ms=3_600_000)
ENVIRONMENT: Final = {"OPSLOOP_SAFETY__MODE": "autonomous", "OPSLOOP_SAFETY__STALE_MS": "3600000"}
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Case:
    """One system, how far it has come before the partitions grow, and its partitions before and afterwards."""

    system: str
    kind: str
    old: int
    new: int

    @property
    def entity(self) -> str:
        return f"{self.system}/catalog/0"


def run(folder: Path, report: Report, trials: int) -> None:
    """Grow the loop's topics and those of telemetry on a Kafka with a history, `trials` times, each on a new one."""
    for trial in range(trials):
        with LocalKafka(folder / f"kafka{trial}") as kafka:
            ensure(kafka.broker, settings=TopicsSettings(telemetry_partitions=BEFORE, loop_partitions=BEFORE))
            _Trial(kafka.broker, folder / f"trial{trial}", report, random.Random(report.seed + trial)).run()
        report.trials += 1


class _Trial:
    """One Kafka, one history."""

    def __init__(self, broker: Broker, folder: Path, report: Report, rng: random.Random) -> None:
        self.broker, self.folder, self.report, self.rng = broker, folder, report, rng
        self.keys = keys_of(folder / "home")
        self.ana = self.keys.ensure("ana", (Role.APPROVER, Role.LEAD, Role.ADMIN))
        self.ben = self.keys.ensure("ben", (Role.OPERATOR,))
        parts = Parts(Settings(safety=SAFETY), self.keys.own(WORKER), self.keys)
        self.stages = {name: pipeline.stages(role, parts) for name, role in (("loop", "loop"), ("telemetry", "lane"))}
        self.cases = list(_cases(rng))
        self.entities = [f"drill/web{number}/{rng.randrange(10**6)}" for number in range(ENTITIES)]
        self.began = now_ms() - 1_000 * (TAUGHT + NEXT)  # no stamp is ahead of its arrival

    def run(self) -> None:
        workers = [*self._start("lane"), *self._start("loop")]  # in this order they end: the lane tells of entities
        self._make_history()
        self._teach()
        for worker in workers:
            self._await(self._read(worker.role), "record that is read")
            worker.stop()
        self._grow_loop()
        self._grow_telemetry()
        self._go_on()

    def _start(self, role: str) -> list[WorkerProcess]:
        return start_workers(role, self.broker, self.folder, ENVIRONMENT)

    def _job(self, family: str) -> Job:
        lines = self.folder / "grow.log"

        def tell(line: str) -> None:
            with lines.open("a") as file:
                file.write(line + "\n")

        return Job(self.broker, FAMILIES[family], AFTER, self.stages[family], client_config(self.broker), tell)

    def _read(self, role: str) -> Callable[[], bool]:
        family = "loop" if role == "loop" else "telemetry"

        def done() -> bool:
            with connected(self.broker) as client:
                return not left_over(self._job(family), client, BEFORE)

        return done

    def _await(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + WAIT_S
        while not done():
            if time.monotonic() > end:
                raise UserError(f"no {what} within {WAIT_S:g} s", f"Look at {self.folder}")
            time.sleep(0.1)

    # --- the history --------------------------------------------------------------------------------------------------

    def _send(self, *what: Record) -> None:
        with Publisher(self.broker) as publisher:
            for record in what:
                publisher.send(record)

    def _of(self, topic: Topic, kind: type[R], system: str) -> list[R]:
        found = [read.record for read in records(self.broker, [topic]) if topic.key(read.record) == system]
        opened = [record.claim if isinstance(record, SignedCommand) else record for record in found]
        return [record for record in opened if isinstance(record, kind)]

    def _make_history(self) -> None:
        """Bring each system as far as its kind says."""
        now = now_ms()
        maintained = Setting(name="maintenance/elsewhere", value=str(now + 3_600_000), ts=now, by="ana", reason="drill")
        self._send(sign_setting(maintained, self.ana))
        for case in self.cases:
            self._send(self._asked(case) if case.kind == "asked" else anomaly(case.entity, now_ms()))
        for case in self.cases:
            if case.kind == "asked":
                self._await(lambda case=case: bool(self._pending(case)), f"decision of {case}")  # type: ignore[misc]
                continue
            self._await(lambda case=case: bool(self._commands(case)), f"command of {case}")  # type: ignore[misc]
            if case.kind != "acted":
                self._send(*_outcome(self._commands(case)[0], case, now_ms(), helped=case.kind == "helped"))
        helped = [case for case in self.cases if case.kind == "helped"]
        self._await(lambda: all(self._resolved(case) for case in helped), "resolved incident")

    def _asked(self, case: Case) -> Proposal:
        now = now_ms()
        return sign_proposal(
            Proposal(
                id=derive("asked", case.system), ts=now, action="restart_service", target=case.entity, parameters={},
                requester="ben", confidence=0.96, cause="asked", reasons=("ben asks for it",), expires=now + 3_000_000,
            ), self.ben,
        )  # fmt: skip

    def _commands(self, case: Case) -> list[Command]:
        return self._of(COMMANDS, Command, case.system)

    def _pending(self, case: Case) -> list[Decision]:
        return [d for d in self._of(DECISIONS, Decision, case.system) if d.state is DecisionState.PENDING]

    def _resolved(self, case: Case) -> bool:
        return any(i.state is State.RESOLVED for i in self._of(INCIDENTS, Incident, case.system))

    def _vote(self, case: Case, now: Instant) -> Approval:
        decision = self._pending(case)[0]
        wanted = decision.proposal
        return sign_vote(
            Approval(
                id=derive("approval", decision.id, "ana"), decision=decision.id, system=system_of(wanted.target),
                ts=now, voter="ana", vote="approve", reason="drill", expires=now + 600_000,
                subject=subject(decision.id, wanted.action, wanted.target, wanted.parameters, wanted.requester),
            ), self.ana,
        )  # fmt: skip

    # --- the loop -----------------------------------------------------------------------------------------------------

    def _grow_loop(self) -> None:
        """Grow, and hold what agents decide next from the new states against what they decide from the old ones."""
        config = client_config(self.broker)
        before = LoopStates(config, self.stages["loop"], BEFORE, AUDIT.name)
        done = grow(self._job("loop"))
        after = LoopStates(config, self.stages["loop"], AFTER, AUDIT.name)
        figures, check = self.report.figures, self.report.check
        check(done.links == AFTER - BEFORE, f"{done.links} chains go on from another one")
        figures |= {"states": done.states, "copied": done.copied}
        now = now_ms()
        for case in self.cases:
            what = self._next(case, now)
            old = _continued(_agents(before, case.old), case.system, what, now)
            new = _continued(_agents(after, case.new), case.system, what, now)
            check(bool(old), f"nothing was decided next of {case}")
            check(old == new, f"other records come next of {case}: {_first_difference(old, new)}")
            figures["next_records"] = figures.get("next_records", 0) + len(new)
            if case.old != case.new:
                left = _continued(_agents(after, case.old), case.system, what, now)
                check(left != new, f"the old partition of {case} still has its state")
        figures["moved"] = sum(case.old != case.new for case in self.cases)

    def _next(self, case: Case, now: Instant) -> list[list[Record]]:
        """What comes of a system next, one group after the other."""
        if case.kind == "asked":
            return [[self._vote(case, now)], [anomaly(case.entity, now)]]
        if case.kind == "acted":
            own: list[Record] = _outcome(self._commands(case)[0], case, now, helped=True)
        else:
            own = [anomaly(case.entity, now + 1)]
        return [own, [anomaly(f"{case.system}/cart/0", now + 2)]]

    # --- telemetry ----------------------------------------------------------------------------------------------------

    def _samples(self, entity: str, first: int, count: int) -> Iterator[Sample]:
        """Samples a second apart; the last ten of the next ones are far off."""
        rng = random.Random(f"{entity} {first}")
        for number in range(first, first + count):
            off = 500.0 if number >= TAUGHT + NEXT - 10 else 0.0
            metrics = {name: rng.gauss(50.0, 2.0) + off for name in ("cpu", "memory", "latency")}
            yield Sample(entity=entity, ts=self.began + 1_000 * number, metrics=metrics)

    def _teach(self) -> None:
        for_all = zip(*(self._samples(entity, 0, TAUGHT) for entity in self.entities), strict=True)
        self._send(*itertools.chain.from_iterable(for_all))

    def _grow_telemetry(self) -> None:
        """Grow, and score the next samples of each entity with the old state and with the new one."""
        stages, config = self.stages["telemetry"], client_config(self.broker)
        before = LaneStates(config, range(BEFORE))
        grow(self._job("telemetry"))
        after = LaneStates(config, range(AFTER))
        moved = 0
        for entity in self.entities:
            old, new = (partition_of(entity.encode(), count) for count in (BEFORE, AFTER))
            moved += old != new
            samples = [encode(sample).value for sample in self._samples(entity, TAUGHT, NEXT)]
            states = (before, old), (after, new)
            scored = [_scored(entity, found, stages, place, samples) for found, place in states]
            self.report.check(bool(scored[0]), f"no anomaly of {entity}")
            self.report.check(scored[0] == scored[1], f"{entity} scores otherwise: {_first_difference(*scored)}")
        self.report.check(moved > 0, "no entity moved")
        self.report.figures["entities_moved"] = moved

    # --- afterwards ---------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Workers go on: every proposal and incident goes its way once, epochs grow, and the audit is whole."""
        moment = time.monotonic()
        earlier = {case: self._commands(case) for case in self.cases}
        workers = self._start("loop")
        for case in self.cases:
            for group in self._next(case, now_ms()):
                self._send(*group)
        waited = [case for case in self.cases if case.kind in ("acted", "asked")]
        self._await(lambda: all(self._ended(case) for case in waited), "end of what was open")
        self.report.recoveries.append(time.monotonic() - moment)
        self._await(lambda: not self._audit().wrong and not self._audit().unsigned, "audit that verifies")
        for worker in workers:
            worker.stop()
        for case in self.cases:
            self._check(case, earlier[case])
        self.report.figures["audited"] = self._audit().entries

    def _ended(self, case: Case) -> bool:
        return bool(self._commands(case)) if case.kind == "asked" else self._resolved(case)

    def _audit(self) -> Any:
        return examine(self.broker, self.keys, now=now_ms())

    def _check(self, case: Case, earlier: Sequence[Command]) -> None:
        ids = [command.id for command in self._commands(case)]
        self.report.check(len(ids) == len(set(ids)), f"{case} has a command twice")
        fresh = [command for command in self._commands(case) if command.id not in {c.id for c in earlier}]
        highest = max((command.epoch for command in earlier), default=0)
        self.report.check(all(c.epoch > highest for c in fresh), f"epochs of {case} do not grow")
        for read in records(self.broker, [INCIDENTS, DECISIONS, COMMANDS]):
            key = topic_of(read.record).key(read.record)
            if key == case.system and read.origin.partition not in (case.old, case.new):
                self.report.add_violation(f"{read.origin} of {case} is on a partition of others")


def _cases(rng: random.Random) -> Iterator[Case]:
    """Two systems of each kind, of which one moves to a new partition."""
    for number, (kind, moves) in enumerate(itertools.product(KINDS, (False, True))):
        while True:
            system = f"grow{number}-{rng.randrange(10**6)}"
            old, new = (partition_of(system.encode(), count) for count in (BEFORE, AFTER))
            if (old != new) is moves:
                yield Case(system, kind, old, new)
                break


def anomaly(entity: str, ts: Instant, state: Any = "raised") -> Anomaly:
    """That an entity cannot be reached, or can again."""
    shown = () if state == "cleared" else (Contribution("up.refused", 99.0, 1.0, 0.0),)
    return Anomaly(
        id=derive("anomaly", entity, ts), entity=entity, ts=ts, state=state, kind="point", score=9.0,
        grade="critical", confidence=0.99, metric="up.refused", direction="up", value=1.0, expected=0.0, low=0.0,
        high=0.0, onset=ts, attribution=shown, detector="drill", detector_version=1,
        evidence="opsloop.telemetry.metrics-0-0",
    )  # fmt: skip


def _outcome(command: Command, case: Case, now: Instant, *, helped: bool) -> list[Record]:
    """What an actuator says of a command, and the sample after it."""
    result = Result(
        id=derive("result", command.id), command=command.id, decision=command.decision, incident=command.incident,
        action=command.action, target=command.target, ts=now, outcome="succeeded" if helped else "failed",
        detail="drill", started=now,
    )  # fmt: skip
    return [result, anomaly(case.entity, now + 1, "cleared")] if helped else [result]


def _agents(states: LoopStates, partition: int) -> list[Agent[Any]]:
    """The agents of a partition as they were left; audit and notary begin anew, so that chains do not differ."""
    units = [states.unit(verb, partition).agent for verb in states.verbs]
    return [agent for agent in units if isinstance(agent, Stateful) and not isinstance(agent, Attest)]


def _continued(agents: list[Agent[Any]], system: str, groups: Sequence[Sequence[Record]], now: Instant) -> list[bytes]:
    """The records of a system that follow, without a broker, from groups of records and then from counted time."""
    loop = MemoryLoop(settings=Settings(safety=SAFETY))
    loop.agents, loop.now = [*agents, AuditWriter()], now
    for group in groups:
        loop.publish(*group)
        loop.settle()
    loop.run(AHEAD_S)
    given = {id(record) for group in groups for record in group}
    told = [read.record for read in loop.told if not isinstance(read.record, AuditEntry | Checkpoint)]
    ours = [record for record in told if id(record) not in given and topic_of(record).key(record) == system]
    return [msgspec.json.encode(record, order="sorted") for record in ours][sum(map(len, groups)) :]


def _scored(
    entity: str, states: LaneStates, stages: Sequence[Callable[[], Agent[Any]]], place: int, values: Sequence[bytes]
) -> list[bytes]:
    """The anomalies of more samples of one entity, from the state of a partition."""
    store = states.found[place][lane_name(stages)]
    part = PartitionState(stages, store.state, store)
    chunk = chunk_of(Raw(METRICS.name, 0, at, None, value) for at, value in enumerate(values))
    outputs = part.following(chunk, 0)  # of other entities too: that there is no sample of theirs
    return [msgspec.json.encode(o) for o in outputs if isinstance(o, Anomaly) and o.entity == entity]


def _first_difference(one: Sequence[bytes], other: Sequence[bytes]) -> str:
    """The first record that differs, shortened."""
    pairs = itertools.zip_longest(one, other, fillvalue=b"nothing")
    found = next(((a, b) for a, b in pairs if a != b), (b"", b""))
    return " against ".join(text.decode()[:300] for text in found)
