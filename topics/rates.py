"""Counters become rates and histograms quantiles, from one sample of a series to the next.

A counter that fell was reset: there is no rate at that moment. A histogram's quantiles are of what it counted since the
moment before, between two bounds in proportion, as Prometheus' `histogram_quantile` has them; at a moment without
anything new it has a rate alone. What is sent again or late changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from topics.batch import Batch, Float64, Forgotten, Int32, Int64, Names, Reused
from topics.kernel import inlined, kernel
from topics.kinds import BUCKET, COUNTER, FIGURES, PLAIN, meaning
from topics.moments import longer

RATE, MEAN = 0, 4  # places in `FIGURES`; quantiles are between them
QUANTILES: Final = np.array([0.5, 0.95, 0.99])
NONE: Final = -1
FEW: Final = 256  # series


class Cells(NamedTuple):
    """What is known of each series, and of each histogram at the number of its `rate`."""

    kind: NDArray[np.int8]
    was_at: Int64  # stamp of the last value, ms; 0: none
    was: Float64
    at: Int64  # of a bucket: the same of the sample that is taken now; 0 between samples
    now: Float64
    grown: Float64  # of a bucket: what was counted up to its bound since
    bound: Float64
    of: Int32  # of a bucket: its histogram
    after: Int32  # of a bucket: 1 + the one with the next bound; of a histogram: 1 + the first bucket
    total: Int32  # of a histogram: 1 + its sum
    figures: Int32  # (series, 5) of a histogram: the numbers of `FIGURES`
    touched: Int32  # histograms of the sample that is taken now


class Put(NamedTuple):
    """Room for samples as they are given on."""

    start: Int32
    series: Int32
    value: Float64
    kept: NDArray[np.bool_]  # (m,) samples with a value
    total: Int64  # (2,) samples, values


@inlined
def _grew(cells: Cells, series: int, stamp: int, value: float) -> float:
    """What a counter grew by a second; below 0: it is not known."""
    before, was = cells.was_at[series], cells.was[series]
    if stamp <= before:
        return -1.0
    cells.was_at[series], cells.was[series] = stamp, value
    return (value - was) * 1000.0 / (stamp - before) if before > 0 else -1.0


@inlined
def _emit(cells: Cells, histogram: int, figure: int, value: float, put: Put) -> None:
    series = cells.figures[histogram, figure]
    if series >= 0 and np.isfinite(value):
        put.series[put.total[1]], put.value[put.total[1]] = series, value
        put.total[1] += 1


@inlined
def _grown(cells: Cells, histogram: int, stamp: int) -> int:
    """Find how many were counted up to each bound since the moment before: the last bucket, -1 when it is not known.

    A bound that is new had as many below it as the one before it.
    """
    last = NONE
    series = cells.after[histogram] - 1
    while series >= 0:
        last = series if cells.at[series] == stamp else last
        series = cells.after[series] - 1
    if last < 0 or not np.isinf(cells.bound[last]) or cells.was_at[last] == 0:
        return NONE
    before, was, most = cells.was_at[last], 0.0, 0.0
    series = cells.after[histogram] - 1
    while series >= 0:
        if cells.was_at[series] == before:
            was = max(was, cells.was[series])
        if cells.at[series] == stamp:
            grown = cells.now[series] - was
            if grown < 0.0:
                return NONE
            most = max(most, grown)
            cells.grown[series] = most
        series = cells.after[series] - 1
    return last


@inlined
def _quantile(cells: Cells, histogram: int, stamp: int, rank: float) -> float:
    """The value that `rank` of what was counted are below; NaN when no bound is known."""
    low, counted, first = 0.0, 0.0, True
    series = cells.after[histogram] - 1
    while series >= 0:
        if cells.at[series] == stamp:
            bound, grown = cells.bound[series], cells.grown[series]
            if grown >= rank:
                if np.isinf(bound):
                    return np.nan if first else float(low)
                if first and bound <= 0.0:
                    return float(bound)
                share = (rank - counted) / (grown - counted) if grown > counted else 1.0
                return float(low + (bound - low) * share)
            low, counted, first = bound, grown, False
        series = cells.after[series] - 1
    return np.nan


@inlined
def _histogram(cells: Cells, histogram: int, stamp: int, put: Put) -> None:
    """Give on what follows from a histogram at a moment, and keep its buckets."""
    last = _grown(cells, histogram, stamp)
    total = cells.total[histogram] - 1
    if last >= 0:
        grown, before = cells.grown[last], cells.was_at[last]
        _emit(cells, histogram, RATE, grown * 1000.0 / (stamp - before), put)
        if grown > 0.0:
            for nth in range(len(QUANTILES)):
                _emit(cells, histogram, 1 + nth, _quantile(cells, histogram, stamp, QUANTILES[nth] * grown), put)
            if total >= 0 and cells.at[total] == stamp and cells.was_at[total] == before:
                _emit(cells, histogram, MEAN, (cells.now[total] - cells.was[total]) / grown, put)
    if total >= 0 and cells.at[total] == stamp:
        cells.was_at[total], cells.was[total], cells.at[total] = stamp, cells.now[total], 0
    series = cells.after[histogram] - 1
    while series >= 0:
        if cells.at[series] == stamp:
            cells.was_at[series], cells.was[series], cells.at[series] = stamp, cells.now[series], 0
        series = cells.after[series] - 1
    cells.at[histogram] = 0


@kernel
def convert(cells: Cells, ts: Int64, given: tuple[Int32, Int32, Float64], put: Put) -> None:
    """Give on what follows from samples. given: start (m + 1,), series (n,) and value (n,)."""
    start, series, value = given
    for sample in range(len(ts)):
        stamp, first, histograms = ts[sample], put.total[1], 0
        for point in range(start[sample], start[sample + 1]):
            number = series[point]
            kind = cells.kind[number]
            if kind == PLAIN:
                put.series[put.total[1]], put.value[put.total[1]] = number, value[point]
                put.total[1] += 1
            elif kind == COUNTER:
                grew = _grew(cells, number, stamp, value[point])
                if grew >= 0.0:
                    put.series[put.total[1]], put.value[put.total[1]] = number, grew
                    put.total[1] += 1
            elif kind == BUCKET and stamp > cells.was_at[number] and cells.of[number] >= 0 and cells.at[number] == 0:
                cells.at[number], cells.now[number] = stamp, value[point]
                histogram = cells.of[number]
                if cells.at[histogram] == 0:
                    cells.at[histogram] = stamp
                    cells.touched[histograms] = histogram
                    histograms += 1
        for nth in range(histograms):
            _histogram(cells, cells.touched[nth], stamp, put)
        put.kept[sample] = put.total[1] > first
        if put.kept[sample]:
            put.total[0] += 1
            put.start[put.total[0]] = put.total[1]


class RatesState(msgspec.Struct, array_like=True):
    """All state, as data, little-endian."""

    series: bytes = b""  # int32, ascending: counters and buckets that have a value
    at: bytes = b""  # int64
    value: bytes = b""  # float64


class Rates:
    """The counters and histograms of a partition."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.n_series = 0
        self.some = 0  # counters and buckets
        wide, narrow = np.zeros(0, np.int64), np.zeros(0, np.int32)
        self.cells = Cells(
            np.zeros(0, np.int8), wide, np.zeros(0), wide, np.zeros(0), np.zeros(0), np.zeros(0), narrow, narrow,
            narrow, np.zeros((0, len(FIGURES)), np.int32), narrow,
        )  # fmt: skip

    def take(self, batch: Batch) -> Batch:
        """A batch with rates and figures in the place of counters and buckets. Samples without a value are left out."""
        self.admit(batch.names)
        if not self.some or not self.cells.kind[batch.series].any():
            return batch
        samples, values = len(batch), 2 * len(batch.value)
        put = Put(
            np.zeros(samples + 1, np.int32), np.empty(values, np.int32), np.empty(values), np.empty(samples, np.bool_),
            np.zeros(2, np.int64),
        )  # fmt: skip
        convert(self.cells, batch.ts, (batch.start, batch.series, batch.value), put)
        kept, (samples, values) = put.kept, put.total.tolist()
        return replace(
            batch, entity=batch.entity[kept], ts=batch.ts[kept], start=put.start[: samples + 1],
            series=put.series[:values], value=put.value[:values], offset=batch.offset[kept],
            late=None if batch.late is None else batch.late[kept],
        )  # fmt: skip

    def admit(self, names: Names) -> None:
        """Know the series that `names` has given out since."""
        known, wanted = self.n_series, len(names.series)
        if known == wanted:
            return
        if wanted > len(self.cells.kind):
            self.cells = Cells._make(longer(column, wanted) for column in self.cells)
        self.n_series = wanted
        self._open(names, range(known, wanted))

    def reuse(self, reused: Reused) -> None:
        """Begin anew with series whose numbers were given out again."""
        known = self.n_series
        self.admit(reused.names)
        self._open(reused.names, [number for number in reused.series if number < known])

    def _open(self, names: Names, numbers: Sequence[int]) -> None:
        """Know some series by their names. What follows from a histogram was given out with its first bucket."""
        kinds, at = _kinds(names, numbers), np.array(numbers, np.int64)
        self.cells.kind[at] = kinds
        self.some += int(np.isin(kinds, (COUNTER, BUCKET)).sum())
        for number in at[kinds == BUCKET].tolist():
            self._join(names, number)

    def _join(self, names: Names, number: int) -> None:
        """Put a bucket into its histogram, in the order of their bounds."""
        cells, own = self.cells, meaning(names.series.sent(number))
        figures = names.figures(number)
        histogram = cells.of[number] = figures[RATE]
        if histogram < 0:
            return
        cells.figures[histogram], cells.bound[number] = figures, own.bound
        if np.isnan(own.bound):
            cells.total[histogram] = number + 1
            return
        place = histogram
        while cells.after[place] and cells.bound[cells.after[place] - 1] < own.bound:
            place = int(cells.after[place]) - 1
        cells.after[number], cells.after[place] = cells.after[place], number + 1

    def forget(self, forgotten: Forgotten) -> None:
        """Forget the series that have ended."""
        self.admit(forgotten.names)
        cells, ended = self.cells, forgotten.series
        for number in ended[cells.kind[ended] == BUCKET].tolist():
            self._leave(number)
        self.some -= int(np.isin(cells.kind[ended], (COUNTER, BUCKET)).sum())
        for column in cells[:-1]:
            column[ended] = 0

    def _leave(self, number: int) -> None:
        cells, place = self.cells, int(self.cells.of[number])
        if place < 0:
            return
        if cells.total[place] == number + 1:
            cells.total[place] = 0
            return
        while cells.after[place]:
            if cells.after[place] == number + 1:
                cells.after[place] = cells.after[number]
                return
            place = int(cells.after[place]) - 1

    def renew(self, names: Names, anew: Sequence[int]) -> None:
        """Know by what packs say now which series are counters; those of `anew` begin anew."""
        self.admit(names)
        self.cells.was_at[np.array(anew, np.int64)] = 0
        self.load(names, self.dump())

    def dump(self) -> RatesState:
        """All state, as data."""
        series = np.flatnonzero(self.cells.was_at).astype("<i4")
        at, value = self.cells.was_at[series], self.cells.was[series]
        return RatesState(series.tobytes(), at.astype("<i8").tobytes(), value.astype("<f8").tobytes())

    def load(self, names: Names, kept: RatesState) -> None:
        """Restore what `dump` returned, of the series of `names`."""
        self.clear()
        self.admit(names)
        series = np.frombuffer(kept.series, "<i4")
        self.cells.was_at[series] = np.frombuffer(kept.at, "<i8")
        self.cells.was[series] = np.frombuffer(kept.value, "<f8")


def _kinds(names: Names, numbers: Sequence[int]) -> NDArray[np.int8]:
    """What each series is by its name. Of many, each name is looked at once: a partition may have millions."""
    if len(numbers) < FEW:
        return np.array([names.meanings.meaning(names.series.sent(number)).kind for number in numbers], np.int8)
    by_place = np.array([names.meanings.meaning(name).kind for name in names.series.metrics], np.int8)
    place = np.array(names.series.metric, np.int32)[np.array(numbers, np.int64)]
    return np.where(place >= 0, by_place[place], np.int8(PLAIN))
