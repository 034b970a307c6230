"""Calls other services. Calls are spread over the listed replicas, and retried once when a replica is gone."""

from __future__ import annotations

from collections.abc import Callable

from app.demo import files
from app.demo.http import Client
from app.demo.layout import Layout


class Replica:
    """A replica and the number of calls in flight to it."""

    def __init__(self, port: int) -> None:
        self.client = Client(port)
        self.outstanding = 0
        self.seen = False  # it has answered; before that it may be starting, and a refusal is no failure


class Peers:
    """The listed replicas of all services."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._file = files.Watched(layout.targets_file)
        self._replicas: dict[str, dict[int, Replica]] = {}  # service → port → replica
        self.refresh()

    def refresh(self) -> None:
        """Add new replicas, and remove those that are no longer listed."""
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
        """The number of listed replicas of a service."""
        return len(self._replicas.get(service, ()))

    async def call(self, service: str, path: str, timeout_s: float, told: Callable[[bool], None]) -> bool:
        """Whether a replica of the service answered successfully in time. Calls `told(ok)` for each attempt."""
        for replica in self._choice(service):
            ok, gone = await _attempt(replica, path, timeout_s)
            if replica.seen or not gone:
                told(ok)
            if not gone:
                return ok
        return False

    def _choice(self, service: str) -> list[Replica]:
        """The two replicas with the fewest calls in flight; equal ones take turns."""
        replicas = self._replicas.get(service, {})
        if len(replicas) > 1:
            first = next(iter(replicas))
            replicas[first] = replicas.pop(first)
        return sorted(replicas.values(), key=lambda replica: replica.outstanding)[:2]


async def _attempt(replica: Replica, path: str, timeout_s: float) -> tuple[bool, bool]:
    """Returns whether the answer was successful, and whether the connection was refused."""
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
