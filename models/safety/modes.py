"""P-3 modes and confidence tiers: who may say yes to a proposal."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Mode(StrEnum):
    """How far the system may go by itself. `approve` is the default for everything."""

    OBSERVE = "observe"  # nothing is proposed to people, nothing acts
    APPROVE = "approve"  # a person approves each action
    ACT_AND_REPORT = "act_and_report"  # from the automatic tier on it acts and says so
    AUTONOMOUS = "autonomous"  # from the lead's tier on it acts


TIERS: Final = ((0.85, "automatic"), (0.70, "lead"))

# the least confidence at which a mode acts without a person; None: never
ACTS_FROM: Final[Mapping[Mode, float | None]] = {
    Mode.OBSERVE: None, Mode.APPROVE: None, Mode.ACT_AND_REPORT: 0.85, Mode.AUTONOMOUS: 0.70,
}  # fmt: skip


def tier(confidence: float) -> str:
    """The tier of a confidence: person below 0.70, lead below 0.85, automatic to 0.95, autonomous above."""
    if confidence > 0.95:
        return "autonomous"
    return next((name for least, name in TIERS if confidence >= least), "person")


def acts(mode: Mode, confidence: float) -> bool:
    """Whether a mode acts on a confidence without asking a person."""
    least = ACTS_FROM[mode]
    return least is not None and confidence >= least
