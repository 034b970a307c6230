"""Reads recorded decisions, for the simulation of policies."""

from __future__ import annotations

from collections.abc import Iterator

from app.history.progress import shown
from app.history.view import current
from app.kafka.broker import Broker
from topics.decisions import DECISIONS, Decision
from topics.spec import Instant
from topics.verdicts import VERDICTS, Effect, Verdict


def asked(broker: Broker, start: Instant, end: Instant) -> Iterator[Decision]:
    """The first state of each decision whose record arrived between `start` and `end` (ms)."""
    seen: set[str] = set()
    with current(broker, [DECISIONS.name], shown()) as view:
        for read in view.recorded([DECISIONS], start, end):
            decision = read.record
            if isinstance(decision, Decision) and decision.facts is not None and decision.id not in seen:
                seen.add(decision.id)
                yield decision


def history(broker: Broker, start: Instant, end: Instant) -> tuple[list[Decision], dict[str, Effect]]:
    """All states of the decisions that arrived between `start` and `end` (ms), and the effects by verdicts since."""
    with current(broker, [DECISIONS.name, VERDICTS.name], shown()) as view:
        decisions = [read.record for read in view.recorded([DECISIONS], start, end)]
        verdicts = [read.record for read in view.recorded([VERDICTS], start)]
    effects = {v.decision: v.effect for v in verdicts if isinstance(v, Verdict) and v.decision}
    return [d for d in decisions if isinstance(d, Decision)], effects
