"""The detectors that settings chose for the entities of a partition, beside the bank."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from models.detection.base import StateError
from models.detection.entity_detectors import DetectorFinding, DetectorState, EntityDetectors, revived
from models.detection.members import Member
from models.detection.settings import DetectionSettings
from topics.batch import Batch, Forgotten, Names, Reused


class DetectorSet:
    """Detectors by entity and name; none for an entity that no pattern names."""

    def __init__(self, settings: DetectionSettings) -> None:
        self.settings = settings
        self.watches: dict[tuple[int, Member], EntityDetectors] = {}
        self.chosen: list[tuple[Member, ...]] = []  # by entity
        self.watched: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.waiting: dict[int, tuple[Member, ...]] = {}  # entities that would be watched if there were fewer
        self._taken = 0  # entities that are watched
        self._loaded: list[int] = []  # entities that were watched when what was loaded was dumped

    @property
    def left_out(self) -> int:
        """How many entities would be watched if there were fewer."""
        return len(self.waiting)

    def admit(self, names: Names) -> None:
        """Choose the detectors of entities that are new."""
        known = len(self.chosen)
        if len(names.entities) == known:
            return
        self.chosen += [()] * (len(names.entities) - known)
        before = {*self._loaded}
        self._choose(names, sorted(range(known, len(names.entities)), key=lambda at: at not in before))
        self._loaded = []
        for number, name in [key for key in self.watches if key[1] not in self.chosen[key[0]]]:
            del self.watches[number, name]  # restored, and no longer chosen

    def _choose(self, names: Names, entities: Iterable[int]) -> None:
        for at in entities:
            entity = names.entities[at]
            found: tuple[Member, ...] = (self.settings.of_entity("learners", entity) or ()) if entity else ()
            if found:
                self.waiting[at] = tuple(dict.fromkeys(found))
                self._fill([at])
        self.watched = np.array([bool(found) for found in self.chosen], np.bool_)

    def _fill(self, entities: Iterable[int]) -> None:
        """Watch those of some entities that wait, as many as may be."""
        for at in entities:
            if self._taken < self.settings.most_watched:
                self.chosen[at] = self.waiting.pop(at)
                self._taken += 1

    def reuse(self, reused: Reused) -> None:
        """Choose the detectors of entities whose numbers were given out again."""
        self._choose(reused.names, [at for at in reused.entities if at < len(self.chosen)])

    def forget(self, forgotten: Forgotten) -> None:
        """Drop the detectors of entities that have ended; others that waited are watched instead."""
        for at in forgotten.entities:
            self.restart(at)
            self.waiting.pop(at, None)
            if at < len(self.chosen) and self.chosen[at]:
                self.chosen[at] = ()
                self._taken -= 1
        self._loaded = [at for at in self._loaded if at not in forgotten.entities]
        self._fill(sorted(self.waiting))
        self.watched = np.array([bool(found) for found in self.chosen], np.bool_)

    def take(self, batch: Batch, forked: Container[int]) -> Iterator[tuple[int, EntityDetectors, DetectorFinding]]:
        """What the detectors find in a batch: the sample, which detector, and what.

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
        """Let the detectors of an entity begin anew: what it did is ordinary from now on."""
        for key in [key for key in self.watches if key[0] == entity]:
            del self.watches[key]

    def dump_watched(self) -> list[int]:
        """The entities that are watched."""
        return [at for at, found in enumerate(self.chosen) if found] if self.chosen else self._loaded

    def dump(self) -> list[DetectorState]:
        """Every detector as data; one that is not finite begins anew."""
        kept = []
        for (entity, name), watch in sorted(self.watches.items()):
            try:
                kept.append(watch.dump(entity))
            except StateError:
                del self.watches[entity, name]
        return kept

    def load(self, kept: list[DetectorState], watched: list[int]) -> None:
        """Restore what was dumped; what is of another version, or damaged, begins anew."""
        self.watches.clear()
        self.chosen, self.waiting, self._taken, self._loaded = [], {}, 0, watched
        for each in kept:
            try:
                watch = revived(each)
            except StateError:
                continue
            self.watches[each.entity, watch.name] = watch
