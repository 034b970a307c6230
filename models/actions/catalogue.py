"""The catalogue of actions: those that come with Opsloop as data, and those added by settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from models.actions.base import Action, catalogue

_shipped: Final[dict[str, Action]] = {}
_all: Final[dict[str, Action]] = {}

SHIPPED: Final[Mapping[str, Action]] = MappingProxyType(_shipped)
ACTIONS: Final[Mapping[str, Action]] = MappingProxyType(_all)


def ship(actions: Iterable[Action]) -> None:
    """Set the actions that come with Opsloop. Call it once, before the first settings are read.

    Raises:
        ValueError: an action has a fault; the text lists every fault; nothing changes.
    """
    found = catalogue(actions)
    _shipped.clear()
    _shipped.update(found)
    add(())


def add(actions: Iterable[Action]) -> None:
    """Add actions from settings to `ACTIONS`. They replace those added before.

    Call it before the first worker of the process starts: every worker of a cluster needs the same actions.

    Raises:
        ValueError: an action has a fault, or has the name of another; the text lists every fault; nothing changes.
    """
    found = catalogue((*SHIPPED.values(), *actions))
    _all.update(found)
    for name in _all.keys() - found.keys():  # last, so that a kept action is never missing
        del _all[name]
