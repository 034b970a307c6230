"""Calls to other services: spread over the replicas that are listed, once more elsewhere when a replica is gone."""

from __future__ import annotations

from collections.abc import Callable

from app.demo import files
from app.demo.http import Client
from app.demo.layout import Layout


class Replica:
    """Where calls can go, and how many are on their way there."""

    def __init__(self, port: int) -> None:
        self.client = Client(port)
        self.outstanding = 0
        self.seen = False  # until its first answer it may still be starting: that it cannot be reached is no failure


class Peers:
    """The replicas of every service."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._file = files.Watched(layout.targets_file)
        self._replicas: dict[str, dict[int, Replica]] = {}  # by service and port
        self.refresh()

    def refresh(self) -> None:
        """Take up replicas that are new, and leave those that are no longer listed."""
        if not self._file.changed():
            return
        before, self._replicas = self._replicas, {}
        for target in self._layout.targets():
            known = before.get(target.service, {}).pop(target.port, None)
            self._replicas.setdefault(target.service, {})[target.port] = known or Replica(target.port)
        for gone in before.values():
            for replica in gone.values():
                replica.client.close()

    def count(self, service: str) -> int:
        return len(self._replicas.get(service, ()))

    async def call(self, service: str, path: str, timeout_s: float, told: Callable[[bool], None]) -> bool:
        """Whether a replica of the service answered well in time. `told` hears of every attempt."""
        for replica in self._choice(service):
            ok, gone = await _attempt(replica, path, timeout_s)
            if replica.seen or not gone:
                told(ok)
            if not gone:
                return ok
        return False

    def _choice(self, service: str) -> list[Replica]:
        """The two replicas with the fewest calls on their way, and after each other among equals."""
        replicas = self._replicas.get(service, {})
        if len(replicas) > 1:
            first = next(iter(replicas))
            replicas[first] = replicas.pop(first)
        return sorted(replicas.values(), key=lambda replica: replica.outstanding)[:2]


async def _attempt(replica: Replica, path: str, timeout_s: float) -> tuple[bool, bool]:
    """Whether the answer was good, and whether nobody was there to give one."""
    replica.outstanding += 1
    try:
        status = await replica.client.get(path, timeout_s)
    except TimeoutError:
        return False, False
    except OSError:
        return False, True
    finally:
        replica.outstanding -= 1
    replica.seen = True
    return status < 500, False
