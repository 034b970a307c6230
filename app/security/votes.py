"""Casts votes, signed with the voter's key on this host."""

from __future__ import annotations

from typing import Final, Literal

from app.clock import now_ms
from app.kafka.broker import Broker
from app.security.keys import Keys
from app.security.messages import publish_and_hear
from app.settings import home, masked
from models.safety.approval import LONGEST_MS
from models.safety.signing import sign_vote
from topics.approvals import Approval, subject
from topics.decisions import DECISIONS, Decision
from topics.refusals import Refusal
from topics.spec import Record, derive, system_of

GRACE_MS: Final = 60_000  # ms that a vote outlives its decision, so that a late vote is valid until its command arrives


def sign(decision: Decision, vote: Literal["approve", "reject"], voter: str, reason: str) -> Approval:
    """Make a signed vote on a decision.

    Raises:
        UserError: the voter has no key on this host.
    """
    wanted, now = decision.proposal, now_ms()
    approval = Approval(
        id=derive("approval", decision.id, voter), decision=decision.id, system=system_of(wanted.target), ts=now,
        voter=voter, vote=vote, reason=masked(reason), expires=min(decision.expires + GRACE_MS, now + LONGEST_MS),
        subject=subject(decision.id, wanted.action, wanted.target, wanted.parameters, wanted.requester),
    )  # fmt: skip
    return sign_vote(approval, Keys(home()).own(voter))


def cast_and_hear(
    broker: Broker, decision: Decision, vote: Literal["approve", "reject"], voter: str, reason: str
) -> tuple[Approval, Decision | Refusal | None]:
    """Publish a vote. Returns the decision's new state, or the refusal; None: no worker answered in time.

    Raises:
        UserError: the voter has no key on this host.
    """

    def answers(record: Record) -> bool:
        return isinstance(record, Decision) and record.id == decision.id and voter in record.voters

    approval = sign(decision, vote, voter, reason)
    found = publish_and_hear(broker, approval, DECISIONS, answers)
    assert found is None or isinstance(found, Decision | Refusal)
    return approval, found
