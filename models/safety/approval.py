"""Checks proposals and votes. A vote is checked when it is cast, and again by the actuator before it acts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from models.safety.modes import Need
from models.safety.roles import may
from models.safety.signing import Keyring, Principal, Refused, requester, voter
from topics.approvals import Approval
from topics.proposals import Proposal
from topics.spec import Instant

LONGEST_MS: Final = 3_600_000  # maximum validity of a vote or a proposal
VOTES: Final = ("approve", "reject")
SKEW_MS: Final = 5_000  # maximum difference between the clocks of two hosts


class Matter(msgspec.Struct, frozen=True):
    """The subject of a vote, and the votes that it needs."""

    subject: str  # see topics.approvals.subject
    requester: str
    needs: tuple[Need, ...]  # all must be met; empty: no vote is needed


def check_proposal(proposal: Proposal, keyring: Keyring, now: Instant) -> Principal:
    """Return who made a proposal, if it is valid.

    Raises:
        Refused: unsigned, unknown_key, revoked, forged, wrong_requester, wrong_role, expired.
    """
    who = requester(proposal, keyring)
    if not may(who.roles, "propose"):
        raise Refused("wrong_role", f"{who.name} may not ask for changes")
    ts, expires = proposal.ts, proposal.expires
    if now >= expires or ts > now + SKEW_MS or expires - ts > LONGEST_MS:
        raise Refused("expired", f"the proposal counts until {expires}, and it is {now}")
    return who


def check_vote(approval: Approval, matter: Matter, keyring: Keyring, now: Instant) -> Principal:
    """Return who cast a vote, if it is valid.

    Raises:
        Refused: unsigned, unknown_key, revoked, forged, wrong_voter, unknown_vote, self_approval, altered,
            expired, wrong_role.
    """
    who = voter(approval, keyring)
    if approval.vote not in VOTES:
        raise Refused("unknown_vote", f"{approval.vote!r} is not one of {', '.join(VOTES)}")
    if who.name == matter.requester:
        raise Refused("self_approval", f"{who.name} asked for it")
    if approval.subject != matter.subject:
        raise Refused("altered", "the vote is for another command")
    if now >= approval.expires or approval.ts > now + SKEW_MS or approval.expires - approval.ts > LONGEST_MS:
        raise Refused("expired", f"the vote counts until {approval.expires}, and it is {now}")
    for need in matter.needs:
        if not need.met_by(who.roles):
            raise Refused("wrong_role", f"{who.name} is no {need.role}")
    return who


def check_approvals(approvals: Sequence[Approval], matter: Matter, keyring: Keyring, now: Instant) -> None:
    """Return if enough different people approved for every need. Raises when any vote is invalid.

    Raises:
        Refused: unapproved when votes are missing or one rejects, else the code of the invalid vote.
    """
    people = set()
    for approval in approvals:
        if approval.vote != "approve":
            raise Refused("unapproved", f"{approval.voter} said no")
        people.add(check_vote(approval, matter, keyring, now).name)
    wanted = max((need.quorum for need in matter.needs), default=0)
    if len(people) < wanted:
        role = next(need.role for need in matter.needs if need.quorum == wanted)
        raise Refused("unapproved", f"{len(people)} of {wanted} votes ({role})")
