"""Verdicts: the record of whether an action helped, and its topic."""

from __future__ import annotations

from topics.spec import Instant, Open, Record, Topic, domain_of


class Effect(Open):
    """What verification found."""

    REMEDIATED = "remediated"
    INEFFECTIVE = "ineffective"
    REGRESSED = "regressed"
    SELF_RESOLVED = "self_resolved"
    MANUAL_REVIEW = "manual_review"


# what a verdict rests on
SYMPTOM, EXPECTATION, RESULT = "symptom", "expectation", "result"


class Verdict(Record, frozen=True):
    """Whether an action helped, or an incident ended without one. An action without an incident gets one too."""

    id: str  # H(incident, command)
    incident: str
    entity: str
    decision: str
    command: str
    action: str
    ts: Instant
    effect: Effect
    reasons: tuple[str, ...]
    evidence: tuple[str, ...] = ()
    basis: str = ""  # SYMPTOM of the incident, EXPECTATION that the proposal stated, or the actuator's own RESULT alone


VERDICTS = Topic(
    "opsloop.verdicts", Verdict, key=lambda verdict: domain_of(verdict.entity), what="whether an action helped"
)
