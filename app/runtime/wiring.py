"""Wiring of the runtime: the command `worker`, and the role `loop` that runs all agents at event rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from app.system import CliCommand, Parts, Stages, System, Worker, WorkerRole

if TYPE_CHECKING:
    from app.runtime.drivers import LoopDriver


def _loop(worker: Worker, stages_of: Callable[[Parts], Stages]) -> LoopDriver:
    from app.runtime.drivers import make_loop

    return make_loop(worker, stages_of)


RUNTIME: Final = System(
    "runtime",
    roles=(WorkerRole("loop", _loop),),
    commands=(
        CliCommand("worker", "worker", "Run a worker until it is stopped."),
        CliCommand(
            "status",
            "status",
            "Say how things stand: workers, actuators, lag, entities, kill switch, maintenance, what waits for people.",
        ),
        CliCommand("config", "config", "The settings that hold here."),
    ),
)
