"""Deadlines of the loop's units: when each must be stepped without a record."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from typing import Final

from topics.spec import Instant

LONGEST_WAIT_S: Final = 0.5  # maximum time between two clock reads: the clock may be set, or the process suspended


class Deadlines:
    """Priority queue with at most one deadline (ms since 1970) per key: verb and partition."""

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, tuple[str, int]]] = []  # includes stale entries of deadlines that were changed
        self._next: dict[tuple[str, int], Instant] = {}
        self._earlier = asyncio.Event()  # set when a deadline earlier than all others is scheduled

    def schedule(self, key: tuple[str, int], at: Instant | None) -> None:
        """Set the deadline of a key. None removes it."""
        if at == self._next.get(key):
            return
        if at is None:
            del self._next[key]
            return
        self._next[key] = at
        heapq.heappush(self._heap, (at, key))
        if self._heap[0] == (at, key):
            self._earlier.set()

    def due(self, now: Instant) -> list[tuple[str, int]]:
        """Remove and return the keys whose deadline has passed, earliest first."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            if self._next.get(key) == at:
                del self._next[key]
                found.append(key)
        return found

    def clear(self) -> None:
        """Remove all deadlines."""
        self._heap.clear()
        self._next.clear()

    async def wait(self, now: Instant) -> None:
        """Wait until the earliest deadline passes, an earlier one is scheduled, or `LONGEST_WAIT_S` is over."""
        self._earlier.clear()
        wait = max(0.0, (self._heap[0][0] - now) / 1000) if self._heap else LONGEST_WAIT_S
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._earlier.wait(), min(wait, LONGEST_WAIT_S))
