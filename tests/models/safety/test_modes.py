"""Modes and tiers: who may say yes at which confidence."""

from __future__ import annotations

import pytest

from models.safety.modes import Mode, acts, tier

TIERS = [(0.0, "person"), (0.6999, "person"), (0.70, "lead"), (0.8499, "lead"), (0.85, "automatic"),
         (0.95, "automatic"), (0.9501, "autonomous"), (1.0, "autonomous"), (-1.0, "person"),
         (float("nan"), "person")]  # fmt: skip


@pytest.mark.parametrize(("confidence", "expected"), TIERS)
def test_a_confidence_has_one_tier(confidence: float, expected: str) -> None:
    assert tier(confidence) == expected


@pytest.mark.parametrize(("confidence", "of"), TIERS)
def test_a_mode_acts_alone_only_from_its_tier_on(confidence: float, of: str) -> None:
    alone = {
        Mode.OBSERVE: set(), Mode.SUGGEST: set(), Mode.APPROVE: set(), Mode.ACT_AND_REPORT: {"automatic", "autonomous"},
        Mode.AUTONOMOUS: {"lead", "automatic", "autonomous"},
    }  # fmt: skip
    for mode in Mode:
        assert acts(mode, confidence) is (of in alone[mode])
