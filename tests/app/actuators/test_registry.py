"""Several actuators in one worker."""

from __future__ import annotations

from agents.act import Done
from app.actuators.registry import ActuatorRegistry
from tests.builders import command
from topics.actions import Command


class Fake:
    def __init__(self, name: str, *, raises: bool = False) -> None:
        self.name, self.raises = name, raises
        self.ran: list[str] = []

    def can(self, action: str, target: str) -> str | None:
        if self.raises:
            raise OSError("gone")
        return None

    def run(self, command: Command) -> Done:
        self.can(command.action, command.target)
        self.ran.append(command.id)
        return Done("succeeded", self.name, 1)

    probe = run


def test_a_command_goes_to_the_actuator_that_its_audience_names() -> None:
    one, two = Fake("supervisor"), Fake("cache")
    registry = ActuatorRegistry({"supervisor": one, "cache": two})
    assert registry.run(command(id="a", audience="cache/shop")).detail == "cache"
    assert registry.probe(command(id="b")).detail == "supervisor"
    assert (one.ran, two.ran) == (["b"], ["a"])


def test_an_action_that_no_actuator_here_does_is_not_possible() -> None:
    registry = ActuatorRegistry({"cache": Fake("cache")})
    assert registry.can("restart_service", "shop/cart") == "no actuator here does restart_service"
    assert registry.can("nothing_such", "shop/cart") == "no actuator here does nothing_such"


def test_an_actuator_that_raises_leaves_its_command_unknown_and_the_worker_alive() -> None:
    registry = ActuatorRegistry({"supervisor": Fake("supervisor", raises=True)})
    for done in (registry.run(command()), registry.probe(command())):
        assert done.outcome == "unknown"
        assert "gone" in done.detail
    assert "gone" in (registry.can("restart_service", "shop/cart") or "")
