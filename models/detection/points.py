"""The kernel over values: many series at a time, without a branch, so that the compiler takes eight of them at once.

What a value meets is laid out in `lanes`, a row a quantity and a column a value; no two columns are of one series, so
their order does not matter to a single bit. `gather` fills the lanes, `learn` changes them, `scatter` writes them back.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from models.detection.batch import Float64, Int64
from models.detection.columns import (
    COUNT,
    LEVEL,
    MEAN,
    MOST,
    PEAK,
    SEEN,
    SERIES,
    SHORT,
    SHORT_VARIANCE,
    SLOPE,
    STEP_VARIANCE,
    TAIL,
    TRUST,
    VARIANCE,
    Looks,
    Rows,
    Samples,
)  # fmt: skip
from models.detection.kernel import kernel
from models.detection.knobs import Knobs
from models.detection.lone import Seen

LANES: Final = 128  # values that are taken together: what they meet stays in the nearest cache
MARKS: Final = 256  # a run has at most LANES samples

# rows of `lanes`, each `LANES` long, in one array: the compiler then sees that they do not overlap
L_COUNT, L_MEAN, L_VARIANCE, L_SHORT, L_SHORT_VARIANCE, L_LEVEL = (LANES * row for row in range(6))
L_SLOPE, L_STEP_VARIANCE, L_PEAK, L_VALUE, L_PACE, L_EXPECTED, L_Z, L_SPREAD = (LANES * row for row in range(6, 14))
L_STEP, L_OFF, L_HELD, L_DRIFT, L_EACH, L_NEXT, L_STEP_SPREAD, L_SHORT_SPREAD = (LANES * row for row in range(14, 22))
LANE_ROWS: Final = 22


class Desk(NamedTuple):
    """Room that the kernel works in; nothing of it outlives a batch."""

    lanes: Float64  # (LANE_ROWS * LANES,)
    point: Int64  # (LANES,) which value of the batch a lane is
    slot: Int64  # (LANES,) which sample of the run it is of
    pace: Float64  # (LANES,) of each sample of the run
    fresh: Int64  # (LANES,) how many of its values are news
    single: Float64  # (LANES,) largest |z| of one series alone, in tails of its own
    top: Float64  # (MOST,) largest |z| of a sample
    marks: Int64  # (MARKS,) the run in which an entity was last seen, by its number modulo MARKS


class Part(NamedTuple):
    """The values low:high of the samples first:end, whose entities are different ones; or of one that is alone."""

    first: int
    end: int
    low: int
    high: int
    alone: bool  # tails of its own are learned elsewhere


@kernel
def desk_of() -> Desk:
    """An empty desk."""
    return Desk(
        np.empty(LANE_ROWS * LANES), np.empty(LANES, np.int64), np.empty(LANES, np.int64), np.empty(LANES),
        np.empty(LANES, np.int64), np.empty(LANES), np.empty(MOST), np.full(MARKS, -1, np.int64),
    )  # fmt: skip


@kernel
def open_series(rows: Float64, at: int, value: float) -> None:
    """The first value of series `at`."""
    rows[at, COUNT] = 1.0
    rows[at, MEAN] = rows[at, SHORT] = rows[at, LEVEL] = value
    rows[at, PEAK] = max(rows[at, PEAK], abs(value))


@kernel
def _limit(count: float, knobs: Knobs) -> float:
    """Spreads at which what is learned of a series is clipped: a young one harder, but for its very first values."""
    pulled = max(2.0, np.sqrt(knobs.pull * count))
    young = knobs.loose if count <= knobs.warm else pulled
    young = 1e9 if count <= knobs.young else young
    return knobs.winsor if count >= knobs.settled else young


@kernel
def gather(rows: Float64, at: int, lane: int, lanes: Float64, value: float, pace: float) -> None:
    """Lay out what `value` of series `at` meets, to be learned at `pace`."""
    place = lane & (LANES - 1)  # it is no other number, but one that the compiler knows to be none from the end
    lanes[L_COUNT + place] = rows[at, COUNT]
    lanes[L_MEAN + place] = rows[at, MEAN]
    lanes[L_VARIANCE + place] = rows[at, VARIANCE]
    lanes[L_SHORT + place] = rows[at, SHORT]
    lanes[L_SHORT_VARIANCE + place] = rows[at, SHORT_VARIANCE]
    lanes[L_LEVEL + place] = rows[at, LEVEL]
    lanes[L_SLOPE + place] = rows[at, SLOPE]
    lanes[L_STEP_VARIANCE + place] = rows[at, STEP_VARIANCE]
    lanes[L_PEAK + place] = rows[at, PEAK]
    lanes[L_VALUE + place] = value
    lanes[L_PACE + place] = pace


@kernel
def scatter(rows: Float64, at: int, lane: int, lanes: Float64) -> None:
    """Write back what series `at` has learned."""
    place = lane & (LANES - 1)
    rows[at, COUNT] = lanes[L_COUNT + place]
    rows[at, MEAN] = lanes[L_MEAN + place]
    rows[at, VARIANCE] = lanes[L_VARIANCE + place]
    rows[at, SHORT] = lanes[L_SHORT + place]
    rows[at, SHORT_VARIANCE] = lanes[L_SHORT_VARIANCE + place]
    rows[at, LEVEL] = lanes[L_LEVEL + place]
    rows[at, SLOPE] = lanes[L_SLOPE + place]
    rows[at, STEP_VARIANCE] = lanes[L_STEP_VARIANCE + place]
    rows[at, PEAK] = lanes[L_PEAK + place]


@kernel
def _strongest(level: float, step: float, short: float, ordinary: float) -> float:
    """The z that is largest when `ordinary` is taken off those of level and short average."""
    off_level, off_short = abs(level) - ordinary, abs(short) - ordinary
    z = (off_level if level > 0.0 else -off_level) if off_level > abs(step) else step
    return (off_short if short > 0.0 else -off_short) if off_short > abs(z) else z


@kernel
def _score(lanes: Float64, n: int, knobs: Knobs) -> None:
    """z and the spread of the level of the first `n` lanes, and what their learning needs to know of it."""
    for i in range(n):
        count, mean, value = lanes[L_COUNT + i], lanes[L_MEAN + i], lanes[L_VALUE + i]
        floor = knobs.floor * lanes[L_PEAK + i] + knobs.least_spread
        floor *= floor
        error, step = value - mean, value - lanes[L_LEVEL + i] - lanes[L_SLOPE + i]
        short = lanes[L_SHORT + i] + knobs.short * (value - lanes[L_SHORT + i])
        variance, step_variance = lanes[L_VARIANCE + i] + floor, lanes[L_STEP_VARIANCE + i] + floor
        spread, step_spread = np.sqrt(variance), np.sqrt(step_variance)
        short_spread = np.sqrt(lanes[L_SHORT_VARIANCE + i] + floor)
        each = 1.0 / (count + 1.0)
        mature = max(0.0, 1.0 - knobs.young * each)
        # a counter or a young daily curve has no level yet: few of its samples are news
        news = count * step_variance / (count * step_variance + knobs.young * variance)
        known = news if step_variance < variance else mature
        both = spread * step_spread
        scale = 1.0 / (both * short_spread)  # one division for three: it is what a point costs most
        level, average = error * step_spread * short_spread * scale, (short - mean) * both * scale
        z = mature * _strongest(known * level, step * spread * short_spread * scale, known * average, knobs.ordinary)
        lanes[L_Z + i], lanes[L_SPREAD + i], lanes[L_STEP + i], lanes[L_OFF + i] = z, spread, step, abs(level)
        lanes[L_HELD + i] = abs(known * level if lanes[L_PACE + i] == 0.0 else level)
        lanes[L_DRIFT + i] = max(abs(average), abs(z))
        lanes[L_EACH + i], lanes[L_NEXT + i] = each, short
        lanes[L_STEP_SPREAD + i], lanes[L_SHORT_SPREAD + i] = step_spread, short_spread


@kernel
def _learn(lanes: Float64, n: int, knobs: Knobs) -> None:
    """Learn the first `n` lanes at their pace (1: fully; 0: not; below 0: not when the value is far off)."""
    for i in range(n):
        count, mean, value, pace = lanes[L_COUNT + i], lanes[L_MEAN + i], lanes[L_VALUE + i], lanes[L_PACE + i]
        variance, short_variance = lanes[L_VARIANCE + i], lanes[L_SHORT_VARIANCE + i]
        step_variance, step, slope = lanes[L_STEP_VARIANCE + i], lanes[L_STEP + i], lanes[L_SLOPE + i]
        peak, spread, limit = lanes[L_PEAK + i], lanes[L_SPREAD + i], _limit(count, knobs)
        short = lanes[L_NEXT + i]
        taken = (pace > 0.0) | ((pace < 0.0) & (lanes[L_OFF + i] < knobs.far))
        rate = abs(pace) * max(knobs.memory, lanes[L_EACH + i])
        learned = min(max(value - mean, -limit * spread), limit * spread)
        size = min(abs(step), limit * lanes[L_STEP_SPREAD + i])
        bend = min(abs(short - mean), limit * lanes[L_SHORT_SPREAD + i])
        lanes[L_PEAK + i] = max(peak, abs(mean + learned)) if taken else peak
        lanes[L_EXPECTED + i] = mean
        lanes[L_MEAN + i] = mean + rate * learned if taken else mean
        lanes[L_VARIANCE + i] = (1.0 - rate) * (variance + rate * learned * learned) if taken else variance
        lanes[L_STEP_VARIANCE + i] = step_variance + (rate * (size * size - step_variance) if taken else 0.0)
        lanes[L_SHORT_VARIANCE + i] = short_variance + (rate * (bend * bend - short_variance) if taken else 0.0)
        lanes[L_COUNT + i] = count + abs(pace) if taken else count
        # it is back: what it did during the fault foretells nothing
        back = (pace <= 0.0) & (lanes[L_HELD + i] < 1.0) & (lanes[L_DRIFT + i] > 3.0)
        lanes[L_SHORT + i] = value if back else short
        lanes[L_LEVEL + i] = value if back else lanes[L_LEVEL + i] + (slope + knobs.near * step)
        lanes[L_SLOPE + i] = 0.0 if back else slope + knobs.near * knobs.near * step


@kernel
def _own_tail(rows: Float64, at: int, z: float, pace: float, knobs: Knobs) -> float:
    """|z| in tails of the series itself, which are learned, by the trust that one series has."""
    size, tail = abs(z), rows[at, TAIL]
    gain = max(pace, 0.0) * max(5.0 * knobs.memory, 1.0 / (0.1 * rows[at, COUNT] + 100.0))
    tail *= 1.0 + gain * knobs.tail if size > tail else 1.0 - gain * (1.0 - knobs.tail)
    rows[at, TAIL] = min(max(tail, 3.0), knobs.cap)
    return float(rows[at, TRUST] * min(size, knobs.cap) / rows[at, TAIL])


@kernel
def seen(rows: Float64, at: int, value: float, ts: float, knobs: Knobs) -> Seen:
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
def take_values(rows: Rows, given: Samples, looks: Looks, part: Part, desk: Desk, knobs: Knobs) -> None:
    """Score, then learn, the values of a part of a batch."""
    series, lanes = rows.series, desk.lanes
    for low in range(part.low, part.high, LANES):
        high = min(low + LANES, part.high)
        n = _lay_out(rows, given, looks, Part(part.first, part.end, low, high, part.alone), desk)
        _score(lanes, n, knobs)
        _learn(lanes, n, knobs)
        for lane in range(n):
            at = given.series[desk.point[lane]]
            scatter(series, at, lane, lanes)
            if series[at, TRUST] > 0.0 and not part.alone:
                slot = desk.slot[lane]
                own = _own_tail(series, at, lanes[L_Z + lane], desk.pace[slot], knobs)
                desk.single[slot] = max(desk.single[slot], own)
        if n == high - low:
            _tell_all(lanes, n, looks.z[low:high], looks.expected[low:high], looks.spread[low:high])
        else:
            for lane in range(n):
                point = desk.point[lane]
                looks.z[point], looks.expected[point] = lanes[L_Z + lane], lanes[L_EXPECTED + lane]
                looks.spread[point] = lanes[L_SPREAD + lane]


@kernel
def _tell_all(lanes: Float64, n: int, z: Float64, expected: Float64, spread: Float64) -> None:
    for i in range(n):
        z[i] = lanes[L_Z + i]
    for i in range(n):
        expected[i] = lanes[L_EXPECTED + i]
    for i in range(n):
        spread[i] = lanes[L_SPREAD + i]


@kernel
def _lay_out(rows: Rows, given: Samples, looks: Looks, part: Part, desk: Desk) -> int:
    """Fill lanes with those values of a part that are newer than the last of their series: how many."""
    n, series = 0, rows.series
    for sample in range(part.first, part.end):
        ts, slot = float(given.ts[sample]), sample - part.first
        pace, fresh = desk.pace[slot], desk.fresh[slot]
        for point in range(max(given.start[sample], part.low), min(given.start[sample + 1], part.high)):
            at, value = given.series[point], given.value[point]
            if series[at, COUNT] > 0.0 and ts > series[at, SEEN]:
                gather(series, at, n, desk.lanes, value, pace)
                desk.point[n], desk.slot[n] = point, slot
                n += 1
            else:
                looks.z[point], looks.expected[point], looks.spread[point] = 0.0, value, 0.0
                if series[at, COUNT] > 0.0:
                    continue
                open_series(series, at, value)
                rows.entities[given.entity[sample], SERIES] += 1.0
            series[at, SEEN] = ts
            fresh += 1
        desk.fresh[slot] = fresh
    return n
