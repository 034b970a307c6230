"""Absence of data: what used to come has stopped, while others of its partition go on.

Time is the partition's own: the newest stamp so far. So a worker that lags, or a partition that stands still as a
whole, makes nothing absent. At each step of that clock the longest gap between arrivals is learned for each entity, and
for each series where settings ask for it; a silence several times as long is absence, and what comes back ends it. A
stamp far ahead moves the clock for everybody at once: that is why silence must also have lasted for some steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.detection.settings import DetectionSettings
from topics.batch import Batch, Float64, Forgotten, Int32, Names, Reused
from topics.kernel import inlined, kernel

# of an entity or a series: newest stamp, the clock when it last came, longest gap, times it came, steps without, absent
NEWEST, COUNTED, CAME, GAP, TIMES, STEPS, ABSENT = range(7)
FIELDS: Final = 7

STEP_MS: Final = 2_000.0  # of the partition's clock
KNOWN: Final = 30.0  # steps in which something came before its silence means anything
LONGER: Final = 4.0  # times its longest gap ...
FEWEST: Final = 4.0  # ... and so many steps of the clock at least
FADES: Final = 0.998  # of the longest gap, each time it comes
WHOLE: Final = -1  # no series: the entity


class Lost(NamedTuple):
    """A change of what is absent of an entity."""

    sample: int  # which moved the clock
    entity: int
    absent: list[int]  # series, or WHOLE; empty: all has come back
    onset: int  # stamp of the last value before the first silence of this alarm
    began: bool
    silent_ms: float  # of the first of `absent`, its usual gap, and the silence from which it is absent
    gap_ms: float
    limit_ms: float


class AbsenceState(msgspec.Struct):
    """All state, as data."""

    clock: float = 0.0
    whole: bytes = b""
    each: bytes = b""
    open: list[tuple[int, int, list[int]]] = []  # entity, onset, what is absent


@inlined
def _arrive(rows: Float64, at: int, ts: float) -> None:
    rows[at, NEWEST] = max(rows[at, NEWEST], ts)


@inlined
def _step(rows: Float64, clock: float, offset: int, changed: Int32, count: int) -> int:
    """Take a step of the clock. Numbers (plus `offset`) of what became absent or came back are added to `changed`."""
    for at in range(len(rows)):
        if rows[at, NEWEST] == 0.0:
            continue
        if rows[at, NEWEST] > rows[at, COUNTED]:
            gap = clock - rows[at, CAME] if rows[at, TIMES] > 0.0 else 0.0
            rows[at, GAP] = max(min(gap, 2.0 * rows[at, GAP] + 60_000.0), FADES * rows[at, GAP])
            rows[at, COUNTED], rows[at, CAME], rows[at, STEPS] = rows[at, NEWEST], clock, 0.0
            rows[at, TIMES] += 1.0
            back, gone = rows[at, ABSENT] > 0.0, False
        else:
            rows[at, STEPS] += 1.0
            silent = clock - rows[at, CAME] > LONGER * max(rows[at, GAP], STEP_MS)
            back = False
            gone = silent and rows[at, STEPS] >= FEWEST and rows[at, TIMES] >= KNOWN and rows[at, ABSENT] == 0.0
        if back or gone:
            rows[at, ABSENT] = 1.0 if gone else 0.0
            changed[count] = at + offset
            count += 1
    return count


@kernel
def follow(
    clock: Float64, whole: Float64, each: Float64, given: tuple[Int32, NDArray[np.int64], Int32, Int32], first: int,
    out: tuple[NDArray[np.bool_], Int32],
) -> tuple[int, int]:  # fmt: skip
    """Take samples from `first` on, up to one at which something changed. Returns the next one, and how many changed.

    clock: (1,); given: entity, ts, start, series of a batch; out: which entities are followed by series, and room for
    numbers: an entity's own, or its series' after all entities'.
    """
    entity, stamps, start, series = given
    chosen, changed = out
    for sample in range(first, len(entity)):
        ts = float(stamps[sample])
        _arrive(whole, entity[sample], ts)
        if chosen[entity[sample]]:
            for point in range(start[sample], start[sample + 1]):
                _arrive(each, series[point], ts)
        if ts >= clock[0] + STEP_MS:
            clock[0] = ts
            count = _step(whole, ts, 0, changed, 0)
            count = _step(each, ts, len(whole), changed, count)
            if count > 0:
                return sample + 1, count
    return len(entity), 0


class Absence:
    """The clock of a partition, and what is absent in it."""

    def __init__(self, settings: DetectionSettings) -> None:
        self.settings = settings
        self.clock = np.zeros(1)
        self.whole = self.each = np.zeros((0, FIELDS))
        self.open: dict[int, tuple[int, list[int]]] = {}  # entity → onset, what is absent
        self.chosen: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._room = np.zeros(0, np.int32)

    def take(self, batch: Batch) -> Iterator[Lost]:
        """What became absent in a batch, or came back."""
        self._admit(batch.names)
        given = batch.entity, batch.ts, batch.start, batch.series
        at = 0
        while at < len(batch):
            at, count = follow(self.clock, self.whole, self.each, given, at, (self.chosen, self._room))
            if count:
                yield from self._changed(batch.names, at - 1, self._room[:count].tolist())

    def _admit(self, names: Names) -> None:
        known = len(self.chosen)
        if known < len(names.entities):
            self.chosen = np.concatenate((self.chosen, np.zeros(len(names.entities) - known, np.bool_)))
            self.whole = _longer(self.whole, len(names.entities))
            self._choose(names, range(known, len(names.entities)))
        if self.chosen.any() and len(self.each) < len(names.series):
            self.each = _longer(self.each, len(names.series))
        if len(self._room) < len(self.whole) + len(self.each):
            self._room = np.zeros(len(self.whole) + len(self.each), np.int32)

    def _choose(self, names: Names, entities: Iterable[int]) -> None:
        for at in entities:
            chosen = self.settings.of_entity("absence", names.entities[at]) if names.entities[at] else None
            self.chosen[at] = chosen == "series"
            if chosen == "off":
                self.whole[at, TIMES] = -1e18  # who is not followed at all never becomes known

    def reuse(self, reused: Reused) -> None:
        """Begin anew with entities whose numbers were given out again."""
        self._choose(reused.names, [at for at in reused.entities if at < len(self.chosen)])

    def forget(self, forgotten: Forgotten) -> Iterator[Lost]:
        """Forget what has ended. Yields the end of each absence of which nothing is left."""
        series = set(forgotten.series.tolist())
        for entity in sorted(self.open.keys() & forgotten.touched):
            onset, absent = self.open.pop(entity)
            left = [] if entity in forgotten.entities else [what for what in absent if what not in series]
            if left:
                self.open[entity] = onset, left
                continue
            first = self.whole[entity] if absent[0] == WHOLE else self.each[absent[0]]
            gap = float(max(first[GAP], STEP_MS))
            yield Lost(0, entity, [], onset, False, float(self.clock[0] - first[CAME]), gap, LONGER * gap)
        self.whole[[at for at in forgotten.entities if at < len(self.whole)]] = 0.0
        self.each[forgotten.series[forgotten.series < len(self.each)]] = 0.0

    def _changed(self, names: Names, sample: int, changed: list[int]) -> Iterator[Lost]:
        entities = len(self.whole)
        found: dict[int, list[int]] = {}
        for number in changed:
            owner, what = (
                (number, WHOLE) if number < entities else (names.series[number - entities][0], number - entities)
            )
            found.setdefault(owner, []).append(what)
        for entity, numbers in sorted(found.items()):
            onset, before = self.open.pop(entity, (0, []))
            rows = {what: self.whole[entity] if what == WHOLE else self.each[what] for what in (*before, *numbers)}
            absent = sorted(what for what, row in rows.items() if row[ABSENT] > 0.0)
            if not absent and not before:
                continue
            first = rows[absent[0] if absent else min(rows)]
            onset = onset or int(first[COUNTED])
            if absent:
                self.open[entity] = onset, absent
            gap = float(max(first[GAP], STEP_MS))
            yield Lost(
                sample, entity, absent, onset, not before, float(self.clock[0] - first[CAME]), gap, LONGER * gap
            )  # fmt: skip

    def dump(self) -> AbsenceState:
        """All state, as data."""
        whole, each = (_used(rows).astype("<f8").tobytes() for rows in (self.whole, self.each))
        return AbsenceState(
            float(self.clock[0]), whole, each, [(e, o, list(a)) for e, (o, a) in sorted(self.open.items())]
        )

    def load(self, kept: AbsenceState) -> None:
        """Restore what `dump` returned."""
        self.clock[0] = kept.clock
        self.whole, self.each = (np.frombuffer(r, "<f8").reshape(-1, FIELDS).copy() for r in (kept.whole, kept.each))
        self.open = {entity: (onset, absent) for entity, onset, absent in kept.open}
        self.chosen = np.zeros(0, np.bool_)


def _used(rows: Float64) -> Float64:
    """Without the room at the end, which depends on how the stream was cut."""
    return rows[: int(np.flatnonzero(rows.any(axis=1))[-1]) + 1] if rows.any() else rows[:0]


def _longer(rows: Float64, wanted: int) -> Float64:
    if wanted <= len(rows):
        return rows
    longer = np.zeros((max(wanted, 2 * len(rows)), FIELDS))
    longer[: len(rows)] = rows
    return longer
