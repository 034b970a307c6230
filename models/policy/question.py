"""What of an input an answer hangs on: two inputs with the same question have the same answer.

Of a number that a policy only compares with constants it matters merely between which of them it is. So a policy of
`input.proposal.confidence < 0.8` is asked twice and not for every confidence there is, and the interpreter, which takes
some 60 µs, stays out of most rulings.
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
    """The question that a policy makes of an input.

    paths: what it looks at, see `models.policy.checks.check`.
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
    """All of them as one; the usual few without a loop, because every policy is asked about every proposal."""
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
        value = get(facts)
        if value != value:  # NaN is nowhere between
            return float("nan")
        return bisect_left(steps, value) + bisect_right(steps, value)

    return place


def _steps(source: str) -> dict[Path, list[float]]:
    """The constants that a number is compared with, of every number with which nothing else is done."""
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
    """The constant of a comparison that is an expression by itself; None: it is something else."""
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
