"""What comes with Opsloop as data: packs and actions, from deploy/ in a checkout, from app/defaults/ in a wheel."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Final

import msgspec

from models.actions.base import Action
from models.knowledge.packs import Packs

_HERE: Final = Path(__file__).parent
_PLACES: Final = (_HERE / "defaults", _HERE.parent / "deploy")


class _Actions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    actions: tuple[Action, ...]


def texts(kind: str) -> tuple[str, ...]:
    """The TOML files of a kind (packs, actions), by name."""
    folder = next(place / kind for place in _PLACES if (place / kind).is_dir())
    return tuple(file.read_text() for file in sorted(folder.glob("*.toml")))


def actions() -> tuple[Action, ...]:
    """The actions that come with Opsloop."""
    return tuple(a for text in texts("actions") for a in msgspec.convert(tomllib.loads(text), _Actions).actions)


@functools.cache
def packs() -> Packs:
    """The packs of this process, shipped ones included. All its agents share them."""
    return Packs(texts("packs"))
