"""A worker that polls and gets nothing although there is something must not keep its partitions from others."""

from __future__ import annotations

from collections.abc import Callable


class Stuck(Exception):
    """This worker has records to read and has not been given one for a while; the text says how many."""


class Watchdog:
    """Tells a worker that is given nothing from one that has nothing to read. `limit_s`: how long it may last."""

    def __init__(self, limit_s: float, clock: float) -> None:
        self.limit_s = limit_s
        self._at = clock

    def fed(self, clock: float) -> None:
        """Records came."""
        self._at = clock

    def require(self, clock: float, behind: Callable[[], int]) -> None:
        """Ask, once in `limit_s` without records, how many there are to read.

        Raises:
            Stuck: there are some.
        """
        if clock - self._at < self.limit_s:
            return
        self._at = clock
        if waiting := behind():
            raise Stuck(f"{waiting:,} records wait and none came for {self.limit_s:.0f} s: they are left to others")
