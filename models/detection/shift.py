"""Quiet changes: an entity that stays somewhat more off than it was, though no single sample of it is an alarm.

When a level has moved by two spreads, the score of its entity no longer falls back to where it was. The log score of
every eighth sample of an entity is compared with its own mean, and what is above it is summed up; the sum falls back
to 0 while all is as usual. Samples that are alarms are left out: the bank reports those. A sum that has grown quickly
is a change point, one that has grown slowly is drift. The means of the next samples show which series it is. What was
found is ordinary from then on. One row of 80 bytes an entity, and some nanoseconds a sample.

Source: cumulative sums (Page 1954). The constants are in the middle of a plateau of SMD and ASD.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.detection.columns import CLEAR, CONTINUE, QUIET, RAISE, Scored
from models.detection.settings import DetectionSettings
from topics.batch import Batch, Float64, Forgotten, Int64, Names, Reused
from topics.kernel import inlined, kernel
from topics.signals import AnomalyKind

# columns of an entity: samples since the last eighth one, eighth ones that were learned, mean and variance of the log
# score, the sum, eighth ones since it was 0, event time of that, samples until it is told; eighth ones until that is
# cleared, and its kind
AGE, SAMPLES, MEAN, VARIANCE, SUM, RISING, SINCE, GATHER, OPEN, KIND = range(10)
FIELDS: Final = 10

EVERY: Final = 8.0  # samples; between them a score has mostly forgotten itself
WARM: Final = 64.0  # samples before a sum is begun
MEMORY: Final = 1e-3  # slowest rate at which mean and variance are learned
SLACK: Final = 0.5  # spreads that a sample may be above the mean
WILDEST: Final = 3.0  # spreads that one sample adds at most
LIMIT: Final = 40.0  # of the sum
LEAST: Final = 0.05  # spread of a log score
GATHERED: Final = 32.0  # samples that show which series it is
PLAIN: Final = 4.0 / math.sqrt(GATHERED)  # spreads that the mean of a series must be off to have a part in it
CALM: Final = 8.0  # samples for which it stays told
AT_ONCE: Final = 32.0  # samples by which a change point is found

_KINDS: Final[tuple[AnomalyKind, ...]] = ("change_point", "drift")


class Moved(msgspec.Struct):
    """A series while a change is gathered."""

    scored: int = 0
    off: float = 0.0  # sum, in spreads from the mean that the bank knows
    value: float = 0.0  # sum
    expected: float = 0.0
    spread: float = 0.0


class Shift(NamedTuple):
    """A quiet change that was found, or is over."""

    sample: int
    event: int  # RAISE or CLEAR
    onset: int
    kind: AnomalyKind
    moved: list[tuple[int, Moved]]  # series, the farthest first; empty when it is over


class ShiftState(msgspec.Struct):
    """All state, as data."""

    rows: bytes = b""
    gathered: dict[int, dict[int, Moved]] = {}  # entity → series


@inlined
def _sum_up(row: Float64, ts: float, y: float) -> bool:
    """Take a sample. Returns whether the sum has passed its limit."""
    if row[SAMPLES] == 0.0:
        row[MEAN] = y
    spread = math.sqrt(row[VARIANCE] + LEAST * LEAST)
    off, warm = (y - row[MEAN]) / spread, row[SAMPLES] >= WARM
    if warm:
        if row[SUM] <= 0.0:
            row[SINCE], row[RISING] = ts, 0.0
        row[RISING] += 1.0
        row[SUM] = max(0.0, row[SUM] + min(off, WILDEST) - SLACK)
    if row[SUM] < LIMIT / 4.0:  # what may be the change is not learned
        rate = max(MEMORY, 1.0 / (row[SAMPLES] + 1.0))
        learned = spread * min(max(off, -WILDEST), WILDEST) if warm else y - row[MEAN]
        row[MEAN] += rate * learned
        row[VARIANCE] = (1.0 - rate) * (row[VARIANCE] + rate * learned * learned)
    row[SAMPLES] += 1.0
    return bool(row[SUM] >= LIMIT)


@inlined
def _moved(row: Float64, ts: float, score: float, over: float) -> int:
    """The event of a sample: QUIET; CONTINUE while a change is gathered, RAISE with the last of that; CLEAR."""
    if row[GATHER] > 0.0:
        row[GATHER] -= 1.0
        if row[GATHER] > 0.0:
            return CONTINUE
        row[OPEN] = CALM
        return RAISE
    row[AGE] = 0.0
    if row[OPEN] > 0.0:
        row[OPEN] -= 1.0
        return CLEAR if row[OPEN] == 0.0 else QUIET
    if over <= 0.0 and _sum_up(row, ts, math.log(1.0 + score)):
        row[GATHER], row[KIND] = GATHERED, 0.0 if row[RISING] <= AT_ONCE else 1.0
        row[SAMPLES], row[VARIANCE], row[SUM] = 0.0, 0.0, 0.0  # from here on what is new is what is ordinary
    return QUIET


@kernel
def follow(
    rows: Float64, given: tuple[NDArray[np.int32], Int64, NDArray[np.bool_]], scored: Scored, events: NDArray[np.int8],
    since: Float64,
) -> int:  # fmt: skip
    """Take a batch. given: entity, ts, and which entities are passed over. Returns how many `events` are not QUIET."""
    entities, stamps, passed = given
    count = 0
    for sample in range(len(entities)):
        events[sample] = QUIET
        at = entities[sample]
        if passed[at] or scored.over[sample] == -math.inf:  # the latter is a repeat, or late
            continue
        rows[at, AGE] += 1.0
        if rows[at, AGE] < EVERY and rows[at, GATHER] == 0.0:
            continue
        event = _moved(rows[at], float(stamps[sample]), scored.score[sample], scored.over[sample])
        if event != QUIET:
            events[sample], since[sample] = event, rows[at, SINCE]
            count += 1
    return count


class Shifts:
    """The entities of a partition."""

    def __init__(self, settings: DetectionSettings) -> None:
        self.settings = settings
        self.rows = np.zeros((0, FIELDS))
        self.known = 0  # entities that have a row
        self.off: NDArray[np.bool_] = np.zeros(0, np.bool_)  # by entity: settings say so
        self.gathered: dict[int, dict[int, Moved]] = {}
        self._events, self._since = np.zeros(0, np.int8), np.zeros(0)

    def take(self, batch: Batch, scored: Scored, forked: Collection[int]) -> Iterator[Shift]:
        """The quiet changes that a batch shows.

        forked: entities on which an incident is open, so that nothing is learned of them.
        """
        self._admit(batch.names)
        if len(self._events) < len(batch):
            self._events, self._since = np.zeros(len(batch), np.int8), np.zeros(len(batch))
        passed = self.off
        if forked:
            passed = self.off.copy()
            passed[[*forked]] = True
        if follow(self.rows, (batch.entity, batch.ts, passed), scored, self._events, self._since):
            for sample in np.flatnonzero(self._events[: len(batch)]).tolist():
                if (event := int(self._events[sample])) != CLEAR:
                    self._gather(batch, scored, sample)
                if event != CONTINUE:
                    yield self._told(int(batch.entity[sample]), sample, event)

    def _gather(self, batch: Batch, scored: Scored, sample: int) -> None:
        gathered = self.gathered.setdefault(int(batch.entity[sample]), {})
        for point in range(int(batch.start[sample]), int(batch.start[sample + 1])):
            value, expected, spread = (float(of[point]) for of in (batch.value, scored.expected, scored.spread))
            if spread > 0.0:
                moved = gathered.setdefault(int(batch.series[point]), Moved())
                moved.scored, moved.value = moved.scored + 1, moved.value + value
                moved.off += (value - expected) / spread
                moved.expected, moved.spread = expected, spread

    def _told(self, entity: int, sample: int, event: int) -> Shift:
        kind = _KINDS[int(self.rows[entity, KIND])]
        moved = sorted(self.gathered.pop(entity, {}).items(), key=lambda item: -abs(item[1].off / item[1].scored))
        return Shift(sample, event, int(self._since[sample]), kind, moved)

    def restart(self, entity: int) -> None:
        """Take what an entity did as ordinary from now on."""
        self.gathered.pop(entity, None)
        if entity < len(self.rows):
            self.rows[entity] = 0.0

    def reuse(self, reused: Reused) -> None:
        """Begin anew with entities whose numbers were given out again."""
        for entity in reused.entities:
            if entity < len(self.off):
                self.off[entity] = self.settings.of_entity("shifts", reused.names.entities[entity]) is False

    def forget(self, forgotten: Forgotten) -> None:
        """Forget the series and entities that have ended."""
        for entity in forgotten.entities:
            self.restart(entity)
        for series, entity in zip(forgotten.series.tolist(), forgotten.owner.tolist(), strict=True):
            self.gathered.get(entity, {}).pop(series, None)

    def dump(self) -> ShiftState:
        """All state, as data."""
        return ShiftState(self.rows[: self.known].astype("<f8").tobytes(), self.gathered)

    def load(self, kept: ShiftState) -> None:
        """Restore what `dump` returned."""
        self.rows = np.frombuffer(kept.rows, "<f8").reshape(-1, FIELDS).copy()
        self.known, self.off, self.gathered = len(self.rows), np.zeros(0, np.bool_), kept.gathered

    def _admit(self, names: Names) -> None:
        known = len(self.off)
        if known == len(names.entities):
            return
        self.known = len(names.entities)
        said = [self.settings.of_entity("shifts", entity) is False for entity in names.entities[known:]]
        self.off = np.concatenate((self.off, np.array(said, np.bool_)))
        if len(self.rows) < len(names.entities):
            longer = np.zeros((max(len(names.entities), 2 * len(self.rows)), FIELDS))
            longer[: len(self.rows)] = self.rows
            self.rows = longer
