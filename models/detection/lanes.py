"""Eight series at a time, without a branch, so that the compiler takes them at once.

The columns of a tile are changed where they lie; what its eight values bring, and what is told of them, is laid out in
`lanes`, a row a quantity and a column (a lane) a value. Values whose series do not make up a tile are taken in a tile
of their own, to which they are moved and from which they are moved back. No two columns are of one series, so neither
their order nor their neighbours matter to a single bit.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.detection.columns import (
    COUNT,
    LEVEL,
    MEAN,
    PEAK,
    SEEN,
    SERIES_FIELDS,
    SHIFT,
    SHORT,
    SHORT_VARIANCE,
    SLOPE,
    STEP_VARIANCE,
    TILE,
    TRUST,
    VARIANCE,
)  # fmt: skip
from models.detection.config import DetectorConfig
from topics.batch import Float64, Int32
from topics.kernel import PLACE, inlined

LANES: Final = 160  # values that are laid out together; behind them are eight more, for those without a tile
PITCH: Final = LANES + TILE

# rows of `lanes`, in one array: the compiler then sees that they do not overlap
L_VALUE, L_PACE, L_TS, L_LIMIT, L_TRUST, L_Z, L_EXPECTED, L_SPREAD = (PITCH * row for row in range(8))
LANE_ROWS: Final = 8

# columns of a tile, in one array of all tiles for the same reason
TILE_SIZE: Final = SERIES_FIELDS * TILE
T_COUNT, T_MEAN, T_VARIANCE, T_SHORT, T_SHORT_VARIANCE, T_LEVEL, T_SLOPE, T_STEP_VARIANCE, T_PEAK, T_TRUST, T_SEEN = (
    TILE * field
    for field in (
        COUNT, MEAN, VARIANCE, SHORT, SHORT_VARIANCE, LEVEL, SLOPE, STEP_VARIANCE, PEAK, TRUST, SEEN,
    )
)  # fmt: skip

LANE: Final = 255  # as PLACE


@inlined
def together(series: Int32, lane: int) -> bool:
    """Whether the next lanes are the eight series of a tile, in their order."""
    at = series[lane]
    if at & (TILE - 1) or lane + TILE > len(series):
        return False
    off = 0
    for i in range(TILE):
        off |= series[lane + i] ^ (at + i)
    return off == 0


@inlined
def _place(series: int) -> int:
    """Where the columns of a series begin."""
    return ((series >> SHIFT) * TILE_SIZE + (series & (TILE - 1))) & PLACE


@inlined
def move_out(flat: Float64, series: int, tile: Float64, at: int) -> None:
    """Copy what is kept of a series to column `at` of a tile."""
    place = _place(int(series))
    for field in range(SERIES_FIELDS):
        tile[(TILE * field + at) & LANE] = flat[place + TILE * field]


@inlined
def move_back(tile: Float64, at: int, flat: Float64, series: int) -> None:
    """Copy column `at` of a tile to what is kept of a series."""
    place = _place(int(series))
    for field in range(SERIES_FIELDS):
        flat[place + TILE * field] = tile[(TILE * field + at) & LANE]


@inlined
def _limit(count: float, config: DetectorConfig) -> float:
    """Spreads at which what is learned of a series is clipped: a young one harder, but for its very first values."""
    pulled = max(2.0, np.sqrt(config.pull * count))
    young = config.loose if count <= config.warm else pulled
    young = 1e9 if count <= config.young else young
    return config.winsor if count >= config.settled else young


@inlined
def prepare(flat: Float64, tile: int, lanes: Float64, lane: int, many: int, config: DetectorConfig) -> bool:
    """Lay out limits and trust of a tile's eight series, and say whether the values are news to them all.

    That is, each is newer than the last of its series, of which there has been one. Limits that all are settled for
    need no square root.
    """
    at, to = (tile * TILE_SIZE) & PLACE, lane & LANE
    odd = young = 0
    for i in range(many):
        count = flat[at + T_COUNT + i]
        last = flat[at + T_SEEN + i]
        odd += 0 if (count > 0.0) & (last > 0.0) & (lanes[to + L_TS + i] > last) else 1
        young += 0 if count >= config.settled else 1
        lanes[to + L_LIMIT + i] = config.winsor
        lanes[to + L_TRUST + i] = flat[at + T_TRUST + i]
    if young > 0:
        for i in range(many):
            lanes[to + L_LIMIT + i] = _limit(flat[at + T_COUNT + i], config)
    return odd == 0


@inlined
def _strongest(level: float, step: float, short: float, ordinary: float) -> float:
    """The z that is largest when `ordinary` is taken off those of level and short average."""
    off_level, off_short = abs(level) - ordinary, abs(short) - ordinary
    z = (off_level if level > 0.0 else -off_level) if off_level > abs(step) else step
    return (off_short if short > 0.0 else -off_short) if off_short > abs(z) else z


@inlined
def take_tile(flat: Float64, tile: int, lanes: Float64, lane: int, many: int, config: DetectorConfig) -> None:
    """Write z, mean and spread of the eight values from `lane` on into `lanes`, then learn each at its pace.

    The pace is 1: fully; 0: not; below 0: not when the value is far off. many: eight, but the compiler is not to know:
    it would not take so few at once.
    """
    at, to = (tile * TILE_SIZE) & PLACE, lane & LANE
    for i in range(many):
        count, mean = flat[at + T_COUNT + i], flat[at + T_MEAN + i]
        value, pace = lanes[to + L_VALUE + i], lanes[to + L_PACE + i]
        slope, peak, last = flat[at + T_SLOPE + i], flat[at + T_PEAK + i], flat[at + T_LEVEL + i]
        variance, step_variance = flat[at + T_VARIANCE + i], flat[at + T_STEP_VARIANCE + i]
        short_variance = flat[at + T_SHORT_VARIANCE + i]
        floor = config.floor * peak + config.least_spread
        floor *= floor
        error, step = value - mean, value - last - slope
        short = flat[at + T_SHORT + i] + config.short * (value - flat[at + T_SHORT + i])
        spread, step_spread = np.sqrt(variance + floor), np.sqrt(step_variance + floor)
        short_spread = np.sqrt(short_variance + floor)
        each = 1.0 / (count + 1.0)
        both = spread * step_spread
        scale = 1.0 / (both * short_spread)  # one division for three: it is what a point costs most
        level, average = error * step_spread * short_spread * scale, (short - mean) * both * scale
        mature, known = _known(count, each, variance + floor, step_variance + floor, config)
        z = mature * _strongest(known * level, step * spread * short_spread * scale, known * average, config.ordinary)
        lanes[to + L_Z + i], lanes[to + L_EXPECTED + i], lanes[to + L_SPREAD + i] = z, mean, spread
        limit = lanes[to + L_LIMIT + i]
        taken = (pace > 0.0) | ((pace < 0.0) & (abs(level) < config.far))
        rate = abs(pace) * max(config.memory, each)
        learned = min(max(error, -limit * spread), limit * spread)
        size, bend = min(abs(step), limit * step_spread), min(abs(short - mean), limit * short_spread)
        _learn(flat, at + i, taken, rate, (learned, size, bend))
        flat[at + T_COUNT + i] = count + abs(pace) if taken else count
        # it is back: what it did during the fault foretells nothing
        held = abs(known * level if pace == 0.0 else level)
        back = (pace <= 0.0) & (held < 1.0) & (max(abs(average), abs(z)) > 3.0)
        flat[at + T_SHORT + i] = value if back else short
        flat[at + T_LEVEL + i] = value if back else last + (slope + config.near * step)
        flat[at + T_SLOPE + i] = 0.0 if back else slope + config.near * config.near * step
        flat[at + T_SEEN + i] = lanes[to + L_TS + i]


@inlined
def _learn(flat: Float64, at: int, taken: bool, rate: float, seen: tuple[float, float, float]) -> None:
    """Learn the clipped deviations of level, step and short average of a series, if it is taken."""
    learned, size, bend = seen
    mean, variance, peak = flat[at + T_MEAN], flat[at + T_VARIANCE], flat[at + T_PEAK]
    step_variance, short_variance = flat[at + T_STEP_VARIANCE], flat[at + T_SHORT_VARIANCE]
    flat[at + T_PEAK] = max(peak, abs(mean + learned)) if taken else peak
    flat[at + T_MEAN] = mean + rate * learned if taken else mean
    flat[at + T_VARIANCE] = (1.0 - rate) * (variance + rate * learned * learned) if taken else variance
    flat[at + T_STEP_VARIANCE] = step_variance + (rate * (size * size - step_variance) if taken else 0.0)
    flat[at + T_SHORT_VARIANCE] = short_variance + (rate * (bend * bend - short_variance) if taken else 0.0)


@inlined
def _known(
    count: float, each: float, variance: float, step_variance: float, config: DetectorConfig
) -> tuple[float, float]:
    """How much the spreads of a series are known, and how much its level: few samples say little of either."""
    mature = max(0.0, 1.0 - config.young * each)
    # a counter or a young daily curve has no level yet: few of its samples are news
    news = count * step_variance / (count * step_variance + config.young * variance)
    return mature, news if step_variance < variance else mature
