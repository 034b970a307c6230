"""Seasons: what is usual at an hour of the day or week is subtracted from a series before the bank scores it.

The mean of each hour is folded into a profile when the hour is over, so that how often a series is sampled does not
matter. A profile counts only where it is proven: hours that were there before are nearer to it than to the mean of all
hours, by half of their squares; then it comes into force little by little, and what the bank took for ordinary is soon
forgotten. Between two hours it is a straight line. An hour in which an incident is open is not learned. Hours are those
of UTC. 300 bytes a series for a day, 1.5 kB for a week, for the first `MOST` of a partition: so only who asks has it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.detection import columns
from models.detection.bank import FIRST_TAILS, TAILS, Bank
from models.detection.settings import DetectionSettings
from topics.batch import Batch, Float64, Forgotten, Int32, Int64, Names, Reused
from topics.kernel import kernel

HOUR_MS: Final = 3_600_000.0
PERIODS: Final = {"day": 24, "week": 168}
MOST: Final = 20_000

# columns of a series: hours of its profile, where that begins; newest stamp; the hour that goes on, sum and number of
# its values; mean of all hours, the first hour, hours that are in the mean; hours held against the profile, their mean
# squares off it and off the mean of all; the share of it that is in force, and whether it has been all of it
BINS, FIRST, NEWEST, HOUR, SUM, COUNT, MEAN, BEGAN, HOURS, HELD, RESIDUE, PLAIN, WEIGHT, PROVEN = range(14)
FIELDS: Final = 14

USEFUL: Final = 0.5  # of the squares off the mean that may be left
FRESH: Final = 16.0  # samples that a series rests on from then on
RECENT: Final = 32.0  # samples that the boundary of its entity rests on
EAGER: Final = 0.05  # most that the share in force changes in an hour
REMEMBERED: Final = 4.0  # periods
CLIP: Final = 4.0  # deviations from its profile at which what is learned of an hour is clipped


class SeasonState(msgspec.Struct):
    """All state, as data: series in the order of the rows, the rows, their profiles."""

    series: list[int] = []
    rows: bytes = b""
    bins: bytes = b""


@kernel
def _fold(row: Float64, bins: Float64) -> None:
    """An hour is over."""
    mean, size, at = row[SUM] / row[COUNT], row[BINS], int(row[FIRST] + row[HOUR] % row[BINS])
    usual, slow = bins[at], 0.5 / size
    if math.isnan(usual):
        bins[at] = mean
    else:
        off, plain = mean - usual, mean - row[MEAN]
        if row[HELD] > size:
            limit, widest = CLIP * math.sqrt(row[RESIDUE]), CLIP * math.sqrt(row[PLAIN])
            off, plain = min(max(off, -limit), limit), min(max(plain, -widest), widest)  # a fault proves no season
        row[HELD] += 1.0
        rate = max(slow, 1.0 / row[HELD])
        row[RESIDUE] += rate * (off * off - row[RESIDUE])
        row[PLAIN] += rate * (plain * plain - row[PLAIN])
        bins[at] = usual + off / min(REMEMBERED, (row[HOUR] - row[BEGAN]) // size + 1.0)
    row[MEAN] += max(slow, 1.0 / (row[HOURS] + 1.0)) * (mean - row[MEAN])
    row[HOURS] += 1.0
    proven = row[HELD] >= max(24.0, 0.25 * size) and row[RESIDUE] < USEFUL * row[PLAIN]
    wanted = 1.0 if proven else 0.0
    row[WEIGHT] += min(max(wanted - row[WEIGHT], -EAGER), EAGER)
    row[SUM] = row[COUNT] = 0.0


@kernel
def _usual(row: Float64, bins: Float64, hours: float) -> float:
    """How far the profile is from the mean of all hours now; 0 where it does not know."""
    low = math.floor(hours - 0.5)
    part, first, size = hours - 0.5 - low, int(row[FIRST]), row[BINS]
    before, after = bins[first + int(low % size)], bins[first + int((low + 1.0) % size)]
    if math.isnan(before) or math.isnan(after):
        return 0.0
    return float((1.0 - part) * before + part * after - row[MEAN])


@kernel
def follow(
    rows: Float64, bins: Float64, given: tuple[Int32, Int64, Int32, Int32], places: tuple[Int32, NDArray[np.bool_]],
    first: int, value: Float64,
) -> int:  # fmt: skip
    """Take the season off `value`, in place, then learn; from sample `first` on, up to one that proves a profile.

    given: entity, ts, start, series of a batch; places: the row of each series or -1, and entities not learned. The
    next sample.
    """
    entity, stamps, start, series = given
    place, still = places
    for sample in range(first, len(entity)):
        proven = False
        for point in range(start[sample], start[sample + 1]):
            at = place[series[point]]
            if at >= 0:
                seen, row = value[point], rows[at]
                if row[WEIGHT] > 0.0:
                    value[point] -= row[WEIGHT] * _usual(row, bins, stamps[sample] / HOUR_MS)
                if stamps[sample] > row[NEWEST]:  # else a repeat, or late
                    row[NEWEST] = stamps[sample]
                    proven |= _learn(row, bins, math.floor(stamps[sample] / HOUR_MS), seen, not still[entity[sample]])
        if proven:
            return sample + 1
    return len(entity)


@kernel
def _learn(row: Float64, bins: Float64, hour: float, value: float, learn: bool) -> bool:
    """Take a value; whether the profile is all in force now, for the first time."""
    if hour > row[HOUR]:
        if row[COUNT] > 0.0:
            _fold(row, bins)
        row[HOUR] = hour
        row[BEGAN] = hour if row[BEGAN] == 0.0 else row[BEGAN]
    if learn:
        row[SUM] += value
        row[COUNT] += 1.0
    if row[WEIGHT] < 1.0 or row[PROVEN] > 0.0:
        return False
    row[PROVEN] = 1.0
    return True


def renew(bank: Bank, names: Names, series: list[int]) -> None:
    """What the bank knows of series was learned with their season on them: it rests on little from here on."""
    rows = bank.rows(series)
    rows[:, columns.COUNT] = np.minimum(rows[:, columns.COUNT], FRESH)
    rows[:, columns.TAIL] = 3.0
    bank.put(series, rows)
    entities = sorted({names.series[at][0] for at in series})
    for column in (columns.SAMPLES, columns.RAISED_SAMPLE):
        bank.entities[entities, column] = np.minimum(bank.entities[entities, column], RECENT)
    bank.entities[np.ix_(entities, (columns.HITS, columns.NARROW_HITS))] = 0.0
    bank.entities[np.ix_(entities, TAILS)] = FIRST_TAILS


class Season:
    """The profiles of a partition's series."""

    def __init__(self, settings: DetectionSettings) -> None:
        self.settings = settings
        self.chosen = settings.says("season")
        self.series: list[int] = []  # by row
        self.rows = np.zeros((0, FIELDS))
        self.bins = np.zeros(0)
        self.place: Int32 = np.zeros(0, np.int32)  # by series

    def take(self, batch: Batch, forked: Collection[int]) -> Iterator[tuple[Batch, Float64, list[int]]]:
        """A batch in parts: its values (n,) without what is usual at their hours, and series whose profile is proven
        by its last sample. Its own values in one part, where nobody asks for that.

        forked: entities on which an incident is open, so that nothing is learned of them.
        """
        if self.chosen:
            self._admit(batch.names)
        if not self.chosen or not (self.place[batch.series] >= 0).any():
            yield batch, batch.value, []
            return
        still, value = np.zeros(len(batch.names.entities), np.bool_), batch.value.copy()
        still[[*forked]] = True
        given, at = (batch.entity, batch.ts, batch.start, batch.series), 0
        while at < len(batch):
            first, before = at, self.rows[:, PROVEN].copy()
            at = follow(self.rows, self.bins, given, (self.place, still), first, value)
            proven = [self.series[row] for row in np.flatnonzero(self.rows[:, PROVEN] != before).tolist()]
            yield batch.part(first, at), value[int(batch.start[first]) : int(batch.start[at])], proven

    def reuse(self, reused: Reused) -> None:
        """Begin anew with series whose numbers were given out again."""
        if self.chosen:
            self._open(reused.names, [at for at in reused.series if at < len(self.place)])

    def forget(self, forgotten: Forgotten) -> None:
        """Drop the profiles of series that have ended. Where all were in use, others may have one now."""
        keep = ~np.isin(np.array(self.series, np.int64), forgotten.series)
        if keep.all():
            return
        full = len(self.series) >= MOST
        self.series = [at for at, stays in zip(self.series, keep.tolist(), strict=True) if stays]
        self.bins = self.bins[np.repeat(keep, self.rows[:, BINS].astype(np.int64))]
        self.rows = self.rows[keep]
        self.rows[:, FIRST] = np.concatenate(([0], np.cumsum(self.rows[:, BINS])))[: len(self.rows)]
        places = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)
        self.place = np.zeros(0, np.int32) if full else np.where(self.place >= 0, places[self.place], np.int32(-1))

    def dump(self) -> SeasonState:
        """All state, as data."""
        return SeasonState(self.series, self.rows.astype("<f8").tobytes(), self.bins.astype("<f8").tobytes())

    def load(self, kept: SeasonState) -> None:
        """Restore what `dump` returned; a series that is to have another profile now begins anew."""
        self.series, self.place = list(kept.series), np.zeros(0, np.int32)
        self.rows = np.frombuffer(kept.rows, "<f8").reshape(-1, FIELDS).copy()
        self.bins = np.frombuffer(kept.bins, "<f8").copy()

    def _admit(self, names: Names) -> None:
        known = len(self.place)
        if known == len(names.series):
            return
        self.place = np.concatenate((self.place, np.full(len(names.series) - known, -1, np.int32)))
        self._open(names, range(known, len(names.series)))

    def _open(self, names: Names, numbers: Sequence[int]) -> None:
        """Give those of some series a profile that are to have one; of what was loaded they keep theirs."""
        wanted = set(numbers)
        held = {series: row for row, series in enumerate(self.series) if series in wanted}
        opened: list[int] = []  # lengths of profiles
        for at in numbers:
            entity, metric = names.series[at]
            said = self.settings.of_metric("season", names.entities[entity], metric) if entity >= 0 else None
            row = held.get(at)
            if said is None or (row is None and len(self.series) >= MOST):
                continue
            if row is not None and self.rows[row, BINS] == PERIODS[said]:
                self.place[at] = row
                continue
            self.place[at] = len(self.series)
            self.series.append(at)
            opened.append(PERIODS[said])
        if opened:
            rows = np.zeros((len(opened), FIELDS))
            rows[:, BINS] = opened
            rows[:, FIRST] = len(self.bins) + np.concatenate(([0], np.cumsum(opened)[:-1]))
            self.rows = np.concatenate((self.rows, rows))
            self.bins = np.concatenate((self.bins, np.full(sum(opened), np.nan)))
