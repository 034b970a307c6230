"""Looks for the effect of each action: is the symptom gone, and does it stay away?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._state import Stateful
from models.incidents.verification import VerificationSettings, Verifier
from topics.actions import RESULTS, Result
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant, Read, Record, system_of
from topics.verdicts import VERDICTS, Verdict


class Verify(Stateful[Verifier]):
    """Watches the affected entities after an action, and judges it."""

    name = "verify"
    reads = (ANOMALIES, INCIDENTS, RESULTS, DECISIONS)
    writes = (VERDICTS,)
    shape = Verifier

    def __init__(self, settings: VerificationSettings) -> None:
        super().__init__()
        self.settings = settings

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Verdict]:
        systems: dict[str, None] = {}  # of which something was read, in the order of the log
        for read in records:
            match read.record:
                case Anomaly() as anomaly:
                    self.state.observe(anomaly)
                    systems[system_of(anomaly.entity)] = None
                case Incident() as incident:
                    self.state.incident(incident)
                    systems[system_of(incident.entity)] = None
                case Decision() as decision:
                    self.state.decided(decision)
                    systems[system_of(decision.proposal.target)] = None
                case Result() as result:
                    self.state.acted(result)
                    systems[system_of(result.target)] = None
        yield from self.state.judge(systems, now, self.settings)
