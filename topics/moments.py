"""Samples of one entity and moment are put together, and stamps are held against arrival.

Some senders write a message a metric. What they measured at one moment is held until it has as many series as the
moments before had, or a later one begins, or other messages of the partition arrived a second after its first part. Who
sends whole samples is never held. All follows from the log alone, so it is the same however the log is cut.

A stamp ahead of its arrival is taken to be its arrival; from the second one on, the entity's clock is ahead, and its
stamps are shifted by as much. Data that comes much later than that of its entity used to is marked as late; when that,
or stamps that go back, goes on for a minute and does not catch up, the entity's clock is what changed, and where it was
set back, its stamps are shifted too. What is sent again is shifted alike, so that it is known as old.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from topics.assembly import COUNT, ENTITIES, FIELDS, HELD, PARTED, VALUES, Cells, Given, Put, assemble, follow, give
from topics.batch import Batch, Forgotten, Int64, Names

Cell = TypeVar("Cell", bound=np.generic)


class MomentsState(msgspec.Struct, array_like=True):
    """All state, as data, little-endian."""

    rows: bytes = b""  # int64
    queue: bytes = b""
    known: bytes = b""  # int32: series that came in parts, ascending, and of these:
    last: bytes = b""
    value: bytes = b""  # float64
    after: bytes = b""  # int32


class Moments:
    """What is held of the entities of a partition."""

    def __init__(self) -> None:
        self.cells: Cells
        self.load(MomentsState())

    @property
    def held(self) -> int:
        """How many entities something is held of."""
        return int(self.cells.queue[ENTITIES])

    def take(self, batch: Batch, arrived: Int64) -> Batch:
        """What of a batch is whole, with what was held before. arrived: (m,) at the broker, ms; 0: unknown."""
        self._admit(len(batch.names.entities), 0)
        cells = self.cells
        given = Given(batch.entity, batch.ts, batch.start, batch.series, batch.value, batch.offset, arrived)
        ts, late = np.empty(len(batch), np.int64), np.empty(len(batch), np.bool_)
        first = follow(cells, given, ts, late)
        if first < len(batch):
            return self._assembled(batch, given, first, (ts, late))
        said = late if late.any() else None
        return batch if said is None and np.array_equal(ts, batch.ts) else replace(batch, ts=ts, late=said)

    def _assembled(self, batch: Batch, given: Given, first: int, clock: tuple[Int64, NDArray[np.bool_]]) -> Batch:
        self._admit(len(batch.names.entities), len(batch.names.series))
        put = self._room(len(batch), len(batch.value))
        low = int(batch.start[first])
        put.entity[:first], put.ts[:first], put.late[:first] = batch.entity[:first], clock[0][:first], clock[1][:first]
        put.offset[:first], put.start[: first + 1] = batch.offset[:first], batch.start[: first + 1]
        put.series[:low], put.value[:low] = batch.series[:low], batch.value[:low]
        put.total[:] = first, low
        assemble(self.cells, given, first, put)
        return self._put(batch, put)

    def give(self, batch: Batch, entities: Iterable[int]) -> Batch:
        """What is held of some entities, as a batch like `batch`, which may be empty."""
        put = self._room(0, 0)
        for entity in entities:
            if entity < len(self.cells.rows) and self.cells.rows[entity, HELD] > 0:
                give(self.cells, entity, put)
        return self._put(batch, put)

    def _room(self, samples: int, values: int) -> Put:
        samples, values = samples + int(self.cells.queue[ENTITIES]), values + int(self.cells.queue[VALUES])
        return Put(
            np.empty(samples, np.int32), np.empty(samples, np.int64), np.zeros(samples + 1, np.int32),
            np.empty(values, np.int32), np.empty(values), np.empty(samples, np.int64), np.empty(samples, np.bool_),
            np.zeros(2, np.int64),
        )  # fmt: skip

    def _put(self, batch: Batch, put: Put) -> Batch:
        samples, values = put.total.tolist()
        late = put.late[:samples]
        return replace(
            batch, entity=put.entity[:samples], ts=put.ts[:samples], start=put.start[: samples + 1],
            series=put.series[:values], value=put.value[:values], offset=put.offset[:samples],
            late=late if late.any() else None,
        )  # fmt: skip

    def _admit(self, entities: int, series: int) -> None:
        cells = self.cells
        if entities > len(cells.rows) or series > len(cells.last):
            self.cells = cells._replace(
                rows=longer(cells.rows, entities), last=longer(cells.last, series), value=longer(cells.value, series),
                after=longer(cells.after, series),
            )  # fmt: skip

    def forget(self, forgotten: Forgotten) -> None:
        """Forget the series and entities that have ended; what is held of them is given on before, or dropped."""
        touched = [entity for entity in sorted(forgotten.touched) if entity < len(self.cells.rows)]
        self.give(nothing(forgotten.names), touched)
        self.cells.last[forgotten.series[forgotten.series < len(self.cells.last)]] = 0
        gone = [entity for entity in forgotten.entities if entity < len(self.cells.rows)]
        self.cells.queue[COUNT] -= int(self.cells.rows[gone, PARTED].sum())
        self.cells.rows[gone] = 0

    def dump(self) -> MomentsState:
        """All state, as data."""
        cells = self.cells
        used, known = np.flatnonzero(cells.rows.any(axis=1)), np.flatnonzero(cells.last)
        rows = cells.rows[: int(used[-1]) + 1] if len(used) else cells.rows[:0]
        return MomentsState(
            rows.astype("<i8").tobytes(), cells.queue.astype("<i8").tobytes(), known.astype("<i4").tobytes(),
            cells.last[known].astype("<i8").tobytes(), cells.value[known].astype("<f8").tobytes(),
            cells.after[known].astype("<i4").tobytes(),
        )  # fmt: skip

    def load(self, kept: MomentsState) -> None:
        """Restore what `dump` returned."""
        known = np.frombuffer(kept.known, "<i4")
        most = int(known[-1]) + 1 if len(known) else 0
        self.cells = Cells(
            np.frombuffer(kept.rows, "<i8").reshape(-1, FIELDS).astype(np.int64), np.zeros(most, np.int64),
            np.zeros(most), np.zeros(most, np.int32), np.zeros(5, np.int64),
        )  # fmt: skip
        if kept.queue:
            self.cells.queue[:] = np.frombuffer(kept.queue, "<i8")
        self.cells.last[known] = np.frombuffer(kept.last, "<i8")
        self.cells.value[known] = np.frombuffer(kept.value, "<f8")
        self.cells.after[known] = np.frombuffer(kept.after, "<i4")


def nothing(names: Names, topic: str = "", partition: int = 0) -> Batch:
    """A batch without samples."""
    narrow, wide = np.zeros(0, np.int32), np.zeros(0, np.int64)
    return Batch(topic, partition, names, narrow, wide, np.zeros(1, np.int32), narrow, np.zeros(0), wide)


def longer(cells: NDArray[Cell], wanted: int) -> NDArray[Cell]:
    """`cells`, or a longer copy with zeros at the end."""
    if wanted <= len(cells):
        return cells
    more = np.zeros((max(wanted, 2 * len(cells)), *cells.shape[1:]), cells.dtype)
    more[: len(cells)] = cells
    return more
