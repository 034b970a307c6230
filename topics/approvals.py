"""Approvals: votes by people on decisions that wait."""

from __future__ import annotations

from typing import Literal

from topics.spec import Instant, Record, Topic


class Approval(Record, frozen=True):
    """One vote of one person on one decision."""

    id: str  # H(decision, voter): a person has one vote
    decision: str
    system: str  # of the decision's target: brings the vote to the worker that holds the decision
    ts: Instant
    voter: str
    vote: Literal["approve", "reject"]
    reason: str


APPROVALS = Topic("opsloop.approvals", Approval, key=lambda approval: approval.system, what="votes by people")
