"""How often the samples of an entity come: the median of the last three gaps between their stamps.

It is known from the second sample on, and one gap that is longer or shorter than the others changes nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from topics.batch import Batch, Float64, Forgotten, Int32, Int64, Names
from topics.kernel import inlined, kernel

NEWEST, FIRST, SECOND, THIRD = range(4)  # newest stamp; the last gaps, in turn
FIELDS: Final = 4


@inlined
def _median(row: Float64) -> float:
    low, high = min(row[FIRST], row[SECOND]), max(row[FIRST], row[SECOND])
    return float(max(low, min(high, row[THIRD])))


@kernel
def follow(rows: Float64, entities: Int32, stamps: Int64, period: Int64) -> None:
    """Take samples, and write into `period` (m,) how many milliseconds lie between those of each entity; 0: unknown."""
    for sample in range(len(entities)):
        row, ts = rows[entities[sample]], float(stamps[sample])
        gap = ts - row[NEWEST]
        if gap > 0.0 and row[NEWEST] > 0.0:
            if row[FIRST] == 0.0:
                row[FIRST] = row[SECOND] = row[THIRD] = gap
            else:
                row[FIRST], row[SECOND], row[THIRD] = row[SECOND], row[THIRD], gap
        if gap > 0.0:
            row[NEWEST] = ts
        period[sample] = int(_median(row))


class Pace:
    """The sample periods of a partition's entities."""

    def __init__(self) -> None:
        self.rows: Float64 = np.zeros((0, FIELDS))

    def take(self, batch: Batch) -> Int64:
        """The period (ms) of the entity of each sample (m,), as it is known at that sample; 0: not known."""
        self._admit(batch.names)
        period = np.zeros(len(batch), np.int64)
        follow(self.rows, batch.entity, batch.ts, period)
        return period

    def _admit(self, names: Names) -> None:
        if (wanted := len(names.entities)) > len(self.rows):
            longer = np.zeros((max(wanted, 2 * len(self.rows)), FIELDS))
            longer[: len(self.rows)] = self.rows
            self.rows = longer

    def forget(self, forgotten: Forgotten) -> None:
        """Forget the entities that have ended."""
        self.rows[[at for at in forgotten.entities if at < len(self.rows)]] = 0.0

    def dump(self) -> bytes:
        """All state, as data: without the room at the end, which depends on how the stream was cut."""
        used = np.flatnonzero(self.rows.any(axis=1))
        return self.rows[: used[-1] + 1 if len(used) else 0].astype("<f8").tobytes()

    def load(self, kept: bytes) -> None:
        """Restore what `dump` returned."""
        self.rows = np.frombuffer(kept, "<f8").reshape(-1, FIELDS).copy()
