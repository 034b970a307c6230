"""The detector bank: every value is scored against what is ordinary for its series, then learned.

A series has an exponentially weighted mean and variance with long memory, seen through three views: the value, its
first difference, and its short average. An entity's score is the mean of its five largest |z|, smoothed; its boundary
is the tail of its own scores. What is scored is never clipped; what is learned always is: a spike teaches little.

Rule for a new normal: for `hold_ms` of event time after an alarm is raised, what is notable in its entity is not
learned at all; then learning goes on at the ordinary rate, and a level that stays is accepted once mean
and spread have reached it.

Source: Welford 1962 in its exponentially weighted form (West 1979); robust learning after Huber 1964; online
exponential tail after Pickands 1975 (peaks over threshold with shape 0).
"""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

import numpy as np

from models.detection.batch import Float64, Int32, Int64
from models.detection.kernel import kernel

# columns of a series
COUNT, MEAN, VARIANCE, SHORT, LAST, STEP_VARIANCE, PEAK, SEEN = range(8)
SERIES_FIELDS: Final = 8

# columns of an entity
LOOKS, SMOOTH, LEVEL, TAIL, ALARMED, RAISED, ONSET, TOLD, CALM, NEWEST, HITS = range(11)
ENTITY_FIELDS: Final = 11

# what a look at an entity came to
QUIET, RAISE, CONTINUE, CLEAR = range(4)


class Knobs(NamedTuple):
    """What is set by hand. The defaults were chosen on real data; see tests/bench/detection.py."""

    memory: float = 1e-4  # slowest rate of learning: 1/n falls to this
    winsor: float = 5.0  # what is learned is clipped at so many spreads
    warm: float = 24.0  # samples of a series before learning is clipped
    pull: float = 0.05  # most that one sample may add to a variance, as a share: a young series is clipped harder
    young: float = 8.0  # z is 0 before n = young, then shrunk by n / (n + young): a spread of few samples is not known
    floor: float = 0.003  # least spread as a share of the largest value learned
    short: float = 1 / 16  # rate of the short average
    cap: float = 100.0  # largest z that counts for an entity
    smooth: float = 0.2  # rate at which an entity's score follows
    quantile: float = 0.98  # of an entity's log score: where its tail begins
    surprise: float = 3.0  # boundary, in tail lengths beyond that quantile
    least: float = 2.0  # no boundary is lower than this mean of z
    calm: float = 4.0  # looks below the boundary in a row that end an alarm
    notable: float = 3.0  # spreads off the mean from which a value may belong to its entity's alarm
    hold_ms: float = 120_000.0  # for so long after an alarm was raised, such a value is not learned
    repeat_ms: float = 200.0  # an alarm that is on is told again at most so often


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
    score: Float64  # (m,) smoothed mean of the five largest |z|
    boundary: Float64  # (m,) the score above which the entity is off
    z: Float64  # (n,) of the strongest view, signed by the view
    expected: Float64  # (n,) mean before this value was learned
    spread: Float64  # (n,) standard deviation that z was taken with

    @classmethod
    def empty(cls, samples: int, values: int) -> Looks:
        """Room for a batch."""
        return cls(np.zeros(samples, np.int32), *(np.zeros(n) for n in (samples, samples, values, values, values)))


@kernel
def _open(row: Float64, value: float) -> None:
    row[COUNT] = 1.0
    row[MEAN] = row[SHORT] = row[LAST] = value
    row[PEAK] = max(row[PEAK], abs(value))


@kernel
def _strongest(row: Float64, value: float, spread: float, knobs: Knobs) -> float:
    """z of the view that is furthest off, before anything is learned."""
    floor = knobs.floor * row[PEAK] + 1e-9
    error, step = value - row[MEAN], value - row[LAST]
    z = error / spread
    short = row[SHORT] + knobs.short * (value - row[SHORT])
    for other in (step / math.sqrt(row[STEP_VARIANCE] + floor * floor), 3.0 * (short - row[MEAN]) / spread):
        if abs(other) > abs(z):
            z = other
    if row[COUNT] < knobs.young:
        return 0.0
    return float(z * row[COUNT] / (row[COUNT] + knobs.young))


