"""Signals: what the detectors saw in the telemetry."""

from __future__ import annotations

from typing import Literal

import msgspec

from topics.spec import Count, Instant, Record, Topic, Word, system_of

# what a writer of today may say; a reader takes every word, see topics.spec.Word
Kind = Literal["point", "contextual", "collective", "change_point", "drift", "absence", "trend"]
Direction = Literal["up", "down"]


class Contribution(msgspec.Struct, frozen=True):
    """What one series had to do with an anomaly."""

    metric: str
    z: float  # standardised deviation of the strongest view, signed by the direction of the value
    value: float
    expected: float


class Anomaly(Record, frozen=True):
    """One look at an entity that is off its ordinary behaviour.

    While an alarm is on, a record follows for each look (at most one a repeat period); `cleared` ends it. So silence
    is never read as health: that an entity is well again is said by a record that rests on samples.
    """

    id: str  # H(entity, detector, onset): one id for the whole alarm
    entity: str
    ts: Instant  # event time of the sample that was looked at
    state: Word  # raised, continuing, cleared
    kind: Word  # see `Kind`
    score: float  # 1.0 is the boundary
    grade: Word  # none, minor, major, critical
    confidence: float  # 0..1
    metric: str  # the first of the attribution
    direction: Word  # see `Direction`
    value: float
    expected: float
    low: float  # ordinary range of the first metric
    high: float
    onset: Instant  # event time of the first sample of this alarm
    attribution: tuple[Contribution, ...]  # strongest first
    detector: str
    detector_version: Count
    evidence: str = ""  # topic-partition-offset of the sample
    view: Word = "first"  # second: of another detector than the one that incidents rest on


ANOMALIES = Topic(
    "opsloop.signals.anomalies", Anomaly, key=lambda anomaly: system_of(anomaly.entity),
    what="alarms of the detectors with attribution and onset",
)  # fmt: skip
