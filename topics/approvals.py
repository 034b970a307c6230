"""Approvals: the signed votes of people on pending decisions, and their topic."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from topics.spec import Instant, Record, Topic, Word, domain_of


class Approval(Record, frozen=True):
    """One vote of one person on one decision. It counts for exactly what `subject` names, and until it expires."""

    id: str  # H(decision, voter): a person has one vote
    decision: str
    system: str  # of the decision's target: its domain brings the vote to the worker that holds the decision
    ts: Instant
    voter: str
    vote: Word  # approve, reject
    reason: str
    subject: str = ""  # hash of what may be done, see `subject`
    expires: Instant = 0
    key: str = ""  # id of the voter's key
    signature: bytes = b""  # Ed25519 over the fields above, see models.safety.signing


def subject(decision: str, action: str, target: str, parameters: Mapping[str, str], requester: str) -> str:
    """The hash that a vote is bound to: SHA-256 over decision, action, target, parameters and requester, in hex."""
    bare = (decision, action, target, dict(parameters), requester)
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


APPROVALS = Topic("opsloop.approvals", Approval, key=lambda vote: domain_of(vote.system), what="signed votes by people")
