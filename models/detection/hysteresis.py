"""Where an alarm opens and closes, by settings; without them at 1 and at 0.85 times the boundary.

What the bank learns does not depend on it. Only entities that a pattern names are followed sample by sample.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.detection.columns import CLEAR, CONTINUE, QUIET, RAISE, Scored
from models.detection.config import DetectorConfig
from models.detection.settings import DetectionSettings
from topics.batch import Batch, Forgotten, Names, Reused

CHOICES: Final = ("opens_at", "opens_samples", "closes_at", "closes_samples")
CONFIG: Final = DetectorConfig()
YOUNG: Final = 2.0 * CONFIG.young  # samples before which nothing is told, as in the bank


class Edges(msgspec.Struct, frozen=True):
    """What an alarm needs to open, and to close: multiples of the boundary, and samples in a row."""

    opens_at: float = 1.0
    opens_samples: int = 1
    closes_at: float = CONFIG.close
    closes_samples: int = int(CONFIG.calm)


class Held(msgspec.Struct):
    """An entity on the way from one edge to the other."""

    scored: int = 0
    running: int = 0  # samples above the first edge, or below the second
    onset: int = 0  # event time of the first of those above
    open: bool = False
    told: int = 0  # event time


class Hysteresis:
    """The entities of a partition whose alarms open and close by settings."""

    def __init__(self, settings: DetectionSettings) -> None:
        self.settings = settings
        self.chosen = settings.says(*CHOICES)
        self.edges: list[Edges | None] = []  # by entity
        self.named: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.held: dict[str, Held] = {}

    def samples(self, batch: Batch, scored: Scored) -> list[int]:
        """The samples of a batch that may have an event, in order."""
        may = (scored.event != QUIET) | (scored.suppressed > 0)
        if self.chosen:
            self._admit(batch.names)
            may |= self.named[batch.entity]
        return np.flatnonzero(may).tolist()

    def event(self, batch: Batch, scored: Scored, sample: int) -> tuple[int, int]:
        """The event of a sample (RAISE, CONTINUE, CLEAR, QUIET) and its alarm's onset: of the bank, or by settings."""
        number = int(batch.entity[sample])
        edges = self.edges[number] if self.chosen else None
        if edges is None:
            return int(scored.event[sample]), int(scored.onset[sample])
        if not np.isfinite(scored.over[sample]):  # a repeat, or late
            return QUIET, 0
        held = self.held.setdefault(batch.names.entities[number], Held())
        return _moved(held, edges, int(batch.ts[sample]), math.exp(scored.over[sample]))

    def _admit(self, names: Names) -> None:
        if len(self.edges) == len(names.entities):
            return
        self.edges += map(self._choose, names.entities[len(self.edges) :])
        self.named = np.array([edges is not None for edges in self.edges], np.bool_)

    def _choose(self, entity: str) -> Edges | None:
        said = {option: self.settings.of_entity(option, entity) for option in CHOICES}
        said = {option: value for option, value in said.items() if value is not None}
        return Edges(**said) if said else None

    def reuse(self, reused: Reused) -> None:
        """Begin anew with entities whose numbers were given out again."""
        for entity in reused.entities:
            if entity < len(self.edges):
                self.edges[entity] = edges = self._choose(reused.names.entities[entity])
                self.named[entity] = edges is not None

    def forget(self, forgotten: Forgotten) -> None:
        """Forget the entities that have ended."""
        for name in forgotten.entities.values():
            self.held.pop(name, None)


def _moved(held: Held, edges: Edges, ts: int, ratio: float) -> tuple[int, int]:
    """Take a sample whose score is `ratio` boundaries."""
    held.scored += 1
    beyond = ratio < edges.closes_at if held.open else ratio >= edges.opens_at
    held.running = held.running + 1 if beyond else 0
    if not held.open:
        held.onset = ts if held.running == 1 else held.onset
        if held.running < edges.opens_samples or held.scored <= YOUNG:
            return QUIET, 0
        held.open, held.running, held.told = True, 0, ts
        return RAISE, held.onset
    if held.running >= edges.closes_samples:
        held.open, held.running = False, 0
        return CLEAR, held.onset
    if ts - held.told < CONFIG.repeat_ms:
        return QUIET, 0
    held.told = ts
    return CONTINUE, held.onset
