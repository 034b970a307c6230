"""Definition of an action, and the checks on every entry of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from topics.spec import integer


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A parameter of a command, as text. An integer must be within bounds; a text must match a pattern."""

    name: str
    kind: Literal["integer", "text"]
    what: str
    minimum: int = 0
    maximum: int = 0
    pattern: str = ""
    default: str | None = None  # used when the parameter is missing; None: see `what`

    def objection(self, value: str) -> str | None:
        """Return why the value is refused; None when it is accepted."""
        if self.kind == "text":
            well = re.fullmatch(self.pattern, value)
            return None if well else f"{self.name} must match {self.pattern}, not {value!r}"
        if (number := integer(value)) is not None and self.minimum <= number <= self.maximum:
            return None
        return f"{self.name} must be from {self.minimum} to {self.maximum}, not {value!r}"


class Verification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Condition of success: what must hold after the action, and for how many seconds."""

    what: str
    hold_s: float


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of change to a system."""

    name: str
    what: str
    when_to_use: str
    when_not_to_use: str
    preconditions: tuple[str, ...]
    targets: tuple[Literal["instance", "service"], ...]
    verification: Verification
    cooldown_s: float  # minimum seconds between two of these actions on one target
    blast_radius: int  # maximum number of targets at once
    cost: float  # change of the running cost, in replicas
    risk: Literal["low", "medium", "high"]
    actuators: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    inverse: str = ""  # name of the action that undoes it; empty when there is none
    irreversible: bool = False
    gain: float = 0.0  # performance that it adds when it helps, as a share of its target's
    disruption: float = 0.5  # performance that it takes while it runs

    def objection(self, parameters: Mapping[str, str]) -> str | None:
        """Return why the parameters are refused; None when they are accepted."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name, value in parameters.items():
            if name not in known:
                return f"{self.name} has no parameter {name!r}"
            if objection := known[name].objection(value):
                return objection
        return None


def flaws(actions: Iterable[Action]) -> Iterator[str]:
    """Yield each fault of a catalogue, as `action: fault`. Yields nothing when it is valid."""
    by_name = {action.name: action for action in actions}
    for action in by_name.values():
        yield from (f"{action.name}: {flaw}" for flaw in _flaws(action, by_name))


def catalogue(actions: Iterable[Action]) -> Mapping[str, Action]:
    """Return the actions by name, read-only.

    Raises:
        ValueError: an entry has a fault, or two have one name; the text lists every fault.
    """
    actions = tuple(actions)
    names = [action.name for action in actions]
    wrong = [*flaws(actions), *(f"{name}: named twice" for name in sorted({n for n in names if names.count(n) > 1}))]
    if wrong:
        raise ValueError("; ".join(wrong))
    return MappingProxyType({action.name: action for action in actions})


def _flaws(action: Action, catalogue: Mapping[str, Action]) -> Iterator[str]:
    if not re.fullmatch(r"[a-z]+(_[a-z]+)*", action.name):
        yield "the name is not lower case with underscores"
    for field in ("what", "when_to_use", "when_not_to_use", "preconditions", "targets", "actuators"):
        if not getattr(action, field):
            yield f"{field} is empty"
    if action.inverse and action.inverse not in catalogue:
        yield f"the inverse {action.inverse!r} does not exist"
    elif action.inverse and catalogue[action.inverse].inverse != action.name:
        yield f"the inverse {action.inverse!r} is not undone by it"
    if action.inverse and action.irreversible:
        yield "it has an inverse and is called irreversible"
    if action.cooldown_s <= 0 or action.blast_radius < 1 or action.verification.hold_s <= 0:
        yield "cooldown, blast radius and verification must be positive"
    for parameter in action.parameters:
        yield from _parameter_flaws(parameter)


def _parameter_flaws(parameter: Parameter) -> Iterator[str]:
    if parameter.kind == "integer" and parameter.minimum > parameter.maximum:
        yield f"{parameter.name}: the minimum is above the maximum"
    if parameter.kind == "text":
        try:
            re.compile(parameter.pattern)
        except re.error as error:
            yield f"{parameter.name}: the pattern does not compile ({error})"
            return
        if not parameter.pattern:
            yield f"{parameter.name}: text without a pattern"
    if parameter.default is not None and (objection := parameter.objection(parameter.default)):
        yield f"the default: {objection}"
