"""Policies that also forbid what stands: a violation becomes a proposal to undo it, for the same gate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from agents._state import Stateful
from models.policy.engine import Policies
from models.policy.standing import Upholder
from models.safety.signing import Keyring, Refused
from topics.actions import RESULTS, Result
from topics.decisions import DECISIONS, Decision
from topics.policies import POLICIES, Policy
from topics.proposals import PROPOSALS, Proposal
from topics.spec import Instant, Read, Record


class Uphold(Stateful[Upholder]):
    """Holds what was done against the policies of now."""

    name = "uphold"
    reads = (DECISIONS, RESULTS, POLICIES)
    writes = (PROPOSALS,)
    shape = Upholder

    def __init__(self, keyring: Keyring, policies: Policies) -> None:
        super().__init__()
        self.keyring, self.policies = keyring, policies

    def step(self, records: Sequence[Read[Record]], now: Instant) -> Iterator[Proposal]:
        for read in records:
            match read.record:
                case Decision() as decision:
                    self.state.decided(decision)
                case Result() as result:
                    self.state.done(result)
                case Policy() as policy:
                    with contextlib.suppress(Refused):  # the gate says so
                        self.state.policies.take(policy, self.keyring, self.policies.check)
        yield from self.state.look(self.policies, now)