@kernel
def _learn(row: Float64, value: float, spread: float, knobs: Knobs) -> None:
    rate = max(knobs.memory, 1.0 / (row[COUNT] + 1.0))
    error, step = value - row[MEAN], value - row[LAST]
    if row[COUNT] > knobs.warm:
        floor = knobs.floor * row[PEAK] + 1e-9
        limit = min(knobs.winsor, max(2.0, math.sqrt(knobs.pull * row[COUNT])))
        most = limit * spread
        error = min(max(error, -most), most)
        most = limit * math.sqrt(row[STEP_VARIANCE] + floor * floor)
        step = min(max(step, -most), most)
    row[PEAK] = max(row[PEAK], abs(row[MEAN] + error))
    row[MEAN] += rate * error
    row[VARIANCE] = (1.0 - rate) * (row[VARIANCE] + rate * error * error)
    row[STEP_VARIANCE] += rate * (step * step - row[STEP_VARIANCE])
    row[COUNT] += 1.0


@kernel
def _follow(row: Float64, value: float, spread: float, knobs: Knobs) -> None:
    """Move the views that follow the value, learning or not."""
    error = value - row[MEAN]
    short = row[SHORT] - row[MEAN]
    if abs(error) < spread and abs(short) > 3.0 * spread:
        row[SHORT] = row[MEAN] + error / 3.0  # back in the ordinary range: the average of the fault says nothing more
    row[SHORT] += knobs.short * (value - row[SHORT])
    row[LAST] = value


@kernel
def _mean_of_five(z: Float64, first: int, end: int, cap: float) -> float:
    """Mean of the five largest |z| of z[first:end], each capped; of all when there are fewer."""
    top = np.zeros(5)
    for point in range(first, end):
        size = min(abs(z[point]), cap)
        if size > top[4]:
            place = 4
            while place > 0 and top[place - 1] < size:
                top[place] = top[place - 1]
                place -= 1
            top[place] = size
    return float(top.sum() / max(1, min(5, end - first)))


@kernel
def _judge(entity: Float64, raw: float, ts: float, knobs: Knobs) -> tuple[int, float]:
    """What a look with score `raw` comes to, and the boundary it was held against."""
    if entity[LOOKS] == 0.0:
        entity[SMOOTH], entity[LEVEL], entity[TAIL] = raw, math.log(1.6), 0.25
    entity[LOOKS] += 1.0
    entity[SMOOTH] += knobs.smooth * (raw - entity[SMOOTH])
    boundary = max(knobs.least, math.exp(entity[LEVEL] + knobs.surprise * entity[TAIL]))
    if raw > boundary:
        entity[CALM] = 0.0
        if entity[ONSET] == 0.0:
            entity[ONSET] = ts
    else:
        entity[CALM] += 1.0
    if entity[ALARMED] == 0.0:
        if entity[SMOOTH] > boundary and entity[LOOKS] > 2.0 * knobs.young:
            entity[ALARMED], entity[RAISED], entity[TOLD] = 1.0, ts, ts
            if entity[ONSET] == 0.0:
                entity[ONSET] = ts
            return RAISE, boundary
        if entity[CALM] > 0.0:
            entity[ONSET] = 0.0
        _calibrate(entity, knobs)
        return QUIET, boundary
    if entity[CALM] >= knobs.calm:
        entity[ALARMED] = 0.0
        entity[SMOOTH] = raw
        return CLEAR, boundary
    if ts - entity[TOLD] >= knobs.repeat_ms:
        entity[TOLD] = ts
        return CONTINUE, boundary
    return QUIET, boundary


@kernel
def _calibrate(entity: Float64, knobs: Knobs) -> None:
    """Learn where the tail of the log score begins, and how long it is."""
    over = math.log(max(entity[SMOOTH], 1e-3)) - entity[LEVEL]
    gain = entity[TAIL] * max(2.0 * knobs.memory, 1.0 / (0.3 * entity[LOOKS] + 10.0))
    if over > 0.0:
        entity[HITS] += 1.0
        entity[LEVEL] += gain * knobs.quantile
        excess = min(over, 2.0 * entity[TAIL])  # one wild score says little of the length of a tail
        entity[TAIL] += max(1e-3, 1.0 / (entity[HITS] + 12.0)) * (excess - entity[TAIL])
    else:
        entity[LEVEL] -= gain * (1.0 - knobs.quantile)
    entity[TAIL] = max(entity[TAIL], 0.1)


