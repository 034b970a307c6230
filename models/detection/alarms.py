"""Which alarms are reported, by the settings of direction, deviation, budget and rest.

This is decided where there is an alarm, a few times a minute at most; what is learned and scored does not depend on
it. Times are those of the samples.

An alarm costs as much of its budget as it is likely to be false: one half at the boundary, which is set where false
alarms are as frequent as the budget says, and less the farther it is beyond it, by the exponential tail of the entity's
own scores (local false discovery rate, Efron 2004). One that the budget cannot pay is suppressed: it is kept and
marked, and told as soon as it is strange enough. So under a spent budget the most severe alarms are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from models.detection.columns import AGAIN, CLEAR, CONTINUE, QUIET, RAISE
from models.detection.settings import DetectionSettings
from topics.batch import Float64, Forgotten
from topics.signals import Suppressed
from topics.spec import DAY_MS, WEEK_MS

FLEET: Final = ""
FIRST: Final = 1.0  # what is in it at first
AS_STRONG: Final = 1.5  # an alarm of at most so many times the strongest before is taken to be another of its kind ...
REPEATED: Final = 0.5  # ... and costs at least so much in its first sample: it has to last
BURST: Final = 3.0  # false alarms that a budget may pay at once, in multiples of a week's where that is more than one
WILD: Final = 20.0  # boundaries from which an alarm is not false
CRITICAL: Final = 8.0  # boundaries: such an alarm is told beyond its entity's budget
CHOICES: Final = ("direction", "least", "least_ratio", "alarms_a_day", "rest_s", "lasts_s", "confirm")
OFF: Final = 3.0  # |z| of a series that is off, and of those that still are
COMMON: Final = 6  # series that bear out an alarm together, where an entity has twice as many
STILL, STRONGEST = 2, 5  # so many samples after its first one so many series, in their mean, bear it out


class Deviation(NamedTuple):
    """What one metric has to do with an alarm."""

    metric: str
    value: float
    expected: float
    z: float = 0.0


class ScoredSample(NamedTuple):
    """When an entity is off, and how far."""

    ts: int  # event time
    onset: int
    ratio: float  # to the boundary
    series: int = 1  # how many the entity has in this sample
    level: float = 0.0  # mean of the `STRONGEST` distances from their means, in spreads
    tail: float = 1.0  # mean length of the tail of its log scores


def strongest_levels(value: Float64, expected: Float64, spread: Float64) -> float:
    """`ScoredSample.level` of the values (n,) of a sample, n > 0; the spread of a series not known yet is 0."""
    known = spread > 0.0
    off = np.abs(value - expected)[known] / spread[known]
    return float(np.sort(off)[-STRONGEST:].mean()) if known.any() else 0.0


class Told(msgspec.Struct):
    """What was reported of an entity."""

    on: bool = False
    ended: int = 0  # event time
    day: int = 0
    spent: int = 0  # alarms of that day
    onset: int = 0  # of the alarm that waits to be borne out
    waited: int = 0  # samples of it
    suppressed: Suppressed = "none"  # whose budget could not pay for the alarm that is on


class Purse(msgspec.Struct):
    """What is left of a budget of false alarms."""

    left: float = FIRST
    filled: int = 0  # event time
    strongest: float = 0.0  # multiple of the boundary of the strongest alarm, which fades by half in a week
    seen: int = 0  # event time of that
    onset: int = 0  # of the last alarm

    def fill(self, a_week: float, ts: int) -> float:
        """Fill it with what has come since, and return what is in it."""
        most = BURST * max(1.0, a_week)
        since = max(ts - self.filled, 0) if self.filled else 0
        self.left = min(self.left + a_week * since / WEEK_MS, most)
        self.filled = max(self.filled, ts)
        return self.left


class Alarms:
    """The alarms of a partition that settings want to be reported."""

    def __init__(self, settings: DetectionSettings, share: float = 1.0) -> None:
        """share: of the fleet that this partition is."""
        self.settings = settings
        self.share = share
        self.chosen = settings.says(*CHOICES)
        self.told: dict[str, Told] = {}
        self.purses: dict[str, Purse] = {}  # by entity, and that of the fleet

    def forget(self, forgotten: Forgotten) -> None:
        """Forget the entities that have ended."""
        for name in forgotten.entities.values():
            self.told.pop(name, None)
            self.purses.pop(name, None)

    def heard(
        self, entity: str, event: int, scored_sample: ScoredSample, found: Sequence[Deviation]
    ) -> tuple[int, Suppressed]:
        """What is reported of a sample, RAISE, CONTINUE, CLEAR, AGAIN or QUIET, and whether a budget suppresses it.

        event: what the bank or `Hysteresis` says; found: what is off, strongest first, not empty. Of a suppressed alarm
        its beginning and end are reported, and a RAISE once it is told.
        """
        told = self.told.get(entity)
        if event == CLEAR:
            return self._ended(told, scored_sample)
        if told is None:
            told = self.told[entity] = Told()
        if told.on and event != AGAIN and told.suppressed == "none":
            return CONTINUE, "none"
        waits = told.on and told.suppressed != "none"
        if self.chosen and not waits and not self._wanted(entity, told, scored_sample, found):
            return (CONTINUE if told.on else QUIET), "none"
        was_on, before = told.on, told.suppressed
        suppressed = self._suppressed(entity, scored_sample)
        if was_on and suppressed != "none":
            return (CONTINUE if before == "none" else QUIET), before
        if told.day != scored_sample.ts // DAY_MS:
            told.day, told.spent = scored_sample.ts // DAY_MS, 0
        told.on, told.suppressed, told.spent = True, suppressed, told.spent + (suppressed == "none")
        return (AGAIN if was_on and before == "none" else RAISE), suppressed

    def is_on(self, entity: str) -> bool:
        """Whether an alarm of an entity is on that was reported."""
        told = self.told.get(entity)
        return told is not None and told.on

    def _ended(self, told: Told | None, scored_sample: ScoredSample) -> tuple[int, Suppressed]:
        """An alarm of the bank is over."""
        if told is None or not told.on:
            return QUIET, "none"
        suppressed = told.suppressed
        told.on, told.suppressed = False, "none"
        if suppressed == "none":
            told.ended = scored_sample.ts
        return CLEAR, suppressed

    def _suppressed(self, entity: str, scored_sample: ScoredSample) -> Suppressed:
        """Whose budget cannot pay for an alarm now; else it is paid. Of an entity with one series the bank minds it."""
        if scored_sample.series == 1:
            return "none"
        a_week = self.settings.of_entity("false_alarms_a_week", entity) or self.settings.false_alarms_a_week
        cost = self._cost(entity, scored_sample)
        own = self._purse(entity)
        if own.fill(a_week, scored_sample.ts) < cost:
            return "entity"
        if (fleet := self.settings.false_alarms_a_week_per_fleet) is not None:
            if self._purse(FLEET).fill(fleet * self.share, scored_sample.ts) < cost:
                return "fleet"
            self._purse(FLEET).left -= cost
        own.left -= cost
        return "none"

    def _cost(self, entity: str, scored_sample: ScoredSample) -> float:
        """How likely an alarm is false: by its tail, and in its first sample by the alarms before it."""
        ts, ratio = scored_sample.ts, scored_sample.ratio
        false = 1.0 / (1.0 + ratio ** (1.0 / scored_sample.tail)) if ratio < WILD else 0.0
        purse = self._purse(entity)
        faded = purse.strongest * 0.5 ** (max(ts - purse.seen, 0) / WEEK_MS)
        again = ratio <= AS_STRONG * faded and scored_sample.onset != purse.onset
        if scored_sample.onset != purse.onset or ratio > faded:
            purse.strongest, purse.seen, purse.onset = max(ratio, faded), ts, scored_sample.onset
        return max(false, REPEATED if again else 0.0)

    def _purse(self, entity: str) -> Purse:
        return self.purses.setdefault(entity, Purse())

    def _wanted(self, entity: str, told: Told, scored_sample: ScoredSample, found: Sequence[Deviation]) -> bool:
        """Whether settings want an alarm to begin now."""
        if not self._confirmed(entity, told, scored_sample, found):
            return False
        return self._may(entity, told, scored_sample) and any(self._worth(entity, each) for each in found)

    def _confirmed(self, entity: str, told: Told, scored_sample: ScoredSample, found: Sequence[Deviation]) -> bool:
        """Whether an alarm is confirmed, if settings ask for it: by breadth at any sample, or by duration at the third.

        Later than that size alone does not: what comes back from a spike steps as far as what left for it.
        """
        if scored_sample.series == 1 or not self.settings.of_entity("confirm", entity):  # one alone has no second
            return True
        if told.onset != scored_sample.onset:
            told.onset, told.waited = scored_sample.onset, 0
        told.waited += 1
        if sum(abs(each.z) >= OFF for each in found) >= min(COMMON, (scored_sample.series + 1) // 2):
            return True
        return told.waited == STILL + 1 and scored_sample.level >= OFF

    def _may(self, entity: str, told: Told, scored_sample: ScoredSample) -> bool:
        """Whether an alarm may be reported now: it has lasted, rest is over, and the budget is not spent."""
        ts, onset, ratio = scored_sample[:3]
        lasts, rest, budget = (self.settings.of_entity(o, entity) for o in ("lasts_s", "rest_s", "alarms_a_day"))
        if ts - onset < 1000 * (lasts or 0.0) or (told.ended and ts - told.ended < 1000 * (rest or 0.0)):
            return False
        spent = told.spent if told.day == ts // DAY_MS else 0
        return budget is None or spent < budget or ratio >= CRITICAL

    def _worth(self, entity: str, found: Deviation) -> bool:
        """Whether a metric deviates on the side and as far as its users want to know."""
        of_metric, by = self.settings.of_metric, found.value - found.expected
        direction = of_metric("direction", entity, found.metric)
        if (direction == "up" and min(by, found.z) < 0) or (direction == "down" and max(by, found.z) > 0):
            return False
        least, ratio = (of_metric(option, entity, found.metric) or 0.0 for option in ("least", "least_ratio"))
        return abs(by) >= max(least, ratio * abs(found.expected))
