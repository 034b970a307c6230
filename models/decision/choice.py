"""Chooses one of several scored options, and gives the reason against each other one.

Greedy unless exploration is on; then by SquareCB (Foster and Rakhlin 2020): an option that scores d less than the best
is chosen with probability 1/(K + gamma d). Options that a policy denies or that are not harmless are never explored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from models.actions.catalogue import ACTIONS
from topics.proposals import Option

TRIED: Final = "tried before"
_BITS: Final = 80  # bits of a derived id


def choose(
    options: Sequence[Option], barred: Mapping[int, str], gamma: float, seed: str
) -> tuple[tuple[Option, ...], float]:
    """Choose an option. Returns all options, the chosen one first, each other one with `why_not`; and its propensity.

    options: best first. barred: index → why not. gamma: 0 is greedy. seed: a derived id (hex), the source of chance.
    When every option is barred, returns no options and propensity 0.
    """
    free = [i for i in range(len(options)) if i not in barred]
    if not free:
        return (), 0.0
    chances = propensities([options[i] for i in free], gamma)
    drawn = free[_drawn(chances, int(seed, 16) / 2**_BITS)]
    known = [msgspec.structs.replace(o, propensity=0.0) for o in options]
    for i, chance in zip(free, chances, strict=True):
        known[i] = msgspec.structs.replace(known[i], propensity=round(chance, 6))
    chosen = known[drawn]
    others = [
        msgspec.structs.replace(o, why_not=barred.get(i) or _why_not(o, chosen))
        for i, o in enumerate(known) if i != drawn
    ]  # fmt: skip
    return (chosen, *others), chosen.propensity


def propensities(options: Sequence[Option], gamma: float) -> list[float]:
    """Return the probability with which each option (best first) is chosen. They sum to 1."""
    best, explored = options[0], [harmless(o) for o in options]
    if not gamma or not explored[0]:
        return [1.0] + [0.0] * (len(options) - 1)
    count = sum(explored)
    rest = [
        1.0 / (count + gamma * (best.score - o.score)) if ok else 0.0
        for o, ok in zip(options[1:], explored[1:], strict=True)
    ]
    return [1.0 - sum(rest), *rest]


def harmless(option: Option) -> bool:
    """Whether an option may be explored: low risk, reversible, and it removes no capacity."""
    action = ACTIONS.get(option.action)
    return action is not None and not action.irreversible and action.risk == "low" and action.cost >= 0


def label(option: Option) -> str:
    """Return an option as `action name=value on target`."""
    values = "".join(f" {name}={value}" for name, value in sorted(option.parameters.items()))
    return f"{option.action}{values} on {option.target}"


def _drawn(chances: Sequence[float], u: float) -> int:
    for i, chance in enumerate(chances):
        if u < chance:
            return i
        u -= chance
    return 0


def _why_not(option: Option, chosen: Option) -> str:
    if option.score > chosen.score:
        return f"better ({option.score:.2f}), left out this once to learn about {label(chosen)}"
    if option.confidence < chosen.confidence:
        return f"less sure ({option.confidence:.2f})"
    return f"scores less ({option.score:.2f}): " + (
        "costs more for it" if option.efficient else "no better in anything"
    )
