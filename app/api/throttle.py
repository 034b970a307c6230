"""Limits the rate of requests of each address by a token bucket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

KEPT: Final = 10_000  # addresses remembered


class Throttle:
    """`burst` requests at once, and `per_s` a second in the long run. Thread-safe."""

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left: dict[str, tuple[float, float]] = {}  # address → tokens, when
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """Count a request of an address. Returns 0 when it is allowed, else the seconds to wait."""
        with self._lock:
            now = self._clock()
            left, at = self._left.pop(address, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._per_s)
            allowed = left >= 1.0
            self._left[address] = (left - 1.0 if allowed else left, now)
            if len(self._left) > KEPT:
                del self._left[next(iter(self._left))]
            return 0.0 if allowed else (1.0 - left) / self._per_s
