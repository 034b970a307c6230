"""The one gate: every proposal meets the mode, the limits, the kill switch and the policies.

It also proposes: an end to what stands against a policy, and promotions that were earned, because it alone knows how
things are. These meet the gate like all others, through their topic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents._state import Stateful
from models.policy.engine import Policies
from models.safety.limits import GateState as Limits
from models.safety.limits import SafetySettings
from models.safety.signing import Keyring, Refused, Signer, sign_proposal
from topics.actions import RESULTS, Result
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
    """Answers each proposal once, and refuses what is not by whom it says."""

    name = "gate"
    reads = (PROPOSALS, DECISIONS, SETTINGS, POLICIES, INCIDENTS, VERDICTS, ANOMALIES, EVENTS, RESULTS)
    writes = (DECISIONS, REFUSALS, PROPOSALS)
    shape = Limits

    def __init__(self, settings: SafetySettings, signer: Signer, keyring: Keyring, policies: Policies) -> None:
        self.settings, self.signer, self.keyring, self.policies = settings, signer, keyring, policies
        super().__init__()

    def prepare(self) -> None:
        self.state.count_by(self.settings)

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Decision | Refusal | Proposal]:
        for read in records:
            self.state.context.see(read.record)
            self.state.trust.see(read.record, self.settings, now)
            try:
                yield from self._one(read, now)
            except Refused as refused:
                yield refusal(read.record, str(read.origin), refused.code, refused.detail, now)
        if not records:
            self.state.expire(now)
            for proposal in self.state.proposals(self.settings, self.policies, now):
                yield sign_proposal(proposal, self.signer)

    def next_deadline(self) -> Instant | None:
        own = self.state.next_check(self.settings)
        return min((at for at in (own, super().next_deadline()) if at is not None), default=None)

    def _one(self, read: Read[Record], now: Instant) -> Iterator[Decision]:
        match read.record:
            case Proposal() as proposal:
                if self.state.admit(proposal, read.origin.offset, self.keyring, now):
                    yield from self.state.judge(proposal, self.settings, self.policies, now, read.origin.offset)
            case Decision() as decision:
                self.state.follow(decision, self.settings)
                self.state.violations.decided(decision)
            case Result() as result:
                self.state.violations.done(result)
            case Policy() as policy:
                self.state.policies.take(policy, self.keyring, self.policies.check, read.arrived or now)
            case Setting() as setting:
                self.state.set(setting, self.keyring, read.arrived or now)
