"""The score of an entity that has one series only.

Five views of it are each turned into surprise, the nats of a tail that is learned from the view itself: level, short
average and next step (from the bank), how lively it is, and how far it is from what is usual at this hour of the day.
Their sum says what no single |z| can, since a spiky series has large z every day. What has just been told is not told
again: a sample that is less strange than one of the last few hundred is damped below the boundary, in the order it had.

A profile of the day, of all days or with weekends apart, counts only where its residuals are clearly smaller than
those of the mean, or of the simpler profile. One row of 1.4 kB an entity with one series, for the first `MOST` of a
partition (27 MB at most); the others are scored as those of many series. Sources: exponential tail over a threshold
(Pickands 1975), sum of surprises (Fisher 1932), one detection an anomaly (Lavin and Ahmad 2015).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from topics.batch import Float64
from topics.kernel import kernel

VIEWS: Final = 5
LIVELY, DAILY = 3, 4
RESTS: Final = 4
HOURS: Final = 24
HOUR_MS: Final = 3_600_000
WEEK_DAYS: Final = 7
EPOCH_DAY, SATURDAY = 3, 5  # from Monday: the epoch began on a Thursday; in UTC

# columns of a row: where the tail of each view begins, and how long it is ...
TAIL, STRETCH = 0, VIEWS
# ... size of the last steps, of all steps, and its variance; samples; the strangest samples of the last stretches ...
LAST_STEPS, STEPS, STEPS_VARIANCE, SAMPLES = range(2 * VIEWS, 2 * VIEWS + 4)
REST: Final = SAMPLES + 1
FIRST_TS: Final = REST + RESTS
# ... and two profiles, of the day, and of the day with weekends apart: samples held against it, squared residuals of it
# and of the mean, then the mean of each hour, then its samples
AGAINST, RESIDUE, MEAN_RESIDUE, BINS = range(4)
DAY: Final = FIRST_TS + 1
WEEK: Final = DAY + BINS + 2 * HOURS
FIELDS: Final = WEEK + BINS + 4 * HOURS

MOST: Final = 20_000  # rows of a partition
# row 0 holds how many rows there are, and the first free one of these, which holds the next one; 0: none
ROWS, NEXT_FREE = 0, 1


class Univariate(NamedTuple):
    """The constants: the middle of a plateau of NAB's standard score, on all series and on halves of them."""

    memory: float = 1e-4  # slowest rate of learning
    clip: float = 20.0  # spreads at which what is learned is clipped
    settled: float = 160.0  # samples from which it is clipped, and from which the day counts
    steps: float = 1 / 16  # rate at which the size of the last steps follows
    quantile: float = 0.95  # of a view, where its tail begins
    least_tail: float = 3.0
    least_stretch: float = 0.3
    wildest: float = 3.0  # most stretches that one sample teaches of a tail's length
    cap: float = 50.0  # largest surprise of a view
    unit: float = 7.0  # nats that are a score of 1
    stretch: float = 75.0  # samples; a sample is damped by the strangest of four such stretches
    damped: float = 0.4  # what a damped score stays below, as a share of the boundary
    day_gain: float = 0.5  # the day counts when its squared residuals are less than so much of the mean's
    week_gain: float = 0.5  # the profile with weekends apart, when its residuals are so much smaller than the day's
    day_rate: float = 0.02  # slowest rate at which an hour is learned
    lively: float = 1.0  # weight of the view
    daily: float = 1.0


class Seen(NamedTuple):
    """One value as the bank sees it: its z by view, how far off the mean, and the least spread of its series."""

    ts: float
    value: float
    level: float
    average: float
    step: float
    error: float
    floor: float


class Bins(NamedTuple):
    """Where a profile is kept, how many hours it has, which one it is now, and whether all have been seen."""

    first: int
    hours: int
    place: int
    known: bool


@kernel
def open_row(rows: Float64, ts: float, config: Univariate) -> int:
    """The number of a row that was free, or -1 when none is left."""
    at = int(rows[0, NEXT_FREE])
    if at > 0:
        rows[0, NEXT_FREE], rows[at, NEXT_FREE] = rows[at, NEXT_FREE], 0.0
    else:
        at = int(rows[0, ROWS]) + 1
        if at > MOST or at >= len(rows):
            return -1
        rows[0, ROWS] = at
    rows[at, FIRST_TS] = ts
    for view in range(VIEWS):
        rows[at, TAIL + view], rows[at, STRETCH + view] = config.least_tail, config.least_stretch
    return at


@kernel
def close_row(rows: Float64, at: int) -> None:
    """Let a row be free; nothing happens when there is none (`at` is 0 or less)."""
    if at > 0:
        rows[at, :] = 0.0
        rows[at, NEXT_FREE], rows[0, NEXT_FREE] = rows[0, NEXT_FREE], at


@kernel
def surprise(rows: Float64, at: int, seen: Seen, pace: float, config: Univariate) -> float:
    """How strange a value is, 1 for every `unit` nats; then learn from it, unless `pace` is 0."""
    total = _nats(rows, at, 0, abs(seen.level), pace, config)
    total += _nats(rows, at, 1, abs(seen.average), pace, config)
    total += _nats(rows, at, 2, abs(seen.step), pace, config)
    total += config.lively * _nats(rows, at, LIVELY, _lively(rows, at, abs(seen.step), pace, config), pace, config)
    total += config.daily * _nats(rows, at, DAILY, _daily(rows, at, seen, pace, config), pace, config)
    if pace != 0.0:
        rows[at, SAMPLES] += 1.0
    return float(total / config.unit)


