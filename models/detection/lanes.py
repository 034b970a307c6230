"""What values meet, laid out so that many are taken at once: a row a quantity, a column (a lane) a value.

Where the eight series of a tile come together and in their order, a row of all of them is one move; others are moved
one by one.
"""

from __future__ import annotations

from typing import Final

from models.detection.batch import Float64, Int32
from models.detection.columns import (
    COUNT,
    LEVEL,
    MEAN,
    PEAK,
    SEEN,
    SHIFT,
    SHORT,
    SHORT_VARIANCE,
    SLOPE,
    STEP_VARIANCE,
    TILE,
    TRUST,
    VARIANCE,
)  # fmt: skip
from models.detection.kernel import kernel

LANES: Final = 80  # values that are taken together: what they meet stays in the nearest cache

# rows of `lanes` in one array: the compiler then sees that they do not overlap. They are no power of two apart, which
# would have them meet in the same few lines of the cache
PITCH: Final = LANES + 8
L_COUNT, L_MEAN, L_VARIANCE, L_SHORT, L_SHORT_VARIANCE, L_LEVEL = (PITCH * row for row in range(6))
L_SLOPE, L_STEP_VARIANCE, L_PEAK, L_TRUST, L_SEEN = (PITCH * row for row in range(6, 11))
L_VALUE, L_PACE, L_TS, L_LIMIT = (PITCH * row for row in range(11, 15))
LANE_ROWS: Final = 15


@kernel
def _lay(tiles: Float64, tile: int, field: int, lanes: Float64, to: int) -> None:
    """Move a column of a tile out: all eight are read before the first is written, so that it becomes one move."""
    a, b, c, d = tiles[tile, field, 0], tiles[tile, field, 1], tiles[tile, field, 2], tiles[tile, field, 3]
    e, f, g, h = tiles[tile, field, 4], tiles[tile, field, 5], tiles[tile, field, 6], tiles[tile, field, 7]
    lanes[to], lanes[to + 1], lanes[to + 2], lanes[to + 3] = a, b, c, d
    lanes[to + 4], lanes[to + 5], lanes[to + 6], lanes[to + 7] = e, f, g, h


@kernel
def _keep(lanes: Float64, at: int, tiles: Float64, tile: int, field: int) -> None:
    """Move a column of a tile back."""
    a, b, c, d = lanes[at], lanes[at + 1], lanes[at + 2], lanes[at + 3]
    e, f, g, h = lanes[at + 4], lanes[at + 5], lanes[at + 6], lanes[at + 7]
    tiles[tile, field, 0], tiles[tile, field, 1], tiles[tile, field, 2], tiles[tile, field, 3] = a, b, c, d
    tiles[tile, field, 4], tiles[tile, field, 5], tiles[tile, field, 6], tiles[tile, field, 7] = e, f, g, h


@kernel
def _gather_tile(tiles: Float64, tile: int, lane: int, lanes: Float64) -> None:
    """Lay out what the eight series of a tile meet, from `lane` on."""
    place = lane & 255  # it is no other number, but one that the compiler knows to be none from the end
    _lay(tiles, tile, COUNT, lanes, L_COUNT + place)
    _lay(tiles, tile, MEAN, lanes, L_MEAN + place)
    _lay(tiles, tile, VARIANCE, lanes, L_VARIANCE + place)
    _lay(tiles, tile, SHORT, lanes, L_SHORT + place)
    _lay(tiles, tile, SHORT_VARIANCE, lanes, L_SHORT_VARIANCE + place)
    _lay(tiles, tile, LEVEL, lanes, L_LEVEL + place)
    _lay(tiles, tile, SLOPE, lanes, L_SLOPE + place)
    _lay(tiles, tile, STEP_VARIANCE, lanes, L_STEP_VARIANCE + place)
    _lay(tiles, tile, PEAK, lanes, L_PEAK + place)
    _lay(tiles, tile, TRUST, lanes, L_TRUST + place)
    _lay(tiles, tile, SEEN, lanes, L_SEEN + place)


