"""Which alarms are reported, by the settings of direction, deviation, budget and rest.

This is decided where there is an alarm, a few times a minute at most; what is learned and scored does not depend on
it. Times are those of the samples.

An alarm costs as much of its budget as it is likely to be false: one half at the boundary, which is set where false
alarms are as frequent as the budget says, and less the farther it is beyond it, by the exponential tail of the entity's
own scores (local false discovery rate, Efron 2004), and the more samples of it were beyond it. An alarm whose strongest
metric took part in one before costs one half at least until it is stronger or lasts longer than that. One that the
budget cannot pay is suppressed: it is kept and marked, and told as soon as it can be paid. So under a spent budget the
most severe alarms and those that last are told.
"""

from __future__ import annotations

import math
import zlib
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
FIRST: Final = 0.35  # what is in it at first: an alarm at the boundary costs more
LASTING: Final = 0.6  # by so much each further sample beyond the boundary makes it less likely that an alarm is false
LONG_MS: Final = 60_000  # ... in so long from its onset on
AS_STRONG: Final = 1.5  # an alarm of at most so many times the strength of one before is taken to be like it ...
LONGER: Final = 1.5  # ... while it has not lasted so many times as long, nor for `LONG_MS` ...
REPEATED: Final = 0.5  # ... and costs at least so much
PARTS_KEPT: Final = 16  # metrics of an entity of whose alarms it is known how strong and how long they were
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


class Part(msgspec.Struct, array_like=True):
    """The alarms in which a metric took part."""

    ratio: float  # multiple of the boundary of the strongest, which fades by half in a week
    lasted: int  # ms, of the longest
    seen: int  # event time of the last

    def faded(self, ts: int) -> float:
        """The multiple of the boundary that still counts."""
        return self.ratio * math.exp2(-max(ts - self.seen, 0) / WEEK_MS)


class Purse(msgspec.Struct):
    """What is left of a budget of false alarms, and what alarms there were. A metric stands in it by its CRC-32."""

    left: float = FIRST
    filled: int = 0  # event time
    onset: int = 0  # of the last alarm
    ratio: float = 0.0  # multiple of the boundary that it reached
    samples: int = 0  # of it that were looked at
    beyond: int = 0  # of these, the ones beyond the boundary in its first `LONG_MS`
    metrics: list[int] = []  # that took part in it
    paid: float = 0.0  # for it
    fault: int = 0  # onset of the last alarm that was a fault: it is not among `parts`
    parts: dict[int, Part] = {}  # by metric: the alarms before it

    def meet(self, sample: ScoredSample, found: Sequence[Deviation]) -> None:
        """Take a sample of an alarm. What was before it has ended."""
        if sample.onset != self.onset:
            self.close(sample.ts)
            self.onset, self.paid = sample.onset, 0.0
        self.ratio = max(self.ratio, sample.ratio)
        self.samples += 1
        self.beyond += sample.ratio >= 1.0 and sample.ts - sample.onset < LONG_MS
        self.metrics = list(dict.fromkeys((*self.metrics, *(_number(each.metric) for each in found))))[:PARTS_KEPT]

    def close(self, ts: int) -> None:
        """The last alarm is over."""
        for metric in self.metrics if self.onset != self.fault else ():
            before = self.parts.pop(metric, None)
            ratio = max(self.ratio, before.faded(ts)) if before else self.ratio
            lasted = max(ts - self.onset, before.lasted) if before else ts - self.onset
            self.parts[metric] = Part(ratio, lasted, ts)
        while len(self.parts) > PARTS_KEPT:
            del self.parts[next(iter(self.parts))]
        self.ratio, self.samples, self.beyond, self.metrics = 0.0, 0, 0, []

    def confirm(self) -> float:
        """The last alarm was a fault: it cost nothing, and no other is like it. Returns what comes back."""
        back, self.paid = self.paid, 0.0
        self.left += back
        self.fault, self.parts = self.onset, {}
        return back

    def cost(self, sample: ScoredSample, metric: str) -> float:
        """How likely the alarm that it met last is false. metric: the strongest of the sample."""
        false = 1.0 / (1.0 + sample.ratio ** (1.0 / sample.tail)) if sample.ratio < WILD else 0.0
        if sample.ratio >= 1.0:  # what calms down is not borne out by it
            false *= LASTING ** max(self.beyond - 1, 0)
        return max(false, REPEATED if self._knows(sample, metric) else 0.0)

    def _knows(self, sample: ScoredSample, metric: str) -> bool:
        """Whether there was an alarm of a metric as strong and as long as that of a sample is so far."""
        before = self.parts.get(_number(metric))
        return (
            before is not None
            and sample.ratio <= AS_STRONG * before.faded(sample.ts)
            and (self.samples == 1 or sample.ts - sample.onset < min(LONGER * before.lasted, LONG_MS))
        )

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
            return self._ended(entity, told, scored_sample)
        if scored_sample.series > 1:
            self._purse(entity).meet(scored_sample, found)
        if told is None:
            told = self.told[entity] = Told()
        if told.on and event != AGAIN and told.suppressed == "none":
            return CONTINUE, "none"
        waits = told.on and told.suppressed != "none"
        if self.chosen and not waits and not self._wanted(entity, told, scored_sample, found):
            return (CONTINUE if told.on else QUIET), "none"
        was_on, before = told.on, told.suppressed
        suppressed = self._suppressed(entity, scored_sample, found[0].metric)
        if was_on and suppressed != "none":
            return (CONTINUE if before == "none" else QUIET), before
        if told.day != scored_sample.ts // DAY_MS:
            told.day, told.spent = scored_sample.ts // DAY_MS, 0
        told.on, told.suppressed, told.spent = True, suppressed, told.spent + (suppressed == "none")
        return (AGAIN if was_on and before == "none" else RAISE), suppressed

    def confirm(self, entity: str) -> None:
        """An incident of an entity has ended as a fault: its last alarm was not false."""
        if (own := self.purses.get(entity)) and (back := own.confirm()) and FLEET in self.purses:
            self.purses[FLEET].left += back

    def is_on(self, entity: str) -> bool:
        """Whether an alarm of an entity is on that was reported."""
        told = self.told.get(entity)
        return told is not None and told.on

    def _ended(self, entity: str, told: Told | None, scored_sample: ScoredSample) -> tuple[int, Suppressed]:
        """An alarm of the bank is over."""
        if entity in self.purses:
            self.purses[entity].close(scored_sample.ts)
        if told is None or not told.on:
            return QUIET, "none"
        suppressed = told.suppressed
        told.on, told.suppressed = False, "none"
        if suppressed == "none":
            told.ended = scored_sample.ts
        return CLEAR, suppressed

    def _suppressed(self, entity: str, scored_sample: ScoredSample, metric: str) -> Suppressed:
        """Whose budget cannot pay for an alarm now; else it is paid. Of an entity with one series the bank minds it."""
        if scored_sample.series == 1:
            return "none"
        a_week = self.settings.of_entity("false_alarms_a_week", entity) or self.settings.false_alarms_a_week
        own = self._purse(entity)
        cost = own.cost(scored_sample, metric)
        if own.fill(a_week, scored_sample.ts) < cost:
            return "entity"
        if (fleet := self.settings.false_alarms_a_week_per_fleet) is not None:
            if self._purse(FLEET).fill(fleet * self.share, scored_sample.ts) < cost:
                return "fleet"
            self._purse(FLEET).left -= cost
        own.left -= cost
        own.paid += cost
        return "none"

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


def _number(metric: str) -> int:
    return zlib.crc32(metric.encode())