@kernel
def _nats(rows: Float64, at: int, view: int, z: float, pace: float, config: Univariate) -> float:
    """-ln of how rarely a view is as large as z, by its exponential tail, which learns z."""
    tail, stretch = rows[at, TAIL + view], rows[at, STRETCH + view]
    rare, over = 1.0 - config.quantile, z - tail
    nats = -math.log(rare) * (1.0 if over > 0.0 else z / tail) + max(over, 0.0) / stretch
    if pace != 0.0:
        gain = stretch * max(3e-4, 1.0 / (0.3 * rows[at, SAMPLES] + 10.0))
        tail += gain * config.quantile if over > 0.0 else -gain * rare
        rows[at, TAIL + view] = max(tail, config.least_tail)
        if over > 0.0:
            rate = max(1.5e-3, 1.0 / (rare * rows[at, SAMPLES] + 12.0))
            stretch += rate * (min(over, config.wildest * stretch) - stretch)
            rows[at, STRETCH + view] = max(stretch, 0.2 * config.least_stretch)
    return float(min(nats, config.cap))


@kernel
def _lively(rows: Float64, at: int, step: float, pace: float, config: Univariate) -> float:
    """How far the size of the last steps is from that of all, in its own spread."""
    size = rows[at, LAST_STEPS] = rows[at, LAST_STEPS] + config.steps * (min(step, 10.0) - rows[at, LAST_STEPS])
    off, spread = size - rows[at, STEPS], math.sqrt(rows[at, STEPS_VARIANCE] + 1e-3)
    if pace != 0.0:
        rate = max(config.memory, 1.0 / (rows[at, SAMPLES] + 1.0))
        limit = config.clip * spread if rows[at, SAMPLES] > config.settled else math.inf
        learned = min(max(off, -limit), limit)
        rows[at, STEPS] += rate * learned
        rows[at, STEPS_VARIANCE] = (1.0 - rate) * (rows[at, STEPS_VARIANCE] + rate * learned * learned)
    return float(abs(off) / spread)


@kernel
def _daily(rows: Float64, at: int, seen: Seen, pace: float, config: Univariate) -> float:
    """How far a value is from what is usual at this hour, in its own spread, by the better profile; 0 where none is."""
    hour, age = int(seen.ts // HOUR_MS), seen.ts - rows[at, FIRST_TS]
    weekend = (hour // HOURS + EPOCH_DAY) % WEEK_DAYS >= SATURDAY
    by_day = _profile(rows, at, Bins(DAY, HOURS, hour % HOURS, age >= HOURS * HOUR_MS), seen, pace, config)
    place = hour % HOURS + (HOURS if weekend else 0)
    by_week = _profile(rows, at, Bins(WEEK, 2 * HOURS, place, age >= WEEK_DAYS * HOURS * HOUR_MS), seen, pace, config)
    if by_week >= 0.0 and (by_day < 0.0 or rows[at, WEEK + RESIDUE] < config.week_gain * rows[at, DAY + RESIDUE]):
        return by_week
    return max(by_day, 0.0)


@kernel
def _profile(rows: Float64, at: int, bins: Bins, seen: Seen, pace: float, config: Univariate) -> float:
    """How far a value is from its hour in a profile, in its own spread; below 0 where the profile is of no use."""
    field = bins.first + BINS + bins.place
    off, samples = seen.value - rows[at, field], rows[at, field + bins.hours]
    held, residue = rows[at, bins.first + AGAINST], rows[at, bins.first + RESIDUE]
    spread, settled = math.sqrt(residue + seen.floor * seen.floor), held > config.settled
    useful = settled and residue < config.day_gain * rows[at, bins.first + MEAN_RESIDUE]
    if pace != 0.0:
        limit = config.clip * spread if settled else math.inf
        learned = min(max(off, -limit), limit)
        if bins.known and samples > 0.0:
            plain = seen.error * seen.error
            if settled:
                plain = min(plain, config.clip * config.clip * rows[at, bins.first + MEAN_RESIDUE])
            rate = max(config.memory, 1.0 / (held + 1.0))
            rows[at, bins.first + AGAINST] = held + 1.0
            rows[at, bins.first + RESIDUE] += rate * (learned * learned - residue)
            rows[at, bins.first + MEAN_RESIDUE] += rate * (plain - rows[at, bins.first + MEAN_RESIDUE])
        rows[at, field] += max(config.day_rate, 1.0 / (samples + 1.0)) * learned
        rows[at, field + bins.hours] = samples + 1.0
    return float(abs(off) / spread if useful else -1.0)


@kernel
def rested(rows: Float64, at: int, score: float, boundary: float, scored_sample: float, config: Univariate) -> float:
    """The score where it is the strangest sample of late; else damped below `damped` of the boundary, in order."""
    slot = REST + int(scored_sample // config.stretch) % RESTS
    if scored_sample % config.stretch == 0.0:
        rows[at, slot] = 0.0
    most = 0.0
    for other in range(REST, REST + RESTS):
        most = max(most, rows[at, other])
    rows[at, slot] = max(rows[at, slot], score)
    return score if score > most else config.damped * boundary * score / (score + boundary)
