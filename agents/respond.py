"""Anomalies, changes and what became of actions turn into incidents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._state import Stateful
from models.incidents.book import IncidentBook
from topics.actions import RESULTS, Result
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant, Read, Record
from topics.telemetry import EVENTS, Event
from topics.verdicts import VERDICTS, Judgement


class Respond(Stateful[IncidentBook]):
    """Keeps one open incident per episode."""

    name = "respond"
    reads = (ANOMALIES, EVENTS, DECISIONS, RESULTS, VERDICTS)
    writes = (INCIDENTS,)
    shape = IncidentBook

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Incident]:
        for read in records:
            match read.record:
                case Anomaly() as anomaly:
                    yield from self.state.admit(anomaly, now)
                case Event() as event:
                    self.state.event(event)
                case Decision() as decision:
                    yield from self.state.decided(decision, now)
                case Result() as result:
                    yield from self.state.acted(result, now)
                case Judgement() as verdict:
                    yield from self.state.judged(verdict, now)
        yield from self.state.expire(now)
