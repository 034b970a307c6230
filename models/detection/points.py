"""The kernel over values: many series at a time, without a branch, so that the compiler takes eight of them at once.

What a value meets is laid out in `lanes`, a row a quantity and a column a value; no two columns are of one series, so
their order does not matter to a single bit. Series of one tile that come together are moved in and out together.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from models.detection.batch import Float64, Int32, Int64
from models.detection.broad import WORK
from models.detection.columns import (
    COUNT,
    LEVEL,
    MEAN,
    PEAK,
    SEEN,
    SERIES,
    SHIFT,
    SHORT,
    SHORT_VARIANCE,
    SLOPE,
    STEP_VARIANCE,
    TAIL,
    TILE,
    TRUST,
    VARIANCE,
    Looks,
    Rows,
    Samples,
)  # fmt: skip
from models.detection.kernel import kernel
from models.detection.knobs import Knobs
from models.detection.lanes import (
    L_COUNT,
    L_LEVEL,
    L_LIMIT,
    L_MEAN,
    L_PACE,
    L_PEAK,
    L_SEEN,
    L_SHORT,
    L_SHORT_VARIANCE,
    L_SLOPE,
    L_STEP_VARIANCE,
    L_TRUST,
    L_TS,
    L_VALUE,
    L_VARIANCE,
    LANE_ROWS,
    LANES,
    PITCH,
    gather,
    scatter,
    scatter_one,
)  # fmt: skip
from models.detection.lone import Seen

RUN: Final = 160  # values of different series that are judged together, or samples
MARKS: Final = 256


class Desk(NamedTuple):
    """Room that the kernel works in; nothing of it outlives a batch."""

    lanes: Float64  # (LANE_ROWS * PITCH,)
    slot: Int64  # (LANES,) which sample of the run a lane is of
    pace: Float64  # (RUN,) of each sample of the run
    fresh: Int64  # (RUN,) how many of its values are news
    single: Float64  # (RUN,) largest |z| of one series alone, in tails of its own
    work: Float64  # (WORK,) of the largest |z|
    marks: Int64  # (MARKS,) the run in which an entity was last seen, by its number modulo MARKS


class Part(NamedTuple):
    """The values low:high of the samples first:end, whose entities are different ones; or of one that is alone."""

    first: int
    end: int
    low: int
    high: int
    alone: bool  # tails of its own are learned elsewhere


def desk_of() -> Desk:
    """An empty desk."""
    return Desk(
        np.zeros(LANE_ROWS * PITCH), np.empty(LANES, np.int64), np.empty(RUN), np.empty(RUN, np.int64),
        np.empty(RUN), np.empty(WORK), np.full(MARKS, -1, np.int64),
    )  # fmt: skip


@kernel
def _open_series(tile: Float64, at: int, value: float, ts: float) -> None:
    """The first value of series `at` of a tile."""
    tile[COUNT, at] = 1.0
    tile[MEAN, at] = tile[SHORT, at] = tile[LEVEL, at] = value
    tile[PEAK, at] = max(tile[PEAK, at], abs(value))
    tile[SEEN, at] = ts


@kernel
def _limit(count: float, knobs: Knobs) -> float:
    """Spreads at which what is learned of a series is clipped: a young one harder, but for its very first values."""
    pulled = max(2.0, np.sqrt(knobs.pull * count))
    young = knobs.loose if count <= knobs.warm else pulled
    young = 1e9 if count <= knobs.young else young
    return knobs.winsor if count >= knobs.settled else young


@kernel
def _limits(lanes: Float64, n: int, knobs: Knobs) -> None:
    """Set the limits of the first `n` lanes; where all are settled, without a square root each."""
    young = 0
    for i in range(n):
        lanes[L_LIMIT + i] = knobs.winsor
        young += 0 if lanes[L_COUNT + i] >= knobs.settled else 1
    if young > 0:
        for i in range(n):
            lanes[L_LIMIT + i] = _limit(lanes[L_COUNT + i], knobs)


@kernel
def _strongest(level: float, step: float, short: float, ordinary: float) -> float:
    """The z that is largest when `ordinary` is taken off those of level and short average."""
    off_level, off_short = abs(level) - ordinary, abs(short) - ordinary
    z = (off_level if level > 0.0 else -off_level) if off_level > abs(step) else step
    return (off_short if short > 0.0 else -off_short) if off_short > abs(z) else z


@kernel
def _take_lanes(lanes: Float64, z_of: Float64, expected: Float64, spread_of: Float64, knobs: Knobs) -> None:
    """Tell z, mean and spread of a lane for each of `z_of`, then learn it at its pace.

    The pace is 1: fully; 0: not; below 0: not when the value is far off.
    """
    for i in range(len(z_of)):
        count, mean, value, pace = lanes[L_COUNT + i], lanes[L_MEAN + i], lanes[L_VALUE + i], lanes[L_PACE + i]
        slope, peak = lanes[L_SLOPE + i], lanes[L_PEAK + i]
        floor = knobs.floor * peak + knobs.least_spread
        floor *= floor
        error, step = value - mean, value - lanes[L_LEVEL + i] - slope
        short = lanes[L_SHORT + i] + knobs.short * (value - lanes[L_SHORT + i])
        spread, step_spread = np.sqrt(lanes[L_VARIANCE + i] + floor), np.sqrt(lanes[L_STEP_VARIANCE + i] + floor)
        short_spread = np.sqrt(lanes[L_SHORT_VARIANCE + i] + floor)
        each = 1.0 / (count + 1.0)
        both = spread * step_spread
        scale = 1.0 / (both * short_spread)  # one division for three: it is what a point costs most
        level, average = error * step_spread * short_spread * scale, (short - mean) * both * scale
        mature, known = _known(count, each, lanes[L_VARIANCE + i] + floor, lanes[L_STEP_VARIANCE + i] + floor, knobs)
        z = mature * _strongest(known * level, step * spread * short_spread * scale, known * average, knobs.ordinary)
        z_of[i], expected[i], spread_of[i] = z, mean, spread

        limit = lanes[L_LIMIT + i]
        taken = (pace > 0.0) | ((pace < 0.0) & (abs(level) < knobs.far))
        rate = abs(pace) * max(knobs.memory, each)
        learned = min(max(error, -limit * spread), limit * spread)
        size, bend = min(abs(step), limit * step_spread), min(abs(short - mean), limit * short_spread)
        _learn(lanes, i, taken, rate, (learned, size, bend))
        lanes[L_COUNT + i] = count + abs(pace) if taken else count
        # it is back: what it did during the fault foretells nothing
        held = abs(known * level if pace == 0.0 else level)
        back = (pace <= 0.0) & (held < 1.0) & (max(abs(average), abs(z)) > 3.0)
        lanes[L_SHORT + i] = value if back else short
        lanes[L_LEVEL + i] = value if back else lanes[L_LEVEL + i] + (slope + knobs.near * step)
        lanes[L_SLOPE + i] = 0.0 if back else slope + knobs.near * knobs.near * step


@kernel
def _known(count: float, each: float, variance: float, step_variance: float, knobs: Knobs) -> tuple[float, float]:
    """How much the spreads of a series are known, and how much its level: few samples say little of either."""
    mature = max(0.0, 1.0 - knobs.young * each)
    # a counter or a young daily curve has no level yet: few of its samples are news
    news = count * step_variance / (count * step_variance + knobs.young * variance)
    return mature, news if step_variance < variance else mature


@kernel
def _learn(lanes: Float64, i: int, taken: bool, rate: float, seen: tuple[float, float, float]) -> None:
    """Learn the clipped deviations of level, step and short average of lane `i`, if it is taken."""
    learned, size, bend = seen
    mean, variance, peak = lanes[L_MEAN + i], lanes[L_VARIANCE + i], lanes[L_PEAK + i]
    step_variance, short_variance = lanes[L_STEP_VARIANCE + i], lanes[L_SHORT_VARIANCE + i]
    lanes[L_PEAK + i] = max(peak, abs(mean + learned)) if taken else peak
    lanes[L_MEAN + i] = mean + rate * learned if taken else mean
    lanes[L_VARIANCE + i] = (1.0 - rate) * (variance + rate * learned * learned) if taken else variance
    lanes[L_STEP_VARIANCE + i] = step_variance + (rate * (size * size - step_variance) if taken else 0.0)
    lanes[L_SHORT_VARIANCE + i] = short_variance + (rate * (bend * bend - short_variance) if taken else 0.0)


@kernel
def _own_tail(tile: Float64, at: int, z: float, pace: float, knobs: Knobs) -> float:
    """|z| in tails of the series itself, which are learned, by the trust that one series has."""
    size, tail = abs(z), tile[TAIL, at]
    gain = max(pace, 0.0) * max(5.0 * knobs.memory, 1.0 / (0.1 * tile[COUNT, at] + 100.0))
    tail *= 1.0 + gain * knobs.tail if size > tail else 1.0 - gain * (1.0 - knobs.tail)
    tile[TAIL, at] = min(max(tail, 3.0), knobs.cap)
    return float(tile[TRUST, at] * min(size, knobs.cap) / tile[TAIL, at])


@kernel
def seen(tile: Float64, at: int, value: float, ts: float, knobs: Knobs) -> Seen:
    """A value in the views of series `at` of a tile, before it is learned."""
    floor = knobs.floor * tile[PEAK, at] + knobs.least_spread
    error, step = value - tile[MEAN, at], value - tile[LEVEL, at] - tile[SLOPE, at]
    average = tile[SHORT, at] + knobs.short * (value - tile[SHORT, at]) - tile[MEAN, at]
    mature = max(0.0, 1.0 - knobs.young / (tile[COUNT, at] + 1.0))
    return Seen(
        ts, value, mature * error / math.sqrt(tile[VARIANCE, at] + floor * floor),
        mature * average / math.sqrt(tile[SHORT_VARIANCE, at] + floor * floor),
        mature * step / math.sqrt(tile[STEP_VARIANCE, at] + floor * floor), error, floor,
    )  # fmt: skip


@kernel
def take_values(rows: Rows, given: Samples, looks: Looks, part: Part, desk: Desk, knobs: Knobs) -> None:
    """Score, then learn, the values of a part of a batch."""
    lanes, tiles = desk.lanes, rows.tiles
    first = part.first
    for low in range(part.low, part.high, LANES):
        high = min(low + LANES, part.high)
        n, series = high - low, given.series[low:high]
        piece = Part(part.first, part.end, low, high, part.alone)
        first = _lay_out(given, piece, first, desk)
        gather(tiles, series, lanes)
        ordinary = _ordinary(lanes, desk.slot, series)
        _limits(lanes, n, knobs)
        _take_lanes(lanes, looks.z[low:high], looks.expected[low:high], looks.spread[low:high], knobs)
        if ordinary:
            scatter(tiles, series, lanes)
        else:
            _scatter_news(rows, given, looks, piece, desk)
        trusted = 0
        for lane in range(n):
            trusted += 1 if lanes[L_TRUST + lane] > 0.0 else 0
        if trusted > 0 and not part.alone:
            _own_tails(tiles, series, looks.z[low:high], desk, knobs)


@kernel
def _lay_out(given: Samples, part: Part, first: int, desk: Desk) -> int:
    """Fill lanes with the values of a part, their stamps, and the pace at which they are learned.

    first: the sample that its first value is of. Returns the one that the value after its last is of.
    """
    lanes, sample, low, high = desk.lanes, first, part.low, part.high
    while sample < part.end:
        ts, slot, end = float(given.ts[sample]), sample - part.first, given.start[sample + 1]
        pace = desk.pace[slot]
        for lane in range(max(given.start[sample], low) - low, min(end, high) - low):
            place = lane & 255  # it is no other number, but one that is known to be none from the end
            lanes[L_PACE + place], lanes[L_TS + place], desk.slot[place] = pace, ts, slot
        if end > high:
            break
        sample += 1
    for lane in range(high - low):
        lanes[L_VALUE + lane] = given.value[low + lane]
    return sample


@kernel
def _ordinary(lanes: Float64, slots: Int64, series: Int32) -> bool:
    """Whether all lanes are newer than the last of their series, and no series is there twice."""
    odd = 0 if lanes[L_COUNT] > 0.0 and lanes[L_TS] > lanes[L_SEEN] else 1
    for lane in range(1, len(series)):
        news = (lanes[L_COUNT + lane] > 0.0) & (lanes[L_TS + lane] > lanes[L_SEEN + lane])
        twice = (slots[lane] == slots[lane - 1]) & (series[lane] <= series[lane - 1])  # or in no order
        odd += 0 if news & (not twice) else 1
    return odd == 0


@kernel
def _scatter_news(rows: Rows, given: Samples, looks: Looks, part: Part, desk: Desk) -> None:
    """Write back what is news, one by one; open series that were never seen, and leave out what is late or repeated."""
    lanes = desk.lanes
    for lane in range(part.high - part.low):
        point, slot, ts = part.low + lane, desk.slot[lane], lanes[L_TS + lane]
        tile, at = rows.tiles[given.series[point] >> SHIFT], given.series[point] & (TILE - 1)
        if tile[COUNT, at] > 0.0 and ts > tile[SEEN, at]:
            scatter_one(rows.tiles, given.series[point], lane, lanes)
            continue
        value = given.value[point]
        looks.z[point], looks.expected[point], looks.spread[point] = 0.0, value, 0.0
        lanes[L_TRUST + lane] = 0.0
        if tile[COUNT, at] == 0.0:
            _open_series(tile, at, value, ts)
            rows.entities[given.entity[part.first + slot], SERIES] += 1.0
        else:
            desk.fresh[slot] -= 1


@kernel
def _own_tails(tiles: Float64, series: Int32, z: Float64, desk: Desk, knobs: Knobs) -> None:
    """Of each sample, the largest |z| of a series that is trusted alone."""
    for lane in range(len(series)):
        if desk.lanes[L_TRUST + lane] > 0.0:
            slot, at = desk.slot[lane], series[lane]
            own = _own_tail(tiles[at >> SHIFT], at & (TILE - 1), z[lane], desk.pace[slot], knobs)
            desk.single[slot] = max(desk.single[slot], own)
