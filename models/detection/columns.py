"""The columns of the detector bank's state, and the arrays that it takes and returns."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from topics.batch import Float64, Int32, Int64

# columns of a series
COUNT, MEAN, VARIANCE, SHORT, SHORT_VARIANCE, LEVEL, SLOPE, STEP_VARIANCE, PEAK, TAIL, TRUST, SEEN = range(12)
FAST, FAST_VARIANCE = 12, 13  # a mean with short memory, and its spread
SIGNS, GROUP = 14, 15  # which way the last steps went, as bits; the mark of its group: `groups`
SERIES_FIELDS: Final = 16
SHIFT: Final = 3
TILE: Final = 1 << SHIFT  # series whose columns lie side by side: one move of the processor takes a column of all eight

# columns of an entity
SAMPLES, SCORE, USUAL, STRETCH, HITS, TRUSTED, CALM, ALARMED, RAISED, RAISED_SAMPLE, ONSET, TOLD, FORKED, WIDE = range(
    14
)
SERIES, UNIVARIATE = 14, 15  # how many have opened; the row of the one that there is, 0 for none, -1 for never
USUAL_THEN, STRETCH_THEN, HITS_THEN = 16, 17, 18  # as they were at the onset, before what followed was learned
# the two paths of an alarm, each with a score and a tail of its own: the broad one is the first, in USUAL to HITS
BROAD, NARROW, NARROW_USUAL, NARROW_STRETCH, NARROW_HITS = 19, 20, 21, 22, 23
NARROW_USUAL_THEN, NARROW_STRETCH_THEN, NARROW_HITS_THEN = 24, 25, 26
SHARE, TOP, LOWEST = 27, 28, 29  # of time in alarm; farthest beyond the boundary since the alarm began, and least since
PERIOD, NEWEST, RARER = 30, 31, 32  # ms between samples; event time of the last; what the budget adds to boundaries
GROUPED = 33  # series that go together with others
OWN_BUDGET = 34  # log of its budget as a multiple of that of all
ENTITY_FIELDS: Final = 35
TAIL_NOW: Final = [USUAL, STRETCH, HITS, NARROW_USUAL, NARROW_STRETCH, NARROW_HITS]
TAIL_THEN: Final = [
    USUAL_THEN, STRETCH_THEN, HITS_THEN, NARROW_USUAL_THEN, NARROW_STRETCH_THEN, NARROW_HITS_THEN,
]  # fmt: skip

# FORKED: a copy learns in its stead; or its fault was confirmed, and nothing is learned until the alarm is cleared
OPEN, RECOVERING = 1.0, 2.0

# the event of a sample; AGAIN: a second alarm begins while one is on, which ends
QUIET, RAISE, CONTINUE, CLEAR, AGAIN = range(5)

# the path of an alarm: BY_ONE is a series that is trusted alone, or one that is off by far
BY_BREADTH, BY_FEW, BY_ONE = range(3)

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

    event: Int32  # (m,) QUIET, RAISE, CONTINUE, CLEAR or AGAIN
    path: Int32  # (m,) BY_BREADTH, BY_FEW or BY_ONE: the one that is farther beyond its boundary
    score: Float64  # (m,) how far the entity is off, smoothed: it ranks samples
    over: Float64  # (m,) log of its multiple of the boundary: an alarm begins at 0; -inf where nothing was scored
    onset: Float64  # (m,) event time of the first sample above it, as it was known at this sample; 0: none
    tail: Float64  # (m,) mean length of the tail of the path's log scores, as it was known at this sample
    z: Float64  # (n,) of the strongest view, signed by the view
    expected: Float64  # (n,) the mean before this value was learned
    spread: Float64  # (n,) of the level around it
    off: Float64  # (n,) 1 + how far off by all views together, 0 where a series does not count
    bits: Int64  # (n,) the memory of `off`, as whole numbers
    suppressed: Int32  # (m,) 1 where an alarm was not told because the budget was spent; of entities with one series

    @classmethod
    def room(cls, samples: int, values: int) -> Scored:
        """Arrays of these lengths, unset."""
        off = np.empty(values)
        return cls(
            np.empty(samples, np.int32), np.empty(samples, np.int32), np.empty(samples), np.empty(samples),
            np.empty(samples), np.empty(samples), np.empty(values), np.empty(values), np.empty(values), off,
            off.view(np.int64), np.zeros(samples, np.int32),
        )  # fmt: skip

    def first(self, samples: int, values: int) -> Scored:
        """The first of each, without a copy."""
        m, n = slice(samples), slice(values)
        return Scored(
            self.event[m], self.path[m], self.score[m], self.over[m], self.onset[m],
            self.tail[m], self.z[n], self.expected[n], self.spread[n], self.off[n], self.bits[n], self.suppressed[m],
        )  # fmt: skip
