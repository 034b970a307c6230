"""The detector bank: every value is scored against what is ordinary for its series, then learned.

A series is seen through three views: its level against a mean with long memory, its next step against what its recent
level and slope foretell, and its short average against the mean. Each view has a spread of its own, so that z means the
same for a smooth daily curve, a counter and noise. An entity's score says how *broadly or strongly* it is off: the
geometric mean of its eight largest |z|, or a third of their mean, or the largest one alone, in tails of its own series,
where its name says that a person would act on it alone. Its boundary is learned from its own scores. No labels, no
training phase; bounded state; no look ahead.

What is scored is never clipped; what is learned always is, and the more an entity is off, the slower it is learned.
Rule for a new normal: from its alarm on, for `hold_looks` looks and `hold_ms` of event time, what is far off is not
learned at all; then learning goes on at the ordinary rate, and a level that stays is accepted once mean and spread
have reached it. The boundary learns from the first, a tenth as fast as else: an alarm that nobody takes up ends after
some hundreds of looks. An open incident (`forks`) stops both.

Sources: exponentially weighted Welford form (West 1979), clipped learning (Huber 1964), Holt's linear prediction
(1957), quantile by stochastic approximation (Robbins and Monro 1951), exponential tail over a threshold (Pickands
1975).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from models.detection.batch import Float64, Int32, Int64, Names
from models.detection.kernel import kernel
from models.detection.knobs import Knobs, narrowed
from models.detection.lone import FIELDS as LONE_FIELDS
from models.detection.lone import MOST as MOST_LONE
from models.detection.lone import Lone, Seen, open_row, rested, surprise
from models.detection.prior import prior

# columns of a series
COUNT, MEAN, VARIANCE, SHORT, SHORT_VARIANCE, LEVEL, SLOPE, STEP_VARIANCE, PEAK, TAIL, TRUST, SEEN = range(12)
SERIES_FIELDS: Final = 12

# columns of an entity
LOOKS, SCORE, USUAL, STRETCH, HITS, WARY, CALM, ALARMED, RAISED, RAISED_LOOK, ONSET, TOLD, FORKED, WIDE = range(14)
SERIES, LONE = 14, 15  # how many have opened; the row of the one that there is, 0 for none, -1 for never
ENTITY_FIELDS: Final = 16

# FORKED: a copy learns in its stead; or its fault was confirmed, and nothing is learned until the alarm is cleared
OPEN, RECOVERING = 1.0, 2.0

# what a look at an entity came to
QUIET, RAISE, CONTINUE, CLEAR = range(4)

MOST: Final = 8  # series that an entity's score is made of


class Rows(NamedTuple):
    """All state, changed in place: (n_series, SERIES_FIELDS), (n_entities, ENTITY_FIELDS), (n_lone, lone.FIELDS)."""

    series: Float64
    entities: Float64
    lone: Float64


class Samples(NamedTuple):
    """What a bank is given: the arrays of a `Batch`."""

    entity: Int32
    ts: Int64
    start: Int32
    series: Int32
    value: Float64


class Looks(NamedTuple):
    """What a bank says of it: by sample and by value."""

    event: Int32  # (m,) QUIET, RAISE, CONTINUE or CLEAR
    score: Float64  # (m,) how far the entity is off, smoothed
    boundary: Float64  # (m,) the score above which it is an alarm
    onset: Float64  # (m,) event time of the first look above it, as it was known at this look; 0: none
    z: Float64  # (n,) of the strongest view, signed by the view
    expected: Float64  # (n,) the mean before this value was learned
    spread: Float64  # (n,) of the level around it

    @classmethod
    def room(cls, samples: int, values: int) -> Looks:
        """Arrays of these lengths, unset."""
        of_samples = [np.empty(samples) for _ in range(3)]
        return cls(np.empty(samples, np.int32), *of_samples, *(np.empty(values) for _ in range(3)))

    def first(self, samples: int, values: int) -> Looks:
        """The first of each, without a copy."""
        m, n = slice(samples), slice(values)
        return Looks(
            self.event[m], self.score[m], self.boundary[m], self.onset[m], self.z[n], self.expected[n], self.spread[n]
        )  # fmt: skip


@kernel
def _open(rows: Float64, at: int, value: float) -> None:
    rows[at, COUNT] = 1.0
    rows[at, MEAN] = rows[at, SHORT] = rows[at, LEVEL] = value
    rows[at, PEAK] = max(rows[at, PEAK], abs(value))


@kernel
def _strongest(level: float, step: float, short: float, ordinary: float) -> float:
    """The z that is largest when `ordinary` is taken off those of level and short average."""
    off_level, off_short = abs(level) - ordinary, abs(short) - ordinary
    z = math.copysign(off_level, level) if off_level > abs(step) else step
    return math.copysign(off_short, short) if off_short > abs(z) else z


@kernel
def _young_limit(count: float, knobs: Knobs) -> float:
    """Spreads at which what is learned of a young series is clipped."""
    if count <= knobs.young:
        return 1e9
    return knobs.loose if count <= knobs.warm else max(2.0, math.sqrt(knobs.pull * count))


@kernel
def _spread_learns(rows: Float64, at: int, field: int, size: float, rate: float) -> None:
    rows[at, field] += rate * (size * size - rows[at, field])


@kernel
def _point(rows: Float64, at: int, value: float, pace: float, knobs: Knobs) -> tuple[float, float]:
    """Score one value of series `at`, then learn it at `pace` (1: fully; 0: not; below 0: not when it is far off).

    Returns z and the spread of the level.
    """
    count, mean = rows[at, COUNT], rows[at, MEAN]
    floor = knobs.floor * rows[at, PEAK] + knobs.least_spread
    floor *= floor
    error, step = value - mean, value - rows[at, LEVEL] - rows[at, SLOPE]
    short = rows[at, SHORT] + knobs.short * (value - rows[at, SHORT])
    variance, step_variance = rows[at, VARIANCE] + floor, rows[at, STEP_VARIANCE] + floor
    spread, step_spread = math.sqrt(variance), math.sqrt(step_variance)
    short_spread = math.sqrt(rows[at, SHORT_VARIANCE] + floor)
    each = 1.0 / (count + 1.0)
    known = mature = max(0.0, 1.0 - knobs.young * each)
    if step_variance < variance:  # a counter or a young daily curve has no level yet: few of its samples are news
        known = count * step_variance / (count * step_variance + knobs.young * variance)
    both = spread * step_spread
    scale = 1.0 / (both * short_spread)  # one division for three: it is what a point costs most
    level, average = error * step_spread * short_spread * scale, (short - mean) * both * scale
    z = mature * _strongest(known * level, step * spread * short_spread * scale, known * average, knobs.ordinary)
    if pace > 0.0 or (pace < 0.0 and abs(level) < knobs.far):
        limit = knobs.winsor if count >= knobs.settled else _young_limit(count, knobs)
        rate = abs(pace) * max(knobs.memory, each)
        learned = min(max(error, -limit * spread), limit * spread)
        rows[at, PEAK] = max(rows[at, PEAK], abs(mean + learned))
        rows[at, MEAN] = mean + rate * learned
        rows[at, VARIANCE] = (1.0 - rate) * (rows[at, VARIANCE] + rate * learned * learned)
        _spread_learns(rows, at, STEP_VARIANCE, min(abs(step), limit * step_spread), rate)
        _spread_learns(rows, at, SHORT_VARIANCE, min(abs(short - mean), limit * short_spread), rate)
        rows[at, COUNT] = count + abs(pace)
    rows[at, SHORT] = short
    rows[at, LEVEL] += rows[at, SLOPE] + knobs.near * step
    rows[at, SLOPE] += knobs.near * knobs.near * step
    if pace <= 0.0 and abs(known * level if pace == 0.0 else level) < 1.0 and (abs(average) > 3.0 or abs(z) > 3.0):
        rows[at, SHORT] = rows[at, LEVEL] = value  # it is back: what it did during the fault foretells nothing
        rows[at, SLOPE] = 0.0
    return z, spread


@kernel
def _seen(rows: Float64, at: int, value: float, ts: float, knobs: Knobs) -> Seen:
    """A value in the views of its series, before it is learned."""
    floor = knobs.floor * rows[at, PEAK] + knobs.least_spread
    error, step = value - rows[at, MEAN], value - rows[at, LEVEL] - rows[at, SLOPE]
    average = rows[at, SHORT] + knobs.short * (value - rows[at, SHORT]) - rows[at, MEAN]
    mature = max(0.0, 1.0 - knobs.young / (rows[at, COUNT] + 1.0))
    return Seen(
        ts, value, mature * error / math.sqrt(rows[at, VARIANCE] + floor * floor),
        mature * average / math.sqrt(rows[at, SHORT_VARIANCE] + floor * floor),
        mature * step / math.sqrt(rows[at, STEP_VARIANCE] + floor * floor), error, floor,
    )  # fmt: skip


@kernel
def _own_tail(rows: Float64, at: int, z: float, pace: float, knobs: Knobs) -> float:
    """|z| in tails of the series itself, which are learned, by the trust that one series has."""
    size, tail = abs(z), rows[at, TAIL]
    gain = max(pace, 0.0) * max(5.0 * knobs.memory, 1.0 / (0.1 * rows[at, COUNT] + 100.0))
    tail *= 1.0 + gain * knobs.tail if size > tail else 1.0 - gain * (1.0 - knobs.tail)
    rows[at, TAIL] = min(max(tail, 3.0), knobs.cap)
    return float(rows[at, TRUST] * min(size, knobs.cap) / rows[at, TAIL])


@kernel
def _broad_or_strong(z: Float64, first: int, end: int, top: Float64, knobs: Knobs) -> float:
    """The score of z[first:end]: over the largest |z|, half of the series but `MOST` at most; `top` is scratch."""
    most = min(MOST, (end - first + 1) // 2)
    top[:] = 0.0
    for point in range(first, end):
        size = min(abs(z[point]), knobs.cap)
        for place in range(MOST):  # sinks to its place without a branch, which would cost more than the steps it saves
            above = top[place]
            top[place] = max(above, size)
            size = min(above, size)
    total, product = 0.0, 1.0
    for place in range(most):
        total += top[place]
        product *= 1.0 + top[place]
    return float(max(math.exp(math.log(product) / most) - 1.0, knobs.strong * total / most))


@kernel
def _judge(entities: Float64, at: int, raw: float, ts: float, knobs: Knobs) -> tuple[int, float]:
    """What a look with score `raw` comes to, and the boundary it was held against."""
    if entities[at, LOOKS] == 0.0:
        entities[at, SCORE] = raw
    entities[at, LOOKS] += 1.0
    entities[at, SCORE] += knobs.smooth * (raw - entities[at, SCORE])
    usual = math.exp(entities[at, USUAL] + knobs.surprise * entities[at, STRETCH]) - 1.0
    boundary = max(knobs.least, usual) * (1.0 + entities[at, WARY]) * (1.0 + entities[at, WIDE])
    restless = raw > max(knobs.settle * boundary, knobs.quiet)
    entities[at, CALM] = 0.0 if restless else entities[at, CALM] + 1.0
    event = QUIET
    if entities[at, ALARMED] == 0.0:
        entities[at, WARY] *= 1.0 - knobs.forget
        if raw <= boundary and entities[at, SCORE] <= boundary:
            entities[at, ONSET] = 0.0
        elif entities[at, ONSET] == 0.0:
            entities[at, ONSET] = ts
        if (entities[at, SCORE] > boundary or raw > knobs.plain * boundary) and entities[at, LOOKS] > 2.0 * knobs.young:
            event = RAISE
            entities[at, ALARMED], entities[at, RAISED], entities[at, TOLD] = 1.0, ts, ts
            entities[at, RAISED_LOOK] = entities[at, LOOKS]
    elif entities[at, CALM] >= knobs.calm:
        event = CLEAR
        entities[at, ALARMED] = 0.0
        if entities[at, FORKED] == RECOVERING:
            entities[at, FORKED] = 0.0
        entities[at, SCORE] = min(raw, entities[at, SCORE])
        entities[at, WARY] += knobs.wary
    elif ts - entities[at, TOLD] >= knobs.repeat_ms:
        event = CONTINUE
        entities[at, TOLD] = ts
    _calibrate(entities, at, knobs)
    return event, boundary


@kernel
def _calibrate(entities: Float64, at: int, knobs: Knobs) -> None:
    """Learn where the tail of the log score begins, and how long it is; from an alarm only a tenth as fast."""
    if entities[at, FORKED] > 0.0:
        return
    weight = 0.1 if entities[at, ALARMED] == 1.0 else 1.0
    over = math.log(1.0 + entities[at, SCORE]) - entities[at, USUAL]
    gain = weight * entities[at, STRETCH] * max(3e-4, 1.0 / (0.3 * entities[at, LOOKS] + 10.0))
    if over > 0.0:
        entities[at, HITS] += weight
        entities[at, USUAL] += gain * knobs.usual
        excess = min(over, 3.0 * entities[at, STRETCH])  # one wild score says little of the length of a tail
        rate = weight * max(1.5e-3, 1.0 / (entities[at, HITS] + 12.0))
        entities[at, STRETCH] = max(entities[at, STRETCH] + rate * (excess - entities[at, STRETCH]), 0.05)
    else:
        entities[at, USUAL] -= gain * (1.0 - knobs.usual)


@kernel
def _pace(entities: Float64, at: int, ts: float, knobs: Knobs) -> float:
    """How fast to learn from an entity now: 1 is fully, less is in doubt, 0 is not; below 0, not what is far off."""
    if entities[at, FORKED] == RECOVERING and entities[at, LOOKS] - entities[at, RAISED_LOOK] > knobs.hold_looks:
        entities[at, FORKED] = 0.0
    if entities[at, FORKED] > 0.0:
        return 0.0
    alarmed = entities[at, ALARMED] == 1.0
    looks, age = entities[at, LOOKS] - entities[at, RAISED_LOOK], ts - entities[at, RAISED]
    young = looks <= knobs.hold_looks or age <= knobs.hold_ms
    if entities[at, LOOKS] <= 4.0 * knobs.young or (alarmed and not young):
        return 1.0
    doubt = float(knobs.doubt / max(entities[at, SCORE], knobs.doubt))
    return -doubt * doubt if alarmed else doubt * doubt


@kernel
def _lone_row(rows: Rows, at: int, ts: float, knobs: Knobs, lone: Lone) -> int:
    """The row of an entity that has shown one series in its first looks and none since; else 0 or less."""
    if rows.entities[at, SERIES] > 1.0:
        rows.entities[at, LONE] = -1.0
    elif rows.entities[at, LONE] == 0.0 and rows.entities[at, LOOKS] >= knobs.young:
        rows.entities[at, LONE] = open_row(rows.lone, ts, lone)
    return int(rows.entities[at, LONE])


@kernel
def take(rows: Rows, given: Samples, looks: Looks, knobs: Knobs, narrow: Knobs, lone: Lone) -> None:
    """Score, then learn, each sample in the order given; `rows` and `looks` are changed in place.

    `narrow` are the knobs of an entity with one series. A value that is not newer than the last of its series is a
    repeat or late: it is neither scored nor learned.
    """
    series, entities = rows.series, rows.entities
    top = np.zeros(MOST)
    for sample in range(len(given.entity)):
        entity, ts = given.entity[sample], float(given.ts[sample])
        first, end = given.start[sample], given.start[sample + 1]
        row, pace = _lone_row(rows, entity, ts, knobs, lone), _pace(entities, entity, ts, knobs)
        if row > 0 and pace != 0.0:
            pace = 1.0  # nothing else bears witness to a fault, and its tails take care of what is learned
        fresh, single = 0, 0.0
        looks.event[sample], looks.score[sample], looks.boundary[sample] = QUIET, entities[entity, SCORE], math.inf
        for point in range(first, end):
            at, value = given.series[point], given.value[point]
            looks.z[point], looks.expected[point], looks.spread[point] = 0.0, value, 0.0
            if series[at, COUNT] == 0.0:
                _open(series, at, value)
                entities[entity, SERIES] += 1.0
            elif ts > series[at, SEEN]:
                looks.expected[point] = series[at, MEAN]
                if row > 0:
                    single = surprise(rows.lone, row, _seen(series, at, value, ts, narrow), pace, lone)
                    looks.z[point], looks.spread[point] = _point(series, at, value, pace, narrow)
                else:
                    looks.z[point], looks.spread[point] = _point(series, at, value, pace, knobs)
                    if series[at, TRUST] > 0.0:
                        single = max(single, _own_tail(series, at, looks.z[point], pace, knobs))
            else:
                continue
            series[at, SEEN] = ts
            fresh += 1
        if fresh > 0 and row > 0:
            look = entities[entity, LOOKS]
            looks.event[sample], looks.boundary[sample] = _judge(entities, entity, single, ts, narrow)
            looks.score[sample] = rested(rows.lone, row, single, looks.boundary[sample], look, lone)
        elif fresh > 0:
            raw = max(_broad_or_strong(looks.z, first, end, top, knobs), single)
            looks.event[sample], looks.boundary[sample] = _judge(entities, entity, raw, ts, knobs)
            looks.score[sample] = entities[entity, SCORE]
        looks.onset[sample] = entities[entity, ONSET]


class Bank:
    """The state of all series and entities of a partition, growing as new ones come."""

    def __init__(self, knobs: Knobs | None = None) -> None:
        self.knobs = knobs or Knobs()
        self.narrow, self.lone_knobs = narrowed(self.knobs), Lone()
        self.series = np.zeros((0, SERIES_FIELDS))
        self.entities = np.zeros((0, ENTITY_FIELDS))
        self.lone = np.zeros((1, LONE_FIELDS))
        self.n_series = 0
        self._looks = Looks.room(0, 0)  # kept: fresh memory for each batch would cost more than its arithmetic

    def admit(self, names: Names) -> None:
        """Make room for the entities and series that `names` has given out since."""
        fresh = names.series[self.n_series :]
        self.lone = _room(self.lone, 1 + min(MOST_LONE, len(names.entities)))
        if not fresh and len(names.entities) <= len(self.entities):
            return
        known = len(self.entities)
        self.entities = _room(self.entities, len(names.entities))
        self.entities[known:, (USUAL, STRETCH)] = math.log(3.0), 0.3
        wanted = self.n_series + len(fresh)
        self.series = _room(self.series, wanted)
        self.series[self.n_series :, TAIL] = 3.0
        for at, (entity, metric) in enumerate(fresh, self.n_series):
            found = prior(metric)
            self.series[at, PEAK], self.series[at, TRUST] = found.peak, found.trust
            if found.peak and self.entities[entity, LOOKS] == 0.0:  # its floors are known: it can be judged sooner
                self.entities[entity, (USUAL, STRETCH)] = math.log(2.0), 0.2
        self.n_series = wanted

    @property
    def lone_rows(self) -> Float64:
        """The rows of lone entities that are in use, and the first, which counts them."""
        return self.lone[: 1 + int(self.lone[0, 0])]

    def take(self, given: Samples) -> Looks:
        """Score and learn a batch. What is returned is overwritten by the next call."""
        samples, values = len(given.entity), len(given.value)
        if samples > len(self._looks.event) or values > len(self._looks.z):
            self._looks = Looks.room(max(samples, len(self._looks.event)), max(values, len(self._looks.z)))
        looks = self._looks.first(samples, values)
        take(Rows(self.series, self.entities, self.lone), given, looks, self.knobs, self.narrow, self.lone_knobs)
        return looks


def _room(rows: Float64, wanted: int) -> Float64:
    """`rows`, or a longer copy with zeros at the end."""
    if wanted <= len(rows):
        return rows
    longer = np.zeros((max(wanted, 2 * len(rows), 64), rows.shape[1]))
    longer[: len(rows)] = rows
    return longer
