"""The one pattern language for entities: globs over their paths.

A pattern means what it matches as a glob (`*` any text, `?` a character, `[ab]` one of some) and all that lies within:
`shop`, `shop/` and `shop/*` mean `shop`, `shop/catalog` and `shop/catalog/0`; `*` means everything.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

LONGEST: Final = 256  # characters of a pattern
LONGEST_NAME: Final = 100  # characters of a name that a pattern gives
Rules = tuple[tuple[str, str], ...]  # pattern and name; the first that matches counts
_PLACE: Final = re.compile(r"\{([0-9])\}")
_WILD: Final = re.compile(r"\[.*?\]|[*?]")


def around(entity: str) -> Iterator[str]:
    """The entity and what it lies within, the narrowest first: `shop/catalog/0`, `shop/catalog`, `shop`."""
    parts = entity.split("/")
    return ("/".join(parts[:n]) for n in range(len(parts), 0, -1))


@functools.lru_cache(maxsize=100_000)
def covers(pattern: str, entity: str) -> bool:
    """Whether a pattern means an entity. The empty one means everything."""
    glob = canonical(pattern)
    if not glob or entity == glob or entity.startswith(f"{glob}/"):
        return True
    return any(fnmatch.fnmatchcase(each, glob) for each in around(entity))


@functools.lru_cache(maxsize=10_000)
def canonical(pattern: str) -> str:
    """The shortest way to write a pattern; empty: it means everything."""
    return whole(pattern) if pattern.strip("*/") else ""


def whole(pattern: str) -> str:
    """The pattern without an ending that says what it means anyway: `shop` of `shop/*` and of `shop/`."""
    while (shorter := pattern.rstrip("*").rstrip("/")) != pattern.rstrip("*") and shorter:
        pattern = shorter
    return pattern


def narrowest(patterns: Iterable[str], entity: str) -> list[str]:
    """The patterns that mean an entity and say most of its name; several when they say as much."""
    found = {pattern: len(_WILD.sub("", whole(pattern))) for pattern in patterns if covers(pattern, entity)}
    most = max(found.values(), default=0)
    return [pattern for pattern, said in found.items() if said == most]


def fault(pattern: str) -> str:
    """Why a pattern can match no entity, with the remedy; empty when it can match one."""
    if not pattern:
        return "an empty pattern matches nothing: write * for everything"
    if len(pattern) > LONGEST or not pattern.isprintable() or pattern != pattern.strip():
        return f"{pattern[:50]!r} matches nothing: write at most {LONGEST} characters, with no blank at either end"
    if pattern.startswith("/") or "//" in pattern:
        return f"{pattern!r} matches nothing, because no part of an entity's name is empty: write it as shop/catalog"
    if "(?!)" in fnmatch.translate(pattern):
        return f"{pattern!r} matches nothing, because of the range in its brackets: write the lower end first"
    return ""


def require(patterns: Iterable[str]) -> None:
    """Return when each pattern can match something. Raises ValueError with the remedy."""
    if wrong := next(filter(None, map(fault, patterns)), ""):
        raise ValueError(wrong)


def rules_of(names: Mapping[str, str], parts: int) -> Rules:
    """The rules by which patterns name groups of entities.

    names: pattern → name, in which `{0}` stands for the first part of the entity's name, `{1}` for the second. parts:
    how many parts of a name a pattern may look at and a name may use.

    Raises:
        ValueError: a pattern can match nothing or looks too deep, or a name cannot be one; with the remedy.
    """
    return _rules(tuple(names.items()), parts)


@functools.lru_cache(maxsize=100)
def _rules(names: Rules, parts: int) -> Rules:
    require(pattern for pattern, _ in names)
    rules = tuple((whole(pattern), name) for pattern, name in names)
    for number, (pattern, name) in enumerate(rules):
        if pattern.count("/") >= parts:
            deepest = "/".join(("shop", "catalog")[:parts])
            raise ValueError(f"{pattern!r} divides what belongs together: write no more parts than {deepest} has")
        first = next((wide for wide, _ in rules[:number] if _contains(wide, pattern)), None)
        if first is not None:
            raise ValueError(f"{pattern!r} never counts, because {first!r} stands before it: put it before that")
        _require_name(name, parts)
    return rules


def _require_name(name: str, parts: int) -> None:
    bare = _PLACE.sub("x", name)
    if not bare or len(name) > LONGEST_NAME or not bare.isprintable() or set("{} ") & set(bare):
        raise ValueError(f"{name[:50]!r} is no name: write 1 to {LONGEST_NAME} characters without blanks, as main")
    if deep := [place for place in _PLACE.findall(name) if int(place) >= parts]:
        known = " and ".join(f"{{{n}}}" for n in range(parts))
        raise ValueError(f"{name!r} uses {{{deep[0]}}}: a name can use {known} of the entity's parts")


def _contains(wide: str, narrow: str) -> bool:
    """Whether a pattern surely matches all that another one does."""
    return not set("?[") & set(wide) and covers(wide, narrow)


@functools.lru_cache(maxsize=100_000)
def named(rules: Rules, entity: str, otherwise: str) -> str:
    """The name that the first rule for an entity gives; a name whose part the entity lacks is passed over."""
    parts = entity.split("/")
    for pattern, name in (*rules, ("*", otherwise)):
        if covers(pattern, entity) and all(int(place) < len(parts) for place in _PLACE.findall(name)):
            return _PLACE.sub(lambda found: parts[int(found[1])], name)
    raise AssertionError(f"{otherwise!r} is no name for every entity")


def examples(patterns: Iterable[str]) -> list[str]:
    """Entities that patterns mean, two or more of each that has a wildcard."""
    found: dict[str, None] = {}
    for pattern in patterns:
        for filler in ("a", "b"):
            entity = _WILD.sub(filler, whole(pattern))
            if covers(pattern, entity):
                found[entity] = found[f"{entity}/{filler}"] = None
    return list(found)
