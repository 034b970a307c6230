"""Reading the topics back as stories: incidents, decisions, and the whole way from a sample to a verdict."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.errors import UserError
from app.kafka.broker import Broker, read_all
from app.security.keys import Keys
from app.settings import home
from models.safety.settings import SafetySettings
from models.safety.signing import Refused
from models.safety.trust import Trust
from topics.actions import COMMANDS, RESULTS, Result, SignedCommand
from topics.approvals import APPROVALS, Approval
from topics.audit import AUDIT, Entry
from topics.codec import DecodeError, decode
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.proposals import PROPOSALS, Proposal
from topics.refusals import REFUSALS, Refusal
from topics.settings import SETTINGS, Setting
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant, Read, Record, Topic, derive
from topics.verdicts import VERDICTS, Verdict

STORY = (INCIDENTS, PROPOSALS, DECISIONS, APPROVALS, COMMANDS, RESULTS, VERDICTS, REFUSALS, SETTINGS)


def records(broker: Broker, topics: Iterable[Topic], since_ms: Instant | None = None) -> Iterator[Read[Record]]:
    """Everything readable on the topics up to now; what does not decode was dead-lettered by its agent."""
    for raw in read_all(broker, [topic.name for topic in topics], since_ms=since_ms):
        try:
            yield decode(raw)
        except DecodeError:
            continue


def incidents(broker: Broker, since_ms: Instant | None = None) -> list[Incident]:
    """The latest state of every incident, newest first."""
    latest: dict[str, Incident] = {}
    for read in records(broker, [INCIDENTS], since_ms):
        assert isinstance(read.record, Incident)
        if not is_older(read.record, latest.get(read.record.id)):
            latest[read.record.id] = read.record
    return sorted(latest.values(), key=lambda i: (-i.onset, i.id))


def decisions(broker: Broker, since_ms: Instant | None = None) -> list[Decision]:
    """The latest state of every decision, newest first."""
    latest: dict[str, Decision] = {}
    for read in records(broker, [DECISIONS], since_ms):
        assert isinstance(read.record, Decision)
        if not is_older(read.record, latest.get(read.record.id)):
            latest[read.record.id] = read.record
    return sorted(latest.values(), key=lambda d: (-d.ts, d.id))


def begins(found: Sequence[Any], what: str, identity: str, remedy: str) -> Any:
    """The one record whose id begins so. Raises UserError: there is none, or more than one."""
    ours = [record for record in found if record.id.startswith(identity)]
    if len(ours) != 1:
        many = f"several {what}s begin" if ours else f"no {what} begins"
        raise UserError(f"{many} with {identity!r}", remedy, exit_code=1)
    return ours[0]


def incident_of(broker: Broker, identity: str) -> Incident:
    """The incident whose id begins so, as it stands. Raises UserError: there is none, or more than one."""
    found: Incident = begins(incidents(broker), "incident", identity, "See `opsloop incidents --open`")
    return found


def decision_of(broker: Broker, identity: str) -> Decision:
    """The decision whose id begins so, as it stands. Raises UserError: there is none, or more than one."""
    found: Decision = begins(decisions(broker), "decision", identity, "See `opsloop decisions --waiting`")
    return found


def is_older(record: Incident | Decision, known: Incident | Decision | None) -> bool:
    """Whether a state of an incident or decision is one that was passed before the known one."""
    match record, known:
        case (Incident(), Incident(seq=seq)) | (Decision(), Decision(seq=seq)):
            return record.seq < seq
    return False


def trust(broker: Broker, settings: SafetySettings) -> Trust:
    """What tiers and classes of action have shown, from the decisions, verdicts and settings that are still kept."""
    found, keys = Trust(), Keys(home())
    told = sorted(records(broker, [DECISIONS, VERDICTS, SETTINGS]), key=lambda read: read.arrived)
    for read in told:
        found.see(read.record, settings, read.arrived)
        if isinstance(read.record, Setting):
            with contextlib.suppress(Refused):
                found.set(read.record, keys, read.arrived)
    return found


@dataclass(slots=True)
class Story:
    """One incident from its first sample to its verdict, each step with the place where it stands."""

    incident: str  # or the decision, when somebody has asked for it without an incident
    steps: list[Read[Record]] = field(default_factory=list)
    evidence: list[Read[Record]] = field(default_factory=list)  # the anomalies it rests on
    audit: list[Read[Record]] = field(default_factory=list)

    @property
    def states(self) -> list[Incident]:
        return [r.record for r in self.steps if isinstance(r.record, Incident)]


def explain(broker: Broker, identity: str) -> Story:
    """The story that an id (or its unambiguous beginning) belongs to: of an incident, proposal, decision or command.

    Raises:
        UserError: no record has the id, or several incidents have records whose ids begin so.
    """
    told = list(records(broker, STORY))
    found = {_incident_of(r.record) for r in told if any(i.startswith(identity) for i in _ids(r.record))} - {""}
    if len(found) != 1:
        known = "several incidents have" if found else "nothing has"
        raise UserError(
            f"{known} the id {identity!r}", "List ids with `opsloop incidents` or `opsloop decisions`", exit_code=1
        )
    story = Story(found.pop())
    ours = {story.incident}
    for read in told:  # decisions name the incident in their proposal, votes name only the decision
        if _incident_of(read.record) == story.incident:
            ours |= set(_ids(read.record))
    story.steps = sorted(
        (r for r in told if ours & set(_ids(r.record)) or _incident_of(r.record) == story.incident),
        key=lambda r: (r.arrived, _rank(r.record)),
    )  # fmt: skip
    origins = {str(r.origin) for r in story.steps}
    refused = (r for r in told if isinstance(r.record, Refusal) and r.record.origin in origins)
    story.steps = sorted([*story.steps, *refused], key=lambda r: (r.arrived, _rank(r.record)))
    onset = min((i.onset for i in story.states), default=0)
    places = {place for i in story.states for place in i.evidence if place}
    story.evidence = _anomalies(broker, story.states, onset, places)
    origins = {str(r.origin) for r in story.steps}
    story.audit = [r for r in records(broker, [AUDIT]) if isinstance(r.record, Entry) and r.record.origin in origins]
    return story


def _anomalies(broker: Broker, states: Sequence[Incident], onset: Instant, places: set[str]) -> list[Read[Record]]:
    """The first look that showed each affected entity off, by the samples named as evidence."""
    affected = {e for i in states for e in i.affected}
    found: dict[str, Read[Record]] = {}
    for read in records(broker, [ANOMALIES]):
        a = read.record
        if not isinstance(a, Anomaly) or a.entity not in affected or a.ts < onset - 1_000 or a.state == "cleared":
            continue
        if a.entity not in found or (a.evidence in places and not _named(found[a.entity], places)):
            found[a.entity] = read
    return list(found.values())


def _named(read: Read[Record], places: set[str]) -> bool:
    return isinstance(read.record, Anomaly) and read.record.evidence in places


def _ids(record: Record) -> tuple[str, ...]:
    match record:
        case Incident():
            return (record.id,)
        case Proposal():
            return (record.id,)
        case Decision():
            return tuple(filter(None, (record.id, record.command)))
        case Approval():
            return (record.decision,)
        case SignedCommand():
            return (record.id,)
        case Result() | Verdict():
            return (record.command,)
        case Setting():  # a grant that was voted for
            return tuple({approval.decision for approval in record.approvals})
    return ()


def _incident_of(record: Record) -> str:
    """The incident that a record belongs to; what somebody has asked for without one is told by its decision."""
    match record:
        case Incident():
            return record.id
        case Decision():
            return record.proposal.incident or record.id
        case SignedCommand():
            return (record.claim.incident or record.claim.decision) if record.claim else ""
        case Proposal():
            return record.incident or derive("decision", record.id)
        case Result() | Verdict():
            return record.incident or record.decision
    return ""


def _rank(record: Record) -> int:
    order = (Incident, Proposal, Decision, Approval, SignedCommand, Result, Verdict)
    return next((i for i, kind in enumerate(order) if isinstance(record, kind)), len(order))
