"""Decisions: what the gate said to a proposal, and how it went on from there."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from topics.policies import Facts, PolicyResult
from topics.proposals import Proposal
from topics.spec import Count, Instant, Record, Topic, system_of


class DecisionState(StrEnum):
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


class Decision(Record, frozen=True):
    """One state of one decision. The latest record of an id is its truth."""

    id: str  # H(proposal): one proposal has one decision
    ts: Instant
    state: DecisionState
    proposal: Proposal
    tier: str  # person, lead, automatic, autonomous: who may say yes at this confidence
    mode: str  # the P-3 mode that applied
    reasons: tuple[str, ...]
    blocked: str = ""  # a block reason, when denied by a limit
    expires: Instant = 0  # when a pending decision turns into a refusal
    voters: tuple[str, ...] = ()
    command: str = ""  # its command, once dispatched
    policy: tuple[PolicyResult, ...] = ()  # of the policies that cover it
    facts: Facts | None = None  # what they were asked
    required_role: str = ""  # whose votes it takes besides those of its mode
    quorum: Count = 0  # how many of them


DECISIONS = Topic(
    "opsloop.decisions", Decision, key=lambda decision: system_of(decision.proposal.target),
    what="what the gate and people said to proposals",
)  # fmt: skip
