"""Several actuators in one worker."""

from __future__ import annotations

from agents.act import Act, Done
from app.actuators.registry import ActuatorRegistry
from app.testing import NOW, RING, MemoryLedger
from models.safety.guard import Guard
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from tests.builders import command, order, reads
from topics.actions import Command, Result


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


def test_the_result_of_a_command_names_the_actuator_that_ran_it() -> None:
    registry = ActuatorRegistry({"supervisor": Fake("supervisor"), "cache": Fake("cache")})
    guard = Guard(RING, SafetySettings(mode=Mode.AUTONOMOUS), "supervisor/shop", "cache/shop")
    act = Act(registry, MemoryLedger(), guard, str)
    (result,) = act.step(reads([order(action="restart_service")]), NOW)
    assert isinstance(result, Result)
    assert (result.outcome, result.actuator) == ("succeeded", "supervisor")


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
