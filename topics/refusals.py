"""Refusals: proposals, votes, commands and settings that were not accepted, each with its reason."""

from __future__ import annotations

import msgspec

from topics.actions import SignedCommand
from topics.approvals import Approval
from topics.audit import AuditEntry
from topics.proposals import Proposal
from topics.settings import Setting
from topics.spec import Instant, Record, Topic, derive, domain_of
from topics.versions import Version


class Refusal(Record, frozen=True):
    """One record that had no effect."""

    id: str  # H(origin)
    ts: Instant
    domain: str = msgspec.field(name="system")  # of what was refused, under its older name; * when it is about all
    origin: str  # topic-partition-offset of the record that was refused
    who: str  # whom it claims to be by
    code: str  # from the closed set of models.safety.signing and models.safety.approval
    detail: str


def refusal(record: Record, origin: str, code: str, detail: str, now: Instant) -> Refusal:
    """The refusal of a record that was read at `origin`."""
    domain, who = "*", ""
    match record:
        case Approval() as vote:
            domain, who = domain_of(vote.system), vote.voter
        case Proposal() as proposal:
            domain, who = domain_of(proposal.target), proposal.requester
        case SignedCommand() as order:
            domain, who = domain_of(order.target), order.key
        case AuditEntry() as entry:
            domain, who = entry.domain, f"chain {entry.chain}"
        case Setting() | Version() as word:
            who = word.by
    return Refusal(
        id=derive("refusal", origin), ts=now, domain=domain, origin=origin, who=who, code=code,
        detail=detail,
    )  # fmt: skip


REFUSALS = Topic(
    "opsloop.refusals", Refusal, key=lambda refusal: refusal.domain,
    what="proposals, votes and settings that were not accepted",
)  # fmt: skip
