"""A recorded history through the agents of the live path, on a private copy in memory: what would be decided.

What came from outside is taken as it was recorded (samples, events, votes, labels, settings, the actuators' results);
everything else is made anew. Time is the broker's time of arrival, in ticks, so that the same history and the same code
give the same bytes.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

from agents._agent import Agent
from agents._partition import through
from agents.decode import chunk_of
from app import pipeline
from app.errors import UserError
from app.kafka.broker import Broker, read_all
from app.knowledge.follow import PackBook
from app.settings import Settings
from app.shipped import packs as shipped
from models.knowledge.packs import Packs
from models.safety.signing import Keyring, Signer
from topics.actions import RESULTS
from topics.approvals import APPROVALS
from topics.audit import CHECKPOINTS
from topics.catalog import topic_of
from topics.codec import DeadLetter, DecodeError, decode, decode_value, encode
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.learning import LABELS, LEARNING
from topics.packs import PACKS, PackVersion
from topics.policies import POLICIES
from topics.settings import SETTINGS
from topics.spec import Instant, Origin, Raw, Read, Record
from topics.telemetry import EVENTS, HEARTBEATS, METRICS

INPUTS: Final = (METRICS, EVENTS, HEARTBEATS, SETTINGS, POLICIES, PACKS, APPROVALS, LABELS, RESULTS)
TICK_MS: Final = 100
LONGEST_MS: Final = 7 * 86_400_000

_ORDER: Final = {topic.name: number for number, topic in enumerate(INPUTS)}


def recorded(broker: Broker, start: Instant, end: Instant) -> list[Raw]:
    """What came from outside between two times of arrival, in the order in which it is replayed."""
    names = [topic.name for topic in INPUTS]
    return _ordered(raw for raw in read_all(broker, names, since_ms=start) if raw.arrived < end)


def _ordered(history: Iterable[Raw]) -> list[Raw]:
    return sorted(history, key=lambda raw: (raw.arrived, _ORDER[raw.topic], raw.partition, raw.offset))


def save(history: Iterable[Raw], path: Path) -> None:
    """Write a history as JSON lines, compressed, the same bytes each time."""
    lines = b"".join(msgspec.json.encode(raw) + b"\n" for raw in history)
    path.write_bytes(gzip.compress(lines, mtime=0))


def load(path: Path) -> list[Raw]:
    """A history that `save` wrote. Raises UserError when the file is none."""
    try:
        lines = gzip.decompress(path.read_bytes()).splitlines()
        return _ordered(msgspec.json.decode(line, type=Raw) for line in lines)
    except (OSError, EOFError, msgspec.DecodeError, KeyError) as error:
        raise UserError(f"{path} is no recorded history ({error})", "Write one with opsloop replay --save") from None


class Memory:
    """All agents that decide, in memory. Two of the same settings fed alike say the same bytes."""

    def __init__(self, settings: Settings, signer: Signer, keyring: Keyring, packs: Packs | None = None) -> None:
        self.lanes: dict[int, list[Agent[Any]]] = {}
        self.detection, self.packs = settings.detection, PackBook(packs or shipped(), keyring)
        made = [make() for make in pipeline.loop(settings, signer, keyring, packs)]
        self.loop = [
            agent for agent in made if CHECKPOINTS not in agent.writes
        ]  # signatures on the audit decide nothing
        self.log: dict[str, list[Read[Record]]] = defaultdict(list)
        self.refused = 0
        self._next: dict[tuple[str, str], int] = defaultdict(int)

    def run(self, history: Sequence[Raw]) -> list[Decision]:
        """Every decision that follows from a history, in the order in which they were made."""
        for now, raws in _ticks(history):
            self._detect([raw for raw in raws if raw.topic == METRICS.name], now)
            for raw in raws:
                if raw.topic != METRICS.name:
                    self._take(raw, now)
            self._settle(now)
            for agent in self.loop:
                self._publish(agent.step((), now), now)
            self._settle(now)
        return [read.record for read in self.log[DECISIONS.name] if isinstance(read.record, Decision)]

    def _detect(self, samples: Sequence[Raw], now: Instant) -> None:
        for partition in sorted({raw.partition for raw in samples}):
            stages = self.lanes.setdefault(
                partition, [make() for make in pipeline.lane(self.detection, lambda: self.packs.said)]
            )
            own = chunk_of(raw for raw in samples if raw.partition == partition)
            self._publish(through(stages, own, now), now)

    def _take(self, raw: Raw, now: Instant) -> None:
        try:
            record = decode(raw).record
        except DecodeError:
            self.refused += 1
            return
        if isinstance(record, PackVersion):
            self.packs.take(record, raw.arrived)
        self._append(record, now)

    def _append(self, record: Record, now: Instant) -> None:
        log = self.log[topic_of(record).name]
        log.append(Read(record, Origin(topic_of(record).name, 0, len(log)), now))

    def _publish(self, outputs: Iterable[Any], now: Instant) -> None:
        """Append to the topics, through bytes as on a broker. Controls of learning are in the history already."""
        for output in outputs:
            if isinstance(output, DeadLetter):
                self.refused += 1
            elif not isinstance(output, LEARNING.record):
                self._append(decode_value(topic_of(output), encode(output).value), now)

    def _settle(self, now: Instant) -> None:
        moved = True
        while moved:
            moved = False
            for agent in self.loop:
                for topic in agent.reads:
                    place = agent.name, topic.name
                    if batch := self.log[topic.name][self._next[place] :]:
                        self._next[place] += len(batch)
                        self._publish(agent.step(batch, now), now)
                        moved = True

    def incidents(self) -> dict[str, Incident]:
        """The incidents that were opened, by id, each as it ended."""
        return {r.record.id: r.record for r in self.log[INCIDENTS.name] if isinstance(r.record, Incident)}


def _ticks(history: Sequence[Raw]) -> Iterator[tuple[Instant, list[Raw]]]:
    """Every tick from the first message to the last, with what arrived in it."""
    if not history:
        return
    if history[-1].arrived - history[0].arrived > LONGEST_MS:
        raise UserError("more than a week is too long to be replayed at once", "Give --from and --to")
    expected = history[0].arrived // TICK_MS
    for tick, raws in groupby(history, key=lambda raw: raw.arrived // TICK_MS):
        for empty in range(expected, tick):
            yield (empty + 1) * TICK_MS, []
        yield (tick + 1) * TICK_MS, list(raws)
        expected = tick + 1


def with_pack(text: str, base: Packs) -> Packs:
    """The packs that hold, with this one in place of its namesake.

    Ids are those of the packs that hold: the same decision has the same id, so that recorded votes and results count.
    """
    return Packs(base.shipped.values(), [text], lambda book: base.knowledge(book).revision)


@dataclass(frozen=True, slots=True)
class IncidentChange:
    """One incident that is not what it was."""

    incident: str
    entity: str
    symptom: str
    before: str  # the cause that it names first; empty: there was no such incident
    after: str


def compare_incidents(before: dict[str, Incident], after: dict[str, Incident]) -> list[IncidentChange]:
    """The incidents that only one side has, or of which it names another cause first."""
    changes = []
    for identity in before.keys() | after.keys():
        was, is_ = _cause(before.get(identity)), _cause(after.get(identity))
        if was != is_:
            incident = after.get(identity) or before[identity]
            changes.append(IncidentChange(identity, incident.entity, str(incident.symptom), was, is_))
    return sorted(changes, key=lambda change: (change.entity, change.symptom, change.incident))


def _cause(incident: Incident | None) -> str:
    if incident is None:
        return ""
    first = next(iter(incident.hypotheses), None)
    return f"{first.cause} of {first.target}" if first else "nothing known"


@dataclass(frozen=True, slots=True)
class DecisionChange:
    """One decision that is not what it was."""

    decision: str
    action: str
    target: str
    before: str  # its states in order, and the last reason; empty: there was none
    after: str


def compare(before: Iterable[Decision], after: Iterable[Decision]) -> list[DecisionChange]:
    """What differs between two lists of decisions in what they decide, leaving out when."""
    old, new = _histories(before), _histories(after)
    changes = []
    for identity in old.keys() | new.keys():
        was, is_ = old.get(identity, []), new.get(identity, [])
        if [_said(d) for d in was] != [_said(d) for d in is_]:
            proposal = (is_ or was)[-1].proposal
            changes.append(DecisionChange(identity, proposal.action, proposal.target, _told(was), _told(is_)))
    return sorted(changes, key=lambda change: (change.target, change.action, change.decision))


def _histories(decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    """The states of each decision, repeats left out."""
    found: dict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        if decision.state not in [known.state for known in found[decision.id]]:
            found[decision.id].append(decision)
    return found


def _said(decision: Decision) -> tuple[object, ...]:
    proposal = decision.proposal
    return decision.state, decision.tier, decision.mode, proposal.action, proposal.target, proposal.parameters


def _told(states: Sequence[Decision]) -> str:
    if not states:
        return ""
    last = states[-1]
    return " → ".join(d.state for d in states) + (f" ({last.reasons[-1]})" if last.reasons else "")


def decided(broker: Broker, start: Instant, end: Instant) -> list[Decision]:
    """What was decided at the time."""
    found = []
    for raw in read_all(broker, [DECISIONS.name], since_ms=start):
        if raw.arrived < end:
            try:
                record = decode(raw).record
            except DecodeError:
                continue
            if isinstance(record, Decision):
                found.append(record)
    return found


def digest_of(decisions: Iterable[Decision]) -> bytes:
    """The decisions as they would stand on their topic, a line each: equal bytes are equal decisions."""
    return b"".join(encode(decision).value + b"\n" for decision in decisions)
