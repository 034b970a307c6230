"""Several actuators behind one guard and one ledger: each command goes to the one that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agents.act import Actuator, Done
from app import plugins
from app.actuators.settings import ActuatorSettings
from app.clock import now_ms
from models.actions.catalogue import ACTIONS
from topics.actions import Command


class ActuatorRegistry:
    """The actuators of one worker, by name. See `agents.act.Actuator`.

    An action names the actuator that does it first in its `actuators`; a command names it in its `audience`.
    Actuators of other packages may raise: what they raise becomes `unknown`, and the worker goes on.
    """

    def __init__(self, actuators: Mapping[str, Actuator]) -> None:
        self.actuators = actuators
        self.name = "+".join(actuators)

    def can(self, action: str, target: str) -> str | None:
        """Why the action's actuator cannot do it on the target now; None: it can."""
        known = ACTIONS.get(action)
        actuator = self.actuators.get(known.actuators[0]) if known else None
        if actuator is None:
            return f"no actuator here does {action}"
        try:
            return actuator.can(action, target)
        except Exception as error:
            return f"{actuator.name} failed when it was asked: {error!r}"

    def run(self, command: Command) -> Done:
        """Carry the command out."""
        try:
            return self._named(command, self._of(command).run(command))
        except Exception as error:
            return Done("unknown", f"the actuator failed over it: {error!r}", now_ms())

    def probe(self, command: Command) -> Done:
        """Look whether a command that was begun has had its effect."""
        try:
            return self._named(command, self._of(command).probe(command))
        except Exception as error:
            return Done("unknown", f"the actuator failed when it looked: {error!r}", now_ms())

    def _named(self, command: Command, done: Done) -> Done:
        return replace(done, actuator=self._of(command).name)

    def _of(self, command: Command) -> Actuator:
        return self.actuators[command.audience.partition("/")[0]]


def with_others(own: Actuator, system: str, settings: ActuatorSettings) -> tuple[Actuator, list[str]]:
    """A worker's own actuator, which serves `system`, with those that settings enable; and the audiences of all.

    Raises:
        UserError: settings enable an actuator that no installed package offers.
    """
    others = plugins.actuators(settings.enabled, settings.options)
    audiences = [f"{own.name}/{system}", *(f"{name}/{served}" for name in others for served in settings.systems)]
    return ActuatorRegistry({own.name: own, **others}) if others else own, audiences
