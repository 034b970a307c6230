"""What was read for one unit of the loop and not taken yet: batches that wait are taken together."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

MOST_BATCHES: Final = 64  # that wait; who reads more waits for room
AT_ONCE: Final = 16  # batches that are taken together


class Inbox:
    """Events of Faust with a batch each, in the order in which they were read."""

    def __init__(self) -> None:
        self._events: deque[Any] = deque()
        self._filled, self._room = asyncio.Event(), asyncio.Event()

    async def put(self, event: Any) -> None:
        """Add an event, as soon as there is room."""
        while len(self._events) >= MOST_BATCHES:
            self._room.clear()
            await self._room.wait()
        self._events.append(event)
        self._filled.set()

    async def take(self) -> list[Any]:
        """Wait for an event; it and those that wait with it, `AT_ONCE` at most."""
        while not self._events:
            self._filled.clear()
            await self._filled.wait()
        taken = [self._events.popleft() for _ in range(min(AT_ONCE, len(self._events)))]
        self._room.set()
        return taken
