"""Modes and confidence tiers: what the system may do without a person, and who may approve a proposal."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from models.safety.roles import Role
from topics.patterns import narrowest


class Mode(StrEnum):
    """What the system may do without a person. `approve` is the default everywhere."""

    OBSERVE = "observe"  # no action is taken
    SUGGEST = "suggest"  # no action is taken; what would have been proposed is recorded
    APPROVE = "approve"  # a person approves each action
    ACT_AND_REPORT = "act_and_report"  # acts from the automatic tier on, and reports it
    AUTONOMOUS = "autonomous"  # acts from the lead's tier on


TIERS: Final = ((0.85, "automatic"), (0.70, "lead"))

# minimum confidence at which a mode acts without a person; None: never
ACTS_FROM: Final[Mapping[Mode, float | None]] = {
    Mode.OBSERVE: None, Mode.SUGGEST: None, Mode.APPROVE: None, Mode.ACT_AND_REPORT: 0.85, Mode.AUTONOMOUS: 0.70,
}  # fmt: skip
SILENT: Final = frozenset({Mode.OBSERVE, Mode.SUGGEST})


class Need(msgspec.Struct, frozen=True):
    """Votes that are needed: `quorum` people with a role."""

    role: str
    quorum: int

    def met_by(self, roles: frozenset[str]) -> bool:
        """Whether the vote of somebody with these roles counts. A lead's vote counts where an approver's does."""
        return self.role in roles or (self.role == Role.APPROVER and Role.LEAD in roles)


def tier(confidence: float) -> str:
    """Return the tier of a confidence: person below 0.70, lead below 0.85, automatic to 0.95, autonomous above."""
    if confidence > 0.95:
        return "autonomous"
    return next((name for least, name in TIERS if confidence >= least), "person")


def acts(mode: Mode, confidence: float) -> bool:
    """Whether a mode acts at a confidence without a person."""
    least = ACTS_FROM[mode]
    return least is not None and confidence >= least


def mode_of(target: str, scopes: Mapping[str, Mode], otherwise: Mode) -> Mode:
    """Return the mode of the narrowest pattern that means a target: for `shop/catalog/0`, `shop/catalog` before `shop`.

    Of patterns that are as narrow the one with the most restrictive mode counts.
    """
    found = (Mode(scopes[scope]) for scope in narrowest(scopes, target))
    return min(found, key=list(Mode).index, default=otherwise)


def at_most(mode: Mode, limit: Mode) -> Mode:
    """Return the more restrictive of two modes."""
    return min(mode, limit, key=list(Mode).index)


def need(mode: Mode, confidence: float, quorum: int = 1) -> Need | None:
    """Return whose approval a mode needs at a confidence; None: nobody's."""
    if acts(mode, confidence):
        return None
    return Need(Role.LEAD if tier(confidence) == "lead" else Role.APPROVER, quorum)
