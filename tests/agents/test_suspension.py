"""A process that did not run is told from one that is busy."""

from __future__ import annotations

import pytest

from agents import _suspension
from agents._suspension import Suspended, SuspensionDetector


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pulse's clock, set by hand; its thread beats on it too."""
    at = [100.0]
    monkeypatch.setattr(_suspension, "_clock", lambda: at[0])
    return at


def test_a_short_pause_is_harmless_and_a_long_one_is_told_until_one_wakes(clock: list[float]) -> None:
    detector = SuspensionDetector(4.8)
    try:
        clock[0] += 4.7
        detector.require()
        detector._at = clock[0]
        clock[0] += 60.0
        with pytest.raises(Suspended, match=r"60\.0 s"):
            detector.require()
        with pytest.raises(Suspended):
            detector.require()
        detector.wake()
        detector.require()
    finally:
        detector.stop()
