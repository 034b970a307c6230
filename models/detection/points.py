"""The kernel over values: many series at a time, without a branch, so that the compiler takes eight of them at once.

Values that come together for the eight series of a tile are taken where these lie, the others in a tile of their own;
no two of a run are of one series, so their order does not matter to a single bit.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from models.detection.columns import (
    COUNT,
    FAST,
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
    Rows,
    Samples,
    Scored,
)  # fmt: skip
from models.detection.config import DetectorConfig
from models.detection.entity_score import CLASSES, MIDDLES
from models.detection.groups import NEAREST
from models.detection.lanes import (
    L_EXPECTED,
    L_OFF,
    L_PACE,
    L_SPREAD,
    L_TRUST,
    L_TS,
    L_VALUE,
    L_Z,
    LANE,
    LANE_ROWS,
    LANES,
    PITCH,
    TILE_SIZE,
    move_back,
    move_out,
    prepare,
    take_tile,
    together,
)  # fmt: skip
from models.detection.univariate import Seen
from topics.batch import Float64, Int32, Int64
from topics.kernel import inlined, kernel

RUN: Final = 160  # values of different series that are judged together, or samples
MARKS: Final = 256


class Workspace(NamedTuple):
    """Scratch arrays of the kernel; nothing in them outlives a batch."""

    lanes: Float64  # (LANE_ROWS * PITCH,)
    tile: Float64  # (TILE_SIZE,) for values whose series do not make up one
    loose: Int64  # (TILE,) the lanes that these are
    slot: Int64  # (LANES,) which sample of the run a lane is of
    pace: Float64  # (RUN,) of each sample of the run
    fresh: Int64  # (RUN,) how many of its values are news
    single: Float64  # (RUN,) largest |z| of one series alone, in tails of its own
    classes: Int64  # (CLASSES,) of sizes
    middles: Float64  # (CLASSES,) their logs
    firsts: Int64  # (2 * NEAREST,) of groups
    marks: Int64  # (MARKS,) the run in which an entity was last seen, by its number modulo MARKS


class Part(NamedTuple):
    """The values low:high of the samples first:end, whose entities are different ones; or of one that is alone."""

    first: int
    end: int
    low: int
    high: int
    alone: bool  # tails of its own are learned elsewhere


def workspace_of() -> Workspace:
    """A new workspace."""
    return Workspace(
        np.zeros(LANE_ROWS * PITCH), np.zeros(TILE_SIZE), np.zeros(TILE, np.int64), np.empty(LANES, np.int64),
        np.empty(RUN), np.empty(RUN, np.int64), np.empty(RUN),
        np.zeros(CLASSES, np.int64), np.array(MIDDLES), np.empty(2 * NEAREST, np.int64), np.full(MARKS, -1, np.int64),
    )  # fmt: skip


@inlined
def _open_series(tile: Float64, at: int, value: float, ts: float) -> None:
    """The first value of series `at` of a tile."""
    tile[COUNT, at] = 1.0
    tile[MEAN, at] = tile[SHORT, at] = tile[LEVEL, at] = tile[FAST, at] = value
    tile[PEAK, at] = max(tile[PEAK, at], abs(value))
    tile[SEEN, at] = ts


@kernel
def _own_tail(tile: Float64, at: int, z: float, pace: float, config: DetectorConfig) -> float:
    """|z| over the tail of the series' own |z|, times the trust in one series; then learn the tail."""
    size, tail = abs(z), tile[TAIL, at]
    gain = max(pace, 0.0) * max(5.0 * config.memory, 1.0 / (0.1 * tile[COUNT, at] + 100.0))
    tail *= 1.0 + gain * config.tail if size > tail else 1.0 - gain * (1.0 - config.tail)
    tile[TAIL, at] = min(max(tail, 3.0), config.cap)
    young = 1.0 + config.alone_green / tile[COUNT, at]
    return float(tile[TRUST, at] * min(size, config.cap) / (young * tile[TAIL, at]))


@kernel
def seen(tile: Float64, at: int, value: float, ts: float, config: DetectorConfig) -> Seen:
    """A value in the views of series `at` of a tile, before it is learned."""
    floor = config.floor * tile[PEAK, at] + config.least_spread
    error, step = value - tile[MEAN, at], value - tile[LEVEL, at] - tile[SLOPE, at]
    average = tile[SHORT, at] + config.short * (value - tile[SHORT, at]) - tile[MEAN, at]
    mature = max(0.0, 1.0 - config.young / (tile[COUNT, at] + 1.0))
    return Seen(
        ts, value, mature * error / math.sqrt(tile[VARIANCE, at] + floor * floor),
        mature * average / math.sqrt(tile[SHORT_VARIANCE, at] + floor * floor),
        mature * step / math.sqrt(tile[STEP_VARIANCE, at] + floor * floor), error, floor,
    )  # fmt: skip


@inlined
def take_values(
    rows: Rows, given: Samples, scored: Scored, part: Part, work: Workspace, config: DetectorConfig
) -> None:
    """Score, then learn, the values of a part of a batch."""
    first = part.first
    for low in range(part.low, part.high, LANES):
        piece = Part(part.first, part.end, low, min(low + LANES, part.high), part.alone)
        first = _lay_out(given, piece, first, work)
        trusted = _take_piece(rows, given, piece, work, config)
        _store(scored, piece, work.lanes)
        if trusted and not part.alone:
            _own_tails(rows.tiles, given.series[piece.low : piece.high], work, config)


