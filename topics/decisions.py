"""Decisions: the record of one state of the decision on a proposal, and its topic."""

from __future__ import annotations

from typing import Final

import msgspec

from topics.policies import Facts, PolicyResult
from topics.proposals import Proposal
from topics.spec import Count, Fields, Instant, Open, Record, Topic, domain_of


class DecisionState(Open):
    """Where a decision stands."""

    DENIED = "denied"
    PENDING = "pending_approval"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    DISPATCHED = "dispatched"
    COMPLETED = "completed"


PASSING: Final = frozenset(  # block reasons that pass by themselves: the same proposal is worth making again later
    {"blast_radius", "budget_exhausted", "capacity_floor", "duplicate_in_progress", "exponential_backoff", "frozen",
     "killed", "lease_held", "maintenance", "recently_remediated", "resource_busy", "storm_active", "superseded"}
)  # fmt: skip


class Decision(Record, frozen=True, kw_only=True):
    """One state of the decision on one proposal. Of the records of one id, the one with the highest `seq` holds."""

    id: str  # H(proposal): one proposal has one decision
    ts: Instant
    state: DecisionState
    proposal: Proposal
    tier: str  # by confidence: person, lead, automatic, autonomous
    mode: str  # how far the system was allowed to go by itself, see models.safety.modes
    reasons: tuple[str, ...]
    blocked: str = ""  # a block reason, when denied by a limit
    expires: Instant = 0  # when a pending decision turns into a refusal
    voters: tuple[str, ...] = ()
    command: str = ""  # its command, once dispatched
    policy: tuple[PolicyResult, ...] = ()  # of the policies that cover it
    facts: Facts | None = None  # what they were asked
    required_role: str = ""  # whose votes it takes besides those of its mode
    quorum: Count = 0  # how many of them
    outcome: str = ""  # once completed, how its command ended: succeeded, failed, timed_out, canceled, refused; granted
    seq: Count = 0  # 0, 1, 2, … within the decision: of two states the one with the higher number is the later
    v: Count = 2

    @classmethod
    def migrated(cls, fields: Fields) -> Fields:
        """Version 1 had no `seq`: each of its states added one reason."""
        reasons = fields.get("reasons")
        return {**fields, "seq": max(len(reasons) - 1, 0) if isinstance(reasons, list) else 0}

    def moved(self, state: DecisionState, ts: Instant, reason: str, **changes: object) -> Decision:
        """The next state of this decision, which `reason` led to."""
        following = {"state": state, "ts": ts, "seq": self.seq + 1, "reasons": (*self.reasons, reason)}
        return msgspec.structs.replace(self, **{**following, **changes})


DECISIONS = Topic(
    "opsloop.decisions", Decision, key=lambda decision: domain_of(decision.proposal.target),
    what="what the gate and people said to proposals",
)  # fmt: skip
