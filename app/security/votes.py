"""Casting a vote: signed with the voter's key on this host."""

from __future__ import annotations

from typing import Final, Literal

from app.broker import Broker
from app.client import Publisher
from app.clock import now_ms
from app.security.keys import Keys
from app.settings import home
from models.safety.masking import mask
from models.safety.signing import sign_vote
from topics.approvals import Approval, subject
from topics.decisions import Decision
from topics.spec import derive, system_of

GRACE_MS: Final = 60_000  # a vote of the last moment still counts while its command is on its way


def cast(broker: Broker, decision: Decision, vote: Literal["approve", "reject"], voter: str, reason: str) -> Approval:
    """Publish one vote under the voter's signature; return it when the broker has it.

    Raises:
        UserError: the voter has no key on this host.
    """
    wanted = decision.proposal
    approval = Approval(
        id=derive("approval", decision.id, voter), decision=decision.id, system=system_of(wanted.target),
        ts=now_ms(), voter=voter, vote=vote, reason=mask(reason), expires=decision.expires + GRACE_MS,
        subject=subject(decision.id, wanted.action, wanted.target, wanted.parameters, wanted.requester),
    )  # fmt: skip
    approval = sign_vote(approval, Keys(home()).own(voter))
    with Publisher(broker) as publisher:
        publisher.send(approval)
    return approval
