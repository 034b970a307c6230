"""A broker that drills may take away, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.kafka.broker import Broker


@dataclass(frozen=True, slots=True)
class Cluster:
    """A broker that can be taken away."""

    broker: Broker
    down: Callable[[], None]
    up: Callable[[], None]

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap
