"""An incident as a book opens it, and what is said of it on the way to its end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from models.diagnosis.symptoms import Tracker
from models.incidents.book import IncidentBook
from models.incidents.verification import Verifier
from tests.builders import CATALOG, KNOWN, NOW, decision, proposal, result, sample, verdict_on
from topics.actions import Result
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident, SymptomKind
from topics.signals import Anomaly
from topics.spec import Instant
from topics.verdicts import Effect, Verdict


class Diagnosed:
    """A book that is given anomalies: a tracker before it makes them symptoms."""

    def __init__(self, book: Any) -> None:
        self.book, self.tracker = book, Tracker(knowledge=book.knowledge)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.book, name)

    def admit(self, anomaly: Anomaly, now: Instant) -> list[Incident]:
        """What an incident book says when one anomaly was diagnosed."""
        return [i for symptom in self.tracker.observe(anomaly) for i in self.book.admit(symptom, now)]

    def observe(self, anomaly: Anomaly) -> None:
        """Let a book see what follows of an anomaly."""
        for symptom in self.tracker.observe(anomaly):
            (self.book.symptoms.take if isinstance(self.book, IncidentBook) else self.book.observe)(symptom)


def book_of() -> Any:
    """An incident book that knows the shipped packs."""
    return Diagnosed(IncidentBook(knowledge=KNOWN))


def verifier() -> Any:
    """A verifier that knows the shipped packs."""
    return Diagnosed(Verifier(knowledge=KNOWN))


def down(book: Any, entity: str = CATALOG, ts: Instant = NOW) -> Incident:
    """The incident that one look at a dead process opens."""
    (opened,) = book.admit(sample(entity, ts, SymptomKind.DOWN), ts)
    return opened


def dispatched(incident: Incident, attempt: int = 0) -> Decision:
    """The decision on what is tried for it, with its command."""
    proposed = proposal(id=f"p{attempt}", incident=incident.id)
    return decision(DecisionState.DISPATCHED, proposed, command=f"c{attempt}")


def done(incident: Incident, attempt: int = 0) -> Result:
    """What became of that command."""
    return result(incident=incident.id, decision=dispatched(incident, attempt).id, command=f"c{attempt}")


def reported(incident: Incident, attempt: int = 0, effect: Effect = Effect.REMEDIATED) -> Verdict:
    """Whether it helped."""
    return verdict_on(effect, incident=incident.id, decision=dispatched(incident, attempt).id, command=f"c{attempt}")


def states(told: Iterable[Incident]) -> list[tuple[str, str]]:
    """The step and the state of each."""
    return [(i.step, i.state) for i in told]
