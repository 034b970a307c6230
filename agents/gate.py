"""The one gate: every proposal meets the mode, the limits and the kill switch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._state import Stateful
from models.safety.limits import Gate as Limits
from models.safety.limits import SafetySettings
from models.safety.signing import Keyring, Refused
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS
from topics.proposals import PROPOSALS, Proposal
from topics.refusals import REFUSALS, Refusal, refusal
from topics.settings import SETTINGS, Setting
from topics.signals import ANOMALIES
from topics.spec import Instant, Read, Record
from topics.telemetry import EVENTS
from topics.verdicts import VERDICTS


class Gate(Stateful[Limits]):
    """Answers each proposal once."""

    name = "gate"
    reads = (PROPOSALS, DECISIONS, SETTINGS, INCIDENTS, VERDICTS, ANOMALIES, EVENTS)
    writes = (DECISIONS, REFUSALS)
    shape = Limits

    def __init__(self, settings: SafetySettings, keyring: Keyring) -> None:
        super().__init__()
        self.settings, self.keyring = settings, keyring

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Decision | Refusal]:
        for read in records:
            self.state.around.see(read.record)
            match read.record:
                case Proposal() as proposal:
                    yield from self.state.judge(proposal, self.settings, now)
                case Decision() as decision:
                    self.state.follow(decision, self.settings)
                case Setting() as setting:
                    try:
                        self.state.set(setting, self.keyring, now)
                    except Refused as refused:
                        yield refusal(setting, str(read.origin), refused.code, refused.detail, now)
