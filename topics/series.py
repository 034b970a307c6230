"""The numbers of series, and what each stands for."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Sequence
from typing import Final, overload

import numpy as np

from topics.meanings import NOTHING, Meanings

FREE: Final = -1  # the entity of a series whose number stands for nothing


class Series(Sequence[tuple[int, str]]):
    """The number of the entity and the metric of each series, as columns: a tuple each takes ten times the room.

    entity, metric: int32 as this machine writes it; the place of an entity, and of a metric in `metrics`, where it has
    the name that its sender gave it, and in `shown`, where it has the one for people (`topics.meanings`). Both are -1
    where a number stands for nothing.
    """

    def __init__(
        self, metrics: Iterable[str] = (), entity: bytes = b"", metric: bytes = b"", meanings: Meanings = NOTHING
    ) -> None:
        self.metrics = list(metrics)
        self.know(meanings)
        self.entity, self.metric = array("i"), array("i")
        self.entity.frombytes(entity)
        self.metric.frombytes(metric)
        owners, places = np.array(self.entity, np.int32), np.array(self.metric, np.int32)
        self.free = np.flatnonzero(owners == FREE).tolist()  # a heap: the lowest number is given out first
        self._uses = array("i", np.bincount(places[places >= 0], minlength=len(self.metrics)).astype(np.int32).tolist())
        self._free_metrics = [place for place, uses in enumerate(self._uses) if not uses]
        self._place = {name: place for place, name in enumerate(self.metrics) if self._uses[place]}

    def know(self, meanings: Meanings) -> None:
        """Show each series under the name that these say."""
        self.meanings = meanings
        self.shown = [meanings.meaning(name).shown for name in self.metrics]

    @property
    def used(self) -> int:
        """How many numbers stand for a series."""
        return len(self.entity) - len(self.free)

    def append(self, entity: int, metric: str) -> None:
        """Add a series with a number of its own."""
        self.entity.append(entity)
        self.metric.append(self._use(metric))

    def add(self, entity: int, metric: str) -> tuple[int, bool]:
        """Add a series: its number, and whether it stood for another one before."""
        if not self.free:
            self.append(entity, metric)
            return len(self.entity) - 1, False
        number = heapq.heappop(self.free)
        self.entity[number], self.metric[number] = entity, self._use(metric)
        return number, True

    def remove(self, number: int) -> str:
        """Let a number stand for nothing: the metric that it stood for."""
        place = self.metric[number]
        metric = self.metrics[place]
        self.entity[number] = self.metric[number] = FREE
        heapq.heappush(self.free, number)
        self._uses[place] -= 1
        if not self._uses[place]:
            del self._place[metric]
            self.metrics[place] = self.shown[place] = ""
            heapq.heappush(self._free_metrics, place)
        return metric

    def _use(self, metric: str) -> int:
        place = self._place.get(metric)
        if place is None:
            if self._free_metrics:
                place = heapq.heappop(self._free_metrics)
                self.metrics[place] = metric
            else:
                place = len(self.metrics)
                self.metrics.append(metric)
                self.shown.append("")
                self._uses.append(0)
            self._place[metric], self.shown[place] = place, self.meanings.meaning(metric).shown
        self._uses[place] += 1
        return place

    def sent(self, number: int) -> str:
        """The name of a metric as its sender gave it; empty where the number stands for nothing."""
        place = self.metric[number]
        return self.metrics[place] if place != FREE else ""

    def __len__(self) -> int:
        return len(self.entity)

    @overload
    def __getitem__(self, index: int) -> tuple[int, str]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[int, str]]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, str] | list[tuple[int, str]]:
        if isinstance(index, slice):
            places = self.metric[index]
            named = [self.shown[place] if place != FREE else "" for place in places]
            return list(zip(self.entity[index], named, strict=True))
        place = self.metric[index]
        return self.entity[index], self.shown[place] if place != FREE else ""
