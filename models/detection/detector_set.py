"""The panel: the detectors that settings chose for the entities of a partition, beside the bank."""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np
from numpy.typing import NDArray

from models.detection.base import StateError
from models.detection.entity_detectors import EntityDetectors, Finding, Kept, revived
from models.detection.members import Member
from models.detection.settings import DetectionSettings
from topics.batch import Batch, Names


class DetectorSet:
    """Every watch, by entity and detector; none for an entity that no pattern names."""

    def __init__(self, settings: DetectionSettings) -> None:
        self.settings = settings
        self.watches: dict[tuple[int, Member], EntityDetectors] = {}
        self.chosen: list[tuple[Member, ...]] = []  # by entity
        self.watched: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.left_out = 0  # entities that would be watched if there were fewer

    def admit(self, names: Names) -> None:
        """Choose the detectors of entities that are new."""
        if len(names.entities) == len(self.chosen):
            return
        taken = sum(map(bool, self.chosen))
        for entity in names.entities[len(self.chosen) :]:
            found: tuple[Member, ...] = self.settings.of_entity("learners", entity) or ()
            if found and taken >= self.settings.most_watched:
                found, self.left_out = (), self.left_out + 1
            taken += bool(found)
            self.chosen.append(tuple(dict.fromkeys(found)))
        self.watched = np.array([bool(found) for found in self.chosen], np.bool_)
        for number, name in [key for key in self.watches if key[1] not in self.chosen[key[0]]]:
            del self.watches[number, name]  # restored, and no longer chosen

    def take(self, batch: Batch, forked: Container[int]) -> Iterator[tuple[int, EntityDetectors, Finding]]:
        """What the watches say of a batch: the sample, who says it, and what.

        forked: entities on which an incident is open, so that nothing is learned of them.
        """
        if not self.settings.patterns:
            return
        self.admit(batch.names)
        for sample in np.flatnonzero(self.watched[batch.entity]).tolist():
            number, ts = int(batch.entity[sample]), int(batch.ts[sample])
            values = slice(int(batch.start[sample]), int(batch.start[sample + 1]))
            names = batch.names.series
            metrics = {
                names[series][1]: value
                for series, value in zip(batch.series[values].tolist(), batch.value[values].tolist(), strict=True)
            }
            for name in self.chosen[number]:
                watch = self.watches.get((number, name))
                if watch is None:
                    watch = self.watches[number, name] = EntityDetectors(name, [*metrics])
                if finding := watch.observe(ts, metrics, number in forked):
                    yield sample, watch, finding

    def restart(self, entity: int) -> None:
        """What an entity did is ordinary from now on: its watches begin anew."""
        for key in [key for key in self.watches if key[0] == entity]:
            del self.watches[key]

    def dump(self) -> list[Kept]:
        """Every watch as data; one that is not finite begins anew."""
        kept = []
        for (entity, name), watch in sorted(self.watches.items()):
            try:
                kept.append(watch.dump(entity))
            except StateError:
                del self.watches[entity, name]
        return kept

    def load(self, kept: list[Kept]) -> None:
        """Become what was dumped; what is of another version, or damaged, begins anew."""
        self.watches.clear()
        for each in kept:
            try:
                watch = revived(each)
            except StateError:
                continue
            self.watches[each.entity, watch.name] = watch