@kernel
def take(series: Float64, entities: Float64, given: Samples, looks: Looks, knobs: Knobs) -> None:
    """Score, then learn, each sample in the order given; `series`, `entities` and `looks` are changed in place.

    series: (n_series, SERIES_FIELDS); entities: (n_entities, ENTITY_FIELDS). A value that is not newer than the last
    of its series is a repeat or late: it is neither scored nor learned.
    """
    for sample in range(len(given.entity)):
        entity = entities[given.entity[sample]]
        ts = float(given.ts[sample])
        first, end = given.start[sample], given.start[sample + 1]
        held = entity[ALARMED] == 1.0 and ts - entity[RAISED] <= knobs.hold_ms
        fresh = 0
        for point in range(first, end):
            row, value = series[given.series[point]], given.value[point]
            if row[COUNT] == 0.0:
                row[SEEN] = ts
                fresh += 1
                looks.expected[point] = value
                _open(row, value)
            elif ts > row[SEEN]:
                row[SEEN] = ts
                fresh += 1
                floor = knobs.floor * row[PEAK] + 1e-9
                spread = math.sqrt(row[VARIANCE] + floor * floor)
                looks.expected[point], looks.spread[point] = row[MEAN], spread
                looks.z[point] = _strongest(row, value, spread, knobs)
                if not (held and abs(value - row[MEAN]) >= knobs.notable * spread):
                    _learn(row, value, spread, knobs)
                _follow(row, value, spread, knobs)
        if fresh > 0:
            entity[NEWEST] = max(entity[NEWEST], ts)
            raw = _mean_of_five(looks.z, first, end, knobs.cap)
            event, boundary = _judge(entity, raw, ts, knobs)
            looks.event[sample] = event
            looks.score[sample], looks.boundary[sample] = entity[SMOOTH], boundary


def prior_peak(metric: str) -> float:
    """The size that a new series is taken to have before it has shown its own, from what its name says of its unit.

    Times the floor it is the least deviation that can matter: a hundredth of a share, 3 ms, 300 kB.
    """
    words = set(re.split(r"[._{}]", metric))
    return max((peak for name, peak in _PRIORS.items() if name in words), default=0.0)


_PRIORS: Final = {
    "ratio": 3.0, "error_ratio": 3.0, "utilization": 5.0, "duration": 1.0, "latency": 1.0, "usage": 1e8, "bytes": 1e8,
    "queue": 100.0, "active_requests": 100.0,
}  # fmt: skip


class Bank:
    """The state of all series and entities of a partition, growing as new ones come."""

    def __init__(self, knobs: Knobs | None = None) -> None:
        self.knobs = knobs or Knobs()
        self.series = np.zeros((0, SERIES_FIELDS))
        self.entities = np.zeros((0, ENTITY_FIELDS))
        self.n_series = 0

    def grow(self, entities: int, metrics: list[str]) -> None:
        """Make room for `entities` in all, and add a series for each of `metrics`."""
        self.entities = _room(self.entities, entities)
        wanted = self.n_series + len(metrics)
        self.series = _room(self.series, wanted)
        for at, metric in enumerate(metrics, self.n_series):
            self.series[at, PEAK] = prior_peak(metric)
        self.n_series = wanted

    def take(self, given: Samples) -> Looks:
        """Score and learn a batch."""
        looks = Looks.empty(len(given.entity), len(given.value))
        take(self.series, self.entities, given, looks, self.knobs)
        return looks


def _room(rows: Float64, wanted: int) -> Float64:
    """`rows`, or a longer copy with zeros at the end."""
    if wanted <= len(rows):
        return rows
    longer = np.zeros((max(wanted, 2 * len(rows), 64), rows.shape[1]))
    longer[: len(rows)] = rows
    return longer
