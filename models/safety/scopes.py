"""Scopes: which targets a setting, a freeze, a maintenance or a policy covers.

A scope is a system, service or instance (`shop`, `shop/catalog`) with all that lies within it, or a glob, as patterns
of entities are everywhere: `shop/*`, `*/catalog`, `shop/cart-?`. What a glob matches is covered with all that lies
within. `shop/*` and `shop/` are `shop`; `*` and nothing are everything.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

_TAIL: Final = re.compile(r"(?:/\*{0,2})+$")
_WILD: Final = re.compile(r"[*?]|\[[^]]*\]")


@functools.lru_cache(maxsize=10_000)
def canonical(scope: str) -> str:
    """The one way to write a scope; empty: everything."""
    found = _TAIL.sub("", scope)
    return "" if found in ("*", "**") else found


def fault_of(scope: str) -> str:
    """Why a scope can match nothing; empty: it can."""
    if scope != scope.strip() or not scope.isprintable():
        return f"the scope {scope!r} has blanks or control characters at its ends or in it: no target has"
    if scope.startswith("/") and canonical(scope):
        return f"the scope {scope!r} begins with a slash: write {scope.strip('/')!r}"
    if "//" in canonical(scope):
        return f"the scope {scope!r} has a part without a name"
    return ""


@functools.lru_cache(maxsize=100_000)
def covers(scope: str, target: str) -> bool:
    """Whether a target is a scope, or matches it, or lies within it. The empty scope covers everything."""
    wide = canonical(scope)
    if not wide or target == wide or target.startswith(f"{wide}/"):
        return True
    return fnmatchcase(target, wide) or fnmatchcase(target, f"{wide}/*")


def narrowest(scopes: Iterable[str], target: str) -> list[str]:
    """The scopes that cover a target and say most of its name; several when they say as much."""
    said = {scope: len(_WILD.sub("", canonical(scope))) for scope in scopes if covers(scope, target)}
    return [scope for scope, length in said.items() if length == max(said.values())]
