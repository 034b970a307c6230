"""Bounded queue of batches for one unit of the loop. Waiting batches are taken together."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

MOST_BATCHES: Final = 64  # capacity: `put` waits while the queue is full
AT_ONCE: Final = 16  # maximum number of batches that one `take` returns


class Inbox:
    """First-in, first-out queue of Faust events. Each event carries one batch."""

    def __init__(self) -> None:
        self._events: deque[Any] = deque()
        self._filled, self._room = asyncio.Event(), asyncio.Event()

    async def put(self, event: Any) -> None:
        """Add an event. Waits while the queue is full."""
        while len(self._events) >= MOST_BATCHES:
            self._room.clear()
            await self._room.wait()
        self._events.append(event)
        self._filled.set()

    async def take(self) -> list[Any]:
        """Wait for an event. Returns it and those after it, at most `AT_ONCE`, in the order in which they were put."""
        while not self._events:
            self._filled.clear()
            await self._filled.wait()
        taken = [self._events.popleft() for _ in range(min(AT_ONCE, len(self._events)))]
        self._room.set()
        return taken
