"""The detectors that settings may choose for an entity, by name: those shipped, and those that an app has added."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # settings name members, and a command that reads settings need not wait for numpy
    from models.detection.base import Detector

Member = str
MEMBERS: Final[dict[Member, str]] = {
    "half_space_trees": "HalfSpaceTrees", "gaussian": "Gaussian",
    "absolute_deviation": "AbsoluteDeviation", "holt_winters": "HoltWinters", "adwin": "Adwin",
    "page_hinkley": "PageHinkley",
}  # fmt: skip
_added: dict[Member, type[Detector]] = {}


def add(detectors: Iterable[type[Detector]]) -> None:
    """Make detectors of other packages known by their `name`, in the place of those added before.

    Call it before the first worker of the process starts.

    Raises:
        ValueError: a name is that of a shipped detector.
    """
    found = {detector.name: detector for detector in detectors}
    if taken := sorted(found.keys() & MEMBERS.keys()):
        raise ValueError(f"{', '.join(taken)}: a shipped detector has this name")
    _added.update(found)
    for name in _added.keys() - found.keys():  # one that stays is never missing, not even for a moment
        del _added[name]


def names() -> tuple[Member, ...]:
    """The names of all detectors, the shipped ones first."""
    return (*MEMBERS, *sorted(_added))


def member(name: Member) -> type[Detector]:
    """The class of a detector. Raises KeyError when there is none of this name."""
    return _added.get(name) or _shipped(name)


@functools.cache
def _shipped(name: Member) -> type[Detector]:
    """River is imported with the first one that is asked for: it takes a second."""
    kind = MEMBERS[name]
    found: type[Detector] = getattr(importlib.import_module(f"models.detection.{name}"), kind)
    return found
