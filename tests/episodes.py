"""An incident as a book opens it, and what is said of it on the way to its end."""

from __future__ import annotations

from collections.abc import Iterable

from models.incidents.book import IncidentBook
from tests.builders import CATALOG, NOW, decision, proposal, result, sample, verdict_on
from topics.actions import Result
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident, SymptomKind
from topics.spec import Instant
from topics.verdicts import Effect, Verdict


def down(book: IncidentBook, entity: str = CATALOG, ts: Instant = NOW) -> Incident:
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
