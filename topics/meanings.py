"""What packs say of series by their names, as data: which are counters, what follows from them, what they may be.

`models.knowledge.compiled` makes it of the packs that hold. It is part of a partition's state, so that a worker that
restarts goes on with the series that there are, whatever it learns of packs later.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from topics import kinds
from topics.kinds import PLAIN, SIGNAL, Meaning, with_label
from topics.selectors import matches, parts

ADD, SUBTRACT, MULTIPLY, DIVIDE, NUMBER = -1, -2, -3, -4, -5  # in the code of a program; from 0 on: an operand
MOST_SIGNALS: Final = 200  # derived signals of one entity
RATE_OF_SUM: Final = "_sum"


class Program(msgspec.Struct, frozen=True, array_like=True):
    """A derived signal: what it is made of, in postfix order."""

    name: str
    operands: tuple[str, ...]  # patterns, each once; see `topics.patterns`
    code: tuple[int, ...]
    numbers: tuple[float, ...] = ()  # what NUMBER stands for, in order
    like: str = ""  # a known name of what measures the same


class Allowed(msgspec.Struct, frozen=True, array_like=True):
    """The range in which values of some series may be."""

    signal: str  # pattern
    low: float | None = None
    high: float | None = None
    entities: tuple[str, ...] = ()  # globs; empty: all


class Hit(NamedTuple):
    """An operand that a series is part of."""

    program: int
    operand: int
    of_sum: bool  # it is asked for the rate of the sum of a histogram, whose rate the series is


class Meanings(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """All that packs say."""

    derived: tuple[Program, ...] = ()  # each after those that it needs
    counters: tuple[str, ...] = ()  # patterns of series that only grow although their names do not say so
    ranges: tuple[Allowed, ...] = ()

    def meaning(self, name: str) -> Meaning:
        """What the name of a series stands for."""
        own = kinds.meaning(name)
        return kinds.counted(name) if own.kind == PLAIN and self.counts(name) else own

    def counts(self, name: str) -> bool:
        """Whether packs say of a series that it is a counter."""
        found = self._counters.get(name.partition("{")[0], ())
        return any(matches(f"rate({pattern})", f"rate({name})") for pattern in found)

    def like(self, name: str) -> str:
        """A known name of what measures the same as a derived signal; empty: no pack says."""
        return self._likes.get(name, "")

    def hits(self, name: str) -> tuple[Hit, ...]:
        """The operands that a series is part of, by the name under which it came."""
        return self._hits(name) if self.derived else ()

    def signals(self, names: Iterable[str]) -> list[int]:
        """The derived signals of an entity that has these series and no others, as places in `derived`.

        It has those of which it has each operand, unless a series of its own has the name.
        """
        found, taken = set[tuple[int, int]](), set[str]()
        for name in names:
            found.update(hit[:2] for hit in self.hits(name))
            if (shown := self.meaning(name).shown) in self._likes:
                taken.add(shown)
        have: list[int] = []
        for place, program in enumerate(self.derived):
            if program.name in taken or any((place, at) not in found for at in range(len(program.operands))):
                continue
            have.append(place)
            found.update(hit[:2] for hit in self.hits(SIGNAL + program.name))
        return have[:MOST_SIGNALS]

    def same(self, other: Meanings) -> set[str]:
        """The names of derived signals that mean the same in both."""
        return {name for name, said in self._said.items() if other._said.get(name) == said}

    @functools.cached_property
    def _likes(self) -> dict[str, str]:
        return {program.name: program.like for program in self.derived}

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {program.name: place for place, program in enumerate(self.derived)}

    @functools.cached_property
    def _counters(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for pattern in self.counters:
            found.setdefault(pattern.partition("{")[0], []).append(pattern)
        return found

    @functools.cached_property
    def _said(self) -> dict[str, Any]:
        """What each derived signal rests on, with what it rests on in turn."""
        found: dict[str, Any] = {}
        for place, program in enumerate(self.derived):
            stems = [pattern.removeprefix("rate(").partition("{")[0].rstrip(")") for pattern in program.operands]
            grown = [sorted(self._counters.get(stem, ())) for stem in stems]
            inner = [(name, said) for name, said in found.items()
                     if any(hit.program == place for hit in self.hits(SIGNAL + name))]  # fmt: skip
            found[program.name] = program, grown, inner
        return found

    @functools.cached_property
    def _by_stem(self) -> dict[str, list[tuple[Hit, str]]]:
        """Operands, with their patterns, by what stands before `{` in the shown names that they may mean."""
        found: dict[str, list[tuple[Hit, str]]] = {}
        for place, program in enumerate(self.derived):
            for at, pattern in enumerate(program.operands):
                wanted = parts(pattern)
                stem = f"{wanted.name}.rate" if wanted.rate else wanted.name
                found.setdefault(stem, []).append((Hit(place, at, False), pattern))
                if wanted.rate and wanted.name.endswith(RATE_OF_SUM):
                    rest = pattern.replace(f"{wanted.name}", wanted.name.removesuffix(RATE_OF_SUM), 1)
                    stem = f"{wanted.name.removesuffix(RATE_OF_SUM)}.rate"
                    found.setdefault(stem, []).append((Hit(place, at, True), rest))
        return found

    @functools.cached_property
    def _hits(self) -> Callable[[str], tuple[Hit, ...]]:
        return functools.lru_cache(maxsize=100_000)(self._find)

    def _find(self, name: str) -> tuple[Hit, ...]:
        known = self.meaning(name)
        near = self._by_stem.get(known.shown.partition("{")[0], ())
        after = self._places.get(known.shown, len(self.derived)) if name.startswith(SIGNAL) else -1
        return tuple(
            hit
            for hit, pattern in near
            if hit.program > after and (known.figure == 0 or not hit.of_sum) and matches(pattern, known.shown)
        )


NOTHING: Final = Meanings()


def mean_of(rate: str) -> str:
    """The name of the mean of the histogram whose rate has this name."""
    return with_label(kinds.meaning(rate).histogram, "le", "mean")
