"""Calls to other services: spread over the replicas that are listed, once more elsewhere when a replica is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from app.demo import files
from app.demo.layout import Layout

GONE = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)


@dataclass(slots=True, eq=False)
class Replica:
    """Where calls can go, and how many are on their way there."""

    base: str
    outstanding: int = 0
    seen: bool = False  # until its first answer it may still be starting: that it cannot be reached is no failure


class Peers:
    """The replicas of every service, and the connections to them."""

    def __init__(self, layout: Layout, session: aiohttp.ClientSession) -> None:
        self._layout = layout
        self._session = session
        self._file = files.Watched(layout.targets_file)
        self._replicas: dict[str, list[Replica]] = {}

    def refresh(self) -> None:
        """Take up replicas that are new, and leave those that are no longer listed."""
        if not self._file.changed():
            return
        known = {replica.base: replica for replicas in self._replicas.values() for replica in replicas}
        self._replicas = {}
        for target in self._layout.targets():
            base = target.url.removesuffix("/metrics")
            self._replicas.setdefault(target.service, []).append(known.get(base) or Replica(base))

    def count(self, service: str) -> int:
        return len(self._replicas.get(service, ()))

    async def call(self, service: str, path: str, timeout_s: float, told: Callable[[bool], None]) -> bool:
        """Whether a replica of the service answered well in time. `told` hears of every attempt."""
        for replica in self._choice(service):
            replica.outstanding += 1
            ok, gone = False, False
            try:
                ok = await self._get(replica.base + path, timeout_s)
                replica.seen = True
            except GONE:
                gone = True
            except (TimeoutError, aiohttp.ClientError):
                pass
            finally:
                replica.outstanding -= 1
            if replica.seen or not gone:
                told(ok)
            if not gone:
                return ok
        return False

    def _choice(self, service: str) -> list[Replica]:
        """The two replicas with the fewest calls on their way, and after each other among equals."""
        replicas = self._replicas.get(service, [])
        if len(replicas) > 1:
            replicas.append(replicas.pop(0))
        return sorted(replicas, key=lambda replica: replica.outstanding)[:2]

    async def _get(self, url: str, timeout_s: float) -> bool:
        async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=timeout_s)) as answer:
            await answer.read()
            return answer.status < 500
