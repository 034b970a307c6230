"""Detects that the process was suspended: meanwhile the group may have given its partitions to others."""

from __future__ import annotations

import threading
import time
from typing import Final

BEAT_S: Final = 0.1


class Suspended(Exception):
    """The process was suspended for longer than its limit, which is below the group's session timeout."""


class SuspensionDetector:
    """Tells a suspended process (SIGSTOP, or a suspended machine) from a busy one.

    A thread wakes ten times a second and measures the time since it woke last. A long step of the worker does not delay
    it; a suspension does.

    limit_s: tolerated suspension in seconds; set it well below the group's session timeout.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._ended = threading.Event()
        self._slept = 0.0
        self._at = _clock()
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    def require(self) -> None:
        """Raise Suspended when the process was suspended for longer than the limit since the last `wake`."""
        slept = max(self._slept, _clock() - self._at)  # the thread may not have run yet after the suspension
        if slept > self.limit_s:
            raise Suspended(f"this process did not run for {slept:.1f} s")

    def wake(self) -> None:
        """Reset the detector. Call it after all state from before the suspension was dropped."""
        self._at, self._slept = _clock(), 0.0

    def stop(self) -> None:
        """Stop the thread."""
        self._ended.set()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            now = _clock()
            self._slept = max(self._slept, now - self._at if now - self._at > self.limit_s else 0.0)
            self._at = now


def _clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # this clock includes time in which the machine is suspended
