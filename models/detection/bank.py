"""The detector bank: every value is scored against what is ordinary for its series, then learned.

A series is seen through three views: its level against a mean with long memory, its next step against what its recent
level and slope foretell, and its short average against the mean. Each view has a spread of its own, so that z means the
same for a smooth daily curve, a counter and noise. An entity's score says how *broadly or strongly* it is off: the
geometric mean of its eight largest |z|, or a third of their mean, or the largest one alone, in tails of its own series,
where its name says that a person would act on it alone. Its boundary is learned from its own scores. No labels, no
training phase; bounded state; no look ahead.

What is scored is never clipped; what is learned always is, and the more an entity is off, the slower it is learned.
Rule for a new normal: from its alarm on, for `hold_looks` looks and `hold_ms` of event time, what is far off is not
learned at all; then learning goes on at the ordinary rate, and a level that stays is accepted once mean and spread
have reached it. The boundary learns from the first, a tenth as fast as else: an alarm that nobody takes up ends after
some hundreds of looks. An open incident (`forks`) stops both.

Sources: exponentially weighted Welford form (West 1979), clipped learning (Huber 1964), Holt's linear prediction
(1957), quantile by stochastic approximation (Robbins and Monro 1951), exponential tail over a threshold (Pickands
1975).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models.detection.columns import (
    ALARMED,
    CALM,
    CLEAR,
    CONTINUE,
    COUNT,
    ENTITY_FIELDS,
    FORKED,
    HITS,
    HITS_THEN,
    LEVEL,
    LONE,
    LOOKS,
    MEAN,
    ONSET,
    PEAK,
    QUIET,
    RAISE,
    RAISED,
    RAISED_LOOK,
    RECOVERING,
    SCORE,
    SEEN,
    SERIES,
    SERIES_FIELDS,
    SHORT,
    STRETCH,
    STRETCH_THEN,
    TAIL,
    TILE,
    TOLD,
    TRUST,
    USUAL,
    USUAL_THEN,
    WARY,
    WIDE,
    Looks,
    Rows,
    Samples,
    rows_of,
    tiles_for,
)  # fmt: skip
from models.detection.config import Knobs, narrowed
from models.detection.entity_score import broad_or_strong
from models.detection.points import MARKS, RUN, Desk, Part, desk_of, seen, take_values
from models.detection.prior import prior
from models.detection.univariate import FIELDS as LONE_FIELDS
from models.detection.univariate import MOST as MOST_LONE
from models.detection.univariate import Lone, open_row, rested, surprise
from topics.batch import Float64, Names
from topics.kernel import inlined, kernel


@inlined
def judge(entities: Float64, at: int, raw: float, ts: float, knobs: Knobs) -> tuple[int, float]:
    """What a look with score `raw` comes to, and the boundary it was held against."""
    if entities[at, LOOKS] == 0.0:
        entities[at, SCORE] = raw
    entities[at, LOOKS] += 1.0
    entities[at, SCORE] += knobs.smooth * (raw - entities[at, SCORE])
    usual = math.exp(entities[at, USUAL] + knobs.surprise * entities[at, STRETCH]) - 1.0
    boundary = max(knobs.least, usual) * (1.0 + entities[at, WARY]) * (1.0 + entities[at, WIDE])
    restless = raw > max(knobs.settle * boundary, knobs.quiet)
    entities[at, CALM] = 0.0 if restless else entities[at, CALM] + 1.0
    event = QUIET
    if entities[at, ALARMED] == 0.0:
        entities[at, WARY] *= 1.0 - knobs.forget
        if raw <= boundary and entities[at, SCORE] <= boundary:
            entities[at, ONSET] = 0.0
        elif entities[at, ONSET] == 0.0:
            entities[at, ONSET] = ts
            for now, then in ((USUAL, USUAL_THEN), (STRETCH, STRETCH_THEN), (HITS, HITS_THEN)):
                entities[at, then] = entities[at, now]
        if (entities[at, SCORE] > boundary or raw > knobs.plain * boundary) and entities[at, LOOKS] > 2.0 * knobs.young:
            event = RAISE
            entities[at, ALARMED], entities[at, RAISED], entities[at, TOLD] = 1.0, ts, ts
            entities[at, RAISED_LOOK] = entities[at, LOOKS]
    elif entities[at, CALM] >= knobs.calm:
        event = CLEAR
        entities[at, ALARMED] = 0.0
        if entities[at, FORKED] == RECOVERING:
            entities[at, FORKED] = 0.0
        entities[at, SCORE] = min(raw, entities[at, SCORE])
        entities[at, WARY] += knobs.wary
    elif ts - entities[at, TOLD] >= knobs.repeat_ms:
        event = CONTINUE
        entities[at, TOLD] = ts
    _calibrate(entities, at, knobs)
    return event, boundary


@inlined
def _calibrate(entities: Float64, at: int, knobs: Knobs) -> None:
    """Learn where the tail of the log score begins, and how long it is; from an alarm only a tenth as fast."""
    if entities[at, FORKED] > 0.0:
        return
    weight = 0.1 if entities[at, ALARMED] == 1.0 else 1.0
    over = math.log(1.0 + entities[at, SCORE]) - entities[at, USUAL]
    gain = weight * entities[at, STRETCH] * max(3e-4, 1.0 / (0.3 * entities[at, LOOKS] + 10.0))
    if over > 0.0:
        entities[at, HITS] += weight
        entities[at, USUAL] += gain * knobs.usual
        excess = min(over, 3.0 * entities[at, STRETCH])  # one wild score says little of the length of a tail
        rate = weight * max(1.5e-3, 1.0 / (entities[at, HITS] + 12.0))
        entities[at, STRETCH] = max(entities[at, STRETCH] + rate * (excess - entities[at, STRETCH]), 0.05)
    else:
        entities[at, USUAL] -= gain * (1.0 - knobs.usual)


@inlined
def _pace(entities: Float64, at: int, ts: float, knobs: Knobs) -> float:
    """How fast to learn from an entity now: 1 is fully, less is in doubt, 0 is not; below 0, not what is far off."""
    if entities[at, FORKED] == RECOVERING and entities[at, LOOKS] - entities[at, RAISED_LOOK] > knobs.hold_looks:
        entities[at, FORKED] = 0.0
    if entities[at, FORKED] > 0.0:
        return 0.0
    alarmed = entities[at, ALARMED] == 1.0
    looks, age = entities[at, LOOKS] - entities[at, RAISED_LOOK], ts - entities[at, RAISED]
    young = looks <= knobs.hold_looks or age <= knobs.hold_ms
    if entities[at, LOOKS] <= 4.0 * knobs.young or (alarmed and not young):
        return 1.0
    doubt = float(knobs.doubt / max(entities[at, SCORE], knobs.doubt))
    return -doubt * doubt if alarmed else doubt * doubt


@kernel
def _lone_row(rows: Rows, at: int, ts: float, knobs: Knobs, lone: Lone) -> int:
    """The row of an entity that has shown one series in its first looks and none since; else 0 or less."""
    if rows.entities[at, SERIES] > 1.0:
        rows.entities[at, LONE] = -1.0
    elif rows.entities[at, LONE] == 0.0 and rows.entities[at, LOOKS] >= knobs.young:
        rows.entities[at, LONE] = open_row(rows.lone, ts, lone)
    return int(rows.entities[at, LONE])


@inlined
def _run(rows: Rows, given: Samples, first: int, desk: Desk, knobs: Knobs, lone: Lone) -> tuple[int, bool]:
    """Where the run from sample `first` ends, and whether it is one of lone entities, as all of a run are or none.

    Its entities are different ones, so their order is of no matter.
    """
    end, low, lonely = first, given.start[first], False
    while end < len(given.entity) and end - first < RUN and (given.start[end + 1] - low <= RUN or end == first):
        entity = given.entity[end]
        mark = entity & (MARKS - 1)
        if desk.marks[mark] == first:  # seen in this run, or one that shares its place: a shorter run does no harm
            break
        alone = rows.entities[entity, LONE] >= 0.0 and _lone_row(rows, entity, float(given.ts[end]), knobs, lone) > 0
        if alone != lonely and end > first:
            break
        desk.marks[mark], lonely = first, alone
        end += 1
    return end, lonely


@inlined
def _many(rows: Rows, given: Samples, looks: Looks, run: Part, desk: Desk, knobs: Knobs) -> None:
    """Take a run of entities with many series each."""
    take_values(rows, given, looks, run, desk, knobs)
    broad_or_strong(looks.z, given.start[run.first : run.end + 1], desk.single, desk.work, knobs)
    for sample in range(run.first, run.end):
        slot, entity = sample - run.first, given.entity[sample]
        if desk.fresh[slot] > 0:
            raw, ts = desk.single[slot], float(given.ts[sample])
            looks.event[sample], looks.boundary[sample] = judge(rows.entities, entity, raw, ts, knobs)
            looks.score[sample] = rows.entities[entity, SCORE]


@kernel
def _alone(rows: Rows, given: Samples, looks: Looks, run: Part, desk: Desk, kinds: tuple[Knobs, Lone]) -> None:
    """Take a run of entities with one series each."""
    narrow, lone = kinds
    for sample in range(run.first, run.end):
        slot, entity, ts = sample - run.first, given.entity[sample], float(given.ts[sample])
        row, looks.score[sample] = int(rows.entities[entity, LONE]), 0.0
        if desk.pace[slot] != 0.0:
            desk.pace[slot] = 1.0  # nothing else bears witness to a fault, and its tails mind what is learned
        for point in range(given.start[sample], given.start[sample + 1]):
            at, value = given.series[point], given.value[point]
            tile, place = rows.tiles[at // TILE], at % TILE
            if tile[COUNT, place] > 0.0 and ts > tile[SEEN, place]:
                look = seen(tile, place, value, ts, narrow)
                desk.single[slot] = surprise(rows.lone, row, look, desk.pace[slot], lone)
                break  # it has no other
    take_values(rows, given, looks, run, desk, narrow)
    for sample in range(run.first, run.end):
        slot, entity, ts = sample - run.first, given.entity[sample], float(given.ts[sample])
        if desk.fresh[slot] > 0:
            row, nth = int(rows.entities[entity, LONE]), rows.entities[entity, LOOKS]
            looks.event[sample], looks.boundary[sample] = judge(rows.entities, entity, desk.single[slot], ts, narrow)
            looks.score[sample] = rested(rows.lone, row, desk.single[slot], looks.boundary[sample], nth, lone)


@kernel
def take(rows: Rows, given: Samples, looks: Looks, desk: Desk, kinds: tuple[Knobs, Knobs, Lone]) -> None:
    """Score, then learn, each sample in the order given; `rows` and `looks` are changed in place.

    `narrow` are the knobs of an entity with one series. A value that is not newer than the last of its series is a
    repeat or late: it is neither scored nor learned.
    """
    knobs, narrow, lone = kinds
    first, entities = 0, rows.entities
    desk.marks[:] = -1
    while first < len(given.entity):
        end, lonely = _run(rows, given, first, desk, knobs, lone)
        for sample in range(first, end):
            slot, entity = sample - first, given.entity[sample]
            desk.pace[slot] = _pace(entities, entity, float(given.ts[sample]), knobs)
            desk.fresh[slot], desk.single[slot] = given.start[sample + 1] - given.start[sample], 0.0
            looks.event[sample], looks.score[sample], looks.boundary[sample] = QUIET, entities[entity, SCORE], math.inf
        run = Part(first, end, given.start[first], given.start[end], lonely)
        if lonely:
            _alone(rows, given, looks, run, desk, (narrow, lone))
        else:
            _many(rows, given, looks, run, desk, knobs)
        for sample in range(first, end):
            looks.onset[sample] = entities[given.entity[sample], ONSET]
        first = end


class Bank:
    """The state of all series and entities of a partition, growing as new ones come."""

    def __init__(self, knobs: Knobs | None = None) -> None:
        self.knobs = knobs or Knobs()
        self.narrow, self.lone_knobs = narrowed(self.knobs), Lone()
        self.tiles = np.zeros((0, SERIES_FIELDS, TILE))
        self.entities = np.zeros((0, ENTITY_FIELDS))
        self.lone = np.zeros((1, LONE_FIELDS))
        self.n_series = self.n_entities = 0  # what lies beyond is room for more
        self._desk = desk_of()
        self._looks = Looks.room(0, 0)  # kept: fresh memory for each batch would cost more than its arithmetic

    def admit(self, names: Names) -> None:
        """Make room for the entities and series that `names` has given out since."""
        fresh = names.series[self.n_series :]
        self.lone = _room(self.lone, 1 + min(MOST_LONE, len(names.entities)))
        self.n_entities = len(names.entities)
        if not fresh and len(names.entities) <= len(self.entities):
            return
        known = len(self.entities)
        self.entities = _room(self.entities, len(names.entities))
        self.entities[known:, (USUAL, STRETCH)] = math.log(3.0), 0.3
        wanted = self.n_series + len(fresh)
        self.tiles = _room(self.tiles, tiles_for(wanted))
        for at, (entity, metric) in enumerate(fresh, self.n_series):
            found, tile, place = prior(metric), at // TILE, at % TILE
            row = self.tiles[tile, :, place]
            row[TAIL], row[PEAK], row[TRUST] = 3.0, found.peak, found.trust
            if not math.isnan(found.mean):
                row[[MEAN, SHORT, LEVEL]], row[COUNT] = found.mean, 2.0 * self.knobs.young
                self.entities[entity, SERIES] += 1.0
            if found.peak and self.entities[entity, LOOKS] == 0.0:  # its floors are known: it can be judged sooner
                self.entities[entity, (USUAL, STRETCH)] = math.log(2.0), 0.2
        self.n_series = wanted

    @property
    def series(self) -> Float64:
        """The rows of all series, (n_series, SERIES_FIELDS): a copy."""
        return rows_of(self.tiles, self.n_series)

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
        """Take up the tiles of so many series."""
        self.tiles, self.n_series = tiles, n_series

    @property
    def lone_rows(self) -> Float64:
        """The rows of lone entities that are in use, and the first, which counts them."""
        return self.lone[: 1 + int(self.lone[0, 0])]

    def take(self, given: Samples) -> Looks:
        """Score and learn a batch. What is returned is overwritten by the next call."""
        samples, values = len(given.entity), len(given.value)
        if samples > len(self._looks.event) or values > len(self._looks.z):
            self._looks = Looks.room(max(samples, len(self._looks.event)), max(values, len(self._looks.z)))
        looks = self._looks.first(samples, values)
        take(
            Rows(self.tiles, self.tiles.reshape(-1), self.entities, self.lone),
            given,
            looks,
            self._desk,
            (self.knobs, self.narrow, self.lone_knobs),
        )
        return looks


def _room(rows: Float64, wanted: int) -> Float64:
    """`rows`, or a longer copy with zeros at the end."""
    if wanted <= len(rows):
        return rows
    longer = np.zeros((max(wanted, 2 * len(rows), 64), *rows.shape[1:]))
    longer[: len(rows)] = rows
    return longer
