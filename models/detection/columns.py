"""The columns of the detector bank's state, and the arrays that it takes and returns."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from topics.batch import Float64, Int32, Int64

# columns of a series
COUNT, MEAN, VARIANCE, SHORT, SHORT_VARIANCE, LEVEL, SLOPE, STEP_VARIANCE, PEAK, TAIL, TRUST, SEEN = range(12)
SERIES_FIELDS: Final = 12
SHIFT: Final = 3
TILE: Final = 1 << SHIFT  # series whose columns lie side by side: one move of the processor takes a column of all eight

# columns of an entity
SAMPLES, SCORE, USUAL, STRETCH, HITS, WARY, CALM, ALARMED, RAISED, RAISED_SAMPLE, ONSET, TOLD, FORKED, WIDE = range(14)
SERIES, UNIVARIATE = 14, 15  # how many have opened; the row of the one that there is, 0 for none, -1 for never
USUAL_THEN, STRETCH_THEN, HITS_THEN = 16, 17, 18  # as they were at the onset, before what followed was learned
ENTITY_FIELDS: Final = 19
TAIL_NOW: Final = [USUAL, STRETCH, HITS]
TAIL_THEN: Final = [USUAL_THEN, STRETCH_THEN, HITS_THEN]

# FORKED: a copy learns in its stead; or its fault was confirmed, and nothing is learned until the alarm is cleared
OPEN, RECOVERING = 1.0, 2.0

# the event of a sample
QUIET, RAISE, CONTINUE, CLEAR = range(4)

MOST: Final = 8  # series that an entity's score is made of


class Rows(NamedTuple):
    """All state, changed in place."""

    tiles: Float64  # (n_tiles, SERIES_FIELDS, TILE): series i is [i // TILE, :, i % TILE]
    flat: Float64  # the same memory in one dimension, which costs less to find one's way in
    entities: Float64  # (n_entities, ENTITY_FIELDS)
    univariate: Float64  # (n_rows, FIELDS of univariate.py)


def tiles_for(series: int) -> int:
    """How many tiles so many series need."""
    return -(-series // TILE)


def tiles_of(rows: Float64) -> Float64:
    """Tiles with `rows` (n, SERIES_FIELDS) in them."""
    tiles = np.zeros((tiles_for(len(rows)), SERIES_FIELDS, TILE))
    whole, rest = divmod(len(rows), TILE)
    tiles[:whole] = rows[: whole * TILE].reshape(whole, TILE, SERIES_FIELDS).transpose(0, 2, 1)
    if rest:
        tiles[whole, :, :rest] = rows[whole * TILE :].T
    return tiles


def rows_of(tiles: Float64, series: int) -> Float64:
    """The rows of the first series, (series, SERIES_FIELDS): a copy."""
    return np.ascontiguousarray(tiles.transpose(0, 2, 1)).reshape(-1, SERIES_FIELDS)[:series]


class Samples(NamedTuple):
    """What a bank takes: the arrays of a `Batch`."""

    entity: Int32
    ts: Int64
    start: Int32
    series: Int32
    value: Float64


class Scored(NamedTuple):
    """What a bank returns, by sample (m,) and by value (n,)."""

    event: Int32  # (m,) QUIET, RAISE, CONTINUE or CLEAR
    score: Float64  # (m,) how far the entity is off, smoothed
    boundary: Float64  # (m,) the score above which it is an alarm
    onset: Float64  # (m,) event time of the first sample above it, as it was known at this sample; 0: none
    z: Float64  # (n,) of the strongest view, signed by the view
    expected: Float64  # (n,) the mean before this value was learned
    spread: Float64  # (n,) of the level around it
    suppressed: Int32  # (m,) 1 where an alarm was not told because the budget was spent; of entities with one series

    @classmethod
    def room(cls, samples: int, values: int) -> Scored:
        """Arrays of these lengths, unset."""
        score, boundary, onset = (np.empty(samples) for _ in range(3))
        z, expected, spread = (np.empty(values) for _ in range(3))
        event, suppressed = np.empty(samples, np.int32), np.zeros(samples, np.int32)
        return cls(event, score, boundary, onset, z, expected, spread, suppressed)

    def first(self, samples: int, values: int) -> Scored:
        """The first of each, without a copy."""
        m, n = slice(samples), slice(values)
        return Scored(
            self.event[m], self.score[m], self.boundary[m], self.onset[m],
            self.z[n], self.expected[n], self.spread[n], self.suppressed[m],
        )  # fmt: skip
