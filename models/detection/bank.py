"""The detector bank: every value is scored against what is ordinary for its series, then learned.

A series is seen through four views: its level against a mean with long memory and against one with short memory, its
next step against what its recent level and slope foretell, and its short average against the mean. Each view has a
spread of its own, so that z means the same for a smooth daily curve, a counter and noise. A series is off as far as
both memories say; so a level that stays is ordinary once the short one has followed. How far an entity is off is said
by half of its series, or by a few of them (`entity_score`), and when that is an alarm by `judge`. No labels, no
training phase; bounded state; no look ahead. What is scored is never clipped; what is learned always is. An open
incident (`forks`) stops learning.

Sources: exponentially weighted Welford form (West 1979), clipped learning (Huber 1964), Holt's linear prediction
(1957), quantile by stochastic approximation (Robbins and Monro 1951), exponential tail over a threshold (Pickands
1975).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from models.detection.columns import (
    ALARMED,
    BY_BREADTH,
    COUNT,
    ENTITY_FIELDS,
    FAST,
    FORKED,
    GROUPED,
    LEVEL,
    MEAN,
    NARROW_STRETCH,
    NARROW_USUAL,
    ONSET,
    PEAK,
    QUIET,
    RAISED,
    RAISED_SAMPLE,
    RECOVERING,
    SAMPLES,
    SCORE,
    SEEN,
    SERIES,
    SERIES_FIELDS,
    SHIFT,
    SHORT,
    SIGNS,
    STRETCH,
    TAIL,
    TILE,
    TRUST,
    UNIVARIATE,
    USUAL,
    Rows,
    Samples,
    Scored,
    rows_of,
    tiles_for,
)  # fmt: skip
from models.detection.config import DetectorConfig, narrowed
from models.detection.entity_score import entity_score
from models.detection.groups import EVERY, find, lively, merge
from models.detection.judge import FIRST_TAIL, judge
from models.detection.one_series import alone
from models.detection.points import MARKS, RUN, Part, Workspace, take_values, workspace_of
from models.detection.prior import prior
from models.detection.univariate import FIELDS as UNIVARIATE_FIELDS
from models.detection.univariate import MOST as MOST_UNIVARIATE
from models.detection.univariate import Univariate, close_row, open_row
from topics.batch import Float64, Forgotten, Int32, Names, Reused
from topics.kernel import inlined, kernel

TAILS: Final = [USUAL, STRETCH, NARROW_USUAL, NARROW_STRETCH]
FIRST_TAILS: Final = [*FIRST_TAIL, *FIRST_TAIL]


@inlined
def _pace(row: Float64, ts: float, config: DetectorConfig) -> float:
    """How fast to learn from an entity now: 1 is fully, 0 is not at all; below 0, not what is far off."""
    if row[FORKED] == RECOVERING and row[SAMPLES] - row[RAISED_SAMPLE] > config.hold_samples:
        row[FORKED] = 0.0
    if row[FORKED] > 0.0:
        return 0.0
    return -1.0 if row[ALARMED] == 1.0 and ts - row[RAISED] <= config.hold_ms else 1.0


@kernel
def _univariate_row(rows: Rows, at: int, ts: float, config: DetectorConfig, univariate: Univariate) -> int:
    """The row of an entity that has shown one series in its first samples and none since; else 0 or less."""
    if rows.entities[at, SERIES] > 1.0:
        close_row(rows.univariate, int(rows.entities[at, UNIVARIATE]))
        rows.entities[at, UNIVARIATE] = -1.0
    elif rows.entities[at, UNIVARIATE] == 0.0 and rows.entities[at, SAMPLES] >= config.young:
        rows.entities[at, UNIVARIATE] = open_row(rows.univariate, ts, univariate)
    return int(rows.entities[at, UNIVARIATE])


@inlined
def _run(
    rows: Rows, given: Samples, first: int, work: Workspace, config: DetectorConfig, univariate: Univariate
) -> tuple[int, bool]:
    """Where the run from sample `first` ends, and whether its entities have one series each: all of a run do, or none.

    The entities of a run are different ones, so their order does not matter.
    """
    end, low, univariate_only = first, given.start[first], False
    while end < len(given.entity) and end - first < RUN and (given.start[end + 1] - low <= RUN or end == first):
        entity = given.entity[end]
        mark = entity & (MARKS - 1)
        if work.marks[mark] == first:  # seen in this run, or one that shares its place: a shorter run does no harm
            break
        univariate_row = (
            rows.entities[entity, UNIVARIATE] >= 0.0
            and _univariate_row(rows, entity, float(given.ts[end]), config, univariate) > 0
        )
        if univariate_row != univariate_only and end > first:
            break
        work.marks[mark], univariate_only = first, univariate_row
        end += 1
    return end, univariate_only


@kernel
def _lively(tiles: Float64, series: Int32, off: Float64) -> bool:
    """Whether the series of a sample that is farthest off has moved up and down all the time before."""
    most = 0
    for at in range(len(series)):
        most = at if off[at] > off[most] else most
    return lively(int(tiles[series[most] >> SHIFT, SIGNS, series[most] & (TILE - 1)]))


@inlined
def _many(rows: Rows, given: Samples, scored: Scored, run: Part, work: Workspace, config: DetectorConfig) -> None:
    """Take a run of entities with many series each."""
    take_values(rows, given, scored, run, work, config)
    for sample in range(run.first, run.end):
        slot = sample - run.first
        if work.fresh[slot] > 0:
            row, low, end = rows.entities[given.entity[sample]], given.start[sample], given.start[sample + 1]
            series, off, bits = given.series[low:end], scored.off[low:end], scored.bits[low:end]
            if row[GROUPED] > 0.0:
                merge(rows.tiles, series, off, work.firsts)
            found = entity_score(scored.z[low:end], off, bits, (work.classes, work.middles), config)
            farthest = found.farthest
            if farthest >= config.extreme and not _lively(rows.tiles, series, off):
                farthest = 0.0
            scored.event[sample], scored.path[sample], scored.over[sample] = judge(
                row, (found.broad, found.narrow), (work.single[slot], farthest), float(given.ts[sample]), config
            )
            row[SCORE] += config.smooth * (math.sqrt(math.exp(found.broad) * found.strength) - 1.0 - row[SCORE])
            scored.score[sample] = row[SCORE]
            if int(row[SAMPLES]) & EVERY == 0:
                find(rows.tiles, series, row, work.firsts)


@kernel
def take(
    rows: Rows,
    given: Samples,
    scored: Scored,
    work: Workspace,
    kinds: tuple[DetectorConfig, DetectorConfig, Univariate],
) -> None:
    """Score, then learn, each sample in the order given; `rows` and `scored` are changed in place.

    kinds: the configurations for entities with many series, for those with one, and for their further views. A value
    that is not newer than the last of its series is a repeat or late: it is neither scored nor learned.
    """
    config, narrow, univariate = kinds
    first, entities = 0, rows.entities
    work.marks[:] = -1
    while first < len(given.entity):
        end, univariate_only = _run(rows, given, first, work, config, univariate)
        for sample in range(first, end):
            slot, entity = sample - first, given.entity[sample]
            work.pace[slot] = _pace(entities[entity], float(given.ts[sample]), config)
            work.fresh[slot], work.single[slot] = given.start[sample + 1] - given.start[sample], 0.0
            scored.suppressed[sample] = 0
            scored.event[sample], scored.path[sample] = QUIET, BY_BREADTH
            scored.score[sample], scored.over[sample] = entities[entity, SCORE], -math.inf
        run = Part(first, end, given.start[first], given.start[end], univariate_only)
        if univariate_only:
            alone(rows, given, scored, run, work, (narrow, univariate))
        else:
            _many(rows, given, scored, run, work, config)
        for sample in range(first, end):
            by_breadth = scored.path[sample] == BY_BREADTH
            scored.onset[sample] = entities[given.entity[sample], ONSET]
            scored.tail[sample] = entities[given.entity[sample], STRETCH if by_breadth else NARROW_STRETCH]
        first = end


class Bank:
    """The rows of all series and entities of a partition."""

    def __init__(self, config: DetectorConfig | None = None) -> None:
        self.config = config or DetectorConfig()
        self.narrow = narrowed(self.config)
        self.univariate_config = Univariate(false_alarms_a_week=self.config.budget)
        self.tiles = np.zeros((0, SERIES_FIELDS, TILE))
        self.entities = np.zeros((0, ENTITY_FIELDS))
        self.univariate = np.zeros((1, UNIVARIATE_FIELDS))
        self.n_series = self.n_entities = 0  # what lies beyond is room for more
        self._work = workspace_of()
        self._scored = Scored.room(0, 0)  # kept: fresh memory for each batch would cost more than its arithmetic

    def admit(self, names: Names) -> None:
        """Make room for the entities and series that `names` has given out since."""
        self.univariate = _room(self.univariate, 1 + min(MOST_UNIVARIATE, len(names.entities)))
        self.n_entities = len(names.entities)
        wanted = len(names.series)
        if wanted == self.n_series and len(names.entities) <= len(self.entities):
            return
        known = len(self.entities)
        self.entities = _room(self.entities, len(names.entities))
        self.entities[known:, TAILS] = FIRST_TAILS
        self.tiles = _room(self.tiles, tiles_for(wanted))
        for at in range(self.n_series, wanted):
            self._open(at, names.taught(at))
        self.n_series = wanted

    def reuse(self, reused: Reused) -> None:
        """Begin anew with series whose numbers were given out again."""
        self.admit(reused.names)
        for at in reused.series:
            self._open(at, reused.names.taught(at))

    def _open(self, at: int, metric: str) -> None:
        """What is known of a series by the name that is known to all. One whose number stands for nothing has none."""
        found, tile, place = prior(metric), at // TILE, at % TILE
        row = self.tiles[tile, :, place]
        row[:] = 0.0
        row[TAIL], row[PEAK], row[TRUST] = 3.0 if metric else 0.0, found.peak, found.trust
        if not math.isnan(found.mean):
            row[[MEAN, SHORT, LEVEL, FAST]], row[COUNT] = found.mean, 2.0 * self.config.young

    def forget(self, forgotten: Forgotten) -> None:
        """Empty the rows of series and entities that have ended."""
        self.admit(forgotten.names)
        tile, place = np.divmod(forgotten.series, TILE)
        opened = self.tiles[tile, SEEN, place] > 0.0
        np.subtract.at(self.entities[:, SERIES], forgotten.owner[opened], 1.0)
        self.tiles[tile, :, place] = 0.0
        for at in sorted(forgotten.entities):
            close_row(self.univariate, int(self.entities[at, UNIVARIATE]))
            self.entities[at] = 0.0
            self.entities[at, TAILS] = FIRST_TAILS

    @property
    def series(self) -> Float64:
        """The rows of all series, (n_series, SERIES_FIELDS): a copy."""
        return rows_of(self.tiles, self.n_series)

    def newest(self, series: Int32) -> Float64:
        """The stamp of the newest value of some series, (k,) ms; 0: they have none."""
        found: Float64 = self.tiles[series >> SHIFT, SEEN, series & (TILE - 1)]
        return found

    def rows(self, series: Sequence[int]) -> Float64:
        """The rows of some series, (k, SERIES_FIELDS): a copy."""
        tile, place = np.divmod(np.asarray(series, np.int64), TILE)
        found: Float64 = self.tiles[tile, :, place]
        return found

    def put(self, series: Sequence[int], rows: Float64) -> None:
        """Replace the rows of some series."""
        tile, place = np.divmod(np.asarray(series, np.int64), TILE)
        self.tiles[tile, :, place] = rows

    def load(self, tiles: Float64, n_series: int) -> None:
        """Replace all tiles. n_series: how many series are in them."""
        self.tiles, self.n_series = tiles, n_series

    @property
    def univariate_rows(self) -> Float64:
        """The rows of entities with one series, up to the last that was ever in use; row 0 counts them."""
        return self.univariate[: 1 + int(self.univariate[0, 0])]

    def take(self, given: Samples) -> Scored:
        """Score and learn a batch. What is returned is overwritten by the next call."""
        samples, values = len(given.entity), len(given.value)
        if samples > len(self._scored.event) or values > len(self._scored.z):
            self._scored = Scored.room(max(samples, len(self._scored.event)), max(values, len(self._scored.z)))
        scored = self._scored.first(samples, values)
        take(
            Rows(self.tiles, self.tiles.reshape(-1), self.entities, self.univariate),
            given,
            scored,
            self._work,
            (self.config, self.narrow, self.univariate_config),
        )
        return scored


def _room(rows: Float64, wanted: int) -> Float64:
    """`rows`, or a longer copy with zeros at the end."""
    if wanted <= len(rows):
        return rows
    longer = np.zeros((max(wanted, 2 * len(rows), 64), *rows.shape[1:]))
    longer[: len(rows)] = rows
    return longer
