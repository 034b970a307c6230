"""One incident or decision explained: the whole way from a sample to a verdict, each step with its place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.errors import UserError
from app.history.progress import shown
from app.history.queries import read_records
from app.history.rows import rank_of
from app.history.view import View, current
from app.kafka.broker import Broker
from topics.incidents import Incident
from topics.spec import Origin, Read, Record
from topics.telemetry import EVENTS, HEARTBEATS


@dataclass(slots=True)
class Explanation:
    """What happened to one incident, from its first sample to its verdict."""

    incident: str  # or the decision, when somebody has asked for it without an incident
    steps: list[Read[Record]]
    evidence: list[Read[Record]] = field(default_factory=list)  # the anomalies, alerts and heartbeats it rests on
    audit: list[Read[Record]] = field(default_factory=list)

    @property
    def states(self) -> list[Incident]:
        """The states that the incident went through."""
        return [r.record for r in self.steps if isinstance(r.record, Incident)]


def explain(broker: Broker, identity: str) -> Explanation:
    """What belongs to an id (or its unambiguous beginning): of an incident, proposal, decision or command.

    Raises:
        UserError: no record has the id, or several incidents have records whose ids begin so.
    """
    with current(broker, progress=shown()) as view:
        found = view.threads(identity)
        if len(found) != 1:
            known = "several incidents have" if found else "nothing has"
            raise UserError(
                f"{known} the id {identity!r}", "List ids with `opsloop incidents` or `opsloop decisions`", exit_code=1
            )
        steps = sorted(view.thread(found[0]), key=lambda read: (read.arrived, rank_of(read.record)))
        explanation = Explanation(found[0], steps)
        anomalies = [*_anomalies(view, explanation.states), *_said(explanation.states)]
        entries = view.audit_of(read.origin for read in steps)
    evidence = set(anomalies)
    reads = read_records(broker, [*anomalies, *entries])
    explanation.evidence = [read for read in reads if read.origin in evidence]
    explanation.audit = [read for read in reads if read.origin not in evidence]
    return explanation


def _anomalies(view: View, states: Iterable[Incident]) -> list[Origin]:
    """Where the first anomaly of each affected entity stands, by the samples named as evidence."""
    known = list(states)
    onset = min((state.onset for state in known), default=0)
    named = {place for state in known for place in state.evidence if place}
    affected = sorted({entity for state in known for entity in state.affected})
    found = (view.anomaly(entity, onset, named) for entity in affected)
    return [place for place in found if place is not None]


def _said(states: Iterable[Incident]) -> list[Origin]:
    """Where the events and heartbeats stand that are named as evidence."""
    found = []
    for named in dict.fromkeys(place for state in states for place in state.evidence):
        with contextlib.suppress(ValueError):
            place = Origin.parse(named)
            found += [place] if place.topic in (EVENTS.name, HEARTBEATS.name) else []
    return found
