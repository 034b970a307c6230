"""The one gate: every proposal meets the mode, the limits, the kill switch and the policies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._state import Stateful
from models.policy.engine import Policies
from models.safety.limits import Gate as Limits
from models.safety.limits import SafetySettings
from models.safety.signing import Keyring, Refused
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS
from topics.policies import POLICIES, Policy
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
    reads = (PROPOSALS, DECISIONS, SETTINGS, POLICIES, INCIDENTS, VERDICTS, ANOMALIES, EVENTS)
    writes = (DECISIONS, REFUSALS)
    shape = Limits

    def __init__(self, settings: SafetySettings, keyring: Keyring, policies: Policies) -> None:
        super().__init__()
        self.settings, self.keyring, self.policies = settings, keyring, policies

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Decision | Refusal]:
        for read in records:
            self.state.around.see(read.record)
            self.state.trust.see(read.record, self.settings, now)
            match read.record:
                case Proposal() as proposal:
                    yield from self.state.judge(proposal, self.settings, self.policies, now)
                case Decision() as decision:
                    self.state.follow(decision, self.settings)
                case Setting() | Policy() as word:
                    try:
                        self._obey(word, now)
                    except Refused as refused:
                        yield refusal(word, str(read.origin), refused.code, refused.detail, now)

    def _obey(self, word: Setting | Policy, now: Instant) -> None:
        if isinstance(word, Policy):
            self.state.policies.take(word, self.keyring, self.policies.check)
        else:
            self.state.set(word, self.keyring, now)
