"""Checks of packs: each fault with its place and what to do about it."""

from __future__ import annotations

import difflib
import graphlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from models.actions.base import Action
from models.detection.prior import UNKNOWN, prior
from models.knowledge.base import Condition, Pack
from models.knowledge.expression import ExpressionFault, operands, parse
from models.knowledge.knowledge import PROPERTIES, needs, patterns
from topics.selectors import matches, parts
from topics.signals import NO_SYMPTOM


class Flaw(NamedTuple):
    """One fault of a pack."""

    place: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


def flaws(packs: Sequence[Pack], actions: Mapping[str, Action]) -> Iterator[Flaw]:
    """Yield the faults of packs that are to hold together. Yields nothing when they are sound.

    actions: the catalogue, by name.
    """
    symptoms = {rule.name for pack in packs for rule in pack.symptoms}
    causes = {c.name for pack in packs for c in pack.causes} | {f.cause for pack in packs for f in pack.findings}
    for pack in packs:
        yield from _of_signals(pack)
        yield from _of_symptoms(pack)
        yield from _of_causes(pack, symptoms)
        yield from _of_cures(pack, causes, actions)
        for slo in pack.slos:
            if slo.above is None and slo.below is None:
                yield Flaw(f"{pack.name}: slos {slo.name}", "it has no bound", "Give above or below")
    yield from _cycles(packs)
    yield from _clashes(packs)


def unseen(pack: Pack, series: Iterable[str], known: Iterable[Pack] = ()) -> Iterator[Flaw]:
    """Yield the patterns of a pack that match nothing that was seen. known: packs whose derived signals count too."""
    shown = [*dict.fromkeys(series), *(s.name for p in (pack, *known) for s in p.signals)]
    rates = {f"rate({one})" for one in shown if not one.startswith("rate(")}
    told = set()
    for place, pattern in patterns(pack):
        if (place, pattern) in told or any(matches(pattern, one) for one in (*shown, *rates)):
            continue
        told.add((place, pattern))
        bare = parts(pattern)
        near = difflib.get_close_matches(bare.name, sorted({parts(one).name for one in shown}), 1, 0.7)
        same = near and near[0] == bare.name
        remedy = "Compare its attributes with those that were seen" if same else (
            f"Did you mean {near[0]}?" if near else "Leave it out, or try it on a recording that has it"
        )  # fmt: skip
        yield Flaw(f"{pack.name}: {place}", f"{pattern} matches nothing that was seen", remedy)


def _of_signals(pack: Pack) -> Iterator[Flaw]:
    for signal in pack.signals:
        place = f"{pack.name}: signals {signal.name}"
        try:
            if not list(operands(parse(signal.expression))):
                yield Flaw(place, "it names no signal", "Name the signals that it is made from")
            if signal.like and prior(signal.like) is UNKNOWN:
                yield Flaw(
                    place, f"nothing is known of {signal.like}", "Name one of docs/detection.md, or leave out like"
                )
        except ExpressionFault as fault:
            yield Flaw(place, f"{signal.expression!r}: {fault}", "Use + - * /, numbers, names and rate(name)")


def _of_symptoms(pack: Pack) -> Iterator[Flaw]:
    for number, rule in enumerate(pack.symptoms, 1):
        place = f"{pack.name}: symptoms {rule.name} ({number})"
        if not (rule.when or rule.alerts or rule.shown_by):
            yield Flaw(place, "nothing says when it shows", "Give it `when`, `alerts` or `shown_by`")
        if rule.name == NO_SYMPTOM:
            yield Flaw(place, "that is the word for no symptom at all", "Give it another name")
        for condition in rule.when:
            yield from _of_condition(place, condition)


def _of_condition(place: str, condition: Condition) -> Iterator[Flaw]:
    if not condition.off and condition.above is None and condition.below is None:
        yield Flaw(place, f"{condition.signal} is not bound to anything", "Give off, above or below")
    if condition.above is not None and condition.below is not None and condition.above >= condition.below:
        yield Flaw(
            place, f"{condition.signal} cannot be above {condition.above:g} and below {condition.below:g}",
            "For a range that is allowed, write two rules of the symptom: one with above, one with below",
        )  # fmt: skip
    if "{" in condition.signal and not parts(condition.signal).attributes:
        yield Flaw(place, f"the attributes of {condition.signal} cannot be read", 'Write name{attribute="value"}')


