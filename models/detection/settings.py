"""What users say of detection: per pattern of entities and metrics, what is an alarm and who else looks."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from models.detection.members import Member


class Pattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for the entities and metrics of two globs. What is not said here is left to the patterns below."""

    entities: str = "*"
    """Glob over entities, as `shop/*`."""
    metrics: str = "*"
    """Glob over metrics; what is said of an entity as a whole counts only where it is `*`."""
    learners: tuple[Member, ...] | None = None
    """Detectors that look at the entity beside the bank, each with anomalies of its own."""
    absence: Literal["entity", "series", "off"] | None = None
    """Whose silence is an anomaly: the entity's (if nothing is said), that of each of its series too, or nobody's."""


class DetectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Detection."""

    patterns: tuple[Pattern, ...] = ()
    """The first one that matches and says something of an option decides it."""
    most_watched: int = 500
    """Entities of a partition that have learners of their own; those that come later have the bank alone."""

    def of_entity(self, option: Literal["learners", "absence"], entity: str) -> Any:
        """An option of an entity as a whole; None when no pattern says anything."""
        for pattern in self.patterns:
            said = getattr(pattern, option)
            if said is not None and pattern.metrics == "*" and fnmatchcase(entity, pattern.entities):
                return said
        return None
