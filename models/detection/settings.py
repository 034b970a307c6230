"""What users say of detection: per pattern of entities and metrics, what is an alarm and which other detectors run."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import msgspec

from models.detection.members import Member


class Pattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for the entities and metrics of two globs. What is not said here is left to the patterns below."""

    entities: str = "*"
    """Glob over entities, as `shop/*`."""
    metrics: str = "*"
    """Glob over metrics; what is said of an entity as a whole counts only where it is `*`."""
    learners: tuple[Member, ...] | None = None
    """Detectors that score the entity beside the bank, each with anomalies of its own."""
    direction: Literal["up", "down", "both"] | None = None
    """The side on which a metric's deviation is an alarm; both, if nothing is said."""
    least: float | None = None
    """The smallest deviation from what was expected that is one, in the metric's unit ..."""
    least_ratio: float | None = None
    """... and as a share of what was expected."""
    low: float | None = None
    """Allowed range: a value below it is an alarm at once, whatever has been learned ..."""
    high: float | None = None
    """... and so is one above it."""
    false_alarms_a_week: Annotated[float, msgspec.Meta(gt=0, le=1_000)] | None = None
    """Budget of false alarms of an entity, instead of that of all; see `detection.false_alarms_a_week`."""
    alarms_a_day: int | None = None
    """Alarms that an entity may raise in a day of its own time; beyond it only critical ones are told."""
    rest_s: float | None = None
    """After an alarm has ended, none is told for so long."""
    lasts_s: float | None = None
    """An alarm is told when it has lasted for so long."""
    confirm: bool | None = None
    """An alarm is told when a second view bears it out: half of the series, or six, are off, or two samples later the
    strongest still are. More of what is told is right, and some brief faults of few metrics are not told."""
    opens_at: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """An alarm opens when its score is at so many boundaries, 1 if nothing is said, ..."""
    opens_samples: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """... in so many samples running; 1 if nothing is said."""
    closes_at: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """It closes when its score is below so many boundaries, 0.85 if nothing is said, ..."""
    closes_samples: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """... in so many samples running; 8 if nothing is said."""
    shifts: bool | None = None
    """Whether quiet changes of an entity are looked for: a level that stays somewhere else, drift, a trend. If nothing
    is said, they are."""
    season: Literal["day", "week"] | None = None
    """What is usual at each hour of the day, or of the week, is taken off before a metric is scored, once it is proven
    to foretell it. Not done, if nothing is said: an entity with one metric has a profile of the day anyway."""
    absence: Literal["entity", "series", "off"] | None = None
    """Whose silence is an anomaly: the entity's (if nothing is said), that of each of its series too, or nobody's."""

    def __post_init__(self) -> None:
        if self.closes_at is not None and self.closes_at > (1.0 if self.opens_at is None else self.opens_at):
            raise ValueError("an alarm would close above where it opens: `closes_at` is at most `opens_at`, or 1")


class DetectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Detection."""

    patterns: tuple[Pattern, ...] = ()
    """The first one that matches and says something of an option decides it."""
    false_alarms_a_week: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 1.0
    """Budget: how many false alarms a week each entity may raise, by its own time. The boundaries of its scores follow
    from it, at any rate of sampling. Alarms beyond it are kept and marked, and do not open incidents."""
    false_alarms_a_week_per_fleet: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Budget of all entities together; each partition has its share. When it is spent, only alarms that are too strange
    to be false are told. None, if nothing is said."""
    most_watched: int = 500
    """Entities of a partition that have learners of their own; those that come later have the bank alone."""
    forget_after_days: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    """Days of event time without data after which a series is forgotten, with all that was learned of it, and an entity
    with its last series. What comes back later begins as a new one. More days take more memory where names change."""

    def of_entity(self, option: str, entity: str) -> Any:
        """An option of an entity as a whole; None when no pattern says anything."""
        said = (getattr(p, option) for p in self.patterns if p.metrics == "*" and fnmatchcase(entity, p.entities))
        return next((value for value in said if value is not None), None)

    def of_metric(self, option: str, entity: str, metric: str) -> Any:
        """An option of one metric of an entity; None when no pattern says anything."""
        fits = (p for p in self.patterns if fnmatchcase(entity, p.entities) and fnmatchcase(metric, p.metrics))
        return next((value for p in fits if (value := getattr(p, option)) is not None), None)

    def says(self, *options: str) -> bool:
        """Whether any pattern says anything of one of these."""
        return any(getattr(pattern, option) is not None for pattern in self.patterns for option in options)
