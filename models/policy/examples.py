"""Inputs for testing policies: an ordinary one, and any number of generated ones, the same each time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from models.actions.catalogue import ACTIONS
from models.policy.facts import action_facts, target_facts, time_facts
from models.safety.modes import Mode, tier
from topics.policies import Facts, ProposalFacts, SystemFacts
from topics.spec import Instant

T = TypeVar("T")

NOON: Final[Instant] = 1_798_110_000_000  # Thursday 2026-12-24 11:00 UTC: no policy is written for this very moment
_HOUR: Final = 3_600_000
_SYSTEMS: Final = ("alpha", "beta", "gamma")
_SERVICES: Final = ("one", "two", "three", "four")
_CAUSES: Final = ("a_cause", "another_cause", "unknown")
_REQUESTERS: Final = ("decide", "tune", "evolve", "ana", "agent")
_ENVIRONMENTS: Final = ("production", "staging", "development")
_COUNTS: Final = (0, 1, 2, 3, 5, 8, 20)
_STRING: Final = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_NUMBER: Final = re.compile(r"(?<![\w.\"])-?\d+(?:\.\d+)?\b")
_PARAMETER: Final = re.compile(r'input\.parameters(?:\.([A-Za-z_]\w*)|\["([^"]+)"\])')


def ordinary() -> Facts:
    """Return an ordinary input: a harmless action on one instance at high confidence, at noon, in no storm."""
    action = _harmless()
    proposal = ProposalFacts("decide", 0.9, tier(0.9), _CAUSES[0], f"{_CAUSES[0]}→{action}", 0, True, 1)
    target = target_facts(f"{_SYSTEMS[0]}/{_SERVICES[0]}/0", {})
    system = SystemFacts(Mode.AUTONOMOUS, services=4, unwell=1, incidents=1)
    return Facts(action_facts(action), target, {}, proposal, time_facts(NOON), system)


def _harmless() -> str:
    """The first action, by name, of low risk on one instance that costs nothing."""
    return min(
        (a.name for a in ACTIONS.values() if a.risk == "low" and not a.cost and "instance" in a.targets), default=""
    )


@dataclass(frozen=True)
class Taste:
    """What generated inputs should contain: words, numbers, parameters, scopes and actions of the policies."""

    words: Sequence[str] = ()
    numbers: Sequence[float] = ()
    parameters: Sequence[str] = ()
    scopes: Sequence[str] = ()
    actions: Sequence[str] = field(default_factory=lambda: sorted(ACTIONS))


def taste_of(sources: Iterable[str], scopes: Iterable[str] = (), actions: Iterable[str] = ()) -> Taste:
    """Collect from policies' texts what inputs must contain so that their rules apply."""
    text = "\n".join(line for source in sources for line in source.splitlines() if not line.lstrip().startswith("#"))
    named = {a or b for a, b in _PARAMETER.findall(text)}
    numbers = {float(n) for n in _NUMBER.findall(_STRING.sub("", text))}
    words = {w for w in _STRING.findall(text) if 0 < len(w) <= 60 and "%" not in w and "\\" not in w}
    return Taste(
        sorted(words), sorted(numbers), sorted(named), sorted({s for s in scopes if s}),
        sorted(set(actions) or ACTIONS.keys() | {w for w in words if "_" in w} | {"unheard_of"}),
    )  # fmt: skip


def examples(count: int, taste: Taste | None = None, seed: str = "") -> Iterator[Facts]:
    """Yield `count` inputs of every kind. The same arguments give the same inputs."""
    taste = taste or Taste()
    return (_example(_Dice(f"{seed}\x1f{number}"), taste) for number in range(count))


class _Dice:
    """Pseudo-random choices, derived from a name: models use no random source."""

    def __init__(self, name: str) -> None:
        self._name, self._rolls = name, 0

    def roll(self, sides: int) -> int:
        """Return the next choice, 0..sides-1."""
        self._rolls += 1
        digest = hashlib.blake2b(f"{self._name}\x1f{self._rolls}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % sides

    def of(self, *options: Sequence[T]) -> T:
        """Return one of the options; each group that is not empty is equally likely."""
        groups = [group for group in options if group]
        group = groups[self.roll(len(groups))]
        return group[self.roll(len(group))]

    def count(self, numbers: Sequence[float]) -> int:
        """Return a count: a common one, or one at or next to one of `numbers`."""
        near = [int(n) + d for n in numbers for d in (-1, 0, 1) if 0 <= n + d < 1e6]
        return self.of(_COUNTS, near)

    def share(self, numbers: Sequence[float]) -> float:
        """Return a share, 0..1: any one, or one at or next to one of `numbers`."""
        near = [round(n + d, 6) for n in numbers for d in (-0.01, 0, 0.01) if 0 <= n + d <= 1]
        return self.of([self.roll(1001) / 1000], near)

    def yes(self) -> bool:
        """Return True or False, each with probability 1/2."""
        return self.roll(2) == 1


def _example(dice: _Dice, taste: Taste) -> Facts:
    numbers, words = taste.numbers, taste.words
    action = action_facts(dice.of(taste.actions))
    wide = dice.of(taste.scopes, [w for w in words if "/" in w or w in _SYSTEMS], _SYSTEMS)
    parts = [*wide.strip("/").split("/"), dice.of(_SERVICES), str(dice.roll(3))]
    depth = dice.roll(3) + 1
    target = target_facts("/".join(parts[: max(depth, wide.count("/") + 1)][:3]), {})
    confidence = dice.share(numbers)
    services = dice.of(_COUNTS)
    return Facts(
        msgspec.structs.replace(action, cost=dice.of([action.cost], [float(n) for n in numbers])),
        msgspec.structs.replace(target, environment=dice.of(_ENVIRONMENTS)),
        {name: dice.of([str(dice.count(numbers))], words, ["1"]) for name in taste.parameters if dice.roll(4)},
        ProposalFacts(
            dice.of(_REQUESTERS, words), confidence, tier(confidence), dice.of(_CAUSES, words), "", dice.count(numbers),
            dice.yes(), dice.roll(5),
        ),
        time_facts(NOON + dice.roll(24 * 14) * _HOUR),
        SystemFacts(
            dice.of(list(Mode)), dice.yes(), dice.roll(4) == 0, dice.count(numbers), services,
            min(services, dice.count(numbers)), dice.count(numbers), dice.count(numbers), dice.count(numbers),
        ),
    )  # fmt: skip
