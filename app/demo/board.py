"""The board: the demo's view of the topics, for the screen and the report."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

import msgspec
import structlog

from app.clock import now_ms
from app.kafka.admin import wanted
from app.kafka.broker import Broker, tail
from topics.actions import COMMANDS, RESULTS, Result, SignedCommand
from topics.codec import DecodeError, decode
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.incidents import INCIDENTS, Incident, State
from topics.proposals import PROPOSALS, Proposal
from topics.signals import ANOMALIES, SYMPTOMS, Anomaly, Symptom
from topics.spec import Instant, Raw, Record, service_of
from topics.telemetry import METRICS, Sample
from topics.verdicts import VERDICTS, Verdict

log = structlog.get_logger()

WATCHED = (METRICS, ANOMALIES, SYMPTOMS, INCIDENTS, PROPOSALS, DECISIONS, COMMANDS, RESULTS, VERDICTS)
HISTORY = 48  # samples in a sparkline
HOPS = ("detect", "diagnose", "respond", "decide", "gate", "approve", "act", "verify")


@dataclass(slots=True)
class Seen:
    """Recent figures of one entity."""

    samples: int = 0
    last: dict[str, float] = field(default_factory=dict)
    history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    at: Instant = 0


@dataclass(slots=True)
class Board:
    """State since the demo began. The follower's thread writes it; other threads read it."""

    began: Instant
    entities: dict[str, Seen] = field(default_factory=lambda: defaultdict(Seen))
    incidents: dict[str, Incident] = field(default_factory=dict)
    states: dict[str, list[Incident]] = field(default_factory=dict)  # states by incident, in order
    decisions: dict[str, Decision] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    alarms: Counter[str] = field(default_factory=Counter)  # anomalies `raised`, by entity
    dead_letters: int = 0
    first_figures: Instant = 0
    hops: dict[str, deque[int]] = field(default_factory=lambda: {hop: deque(maxlen=200) for hop in HOPS})
    times: dict[tuple[str, str], Instant] = field(default_factory=dict)  # (kind of record, id) → arrival (ms)
    lines: deque[tuple[Instant, Record]] = field(default_factory=lambda: deque(maxlen=200))
    told: int = 0  # records that were turned into lines so far

    def see(self, raw: Raw) -> None:
        """Apply one message."""
        if raw.topic.endswith(".dlq"):
            self.dead_letters += 1
            return
        try:
            record = decode(raw).record
        except DecodeError:
            return
        match record:
            case Sample():
                self._sample(record)
                return
            case Anomaly():
                self._anomaly(record, raw.arrived)
                return
            case Symptom():
                self._symptom(record, raw.arrived)
                return
            case Incident():
                self._incident(record, raw.arrived)
            case Proposal():
                self._hop("decide", ("incident", record.incident), ("proposal", record.id), raw.arrived)
            case Decision():
                self._decision(record, raw.arrived)
            case SignedCommand():
                decision = record.claim.decision if record.claim else ""
                self._hop("approve", ("approved", decision), ("command", record.id), raw.arrived)
            case Result():
                self.results.append(record)
                self._hop("act", ("command", record.command), ("result", record.command), raw.arrived)
            case Verdict():
                self.verdicts.append(record)
                self._hop("verify", ("result", record.command), ("verdict", record.command), raw.arrived)
        self.lines.append((raw.arrived, record))
        self.told += 1

    def _sample(self, sample: Sample) -> None:
        self.first_figures = self.first_figures or now_ms()
        seen = self.entities[sample.entity]
        seen.samples += 1
        seen.last, seen.at = sample.metrics, sample.ts
        seen.history.append(_vital(sample.metrics))

    def _anomaly(self, anomaly: Anomaly, arrived: Instant) -> None:
        self.hops["detect"].append(arrived - anomaly.ts)
        self.times["anomaly", service_of(anomaly.entity)] = arrived
        if anomaly.state == "raised":
            self.alarms[anomaly.entity] += 1

    def _symptom(self, symptom: Symptom, arrived: Instant) -> None:
        if symptom.state == "began":
            self._hop("diagnose", ("anomaly", service_of(symptom.entity)), ("symptom", symptom.id), arrived)
            self.times["shown", service_of(symptom.entity)] = arrived

    def _incident(self, incident: Incident, arrived: Instant) -> None:
        self.incidents[incident.id] = incident
        states = self.states.setdefault(incident.id, [])
        states.append(incident)
        if len(states) == 1:
            self._hop("respond", ("shown", service_of(incident.entity)), ("incident", incident.id), arrived)
        elif incident.step == "still_wrong":
            self.times["incident", incident.id] = arrived

    def _decision(self, decision: Decision, arrived: Instant) -> None:
        self.decisions[decision.id] = decision
        if decision.seq == 0:
            self._hop("gate", ("proposal", decision.proposal.id), ("decision", decision.id), arrived)
        if decision.state is DecisionState.APPROVED:
            self.times["approved", decision.id] = arrived

    def _hop(self, hop: str, start: tuple[str, str], end: tuple[str, str], arrived: Instant) -> None:
        if start in self.times and end not in self.times:
            self.hops[hop].append(max(0, arrived - self.times[start]))
        self.times[end] = arrived

    def waiting(self) -> list[Decision]:
        """Decisions that wait for a person, oldest first."""
        return sorted((d for d in self.decisions.values() if d.state is DecisionState.PENDING), key=lambda d: d.ts)

    def open_incidents(self) -> list[Incident]:
        """Incidents that have not ended, oldest first."""
        ended = (State.RESOLVED, State.REVIEWED)
        return sorted((i for i in self.incidents.values() if i.state not in ended), key=lambda i: i.onset)

    def samples(self, entities: int) -> int:
        """The number of samples that each of `entities` entities of the site has at least; 0 when there are fewer."""
        seen = sorted((seen.samples for name, seen in list(self.entities.items()) if "/" in name), reverse=True)
        return seen[entities - 1] if len(seen) >= entities else 0


