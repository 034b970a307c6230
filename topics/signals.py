"""Signals: the anomalies that detectors report, the symptoms that follow from them, and their topics."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from topics.spec import Count, Instant, Record, Topic, Word, domain_of

# what a writer of today may say; a reader accepts every Word, see topics.spec
AnomalyKind = Literal["point", "contextual", "collective", "change_point", "drift", "absence", "trend"]
Direction = Literal["up", "down"]
# many series of an entity, a few, or one that is trusted alone; none: its detector knows no paths
AlarmPath = Literal["none", "broad", "narrow", "one"]
Suppressed = Literal["none", "entity", "fleet"]  # whose budget of false alarms is spent
Grade = Literal["none", "minor", "major", "critical"]
GRADES: Final[tuple[Grade, ...]] = get_args(Grade)


def severity(grade: str) -> int:
    """How grave a grade is, from 0; one that is not known, of a later version, is graver than all."""
    return GRADES.index(grade) if grade in GRADES else len(GRADES)


class Contribution(msgspec.Struct, frozen=True):
    """How far one series deviated in the sample of an anomaly."""

    metric: str
    z: float  # standardised deviation of the strongest view, signed by the direction of the value
    value: float
    expected: float


class Anomaly(Record, frozen=True):
    """One sample of an entity while its alarm is on, or the sample that ends the alarm.

    A record is written for each such sample, at most one per repeat period. The record with `cleared` ends the alarm.
    An entity counts as well only after such a record: the lack of records proves nothing.
    """

    id: str  # H(entity, detector, onset): one id for the whole alarm
    entity: str
    ts: Instant  # event time of the sample
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
    view: Word = "first"  # second: from a detector beside the bank
    path: Word = "none"  # see `AlarmPath`
    suppressed: Word = "none"  # see `Suppressed`: nobody is to be woken
    period_ms: Count = 0  # median of the last gaps between samples of the entity; 0: not known


NO_SYMPTOM: Final = "none"
# what else than the detectors of samples shows symptoms: `detector` of these
ABSENCE, RANGE, HEARTBEAT, ALERT = "absence", "range", "heartbeat", "alert"


class Symptom(Record, frozen=True):
    """One symptom of an entity in one of its samples, or the end of it.

    A record with the symptom `none` says that the entity shows no symptom: `continuing` while its alarm is on, `ended`
    when that is over too. The attribution is of all alarms of the entity that are on.
    """

    id: str  # H(entity, symptom, onset): one id from `began` to `ended`
    entity: str
    symptom: Word  # as packs name it, or `none`
    state: Word  # began, continuing, ended
    ts: Instant  # event time of what shows it; never before that of an earlier record of its entity
    seq: Count  # 0, 1, … among the records of its entity with this `ts`
    onset: Instant  # event time of the first sample that showed it
    last: Instant  # and of the last one
    samples: Count  # that showed it
    period_ms: Count  # between samples of the entity; 0: not known
    metric: str
    z: float
    value: float
    expected: float
    attribution: tuple[Contribution, ...]
    alarm: bool  # whether an alarm of the first view is on
    detector: str
    view: Word  # of the anomaly that shows it: first, second
    knowledge: str  # hash of the packs by which it is one
    evidence: str = ""  # topic-partition-offset of the first sample, event or heartbeat that showed it


ANOMALIES = Topic(
    "opsloop.signals.anomalies", Anomaly, key=lambda anomaly: domain_of(anomaly.entity),
    what="alarms of the detectors with attribution and onset",
)  # fmt: skip
SYMPTOMS = Topic(
    "opsloop.signals.symptoms", Symptom, key=lambda symptom: domain_of(symptom.entity),
    what="what is wrong with entities, as packs name it",
)  # fmt: skip