@inlined
def _lay_out(given: Samples, part: Part, first: int, work: Workspace) -> int:
    """Fill lanes with the values of a part, their stamps, and the pace at which they are learned.

    first: the sample that its first value is of. Returns the one that the value after its last is of.
    """
    lanes, sample, low, high = work.lanes, first, part.low, part.high
    while sample < part.end:
        ts, slot, end = float(given.ts[sample]), sample - part.first, given.start[sample + 1]
        pace = work.pace[slot]
        for lane in range(max(given.start[sample], low) - low, min(end, high) - low):
            place = lane & LANE
            lanes[L_PACE + place], lanes[L_TS + place], work.slot[place] = pace, ts, slot
        if end > high:
            break
        sample += 1
    values = given.value[low:high]
    for lane in range(len(values)):
        lanes[L_VALUE + lane] = values[lane]
    return sample


@inlined
def _take_piece(rows: Rows, given: Samples, part: Part, work: Workspace, config: DetectorConfig) -> bool:
    """Score and learn the values in the lanes. Returns whether a series among them is trusted alone."""
    series, lanes = given.series[part.low : part.high], work.lanes
    lane = loose = 0
    while lane < len(series):
        tile = int(series[lane]) >> SHIFT
        if together(series, lane) and prepare(rows.flat, tile, lanes, lane, len(work.loose), config):
            take_tile(rows.flat, tile, lanes, lane, len(work.loose), config)
            lane += TILE
            continue
        work.loose[loose] = lane
        loose += 1
        lane += 1
        # a series that is there twice is so in no order: what went before has to be learned first
        again = lane < len(series) and series[lane] <= series[lane - 1] and work.slot[lane] == work.slot[lane - 1]
        if loose == TILE or again or lane == len(series):
            _take_loose(rows, given, part, work, loose, config)
            loose = 0
    if loose > 0:
        _take_loose(rows, given, part, work, loose, config)
    trusted = 0
    for at in range(len(series)):
        trusted += 1 if lanes[L_TRUST + at] > 0.0 else 0
    return trusted > 0


@inlined
def _take_loose(rows: Rows, given: Samples, part: Part, work: Workspace, count: int, config: DetectorConfig) -> None:
    """Score and learn up to eight values of different series in a tile of their own.

    Series that were never seen are opened, and what is late or repeated is left out.
    """
    lanes, tile = work.lanes, work.tile
    for at in range(count):
        lane = work.loose[at]
        move_out(rows.flat, given.series[part.low + lane], tile, at)
        for row in (L_VALUE, L_PACE, L_TS):
            lanes[row + LANES + at] = lanes[row + lane]
    prepare(tile, 0, lanes, LANES, len(work.loose), config)
    take_tile(tile, 0, lanes, LANES, len(work.loose), config)
    for at in range(count):
        lane = work.loose[at]
        for row in (L_Z, L_EXPECTED, L_SPREAD, L_TRUST, L_OFF):
            lanes[row + lane] = lanes[row + LANES + at]
        series = given.series[part.low + lane]
        kept, place = rows.tiles[series >> SHIFT], series & (TILE - 1)
        if kept[SEEN, place] == 0.0:
            rows.entities[given.entity[part.first + work.slot[lane]], SERIES] += 1.0
        if kept[COUNT, place] > 0.0 and lanes[L_TS + lane] > kept[SEEN, place]:
            move_back(tile, at, rows.flat, series)
            continue
        lanes[L_Z + lane], lanes[L_EXPECTED + lane], lanes[L_SPREAD + lane] = 0.0, lanes[L_VALUE + lane], 0.0
        lanes[L_TRUST + lane] = lanes[L_OFF + lane] = 0.0
        if kept[COUNT, place] == 0.0:
            _open_series(kept, place, lanes[L_VALUE + lane], lanes[L_TS + lane])
        else:
            work.fresh[work.slot[lane]] -= 1


@inlined
def _store(scored: Scored, part: Part, lanes: Float64) -> None:
    """Copy z, mean, spread and how far off the values of a part are from the lanes to `scored`."""
    z, expected, spread, off = (
        scored.z[part.low : part.high], scored.expected[part.low : part.high], scored.spread[part.low : part.high],
        scored.off[part.low : part.high],
    )  # fmt: skip
    for lane in range(len(z)):
        z[lane] = lanes[L_Z + lane]
    for lane in range(len(z)):
        expected[lane] = lanes[L_EXPECTED + lane]
    for lane in range(len(z)):
        spread[lane] = lanes[L_SPREAD + lane]
    for lane in range(len(z)):
        off[lane] = lanes[L_OFF + lane]


@inlined
def _own_tails(tiles: Float64, series: Int32, work: Workspace, config: DetectorConfig) -> None:
    """Of each sample, the largest |z| of a series that is trusted alone."""
    for lane in range(len(series)):
        if work.lanes[L_TRUST + lane] > 0.0:
            slot, at = work.slot[lane], series[lane]
            own = _own_tail(tiles[at >> SHIFT], at & (TILE - 1), work.lanes[L_Z + lane], work.pace[slot], config)
            work.single[slot] = max(work.single[slot], own)
