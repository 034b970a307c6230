"""What every actuator keeps to."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.act import Done
from app.clock import now_ms
from app.demo.actuator import SiteActuator
from app.offline.conformance.actuators import WITH_EFFECT, WITHOUT_EFFECT, Subject, promises
from app.offline.conformance.promises import Promise, broken
from topics.actions import Command


@pytest.mark.parametrize("promise", WITHOUT_EFFECT, ids=lambda promise: promise.text)
def test_the_supervisor_without_a_site_keeps_each_promise(promise: Promise[Subject], tmp_path: Path) -> None:
    promise.check(Subject(SiteActuator(tmp_path, settle_s=0.0)))


class Marks:
    """A sound actuator: an effect is a line with the command's id."""

    name = "marks"

    def __init__(self) -> None:
        self.lines: list[str] = []

    def can(self, action: str, target: str) -> str | None:
        return None if action == "restart_service" and target.startswith("shop/") else f"marks cannot {action}"

    def run(self, command: Command) -> Done:
        self.lines.append(command.id)
        return Done("succeeded", "marked", now_ms())

    def probe(self, command: Command) -> Done:
        return Done("succeeded" if command.id in self.lines else "failed", "looked it up", now_ms())


class Nameless(Marks):
    name = "the shop/marks"


class Willing(Marks):
    def can(self, action: str, target: str) -> str | None:
        return None


class Fragile(Marks):
    def can(self, action: str, target: str) -> str | None:
        _, service = target.split("/")
        return None if action == "restart_service" else f"{service}: no"


class Boastful(Marks):
    def probe(self, command: Command) -> Done:
        return Done("succeeded", "surely", now_ms())


class Lazy(Marks):
    def run(self, command: Command) -> Done:
        return Done("succeeded", "marked", now_ms())


class Vague(Marks):
    def probe(self, command: Command) -> Done:
        return Done("succeeded" if self.lines else "failed", "something was done", now_ms())


def on(actuator: Marks) -> Subject:
    return Subject(actuator, "restart_service", "shop/catalog")


def test_a_sound_actuator_keeps_all_of_them() -> None:
    assert promises(on(Marks())) == WITHOUT_EFFECT + WITH_EFFECT
    assert [fault for _, fault in broken(promises(on(Marks())), on(Marks())) if fault] == []


def test_nothing_is_done_for_a_trial_that_names_no_target() -> None:
    marks = Marks()
    list(broken(promises(Subject(marks)), Subject(marks)))
    assert marks.lines == []


@pytest.mark.parametrize(
    ("kind", "number"), [(Nameless, 0), (Willing, 1), (Fragile, 2), (Boastful, 3), (Lazy, 4), (Vague, 5)]
)
def test_an_actuator_that_breaks_a_promise_is_told_which(kind: type[Marks], number: int) -> None:
    subject = on(kind())
    faults = {text for text, fault in broken(promises(subject), subject) if fault}
    assert promises(subject)[number].text in faults
