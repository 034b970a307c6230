"""Packs tried on recorded samples, in memory: which of their symptoms would have shown, of which entity, and when.

Samples go through the detectors and the tracker of the live path. What packs name as `rate(…)` and derived signals is
computed here, from one sample to the next of the same series.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from agents._partition import through
from agents.decode import chunk_of
from app import pipeline
from models.diagnosis.symptoms import BEGAN, Tracker
from models.knowledge.expression import evaluate, operands, parse
from models.knowledge.knowledge import Knowledge, patterns
from models.knowledge.patterns import matches, parts
from topics.signals import Anomaly, Symptom
from topics.spec import Instant, Raw
from topics.telemetry import METRICS, Sample

GROWING: Final = ("_total", "_sum", "_count", "_bucket")  # ends of names of counters: their value says nothing


class Shown(msgspec.Struct, frozen=True):
    """One symptom that would have shown."""

    entity: str
    symptom: str
    signal: str
    onset: Instant
    value: float
    expected: float


class Signals:
    """Adds the rates and the derived signals that packs name to samples, in their order."""

    def __init__(self, knowledge: Knowledge) -> None:
        wanted = {p for pack in knowledge.packs for _, p in patterns(pack)}
        rated = {o.name for s in knowledge.derived for o in operands(parse(s.expression)) if o.rate}
        self._rates = sorted({p[5:-1] for p in wanted if parts(p).rate} | rated)
        self._derived = knowledge.derived
        self._needs: dict[str, bool] = {}  # by series: whether a pack names its rate
        self._last: dict[tuple[str, str], tuple[Instant, float]] = {}  # by entity and series

    def of(self, sample: Sample) -> Sample:
        """The sample as packs see it: counters as their rates, and derived signals."""
        rates = dict(self._rated(sample))
        levels = (s for s in sample.metrics if not (parts(s).name.endswith(GROWING) or self._is_rated(s)))
        metrics = {series: sample.metrics[series] for series in levels}
        metrics |= {f"rate({series})": rate for series, rate in rates.items()}
        for signal in self._derived:
            found = evaluate(signal.expression, {**sample.metrics, **metrics}, rates)
            if found is not None:
                metrics[signal.name] = found
        return msgspec.structs.replace(sample, metrics=metrics)

    def _rated(self, sample: Sample) -> Iterator[tuple[str, float]]:
        for series, value in sample.metrics.items():
            if not self._is_rated(series):
                continue
            before = self._last.get((sample.entity, series))
            self._last[sample.entity, series] = sample.ts, value
            if before and sample.ts > before[0] and value >= before[1]:  # less: the counter began anew
                yield series, (value - before[1]) * 1000 / (sample.ts - before[0])

    def _is_rated(self, series: str) -> bool:
        known = self._needs.get(series)
        if known is None:
            known = self._needs[series] = any(matches(pattern, series) for pattern in self._rates)
        return known


def tried(knowledge: Knowledge, samples: Sequence[Sample]) -> list[Shown]:
    """The symptoms that samples (oldest first) would have shown, in the order in which they are confirmed."""
    tracker = Tracker(knowledge=knowledge)
    shown = []
    for anomaly in anomalies(knowledge, samples):
        shown += [_shown(symptom) for symptom in tracker.observe(anomaly) if symptom.state == BEGAN]
    return shown


def anomalies(knowledge: Knowledge, samples: Iterable[Sample]) -> Iterator[Anomaly]:
    """What the detectors say of samples with the signals that packs name."""
    signals, stages = Signals(knowledge), [make() for make in pipeline.lane()]
    for number, sample in enumerate(samples):
        value = msgspec.json.encode(signals.of(sample))
        raw = Raw(METRICS.name, 0, number, sample.entity.encode(), value, arrived=sample.ts)
        for output in through(stages, chunk_of([raw]), sample.ts):
            if isinstance(output, Anomaly):
                yield output


def _shown(s: Symptom) -> Shown:
    return Shown(s.entity, str(s.symptom), s.metric, s.onset, s.value, s.expected)
