"""The score of an entity that has one series only.

Five views of it are each turned into surprise, the nats of a tail that is learned from the view itself: level, short
average and next step (from the bank), how lively it is, and how far it is from what is usual at this hour of the day.
Their sum says what no single |z| can, since a spiky series has large z every day. What has just been told is not told
again: a sample that is less strange than one of the last few hundred is damped below the boundary, in the order it had.

A profile of the day, of all days or with weekends apart, counts only where its residuals are clearly smaller than
those of the mean, or of the simpler profile. One row of 2.4 kB an entity with one series, for the first `MOST` of a
partition (48 MB at most); the others are scored as those of many series. Sources: exponential tail over a threshold
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
# ... then what one_series.py judges alarms by: the fast memory of the value, and of what a profile leaves unexplained;
# how strange a sample is; the tail of that; the budget; where the last values were; and what came at which hour
WEEK_BINS: Final = 84  # of two hours each
NEAR, OFF = WEEK + BINS + 4 * HOURS, WEEK + BINS + 4 * HOURS + 2  # mean and variance each
EXPLAINED, UNEXPLAINED, PROFILE_Z, STRANGE, WITNESS_TAIL, WITNESS_STRETCH = range(OFF + 2, OFF + 8)
BEGIN, EXCESS, CLUSTERS, ENTERED, RECENT, TOKENS, SUPPRESSED, NEXT_ONSET = range(OFF + 8, OFF + 16)
LAST_TS, INTERVAL, AWAKE, HOUR, HOUR_PEAK, LOW, HIGH, BEFORE = range(OFF + 16, OFF + 24)
DAY_PEAKS: Final = OFF + 24
WEEK_PEAKS: Final = DAY_PEAKS + HOURS
FIELDS: Final = WEEK_PEAKS + WEEK_BINS

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
    false_alarms_a_week: float = 1.0  # of an entity, in its own time: what its boundary follows from
    near: float = 1e-2  # slowest rate of the fast memory
    near_clip: float = 6.0  # spreads at which what it learns is clipped
    out: float = 1.0  # weight of a step out of where the last values were
    ends: float = 1 / 64  # rate at which the ends of that come nearer
    witness: float = 6.0  # nats of all views that a nat of the witness bears out
    usual: float = 0.92  # quantile of the nats where their tail begins
    gap: float = 8.0  # samples without any, after which what is in the tail is another cluster
    wildest_nats: float = 3.0  # most mean excesses that one sample teaches
    least_excess: float = 0.7  # of that tail, in nats
    least_lengths: float = 1.0  # the boundary is so many mean excesses beyond where it begins ...
    least_nats: float = 10.0  # ... and at so many nats, at least
    burst: float = 2.0  # tokens that an entity may save
    fresh: float = 1.0  # tokens that an entity has at least when it is grown
    dearer: float = 0.4  # log of how much stranger a sample has to be for each token that is missing
    green: float = 200.0  # samples for which a young entity's boundary is clearly higher
    seen_lengths: float = 4.0  # mean excesses of a tail that a few thousand samples show; those beyond count more, ...
    few: float = 10_000.0  # ... until there are more samples than these
    grown: float = 300.0  # samples from which it is young no more
    least_hits: float = 20.0  # what the first length of the tail counts, in samples
    debt: float = 10.0  # most tokens that are missing
    settle: float = 0.8  # an alarm ends below this share of the boundary ...
    calm: float = 3.0  # ... for so many samples
    longest: float = 200.0  # samples that an alarm lasts at most
    apart: float = 5.0  # samples from which a further fault is told
    again: float = 1.25  # and how much stranger it has to be than what came of late, ...
    fading: float = 1 / 32  # ... which fades at this rate
    like_before: float = 2.0  # what is less than so many times as strange as it was at this hour before is not told
    forgets: float = 0.2  # rate at which an hour forgets what came in it


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
    rows[at, WITNESS_TAIL], rows[at, WITNESS_STRETCH] = config.least_tail, config.least_stretch
    rows[at, BEGIN], rows[at, EXCESS], rows[at, CLUSTERS] = config.least_nats, 2.0, 0.01
    rows[at, TOKENS] = config.burst
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
    rows[at, PROFILE_Z] = _daily(rows, at, seen, pace, config)
    total += config.daily * _nats(rows, at, DAILY, rows[at, PROFILE_Z], pace, config)
    if pace != 0.0:
        rows[at, SAMPLES] += 1.0
    return float(total / config.unit)


@kernel
def _nats(rows: Float64, at: int, view: int, z: float, pace: float, config: Univariate) -> float:
    """-ln of how rarely a view is as large as z, by its exponential tail, which learns z."""
    return _in_tail(rows, at, (TAIL + view, STRETCH + view), z, pace, config)


@kernel
def _in_tail(rows: Float64, at: int, where: tuple[int, int], z: float, pace: float, config: Univariate) -> float:
    """The same of a tail whose columns are given."""
    tail, stretch = rows[at, where[0]], rows[at, where[1]]
    rare, over = 1.0 - config.quantile, z - tail
    nats = -math.log(rare) * (1.0 if over > 0.0 else z / tail) + max(over, 0.0) / stretch
    if pace != 0.0:
        gain = stretch * max(3e-4, 1.0 / (0.3 * rows[at, SAMPLES] + 10.0))
        tail += gain * config.quantile if over > 0.0 else -gain * rare
        rows[at, where[0]] = max(tail, config.least_tail)
        if over > 0.0:
            rate = max(1.5e-3, 1.0 / (rare * rows[at, SAMPLES] + 12.0))
            stretch += rate * (min(over, config.wildest * stretch) - stretch)
            rows[at, where[1]] = max(stretch, 0.2 * config.least_stretch)
    return float(min(nats, config.cap))


@kernel
def strangeness(rows: Float64, at: int, seen: Seen, nats: float, pace: float, config: Univariate) -> float:
    """The nats of all views, as far as the witness bears them out: off from all that was, and from what was of late."""
    fast = _off_near(rows, at, NEAR, (seen.value, seen.floor), pace, config)
    explained = _off_near(rows, at, OFF, (rows[at, UNEXPLAINED], seen.floor), pace, config)
    z, beyond = min(abs(seen.level), fast), _beyond(rows, at, seen.value, config)
    step = abs(seen.value - rows[at, BEFORE])
    rows[at, BEFORE] = seen.value
    if beyond > 0.0:  # where it wandered, a level says little, but a step out of where it was of late does
        z = max(z, config.out * abs(seen.step) * min(1.0, beyond / step))
    if rows[at, EXPLAINED] == 1.0:
        z = min(explained, rows[at, PROFILE_Z])
    return min(nats, config.witness * _in_tail(rows, at, (WITNESS_TAIL, WITNESS_STRETCH), z, pace, config))


@kernel
def _beyond(rows: Float64, at: int, value: float, config: Univariate) -> float:
    """How far a value is out of where the last ones were, whose ends come nearer to it; then let it count."""
    low, high = rows[at, LOW], rows[at, HIGH]
    if rows[at, SAMPLES] <= 1.0:
        low = high = value
    rows[at, LOW] = min(value, low + config.ends * (value - low))
    rows[at, HIGH] = max(value, high - config.ends * (high - value))
    return float(max(value - high, low - value, 0.0))


@kernel
def _off_near(rows: Float64, at: int, field: int, seen: tuple[float, float], pace: float, config: Univariate) -> float:
    """How far a value is from its fast memory, in its own spread; then learn it, unless `pace` is 0."""
    value, floor = seen
    n, off = rows[at, SAMPLES], value - rows[at, field]
    spread = math.sqrt(rows[at, field + 1] + floor * floor)
    limit = config.near_clip * spread if n > 32.0 else math.inf
    rate, learned = max(config.near, 1.0 / (n + 1.0)), min(max(off, -limit), limit)
    if pace != 0.0:
        rows[at, field] += rate * learned
        rows[at, field + 1] = (1.0 - rate) * (rows[at, field + 1] + rate * learned * learned)
    return float(abs(off) / spread * max(0.0, 1.0 - 8.0 / (n + 1.0)))


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
    day_mean = rows[at, DAY + BINS + hour % HOURS]
    by_day = _profile(rows, at, Bins(DAY, HOURS, hour % HOURS, age >= HOURS * HOUR_MS), seen, pace, config)
    place = hour % HOURS + (HOURS if weekend else 0)
    week_mean = rows[at, WEEK + BINS + place]
    by_week = _profile(rows, at, Bins(WEEK, 2 * HOURS, place, age >= WEEK_DAYS * HOURS * HOUR_MS), seen, pace, config)
    if by_week >= 0.0 and (by_day < 0.0 or rows[at, WEEK + RESIDUE] < config.week_gain * rows[at, DAY + RESIDUE]):
        rows[at, EXPLAINED], rows[at, UNEXPLAINED] = 1.0, seen.value - week_mean
        return by_week
    rows[at, EXPLAINED], rows[at, UNEXPLAINED] = (1.0 if by_day >= 0.0 else 0.0), seen.value - day_mean
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
