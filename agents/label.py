"""Incidents and what people say of them become learning controls: what the detectors may take for ordinary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, get_args

from agents._state import Stateful
from models.incidents.lifecycle import is_open
from models.keyed import KeyedState, Table, table
from topics.incidents import INCIDENTS, Incident, State
from topics.learning import LABELS, LEARNING, Feedback, Label, Learning
from topics.spec import Instant, Read, Record, domain_of

KEPT: Final = 5_000  # incidents that were labelled while they went on
FEEDBACK = frozenset(get_args(Feedback))
ENDED = (State.RESOLVED, State.REVIEWED)


class OpenForks(KeyedState):
    """The incidents for which learners are forked, each with the entities that are."""

    incidents: Table[tuple[str, ...]] = table(domain=lambda _, entities: domain_of(entities[0]))
    labelled: Table[bool] = table(KEPT)  # still going on, but told: not forked again


class Labeller(Stateful[OpenForks]):
    """Opens a fork for each entity that an incident touches, and closes it when the incident ends or is labelled.

    An incident that ends without a label was a fault: what was seen during it is not learned.
    """

    name = "label"
    reads = (INCIDENTS, LABELS)
    writes = (LEARNING,)
    shape = OpenForks

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Learning]:  # noqa: ARG002
        for read in records:
            match read.record:
                case Incident() as incident if incident.state in ENDED:
                    self.state.labelled.pop(incident.id, None)
                    yield from self._close(incident.id, "confirmed", incident.ts)
                case Incident(id=id, state=state) as incident if is_open(state) and id not in self.state.labelled:
                    yield from self._open(incident)
                case Label() as label if label.incident in self.state.incidents and label.label in FEEDBACK:
                    self.state.labelled[label.incident] = True
                    yield from self._close(label.incident, label.label, label.ts)

    def _open(self, incident: Incident) -> Iterator[Learning]:
        known = self.state.incidents.get(incident.id, ())
        fresh = [e for e in dict.fromkeys((incident.entity, *incident.affected)) if e not in known]
        if fresh:
            self.state.incidents[incident.id] = (*known, *fresh)
        for entity in fresh:
            yield Learning(entity=entity, ts=incident.ts, learning="open", incident=incident.id)

    def _close(self, incident: str, label: str, ts: Instant) -> Iterator[Learning]:
        for entity in self.state.incidents.pop(incident, ()):
            yield Learning(entity=entity, ts=ts, learning="close", incident=incident, label=label)
