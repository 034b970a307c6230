"""A worker that did not run for a while must not go on as if nothing had happened: others have its partitions."""

from __future__ import annotations

import threading
import time
from typing import Final

BEAT_S: Final = 0.1


class Suspended(Exception):
    """This process did not run for longer than its group waits for a member."""


class SuspensionDetector:
    """Tells a process that was stopped, or suspended with its machine, from one that is only busy.

    A thread beats ten times a second however long the worker's own step takes; it misses beats only when the whole
    process does not run. `limit_s`: what is still harmless, well below the session of the group.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._ended = threading.Event()
        self._slept = 0.0
        self._at = _clock()
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    def require(self) -> None:
        """Raises Slept when the process slept too long since the last `wake`."""
        slept = max(self._slept, _clock() - self._at)  # the beat may not have had its turn yet
        if slept > self.limit_s:
            raise Suspended(f"this process did not run for {slept:.1f} s")

    def wake(self) -> None:
        """Begin anew, once everything from before the sleep is dropped."""
        self._at, self._slept = _clock(), 0.0

    def stop(self) -> None:
        self._ended.set()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            now = _clock()
            self._slept = max(self._slept, now - self._at if now - self._at > self.limit_s else 0.0)
            self._at = now


def _clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine is suspended
