"""Promotion: a class of action that has earned more autonomy proposes it; the vote of a lead grants it.

The proposal passes policies and votes as every other one. It acts on no target: it results in a setting that carries
the votes, because a worker alone may grant nothing. A lead can make the same setting by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from models.safety.approval import Matter, check_approvals
from models.safety.modes import Need
from models.safety.roles import Role
from models.safety.signing import TRUST, Keyring, Refused
from topics.approvals import Approval, subject
from topics.proposals import Proposal
from topics.settings import Setting
from topics.spec import Count, Instant, derive

GRANT: Final = "grant_autonomy"  # action of such a proposal; no actuator runs it
AUTONOMY: Final = "autonomy/"  # setting `autonomy/SYSTEM/ACTION/KIND/ENVIRONMENT` or `autonomy/SYSTEM/TIER`
GRANTED: Final = "granted"
LEADS: Final = Need(Role.LEAD, 1)  # minimum votes for a grant
PARTS: Final = ("action", "kind", "environment")


def promotion(group: str, told: str, attempt: Count, now: Instant) -> Proposal:
    """Return the proposal that a class may act without a person. Its confidence is 0, so that every mode asks a person.

    told: its outcomes, for the reasons.
    """
    system, *parts = group.split("/")
    return Proposal(
        id=derive("proposal", TRUST, group, told, attempt), ts=now, action=GRANT, target=system,
        parameters=dict(zip(PARTS, parts, strict=True)), requester=TRUST, confidence=0.0, cause="earned",
        reasons=(f"{group} has earned to act alone: {told}",), rule=f"earned→{GRANT}", attempt=attempt, kind="autonomy",
    )  # fmt: skip


def group_of(proposal: Proposal) -> str:
    """Return the class that a promotion is about."""
    return "/".join((proposal.target, *(proposal.parameters.get(part, "") for part in PARTS)))


def granted(proposal: Proposal, votes: Sequence[Approval], now: Instant) -> Setting:
    """Return the unsigned setting that an approved promotion results in."""
    who = ", ".join(vote.voter for vote in votes)
    return Setting(
        name=f"{AUTONOMY}{group_of(proposal)}", value=GRANTED, ts=now, by=TRUST,
        reason=f"ratified by {who}: {proposal.reasons[0]}", approvals=tuple(votes),
    )  # fmt: skip


def check_grant(setting: Setting, keyring: Keyring) -> None:
    """Return if leads have voted for exactly this grant, at the time when it was made.

    Raises:
        Refused: wrong_role when it has no votes or is no grant of a class, or the code of an invalid vote.
    """
    system, *parts = setting.name.removeprefix(AUTONOMY).split("/")
    if setting.by != TRUST or setting.value != GRANTED or len(parts) != len(PARTS) or not setting.approvals:
        raise Refused("wrong_role", f"{setting.by} may not say what acts alone")
    about = dict(zip(PARTS, parts, strict=True))
    bound = subject(setting.approvals[0].decision, GRANT, system, about, TRUST)
    check_approvals(setting.approvals, Matter(bound, TRUST, (LEADS,)), keyring, setting.ts)
