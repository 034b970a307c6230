"""When units want to be asked without a record."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from typing import Final

from topics.spec import Instant

LONGEST_WAIT_S: Final = 0.5  # so often at least the clock is read anew: it may have been set, or the process suspended


class Deadlines:
    """The next deadline of each key."""

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, tuple[str, int]]] = []  # with those that were moved since
        self._next: dict[tuple[str, int], Instant] = {}
        self._earlier = asyncio.Event()  # set when a deadline comes before all others

    def schedule(self, key: tuple[str, int], at: Instant | None) -> None:
        """Set the deadline of a key; None: it has none."""
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
        """The keys whose deadline has come, the earliest first; they have none any more."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            if self._next.get(key) == at:
                del self._next[key]
                found.append(key)
        return found

    def clear(self) -> None:
        """Forget them all."""
        self._heap.clear()
        self._next.clear()

    async def wait(self, now: Instant) -> None:
        """Return when the earliest deadline has come or an earlier one was set, after half a second at the latest."""
        self._earlier.clear()
        wait = max(0.0, (self._heap[0][0] - now) / 1000) if self._heap else LONGEST_WAIT_S
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._earlier.wait(), min(wait, LONGEST_WAIT_S))
