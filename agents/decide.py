"""Incidents become proposals: the best action that was not tried yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from agents._taught import Taught
from models.decision.advisor import Bounds
from models.decision.planner import Planner
from models.knowledge.packs import Packs
from models.safety.signing import Keyring, Refused, Signer, sign_proposal
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.packs import PACKS, PackVersion
from topics.policies import POLICIES, Policy
from topics.proposals import PROPOSALS, Proposal
from topics.signals import ANOMALIES, Anomaly
from topics.spec import Instant, Read, Record
from topics.verdicts import VERDICTS, Verdict


class Decide(Taught[Planner]):
    """Makes one proposal at a time for each open incident, and learns from what became of it."""

    name = "decide"
    reads = (ANOMALIES, INCIDENTS, DECISIONS, VERDICTS, POLICIES, PACKS)
    writes = (PROPOSALS,)
    shape = Planner

    def __init__(self, packs: Packs, bounds: Bounds, signer: Signer, keyring: Keyring) -> None:
        super().__init__(packs, keyring)
        self.bounds, self.signer = bounds, signer

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Proposal]:
        for proposal in self._proposals(records, now):
            yield sign_proposal(proposal, self.signer)

    def _proposals(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Proposal]:
        for read in records:
            match read.record:
                case Incident() as incident:
                    yield from self.state.incident(incident, self.bounds, now)
                case Decision() as decision:
                    self.state.decided(decision, now)
                case Anomaly() as anomaly:
                    self.state.observe(anomaly)
                case Verdict() as verdict:
                    self.state.verdict(verdict)
                case Policy() as policy:
                    self._hold(policy, read.arrived or now)
                case PackVersion() as word:
                    with contextlib.suppress(Refused):  # that a pack is not believed is for `respond` to say
                        self.learn_pack(word, read.arrived or now)
        if not records:
            yield from self.state.expire(self.bounds, now)

    def _hold(self, policy: Policy, arrived: Instant) -> None:
        """What the gate will ask too; that a policy is not believed is the gate's to say."""
        if self.bounds.policies is not None:
            with contextlib.suppress(Refused):
                self.state.advisor.policies.take(policy, self.keyring, self.bounds.policies.check, arrived)
