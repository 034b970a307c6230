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
    FAST,
    FAST_VARIANCE,
    LEVEL,
    MEAN,
    PEAK,
    SEEN,
    SERIES_FIELDS,
    SHIFT,
    SHORT,
    SHORT_VARIANCE,
    SIGNS,
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
L_VALUE, L_PACE, L_TS, L_LIMIT, L_TRUST, L_Z, L_EXPECTED, L_SPREAD, L_OFF = (PITCH * row for row in range(9))
LANE_ROWS: Final = 9

# columns of a tile, in one array of all tiles for the same reason
TILE_SIZE: Final = SERIES_FIELDS * TILE
T_COUNT, T_MEAN, T_VARIANCE, T_SHORT, T_SHORT_VARIANCE, T_LEVEL, T_SLOPE, T_STEP_VARIANCE, T_PEAK, T_TRUST, T_SEEN = (
    TILE * field
    for field in (
        COUNT, MEAN, VARIANCE, SHORT, SHORT_VARIANCE, LEVEL, SLOPE, STEP_VARIANCE, PEAK, TRUST, SEEN,
    )
)  # fmt: skip
T_FAST, T_FAST_VARIANCE, T_SIGNS = TILE * FAST, TILE * FAST_VARIANCE, TILE * SIGNS

LANE: Final = 255  # as PLACE
SIGNS_END: Final = float(1 << 48)  # what the bits of so many steps stay below


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
    """Write z, mean, spread and how far off the eight values from `lane` on are into `lanes`, then learn each.

    The pace is 1, or 0 where nothing is learned, or below 0 where what is far off is not. many: eight, but the compiler
    is not to know: it would not take so few at once.
    """
    at, to = (tile * TILE_SIZE) & PLACE, lane & LANE
    for i in range(many):
        count, mean = flat[at + T_COUNT + i], flat[at + T_MEAN + i]
        value, pace = lanes[to + L_VALUE + i], lanes[to + L_PACE + i]
        slope, peak, last = flat[at + T_SLOPE + i], flat[at + T_PEAK + i], flat[at + T_LEVEL + i]
        variance, step_variance = flat[at + T_VARIANCE + i], flat[at + T_STEP_VARIANCE + i]
        short_variance, fast_variance = flat[at + T_SHORT_VARIANCE + i], flat[at + T_FAST_VARIANCE + i]
        floor = config.floor * peak + config.least_spread
        floor *= floor
        error, step = value - mean, value - last - slope
        short = flat[at + T_SHORT + i] + config.short * (value - flat[at + T_SHORT + i])
        away = value - flat[at + T_FAST + i]
        spread, step_spread = np.sqrt(variance + floor), np.sqrt(step_variance + floor)
        short_spread, fast_spread = np.sqrt(short_variance + floor), np.sqrt(fast_variance + floor)
        each = 1.0 / (count + 1.0)
        levels, others = spread * fast_spread, step_spread * short_spread
        scale = 1.0 / (levels * others)  # one division for four: it is what a point costs most
        level, fast = error * fast_spread * others * scale, away * spread * others * scale
        average, stepped = (short - mean) * step_spread * levels * scale, step * short_spread * levels * scale
        mature, known, news = _known(count, each, variance + floor, step_variance + floor, config)
        z = mature * _strongest(known * level, stepped, known * average, config.ordinary)
        lanes[to + L_Z + i], lanes[to + L_EXPECTED + i], lanes[to + L_SPREAD + i] = z, mean, spread
        # new against the last hours and against all that was; or a step, where steps are news
        # while nothing is learned, a counter leaves both behind, which is no news
        held = 1.0 if pace > 0.0 else known
        off = max(news * abs(stepped), held * min(abs(fast), abs(level)))
        moved = variance > config.moved * floor
        off = off if moved else max(min(off, config.cap), config.unmoved * off)  # nothing is known of its spread
        lanes[to + L_OFF + i] = 1.0 + mature * off if moved | (abs(level) > config.far) else 0.0
        limit = lanes[to + L_LIMIT + i]
        taken = (pace > 0.0) | ((pace < 0.0) & (abs(level) < config.far))
        learned = min(max(error, -limit * spread), limit * spread)
        gross = min(config.gross * abs(error), config.most_gross * spread)
        wider = max(min(abs(error), config.wider * limit * spread), gross)
        bend = min(abs(short - mean), limit * short_spread)
        slow = max(config.memory, each)
        _learn(flat, at + i, taken, slow, (learned, wider, bend))
        gross = min(config.gross * abs(step), config.most_gross * step_spread)
        size = max(min(abs(step), config.steps * limit * step_spread), gross)
        quick = max(config.step_memory, each)
        flat[at + T_STEP_VARIANCE + i] = step_variance + (quick * (size * size - step_variance) if taken else 0.0)
        gross = min(config.gross * abs(away), config.most_gross * fast_spread)
        reach = max(config.reach * limit * fast_spread, gross)
        quick = max(config.fast_memory, each)
        away = min(max(away, -reach), reach)
        flat[at + T_FAST + i] += quick * away if taken else 0.0
        flat[at + T_FAST_VARIANCE + i] = (
            (1.0 - quick) * (fast_variance + quick * away * away) if taken else fast_variance
        )
        signs = 2.0 * flat[at + T_SIGNS + i] + (1.0 if step > config.still * step_spread else 0.0)
        signs -= SIGNS_END if signs >= SIGNS_END else 0.0
        flat[at + T_SIGNS + i] = signs if taken else flat[at + T_SIGNS + i]
        flat[at + T_COUNT + i] = count + abs(pace) if taken else count
        # it is back: what it did during the fault foretells nothing
        back = (pace <= 0.0) & (abs(known * level) < 1.0) & (max(abs(average), abs(z)) > 3.0)
        flat[at + T_SHORT + i] = value if back else short
        flat[at + T_LEVEL + i] = value if back else last + (slope + config.near * step)
        flat[at + T_SLOPE + i] = 0.0 if back else slope + config.near * config.near * step
        flat[at + T_SEEN + i] = lanes[to + L_TS + i]


@inlined
def _learn(flat: Float64, at: int, taken: bool, rate: float, seen: tuple[float, float, float]) -> None:
    """Learn the clipped deviations from the mean of a series, for its mean and its spread, and of its short average."""
    learned, wider, bend = seen
    mean, variance, peak = flat[at + T_MEAN], flat[at + T_VARIANCE], flat[at + T_PEAK]
    short_variance = flat[at + T_SHORT_VARIANCE]
    flat[at + T_PEAK] = max(peak, abs(mean + learned)) if taken else peak
    flat[at + T_MEAN] = mean + rate * learned if taken else mean
    flat[at + T_VARIANCE] = (1.0 - rate) * (variance + rate * wider * wider) if taken else variance
    flat[at + T_SHORT_VARIANCE] = short_variance + (rate * (bend * bend - short_variance) if taken else 0.0)


@inlined
def _known(
    count: float, each: float, variance: float, step_variance: float, config: DetectorConfig
) -> tuple[float, float, float]:
    """How much the spreads of a series are known, how much its level, and how much its steps are news.

    Few samples say little of a spread; a counter or a young daily curve has no level yet: few of its samples are news.
    Steps are news where they are smooth; those of white noise (1/3) say nothing that the level does not.
    """
    mature = max(0.0, 1.0 - config.young * each)
    drawn, both = count * step_variance + config.young * variance, variance + step_variance
    scale = 1.0 / (drawn * both)
    known = count * step_variance * both * scale
    return mature, known if step_variance < variance else mature, variance * drawn * scale
