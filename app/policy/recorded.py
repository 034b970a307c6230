"""Recorded decisions that policies were asked about."""

from __future__ import annotations

from collections.abc import Iterator

from app.history.story import records
from app.kafka.broker import Broker
from topics.decisions import DECISIONS, Decision
from topics.spec import Instant
from topics.verdicts import VERDICTS, Effect, Verdict


def asked(broker: Broker, start: Instant, end: Instant) -> Iterator[Decision]:
    """Each decision once, as it was first made, between two times of arrival."""
    seen: set[str] = set()
    for read in records(broker, [DECISIONS], since_ms=start or None):
        decision = read.record
        if not isinstance(decision, Decision) or decision.facts is None or read.arrived >= end:
            continue
        if decision.id not in seen:
            seen.add(decision.id)
            yield decision


def history(broker: Broker, start: Instant, end: Instant) -> tuple[list[Decision], dict[str, Effect]]:
    """Every state of the decisions between two times of arrival, and the effect of each that was judged since."""
    decisions, effects = [], {}
    for read in records(broker, [DECISIONS, VERDICTS], since_ms=start or None):
        if isinstance(read.record, Verdict) and read.record.decision:
            effects[read.record.decision] = read.record.effect
        elif isinstance(read.record, Decision) and read.arrived < end:
            decisions.append(read.record)
    return decisions, effects