@kernel
def _scatter_tile(tiles: Float64, tile: int, lane: int, lanes: Float64) -> None:
    """Write back what the eight series of a tile have learned."""
    place = lane & 255
    _keep(lanes, L_COUNT + place, tiles, tile, COUNT)
    _keep(lanes, L_MEAN + place, tiles, tile, MEAN)
    _keep(lanes, L_VARIANCE + place, tiles, tile, VARIANCE)
    _keep(lanes, L_SHORT + place, tiles, tile, SHORT)
    _keep(lanes, L_SHORT_VARIANCE + place, tiles, tile, SHORT_VARIANCE)
    _keep(lanes, L_LEVEL + place, tiles, tile, LEVEL)
    _keep(lanes, L_SLOPE + place, tiles, tile, SLOPE)
    _keep(lanes, L_STEP_VARIANCE + place, tiles, tile, STEP_VARIANCE)
    _keep(lanes, L_PEAK + place, tiles, tile, PEAK)
    _keep(lanes, L_TS + place, tiles, tile, SEEN)


@kernel
def _gather_one(tiles: Float64, series: int, lane: int, lanes: Float64) -> None:
    """Lay out what a series meets."""
    place, tile, at = lane & 255, series >> SHIFT, series & (TILE - 1)
    lanes[L_COUNT + place] = tiles[tile, COUNT, at]
    lanes[L_MEAN + place] = tiles[tile, MEAN, at]
    lanes[L_VARIANCE + place] = tiles[tile, VARIANCE, at]
    lanes[L_SHORT + place] = tiles[tile, SHORT, at]
    lanes[L_SHORT_VARIANCE + place] = tiles[tile, SHORT_VARIANCE, at]
    lanes[L_LEVEL + place] = tiles[tile, LEVEL, at]
    lanes[L_SLOPE + place] = tiles[tile, SLOPE, at]
    lanes[L_STEP_VARIANCE + place] = tiles[tile, STEP_VARIANCE, at]
    lanes[L_PEAK + place] = tiles[tile, PEAK, at]
    lanes[L_TRUST + place] = tiles[tile, TRUST, at]
    lanes[L_SEEN + place] = tiles[tile, SEEN, at]


@kernel
def scatter_one(tiles: Float64, series: int, lane: int, lanes: Float64) -> None:
    """Write back what a series has learned."""
    place, tile, at = lane & 255, series >> SHIFT, series & (TILE - 1)
    tiles[tile, COUNT, at] = lanes[L_COUNT + place]
    tiles[tile, MEAN, at] = lanes[L_MEAN + place]
    tiles[tile, VARIANCE, at] = lanes[L_VARIANCE + place]
    tiles[tile, SHORT, at] = lanes[L_SHORT + place]
    tiles[tile, SHORT_VARIANCE, at] = lanes[L_SHORT_VARIANCE + place]
    tiles[tile, LEVEL, at] = lanes[L_LEVEL + place]
    tiles[tile, SLOPE, at] = lanes[L_SLOPE + place]
    tiles[tile, STEP_VARIANCE, at] = lanes[L_STEP_VARIANCE + place]
    tiles[tile, PEAK, at] = lanes[L_PEAK + place]
    tiles[tile, SEEN, at] = lanes[L_TS + place]


@kernel
def _together(series: Int32, lane: int) -> bool:
    """Whether the next lanes are the eight series of a tile, in their order."""
    at = series[lane]
    if at & (TILE - 1) or lane + TILE > len(series):
        return False
    off = 0
    for i in range(TILE):
        off |= series[lane + i] ^ (at + i)
    return off == 0


@kernel
def gather(tiles: Float64, series: Int32, lanes: Float64) -> None:
    """Lay out what is kept of the series."""
    lane = 0
    while lane < len(series):
        at = series[lane]
        if _together(series, lane):
            _gather_tile(tiles, at >> SHIFT, lane, lanes)
            lane += TILE
        else:
            _gather_one(tiles, at, lane, lanes)
            lane += 1


@kernel
def scatter(tiles: Float64, series: Int32, lanes: Float64) -> None:
    """Write back what the series have learned."""
    lane = 0
    while lane < len(series):
        at = series[lane]
        if _together(series, lane):
            _scatter_tile(tiles, at >> SHIFT, lane, lanes)
            lane += TILE
        else:
            scatter_one(tiles, at, lane, lanes)
            lane += 1
