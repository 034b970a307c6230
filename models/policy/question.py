"""Reduces an input to what determines a policy's answer: inputs with equal questions have equal answers.

If a policy only compares a number with constants, only the interval that holds it matters. So a policy of
`input.proposal.confidence < 0.8` is evaluated twice instead of once per confidence, and most rulings avoid the
interpreter, which takes some 60 µs.
"""

from __future__ import annotations

import operator
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, get_args, get_type_hints

import msgspec

from models.policy.checks import Path, bare
from topics.policies import Facts

_INPUT: Final = re.compile(r"(?<![\w.])input\b((?:\.[A-Za-z_]\w*)*)")
_COMPARED: Final = re.compile(r"[ \t]*(?:<=|>=|==|!=|<|>)[ \t]*(-?\d+(?:\.\d+)?)[ \t]*(?=[\n;}]|\Z)")
_BEGINS: Final = re.compile(r"(?:[{;]|(?<![\w.])(?:if|not))\Z")
_ENDED: Final = re.compile(r"(?<![\w.])(?!(?:in|some|every|default|import|package|as|else|contains)\Z)\w+\Z|[\"\])}]\Z")
_GOES_ON: Final = re.compile(r"[-+*/%&|<>=!.,:\[(]|in\b")

Question = Callable[[Facts], Hashable]


def question(source: str, paths: frozenset[Path]) -> Question:
    """Return the function that reduces an input to a policy's question.

    paths: the paths of the input that the policy reads, see `models.policy.checks.check`.
    """
    if () in paths:
        return msgspec.json.encode
    steps = _steps(source)
    plain = sorted(".".join(path) for path in paths if path not in steps and path[0] != "parameters")
    parts: list[Question] = [operator.attrgetter(*plain)] if plain else []
    parts += [_between(operator.attrgetter(".".join(path)), steps[path]) for path in sorted(steps)]
    if any(path[0] == "parameters" for path in paths):
        parts.append(_parameters)
    return _together(parts)


def _together(parts: Sequence[Question]) -> Question:
    """Combine questions into one. The usual few without a loop, because every policy sees every proposal."""
    match parts:
        case [one]:
            return one
        case [one, two]:
            return lambda facts: (one(facts), two(facts))
        case [one, two, three]:
            return lambda facts: (one(facts), two(facts), three(facts))
    return lambda facts: tuple([part(facts) for part in parts])


def _parameters(facts: Facts) -> Hashable:
    return tuple(sorted(facts.parameters.items()))


def _between(get: Callable[[Facts], Any], steps: Sequence[float]) -> Question:
    def place(facts: Facts) -> Hashable:
        """Return the index of the interval that holds the number; NaN has one of its own."""
        value = get(facts)
        if value != value:  # NaN is in no interval
            return float("nan")
        return bisect_left(steps, value) + bisect_right(steps, value)

    return place


def _steps(source: str) -> dict[Path, list[float]]:
    """Return by path the constants that a number is compared with, for numbers that are used in no other way."""
    text = bare(source)
    found: dict[Path, set[float]] = {}
    other: set[Path] = set()
    for mention in _INPUT.finditer(text):
        path = tuple(mention[1].split(".")[1:])
        constant = _constant(text, mention.start(), mention.end()) if _number(path) else None
        if constant is None:
            other.add(path)
        else:
            found.setdefault(path, set()).add(constant)
    return {path: sorted(steps) for path, steps in found.items() if path not in other}


def _constant(text: str, start: int, end: int) -> float | None:
    """Return the constant of a comparison that is a whole expression; None for anything else."""
    compared = _COMPARED.match(text, end)
    before = text[:start].rstrip()
    begins = _BEGINS.search(before) or ("\n" in text[len(before) : start] and _ENDED.search(before))
    if compared is None or not begins or _GOES_ON.match(text[compared.end() :].lstrip()):
        return None
    return float(compared[1])


def _number(path: Path) -> bool:
    shape: Any = Facts
    for part in path:
        if not (isinstance(shape, type) and issubclass(shape, msgspec.Struct)):
            return False
        shape = get_type_hints(shape).get(part)
    kinds = {shape, *get_args(shape)}
    return bool(kinds & {int, float}) and bool not in kinds and str not in kinds
