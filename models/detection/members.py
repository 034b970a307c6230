"""The detectors that settings may choose for an entity, by name."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:  # settings name members, and a command that reads settings need not wait for numpy
    from models.detection.base import Detector

Member = Literal["half_space_trees", "gaussian", "absolute_deviation", "holt_winters", "adwin", "page_hinkley"]
MEMBERS: Final[dict[Member, str]] = {
    "half_space_trees": "HalfSpaceTrees", "gaussian": "Gaussian",
    "absolute_deviation": "AbsoluteDeviation", "holt_winters": "HoltWinters", "adwin": "Adwin",
    "page_hinkley": "PageHinkley",
}  # fmt: skip


@functools.cache
def member(name: Member) -> type[Detector]:
    """The class of a member. River is loaded with the first one that is asked for: it takes a second."""
    found: type[Detector] = getattr(importlib.import_module(f"models.detection.{name}"), MEMBERS[name])
    return found
