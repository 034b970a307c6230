"""Incidents: the record of one state of an incident, and its topic."""

from __future__ import annotations

import msgspec

from topics.spec import Count, Instant, Open, Record, Topic, domain_of


class State(Open):
    """Where an incident stands in its life."""

    CANDIDATE = "candidate"
    TRIGGERED = "triggered"
    ACKNOWLEDGED = "acknowledged"
    MITIGATING = "mitigating"
    VERIFYING = "verifying"
    RESOLVED = "resolved"
    REVIEWED = "reviewed"


class SymptomKind(Open):
    """What is wrong with an entity, as a person on call names it. Packs name others."""

    DOWN = "down"  # nothing answers and the process is gone
    UNRESPONSIVE = "unresponsive"  # the process is there and does not answer
    ERRORS = "errors"
    LATENCY = "latency"
    MEMORY = "memory"
    SATURATION = "saturation"
    DEPENDENCY = "dependency"  # calls to another service fail or hang
    SURPLUS = "surplus"  # more capacity than the load needs


class Hypothesis(msgspec.Struct, frozen=True):
    """A possible cause, and where to act on it."""

    cause: str  # as a pack names it
    target: str  # the remediation target, which may be another entity than the one that hurts
    score: float  # 0..1, the ranking among the hypotheses of this incident
    reasons: tuple[str, ...]


class Incident(Record, frozen=True):
    """One state of one incident. Of the records of one id, the one with the highest `seq` holds."""

    id: str  # H(entity, symptom, onset): any worker derives the same id for the same episode
    entity: str  # the signal target: where it hurts
    symptom: SymptomKind
    onset: Instant  # event time of the first sample of the episode
    ts: Instant  # when this state was reached
    state: State
    step: str  # what led to this state
    seq: Count  # 0, 1, 2, … within the incident
    priority: Count  # 0 (worst) to 4
    hypotheses: tuple[Hypothesis, ...]  # best first
    affected: tuple[str, ...]  # entities with symptoms of this episode
    attempts: tuple[str, ...] = ()  # decisions already dispatched for it
    evidence: tuple[str, ...] = ()  # topic-partition-offset
    detected: Instant = 0  # when the first anomaly of the episode was seen
    closed_as: str = ""  # how it ended: remediated, self_resolved, gone, manual
    by: str = ""  # the person who took this step; empty: Opsloop itself
    note: str = ""  # what that person said


INCIDENTS = Topic(
    "opsloop.incidents", Incident, key=lambda incident: domain_of(incident.entity), what="life-cycle of incidents"
)
