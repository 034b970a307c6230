"""Packs tried on recorded samples, in memory: which of their symptoms would have shown, of which entity, and when.

Samples go through the lane and the tracker of the live path, which rest on these packs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from agents._partition import through
from agents.decode import chunk_of
from app import pipeline
from models.diagnosis.symptoms import BEGAN, Tracker
from models.knowledge.compiled import compiled
from models.knowledge.knowledge import Knowledge
from topics.signals import Anomaly, Symptom
from topics.spec import Instant, Raw
from topics.telemetry import METRICS, Sample


class Shown(msgspec.Struct, frozen=True):
    """One symptom that would have shown."""

    entity: str
    symptom: str
    signal: str
    onset: Instant
    value: float
    expected: float


def tried(knowledge: Knowledge, samples: Sequence[Sample]) -> list[Shown]:
    """The symptoms that samples (oldest first) would have shown, in the order in which they are confirmed."""
    tracker = Tracker(knowledge=knowledge)
    shown = []
    for anomaly in anomalies(knowledge, samples):
        shown += [_shown(symptom) for symptom in tracker.observe(anomaly) if symptom.state == BEGAN]
    return shown


def anomalies(knowledge: Knowledge, samples: Iterable[Sample]) -> Iterator[Anomaly]:
    """What the detectors say of samples, and of the derived signals of packs."""
    said = compiled(knowledge)
    stages = [make() for make in pipeline.lane(said=lambda: said)]
    for number, sample in enumerate(samples):
        value = msgspec.json.encode(sample)
        raw = Raw(METRICS.name, 0, number, sample.entity.encode(), value, arrived=sample.ts)
        for output in through(stages, chunk_of([raw]), sample.ts):
            if isinstance(output, Anomaly):
                yield output


def _shown(s: Symptom) -> Shown:
    return Shown(s.entity, str(s.symptom), s.metric, s.onset, s.value, s.expected)
