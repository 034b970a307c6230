"""What every actuator promises: see `agents.act.Actuator`. Whatever it does goes through the real guard of `act`.

Promises with an effect are tried only when an action and a target are given.
"""

from __future__ import annotations

from typing import Final, NamedTuple, get_args

import msgspec

from agents.act import Act, Actuator, Done
from app.clock import now_ms
from app.offline.conformance.promises import Promise, require
from app.testing import RING, WORKER_KEY, MemoryLedger
from models.actions.catalogue import ACTIONS
from models.safety.guard import Guard
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from models.safety.signing import seal
from topics.actions import COMMANDS, Command, Outcome, Result
from topics.spec import Origin, Read, derive, system_of

ODD: Final = ("", "/", "nobody/nothing/7", "x" * 4_096, "shop/../etc", "shop/ca talog", "Ω/\x00")


class Subject(NamedTuple):
    """An actuator, and what it may be asked to do for a trial."""

    actuator: Actuator
    action: str = ""
    target: str = ""
    parameters: dict[str, str] = {}  # noqa: RUF012


def _command(subject: Subject, number: int = 0, **changes: object) -> Command:
    now = now_ms()
    action, target = subject.action or "restart_service", subject.target or "nobody/nothing"
    command = Command(
        id=derive("conformance", action, target, now, number), decision="conformance", incident="", ts=now,
        action=action, target=target, parameters=subject.parameters, expires=now + 30_000,
        audience=f"{subject.actuator.name}/{system_of(target)}", epoch=now + number, confidence=1.0,
    )  # fmt: skip
    return msgspec.structs.replace(command, **changes)


def _has_a_name(subject: Subject) -> None:
    name = subject.actuator.name
    require(isinstance(name, str) and name.isidentifier(), f"its name is {name!r}")


def _says_what_it_cannot(subject: Subject) -> None:
    for action in ("nothing_such", ""):
        found = subject.actuator.can(action, subject.target or "shop/catalog")
        require(isinstance(found, str) and bool(found), f"can({action!r}, …) is {found!r}, not a reason")


def _is_calm_about_odd_targets(subject: Subject) -> None:
    for action in (subject.action, *ACTIONS):
        for target in ODD if action else ():
            found = subject.actuator.can(action, target)
            require(found is None or isinstance(found, str), f"can({action!r}, {target[:40]!r}) is {found!r}")


def _claims_nothing_that_was_not_done(subject: Subject) -> None:
    for number, action in enumerate(filter(None, (subject.action, *ACTIONS))):
        done = subject.actuator.probe(_command(subject, number, action=action))
        _is_done(done)
        require(done.outcome in ("failed", "unknown"), f"{action}, which nobody ran, is {done.outcome}")


def _does_it_once(subject: Subject) -> None:
    act, command = _act(subject), _command(subject)
    first = _results(act, command)
    require([r.outcome for r in first] == ["succeeded"], "; ".join(f"{r.outcome}: {r.detail}" for r in first))
    again = _results(act, command)
    require(again == first, f"a second delivery of the command came to {again}")
    found = subject.actuator.probe(command)
    _is_done(found)
    require(found.outcome == "succeeded", f"the probe finds {found.outcome} ({found.detail}) after it was done")


def _knows_one_command_from_another(subject: Subject) -> None:
    done = subject.actuator.probe(_command(subject, 1))
    require(done.outcome in ("failed", "unknown"), f"of a command that was not run: {done.outcome} ({done.detail})")


def _is_done(done: Done) -> None:
    require(isinstance(done, Done), f"it answers with {type(done).__name__}, not Done")
    require(done.outcome in get_args(Outcome), f"its outcome is {done.outcome!r}")
    require(isinstance(done.detail, str), f"its detail is {done.detail!r}")
    require(abs(done.ended - now_ms()) < 60_000, f"it ended at {done.ended}, which is not now in milliseconds")


def _act(subject: Subject) -> Act:
    safety = SafetySettings(mode=Mode.AUTONOMOUS, cooldown_ms=0)
    guard = Guard(RING, safety, f"{subject.actuator.name}/{system_of(subject.target)}")
    return Act(subject.actuator, MemoryLedger(), guard, str)


def _results(act: Act, command: Command) -> list[Result]:
    read = Read(seal(command, WORKER_KEY), Origin(COMMANDS.name, 0, 0), now_ms())
    return [result for result in act.step([read], now_ms()) if isinstance(result, Result)]


WITHOUT_EFFECT: Final[tuple[Promise[Subject], ...]] = (
    Promise("it has a name that can stand in a command's audience", _has_a_name),
    Promise("of an action that it does not do it says why not", _says_what_it_cannot),
    Promise("it answers about any target, and raises nothing", _is_calm_about_odd_targets),
    Promise("its probe claims no effect of a command that was never run", _claims_nothing_that_was_not_done),
)
WITH_EFFECT: Final[tuple[Promise[Subject], ...]] = (
    Promise("it does what it is told, once even if told twice, and its probe finds it done", _does_it_once),
    Promise("its probe knows the effect of one command from that of another", _knows_one_command_from_another),
)


def promises(subject: Subject) -> tuple[Promise[Subject], ...]:
    """The promises that can be tried on a subject."""
    return WITHOUT_EFFECT + WITH_EFFECT if subject.action and subject.target else WITHOUT_EFFECT
