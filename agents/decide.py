"""Incidents become proposals: the best action that was not tried yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._state import Stateful
from models.decision.planner import Planner
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.proposals import PROPOSALS, Proposal
from topics.spec import Instant, Read, Record


class Decide(Stateful[Planner]):
    """Makes one proposal at a time for each open incident."""

    name = "decide"
    reads = (INCIDENTS, DECISIONS)
    writes = (PROPOSALS,)
    shape = Planner

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Proposal]:
        for read in records:
            match read.record:
                case Incident() as incident:
                    yield from self.state.incident(incident, now)
                case Decision() as decision:
                    self.state.decided(decision, now)
        yield from self.state.expire(now)
