"""Wiring of the demo: its commands, and the role of a worker that runs the actuator of its site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from app.system import CliCommand, Driver, Parts, Stages, System, Worker, WorkerRole


def _act(worker: Worker, stages_of: Callable[[Parts], Stages]) -> Driver:
    """A lane with the actuator of the site that runs in this user's site folder."""
    from app.actuators.wiring import act_lane, site_of
    from app.demo.actuator import SiteActuator
    from app.demo.plan import SYSTEM as SHOP

    return act_lane(worker, SiteActuator(site_of(worker)), SHOP, stages_of)


SYSTEM: Final = System(
    "demo",
    roles=(WorkerRole("act", _act, possible=lambda worker: worker.site is not None),),
    commands=(
        CliCommand("demo", "demo", "Start a small real site and the loop around it, on an in-memory Kafka."),
        CliCommand("break", "demo", "Break a service of the running demo."),
    ),
)
