"""Values out of the range that settings or packs allow, from the first value on, whatever has been learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.bounded import keep
from models.detection.columns import CLEAR, CONTINUE, QUIET, RAISE
from models.detection.settings import DetectionSettings
from topics.batch import Batch, Float64, Forgotten, Int32, Names, Reused
from topics.kernel import kernel
from topics.meanings import NOTHING, Allowed, Meanings
from topics.selectors import matches

CALM: Final = 3  # samples within the range after which a value is taken to be back
REPEAT_MS: Final = 1_000
REMEMBERED: Final = 10_000  # metrics
FREE, BOUND, IS_OUT = 0, 1, 2  # a series that may have any value, one that may not, and one that is out of its range


class Out(msgspec.Struct):
    """A series that is out of its allowed range."""

    onset: int
    told: int  # event time
    calm: int = 0


class Beyond(NamedTuple):
    """A value of a series that is, or was, out of its allowed range."""

    sample: int
    event: int
    point: int  # place in the batch
    low: float
    high: float
    onset: int


@kernel
def find(state: NDArray[np.int8], bounds: Float64, given: tuple[Int32, Float64], found: Int32) -> int:
    """Write down the places of all values of series that are, or come to be, out of range: how many."""
    series, value = given
    out = count = 0
    for point in range(len(series)):
        number = series[point]
        if state[number] == BOUND and not bounds[number, 0] <= value[point] <= bounds[number, 1]:
            state[number] = IS_OUT
        out += state[number] == IS_OUT
    if out == 0:
        return 0
    for point in range(len(series)):
        if state[series[point]] == IS_OUT:
            found[count] = point
            count += 1
    return count


class Ranges:
    """Values out of their allowed range."""

    def __init__(self, settings: DetectionSettings) -> None:
        self.settings = settings
        self.chosen = settings.says("low", "high")
        self.allowed = NOTHING.ranges
        self._by_metric: dict[str, list[Allowed]] = {}
        self.bounds: Float64 = np.zeros((0, 2))  # by series: low and high
        self.state: NDArray[np.int8] = np.zeros(0, np.int8)  # by series
        self.bound = 0  # series that have one
        self.out: dict[int, Out] = {}

    def know(self, said: Meanings) -> None:
        """Hold values against the ranges of packs from here on."""
        if said.ranges != self.allowed:
            self.allowed = said.ranges
            self._by_metric.clear()
            self.restart()

    def load(self, out: dict[int, Out]) -> None:
        """Restore what was out of range."""
        self.out = out
        self.restart()

    def restart(self) -> None:
        """Look all series up anew."""
        self.bounds, self.state, self.bound = np.zeros((0, 2)), np.zeros(0, np.int8), 0

    def take(self, batch: Batch, newest: Callable[[Int32], Float64]) -> Iterator[Beyond]:
        """What of a batch is out of range, or back in it, in the order of the batch.

        newest: the stamps of the newest values of series (k,) before this batch; 0: there was none.
        """
        if not self.chosen and not self.allowed and not self.out:
            return
        self._admit(batch.names)
        if not self.bound and not self.out:
            return
        places = np.empty(len(batch.series), np.int32)
        found = places[: find(self.state, self.bounds, (batch.series, batch.value), places)]
        if not len(found):
            return
        samples = np.searchsorted(batch.start, found, "right") - 1
        seen: dict[int, float] = {}
        stamps = newest(batch.series[found]).tolist()
        for point, sample, before in zip(found.tolist(), samples.tolist(), stamps, strict=True):
            series, ts = int(batch.series[point]), int(batch.ts[sample])
            if ts <= seen.get(series, before):  # a repeat, or late
                continue
            seen[series] = ts
            low, high = self.bounds[series].tolist()
            event, onset = self._observe(series, ts, not low <= batch.value[point] <= high)
            if event != QUIET:
                yield Beyond(sample, event, point, low, high, onset)
        for series in np.unique(batch.series[found]).tolist():
            self._mark(series)

    def _observe(self, series: int, ts: int, beyond: bool) -> tuple[int, int]:
        out = self.out.get(series)
        if out is None:
            if not beyond:
                return QUIET, 0
            self.out[series] = Out(ts, ts)
            return RAISE, ts
        out.calm = 0 if beyond else out.calm + 1
        if out.calm >= CALM:
            del self.out[series]
            return CLEAR, out.onset
        if beyond and ts - out.told >= REPEAT_MS:
            out.told = ts
            return CONTINUE, out.onset
        return QUIET, 0

    def _mark(self, series: int) -> None:
        bound = np.isfinite(self.bounds[series]).any()
        self.state[series] = IS_OUT if series in self.out else BOUND if bound else FREE

    def _admit(self, names: Names) -> None:
        known = len(self.bounds)
        if known == len(names.series):
            return
        more = len(names.series) - known
        self.bounds = np.concatenate((self.bounds, np.tile([-np.inf, np.inf], (more, 1))))
        self.state = np.concatenate((self.state, np.zeros(more, np.int8)))
        self._choose(names, range(known, len(names.series)))

    def _choose(self, names: Names, numbers: Iterable[int]) -> None:
        for at in numbers:
            entity, metric = names.series[at]
            low, high = self._range(names.entities[entity], metric) if entity >= 0 else (-np.inf, np.inf)
            self.bound -= int(np.isfinite(self.bounds[at]).any())
            self.bounds[at] = low, high
            self.bound += int(np.isfinite(self.bounds[at]).any())
            self._mark(at)

    def _range(self, entity: str, metric: str) -> tuple[float, float]:
        """The allowed range of a series: of each side what settings say, else the narrowest that a pack says."""
        said = [a for a in self._of_packs(metric) if not a.entities or any(fnmatchcase(entity, g) for g in a.entities)]
        low = self.settings.of_metric("low", entity, metric) if self.chosen else None
        high = self.settings.of_metric("high", entity, metric) if self.chosen else None
        if low is None:
            low = max((a.low for a in said if a.low is not None), default=-np.inf)
        if high is None:
            high = min((a.high for a in said if a.high is not None), default=np.inf)
        return low, high

    def _of_packs(self, metric: str) -> list[Allowed]:
        known = self._by_metric.get(metric)
        if known is None:
            known = [allowed for allowed in self.allowed if matches(allowed.signal, metric)]
            keep(self._by_metric, metric, known, REMEMBERED)
        return known

    def reuse(self, reused: Reused) -> None:
        """Begin anew with series whose numbers were given out again."""
        for at in reused.series:
            self.out.pop(at, None)
        self._choose(reused.names, [at for at in reused.series if at < len(self.bounds)])

    def forget(self, forgotten: Forgotten) -> None:
        """Forget the series that have ended."""
        for number in forgotten.series.tolist():
            self.out.pop(number, None)
            if number < len(self.bounds):
                self.bound -= int(np.isfinite(self.bounds[number]).any())
                self.bounds[number], self.state[number] = (-np.inf, np.inf), FREE