def _vital(metrics: dict[str, float]) -> float:
    """The figure for a sparkline: the latency of a service, or the load of a host."""
    for name, value in metrics.items():
        if name.endswith("duration.p95") and "own" in name:
            return value
    return metrics.get("system.cpu.utilization", 0.0)


class Follower(threading.Thread):
    """A thread that applies messages of the topics to a board until it is stopped."""

    def __init__(self, broker: Broker, board: Board) -> None:
        super().__init__(name="follower", daemon=True)
        self.broker = broker
        self.board = board
        self.halt = threading.Event()
        self.listening = threading.Event()

    def run(self) -> None:
        """Apply messages until the follower is stopped."""
        names = [topic.name for topic in WATCHED] + [want.name for want in wanted(1) if want.name.endswith(".dlq")]
        self.listening.set()
        for raw in tail(self.broker, names, stop=self.halt.is_set):
            try:
                self.board.see(raw)
            except Exception as error:  # one broken record must not end the follower
                log.error("a record is left out of the board", origin=str(raw.origin), cause=repr(error))


class Injected(msgspec.Struct):
    """A fault of the demo and its course; times are seconds after the injection."""

    fault: str
    service: str
    injected_at: Instant
    detected_s: float | None = None
    decided_s: float | None = None
    acted_s: float | None = None
    resolved_s: float | None = None
    hypothesis: str = ""
    action: str = ""
    resolved: bool = False
    incident: str = ""


def judge(board: Board, fault: Injected) -> Injected:
    """Set the fields of a fault from the board."""
    incident = next((i for i in _candidates(board, fault)), None)
    if incident is None:
        return fault
    at = fault.injected_at

    def after(ts: Instant) -> float:
        return round((ts - at) / 1000, 3)

    fault.incident, fault.detected_s = incident.id, after(_seen(board, fault, incident))
    fault.hypothesis = incident.hypotheses[0].cause if incident.hypotheses else ""
    mine = (d for d in board.decisions.values() if d.proposal.incident == incident.id and d.ts >= at)
    ours = sorted(mine, key=lambda d: d.ts)
    if ours:
        fault.decided_s = after(board.times.get(("decision", ours[0].id), ours[0].ts))
    results = [r for r in board.results if r.incident == incident.id and r.outcome == "succeeded" and r.ts >= at]
    if results:
        fault.acted_s, fault.action = after(results[-1].ts), results[-1].action
    if incident.state is State.RESOLVED and results and results[-1].ts <= incident.ts:
        fault.resolved, fault.resolved_s = True, after(incident.ts)
        cured = next((d for d in ours if d.command == results[-1].command), None)
        fault.hypothesis = cured.proposal.cause if cured else fault.hypothesis
    return fault


def _candidates(board: Board, fault: Injected) -> list[Incident]:
    """Incidents of the fault's service: those that began after it, then older ones that it prolonged."""
    after = [i for i in board.incidents.values() if i.ts >= fault.injected_at]

    def about(incident: Incident) -> bool:
        named = {incident.entity, *incident.affected, *(h.target for h in incident.hypotheses)}
        return any(service_of(n).endswith(f"/{fault.service}") for n in named)

    before = fault.injected_at
    return sorted((i for i in after if about(i)), key=lambda i: (i.detected < before, i.detected, i.id))


def _seen(board: Board, fault: Injected, incident: Incident) -> Instant:
    """When an incident first showed the fault; the incident may have been open before."""
    if incident.detected >= fault.injected_at:
        return incident.detected
    return next((s.ts for s in board.states[incident.id] if s.ts >= fault.injected_at), incident.ts)
