"""What the gate let through becomes a command once it may: at once, or when a person has said yes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._state import Stateful
from models.safety.limits import SafetySettings
from models.safety.votes import Ballot
from topics.actions import COMMANDS, RESULTS, Command, Result
from topics.approvals import APPROVALS, Approval
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.settings import SETTINGS, Setting
from topics.spec import Instant, Read, Record


class Approve(Stateful[Ballot]):
    """Holds what waits for votes; the only writer of commands."""

    name = "approve"
    reads = (DECISIONS, APPROVALS, INCIDENTS, RESULTS, SETTINGS)
    writes = (DECISIONS, COMMANDS)
    shape = Ballot

    def __init__(self, settings: SafetySettings) -> None:
        super().__init__()
        self.settings = settings

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Decision | Command]:
        yield from self.state.expire(now)
        for read in records:
            match read.record:
                case Decision() as decision:
                    yield from self.state.decided(decision, self.settings, now)
                case Approval() as approval:
                    yield from self.state.vote(approval, now)
                case Incident() as incident:
                    yield from self.state.incident(incident, now)
                case Result() as result:
                    yield from self.state.acted(result, now)
                case Setting() as setting:
                    self.state.set(setting)
