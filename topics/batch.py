"""Decoded telemetry as arrays, and the names that its numbers stand for."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from topics.learning import Learning

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


class TooManySeries(Exception):
    """A bound on names is reached; the text says which."""


class Series(Sequence[tuple[int, str]]):
    """The number of the entity and the metric of each series, as columns: a tuple each takes ten times the room.

    entity, metric: int32 as this machine writes it; the place of an entity, and of a metric in `metrics`.
    """

    def __init__(self, metrics: Iterable[str] = (), entity: bytes = b"", metric: bytes = b"") -> None:
        self.metrics = list(metrics)
        self.entity, self.metric = array("i"), array("i")
        self.entity.frombytes(entity)
        self.metric.frombytes(metric)
        self._place = {name: at for at, name in enumerate(self.metrics)}

    def append(self, entity: int, metric: str) -> None:
        """Add a series."""
        place = self._place.setdefault(metric, len(self.metrics))
        if place == len(self.metrics):
            self.metrics.append(metric)
        self.entity.append(entity)
        self.metric.append(place)

    def __len__(self) -> int:
        return len(self.entity)

    @overload
    def __getitem__(self, index: int) -> tuple[int, str]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[int, str]]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, str] | list[tuple[int, str]]:
        if isinstance(index, slice):
            return list(zip(self.entity[index], map(self.metrics.__getitem__, self.metric[index]), strict=True))
        return self.entity[index], self.metrics[self.metric[index]]


@dataclass(slots=True)
class Names:
    """The numbers of entities and series, in the order in which they were first seen. Grows, never shrinks."""

    most_series: int = 2_000_000  # of one partition
    most_metrics: int = 2_000  # of one entity
    entities: list[str] = field(default_factory=list)
    series: Series = field(default_factory=Series)
    _entity: dict[str, int] = field(default_factory=dict)
    _known: dict[int, dict[str, int]] = field(default_factory=dict)  # by entity: metric → series; what was asked for
    _loaded: tuple[Int64, Int64] = field(default_factory=lambda: (np.zeros(0, np.int64), np.zeros(1, np.int64)))

    def intern(self, entity: str, metrics: Iterable[str]) -> tuple[int, list[int]]:
        """The numbers of an entity and of its series; new ones are given out.

        Raises:
            TooManySeries: a bound would be passed; nothing is changed.
        """
        metrics = tuple(metrics)
        at = self._entity.get(entity)
        known = self._series(at) if at is not None else {}
        fresh = [metric for metric in dict.fromkeys(metrics) if metric not in known]
        if len(known) + len(fresh) > self.most_metrics:
            raise TooManySeries(f"{entity} would have more than {self.most_metrics} metrics")
        if len(self.series) + len(fresh) > self.most_series:
            raise TooManySeries(f"the partition would have more than {self.most_series} series")
        if at is None:
            at = self._entity[entity] = len(self.entities)
            self.entities.append(entity)
            self._known[at] = known
        for metric in fresh:
            known[metric] = len(self.series)
            self.series.append(at, metric)
        return at, [known[metric] for metric in metrics]

    def of(self, entity: str) -> tuple[int, list[int]]:
        """The numbers of an entity and of its series. Raises KeyError when nothing was seen of it."""
        at = self._entity[entity]
        return at, list(self._series(at).values())

    def _series(self, at: int) -> dict[str, int]:
        """The series of an entity by metric; of what was loaded they are looked for once."""
        known = self._known.get(at)
        if known is None:
            order, first = self._loaded
            own = order[first[at] : first[at + 1]].tolist()
            known = self._known[at] = {self.series[number][1]: number for number in own}
        return known

    def dump(self) -> tuple[list[str], list[str], bytes, bytes]:
        """Everything, as data: the entities, and what `Series` is made of."""
        return self.entities, self.series.metrics, self.series.entity.tobytes(), self.series.metric.tobytes()

    def load(self, entities: list[str], series: Series) -> None:
        """Become what was dumped."""
        self.entities, self.series = entities, series
        self._entity = {name: at for at, name in enumerate(entities)}
        self._known.clear()
        owner = np.array(series.entity, np.int32)
        ends = np.bincount(owner, minlength=len(entities)).cumsum()
        self._loaded = np.argsort(owner, kind="stable"), np.concatenate(([0], ends))


@dataclass(frozen=True, slots=True)
class Steer:
    """A learning control between the samples of its partition."""

    names: Names
    control: Learning


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one partition in their order: m samples with n values in all."""

    topic: str
    partition: int
    names: Names
    entity: Int32  # (m,) number of the entity
    ts: Int64  # (m,) event time, ms
    start: Int32  # (m + 1,) sample i has the values start[i]:start[i + 1]
    series: Int32  # (n,) number of the series
    value: Float64  # (n,) finite
    offset: Int64  # (m,) of the record the sample came in

    def __len__(self) -> int:
        return len(self.entity)

    def part(self, first: int, end: int) -> Batch:
        """The samples from `first` up to `end`."""
        low, high = int(self.start[first]), int(self.start[end])
        return Batch(
            self.topic, self.partition, self.names, self.entity[first:end], self.ts[first:end],
            self.start[first : end + 1] - np.int32(low), self.series[low:high], self.value[low:high],
            self.offset[first:end],
        )  # fmt: skip

    def only(self, keep: NDArray[np.bool_]) -> Batch:
        """The samples where `keep` (m,) says so."""
        count = np.diff(self.start)
        values = np.repeat(keep, count)
        start = np.concatenate(([0], np.cumsum(count[keep]))).astype(np.int32)
        return Batch(
            self.topic, self.partition, self.names, self.entity[keep], self.ts[keep], start, self.series[values],
            self.value[values], self.offset[keep],
        )  # fmt: skip
