"""Alarms over time for a terminal: a line of bars."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from app.offline.tuning.backtest import Alarm
from topics.spec import Instant

BARS: Final = "▁▂▃▄▅▆▇█"
WIDTH: Final = 48


def counts(alarms: Iterable[Alarm], first: Instant, last: Instant, width: int = WIDTH) -> list[int]:
    """How many alarms were told in each of `width` equal parts of a time."""
    found = [0] * width
    for alarm in alarms:
        found[min(width - 1, max(0, (alarm.told - first) * width // max(1, last - first + 1)))] += 1
    return found


def bars(numbers: Iterable[int], top: int) -> str:
    """A bar for each number, a dot for none; `top` is the highest bar."""
    return "".join("·" if not n else BARS[min(7, 8 * n // (top + 1))] for n in numbers)
