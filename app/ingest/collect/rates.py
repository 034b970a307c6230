"""Counters to rates."""

from __future__ import annotations

from topics.spec import Instant


class Rates:
    """Remembers counters and says how fast they grow. A counter that falls was reset: it counts from zero again."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Instant, float]] = {}

    def rate(self, name: str, value: float, now: Instant) -> float | None:
        """Growth per second since the last time, None the first time or when no time has passed."""
        before = self._last.get(name)
        self._last[name] = (now, value)
        if before is None or now <= before[0]:
            return None
        grown = value - before[1]
        return (grown if grown >= 0 else value) * 1000 / (now - before[0])

    def put(self, metrics: dict[str, float], name: str, value: float, now: Instant) -> None:
        """Add the rate of a counter to `metrics` as `name`, once there is one."""
        rate = self.rate(name, value, now)
        if rate is not None:
            metrics[name] = rate
