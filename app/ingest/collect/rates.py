"""Converts counters to rates."""

from __future__ import annotations

from topics.spec import Instant


class Rates:
    """Computes how fast counters grow. A counter that falls was reset and counts from zero again."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Instant, float]] = {}

    def rate(self, name: str, value: float, now: Instant) -> float | None:
        """Growth per second since the last call; None at the first call or when no time has passed."""
        before = self._last.get(name)
        self._last[name] = (now, value)
        if before is None or now <= before[0]:
            return None
        grown = value - before[1]
        return (grown if grown >= 0 else value) * 1000 / (now - before[0])

    def put(self, metrics: dict[str, float], name: str, value: float, now: Instant) -> None:
        """Set `metrics[name]` to the rate of a counter, if there is a rate yet."""
        rate = self.rate(name, value, now)
        if rate is not None:
            metrics[name] = rate
