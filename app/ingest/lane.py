"""The lane of a worker, and the packs that it follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agents._lane import Lane
from app.knowledge.follow import Follower, PackBook
from app.runtime import drivers
from app.security.keys import Keys
from app.shipped import packs
from app.system import Parts, Stages, Worker
from models.knowledge.packs import Packs


@dataclass
class TaughtLane:
    """A lane beside which the topic of packs is read."""

    lane: Lane
    packs: Follower

    def run(self, ready: Callable[[], None]) -> None:
        """Work until `stop`. Raises what `Lane.run` raises."""
        with self.packs:
            self.lane.run(ready)

    def stop(self) -> None:
        """Ask `run` to finish."""
        self.lane.stop()


def make_lane(worker: Worker, stages_of: Callable[[Parts], Stages]) -> TaughtLane:
    """The lane of a worker. It believes the keys in the worker's home."""
    own = Packs(packs().shipped.values())  # others of this process may be asked in other threads
    follower = Follower(worker.broker, PackBook(own, Keys(worker.home)))
    stages = stages_of(Parts(worker.settings, own_packs=own, said=follower.said))
    return TaughtLane(drivers.make_lane(worker, stages, "opsloop-lane"), follower)
