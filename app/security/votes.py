"""Casting a vote: signed with the voter's key on this host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, Literal

from app.broker import Broker, tail
from app.client import Publisher
from app.clock import now_ms
from app.security.keys import Keys
from app.settings import home, masked
from models.safety.signing import sign_vote
from topics.approvals import APPROVALS, Approval, subject
from topics.codec import DecodeError, decode
from topics.decisions import DECISIONS, Decision
from topics.refusals import REFUSALS, Refusal
from topics.spec import Raw, derive, system_of

ANSWER_S: Final = 4.0  # how long a vote waits to hear what became of it
GRACE_MS: Final = 60_000  # a vote of the last moment still counts while its command is on its way


def cast(broker: Broker, decision: Decision, vote: Literal["approve", "reject"], voter: str, reason: str) -> Approval:
    """Publish one vote under the voter's signature; return it when the broker has it.

    Raises:
        UserError: the voter has no key on this host.
    """
    wanted = decision.proposal
    approval = Approval(
        id=derive("approval", decision.id, voter), decision=decision.id, system=system_of(wanted.target),
        ts=now_ms(), voter=voter, vote=vote, reason=masked(reason), expires=decision.expires + GRACE_MS,
        subject=subject(decision.id, wanted.action, wanted.target, wanted.parameters, wanted.requester),
    )  # fmt: skip
    approval = sign_vote(approval, Keys(home()).own(voter))
    with Publisher(broker) as publisher:
        publisher.send(approval)
    return approval


def cast_and_hear(
    broker: Broker, decision: Decision, vote: Literal["approve", "reject"], voter: str, reason: str
) -> tuple[Approval, Decision | Refusal | None]:
    """Cast a vote, and what a worker said to it: its decision as it stands then, or a refusal; None: nothing in time.

    Raises:
        UserError: the voter has no key on this host.
    """
    end = time.monotonic() + 60.0
    heard = tail(broker, [t.name for t in (APPROVALS, DECISIONS, REFUSALS)], stop=lambda: time.monotonic() > end)
    approval = cast(broker, decision, vote, voter, reason)
    end = time.monotonic() + ANSWER_S
    return approval, _answer(heard, approval)


def _answer(heard: Iterator[Raw], approval: Approval) -> Decision | Refusal | None:
    place, refusals = "", dict[str, Refusal]()
    for raw in heard:
        try:
            record = decode(raw).record
        except DecodeError:
            continue
        match record:
            case Approval(signature=signature) if signature == approval.signature:
                place = str(raw.origin)
            case Refusal() as refused:
                refusals[refused.origin] = refused
            case Decision() as decision if decision.id == approval.decision and approval.voter in decision.voters:
                return decision
        if place in refusals:
            return refusals[place]
    return None
