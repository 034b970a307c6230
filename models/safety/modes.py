"""Modes and confidence tiers: how far the system may go by itself, and who may say yes to a proposal."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from models.safety.roles import Role


class Mode(StrEnum):
    """How far the system may go by itself. `approve` is the default for everything."""

    OBSERVE = "observe"  # nothing acts
    SUGGEST = "suggest"  # nothing acts; what would have been asked is written down
    APPROVE = "approve"  # a person approves each action
    ACT_AND_REPORT = "act_and_report"  # from the automatic tier on it acts and says so
    AUTONOMOUS = "autonomous"  # from the lead's tier on it acts


TIERS: Final = ((0.85, "automatic"), (0.70, "lead"))

# the least confidence at which a mode acts without a person; None: never
ACTS_FROM: Final[Mapping[Mode, float | None]] = {
    Mode.OBSERVE: None, Mode.SUGGEST: None, Mode.APPROVE: None, Mode.ACT_AND_REPORT: 0.85, Mode.AUTONOMOUS: 0.70,
}  # fmt: skip
SILENT: Final = frozenset({Mode.OBSERVE, Mode.SUGGEST})


class Need(msgspec.Struct, frozen=True):
    """What must be had before something is done: votes of so many people with a role."""

    role: str
    quorum: int

    def met_by(self, roles: frozenset[str]) -> bool:
        """Whether somebody's vote counts; a lead's counts wherever an approver's does."""
        return self.role in roles or (self.role == Role.APPROVER and Role.LEAD in roles)


def tier(confidence: float) -> str:
    """The tier of a confidence: person below 0.70, lead below 0.85, automatic to 0.95, autonomous above."""
    if confidence > 0.95:
        return "autonomous"
    return next((name for least, name in TIERS if confidence >= least), "person")


def acts(mode: Mode, confidence: float) -> bool:
    """Whether a mode acts on a confidence without asking a person."""
    least = ACTS_FROM[mode]
    return least is not None and confidence >= least


def mode_of(target: str, scopes: Mapping[str, Mode], otherwise: Mode) -> Mode:
    """The mode of the narrowest scope around a target: `shop/catalog` before `shop` for `shop/catalog/0`."""
    parts = target.split("/")
    around = ("/".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((Mode(scopes[scope]) for scope in around if scope in scopes), otherwise)


def at_most(mode: Mode, limit: Mode) -> Mode:
    """The one of two modes that does less."""
    return min(mode, limit, key=list(Mode).index)


def need(mode: Mode, confidence: float, quorum: int = 1) -> Need | None:
    """Whose yes is needed in a mode at a confidence; None: nobody's."""
    if acts(mode, confidence):
        return None
    return Need(Role.LEAD if tier(confidence) == "lead" else Role.APPROVER, quorum)
