"""Actuators: commands become effects, at most once each.

A role that brings an actuator makes its worker with `act_lane`; today the only one is the demo's (app/demo/wiring.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from app.errors import UserError
from app.system import Driver, Hands, Parts, Stages, System, Verb, Worker

if TYPE_CHECKING:
    from agents._agent import Agent
    from agents._lane import Lane
    from agents.act import Actuator
    from app.security.switch import LocalSwitch


def _act(parts: Parts) -> Agent[Any]:
    from agents.act import Act

    hands = parts.hands
    return Act(hands.actuator, hands.ledger, hands.guard, hands.stopped)


def site_of(worker: Worker) -> Path:
    """The folder of the site whose processes the worker commands. Raises UserError when none was named."""
    if worker.site is None:
        raise UserError("an actuator needs to know whose processes it commands", "Give --site FOLDER")
    return worker.site


def act_lane(worker: Worker, actuator: Actuator, system: str, stages_of: Callable[[Parts], Stages]) -> Driver:
    """A lane that carries out the commands for `actuator` in `system`; its ledger lies in the worker's site.

    Raises:
        UserError: the worker has no site, or the ledger there is damaged.
    """
    from app.actuators.ledger import Ledger
    from app.runtime.drivers import make_lane
    from app.security.keys import keys_of
    from app.security.switch import LocalSwitch
    from models.safety.guard import Guard

    site = site_of(worker)
    guard = Guard(keys_of(worker.home), worker.settings.safety, f"{actuator.name}/{system}")
    switch = LocalSwitch(site, worker.home)
    hands = Hands(actuator, Ledger(site / "ledger"), guard, switch.said)
    lane = make_lane(worker, stages_of(Parts(worker.settings, own_hands=hands)), "opsloop-act")
    return _Switched(lane, partial(_follow, switch, worker))


def _follow(switch: LocalSwitch, worker: Worker, stop: Callable[[], bool]) -> None:
    from app.security.keys import Keys

    switch.follow(worker.broker, Keys(worker.home), stop)


class _Switched:
    """A lane, and beside it a thread that keeps the local kill switch as the topic says."""

    def __init__(self, lane: Lane, follow: Callable[[Callable[[], bool]], None]) -> None:
        self._lane, self._follow = lane, follow
        self._stopping = threading.Event()

    def run(self, ready: Callable[[], None]) -> None:
        """Work until `stop`. Raises what the lane raises."""
        threading.Thread(target=self._follow, args=(self._stopping.is_set,), name="switch", daemon=True).start()
        self._lane.run(ready)

    def stop(self) -> None:
        """Ask `run` to finish."""
        self._stopping.set()
        self._lane.stop()


ACTUATORS: Final = System("actuators", agents=(Verb("act", "act", _act),), topics=("actions",))