def _of_causes(pack: Pack, symptoms: set[str]) -> Iterator[Flaw]:
    for cause in pack.causes:
        place = f"{pack.name}: causes {cause.name}"
        for symptom in cause.explains:
            if symptom not in symptoms:
                yield Flaw(place, f"no pack knows the symptom {symptom}", _near(symptom, symptoms))
        if not cause.explains:
            yield Flaw(place, "it explains nothing", "Name symptoms in `explains`")
        for condition in (*cause.confirmed_by, *cause.excluded_by):
            yield from _of_condition(place, condition)


def _of_cures(pack: Pack, causes: set[str], actions: Mapping[str, Action]) -> Iterator[Flaw]:
    for cure in pack.cures:
        place = f"{pack.name}: cures {cure.cause}"
        if cure.cause not in causes:
            yield Flaw(place, f"no pack knows the cause {cure.cause}", _near(cure.cause, causes))
        action = actions.get(cure.action)
        if action is None:
            remedy = f"{_near(cure.action, actions)}, or add it under [[actions]] in opsloop.toml"
            yield Flaw(place, f"there is no action {cure.action}", remedy)
        elif objection := action.objection({n: v for n, v in cure.parameters.items() if not v.startswith("{")}):
            yield Flaw(place, objection, f"Mend the parameters of {cure.action}")


def _near(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    guess = f"Did you mean {near[0]}? " if near else ""
    return f"{guess}There are {', '.join(names) or 'none'}"


def _cycles(packs: Sequence[Pack]) -> Iterator[Flaw]:
    """The derived signals that need themselves, each circle once."""
    whose = {signal.name: pack.name for pack in packs for signal in pack.signals}
    wanted = needs(signal for pack in packs for signal in pack.signals)
    while True:
        try:
            graphlib.TopologicalSorter(wanted).prepare()
            return
        except graphlib.CycleError as error:
            *circle, _ = reversed(error.args[1])  # each needs the next one
            first = min(circle)
            at = circle.index(first)
            circle = [*circle[at:], *circle[:at]]
            yield Flaw(
                f"{whose[first]}: signals {first}", f"it needs itself: {' → '.join([*circle, first])}",
                f"Write {circle[-1]} without {first}",
            )  # fmt: skip
            wanted[circle[-1]] = wanted[circle[-1]] - {first}


def _clashes(packs: Sequence[Pack]) -> Iterator[Flaw]:
    """What two packs say of one thing, where they say it differently."""
    stated: dict[tuple[str, str], dict[str, Any]] = {}  # what it is about → pack → what it says
    for pack in packs:
        if pack.name in stated.get(("pack", pack.name), {}):
            yield Flaw(f"{pack.name}: pack", "two packs have this name", "Rename one of them")
        for thing, said in _stated(pack):
            stated.setdefault(thing, {}).setdefault(pack.name, []).append(said)
    for (kind, name), by in stated.items():
        first, *others = by
        for other in others:
            if sorted(by[first]) != sorted(by[other]):
                yield Flaw(
                    f"{other}: {kind} {name}", f"{first} says something else of it",
                    f"Say the same in both, leave it out of one, or rename it in {other}",
                )  # fmt: skip


def _stated(pack: Pack) -> Iterator[tuple[tuple[str, str], str]]:
    yield ("pack", pack.name), ""
    for signal in pack.signals:
        yield ("signals", signal.name), signal.expression
    for rule in pack.symptoms:
        for alert in rule.alerts:
            yield ("alerts", alert), rule.name
    for name in dict.fromkeys(rule.name for rule in pack.symptoms):
        for one in PROPERTIES:
            values = {repr(v) for r in pack.symptoms if r.name == name and (v := getattr(r, one)) is not None}
            for value in values:
                yield ("symptoms", f"{name}.{one}"), value
    for cause in pack.causes:
        for symptom in cause.explains:
            yield ("causes", f"{cause.name} of {symptom}"), repr(msgspec.structs.replace(cause, explains=()))
    for cure in pack.cures:
        parameters = sorted(cure.parameters.items())
        yield ("cures", f"{cure.cause} by {cure.action}"), repr((cure.target, parameters, cure.confidence))
