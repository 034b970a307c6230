"""How often one address may ask: a token bucket for each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

KEPT: Final = 10_000  # addresses remembered


class Throttle:
    """`burst` at once, and `per_s` in the long run. May be used by several threads."""

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left: dict[str, tuple[float, float]] = {}  # address → tokens, when
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """0 when the address may ask now, which is counted; else how many seconds it has to wait."""
        with self._lock:
            now = self._clock()
            left, at = self._left.pop(address, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._per_s)
            allowed = left >= 1.0
            self._left[address] = (left - 1.0 if allowed else left, now)
            if len(self._left) > KEPT:
                del self._left[next(iter(self._left))]
            return 0.0 if allowed else (1.0 - left) / self._per_s
