"""Rules: which actions cure which cause, in the order they are tried, and how sure we are of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from topics.incidents import Hypothesis, Incident
from topics.proposals import Proposal
from topics.spec import Instant, derive, service_of

REVISION: Final = 1  # of this table: part of every id that rests on it


class Option(msgspec.Struct, frozen=True):
    """One action for one cause."""

    action: str
    confidence: float  # that it cures, if the cause is right
    service_wide: bool = False
    parameters: Mapping[str, str] = {}


CURES: Final[Mapping[str, tuple[Option, ...]]] = {
    "process_gone": (Option("restart_service", 0.98),),
    "process_hung": (Option("restart_service", 0.97),),
    "memory_leak": (Option("restart_service", 0.96),),
    "faulty_state": (Option("restart_service", 0.95), Option("rollback_config", 0.40, service_wide=True)),
    "bad_configuration": (
        Option("rollback_config", 0.97, service_wide=True),
        Option("restart_service", 0.30, service_wide=True),
    ),
    "overload": (Option("scale_out", 0.96, service_wide=True, parameters={"replicas": "1"}),),
    "slowness": (Option("restart_service", 0.60, service_wide=True),),
    "failing_dependency": (),
    "idle_capacity": (Option("scale_in", 0.95, service_wide=True, parameters={"replicas": "1"}),),
}


def propose(incident: Incident, tried: Sequence[str], now: Instant) -> Proposal | None:
    """The best option that was not tried yet; None when there is nothing left that a machine may try.

    `tried` holds `action@target`. Confidence is that of the hypothesis times that of its cure.
    """
    options = sorted(_options(incident), key=lambda o: (-o[0], o[2].action))
    left = [o for o in options if f"{o[2].action}@{o[3]}" not in tried]
    if not left:
        return None
    confidence, hypothesis, option, target = left[0]
    others = tuple(
        f"{o.action} on {at}: {'tried before' if f'{o.action}@{at}' in tried else f'less sure ({sure:.2f})'}"
        for sure, _, o, at in options
        if (o, at) != (option, target)
    )
    return Proposal(
        id=derive("proposal", incident.id, option.action, target, REVISION, len(tried)), ts=now, action=option.action,
        target=target, parameters=dict(option.parameters), requester="decide", confidence=round(confidence, 4),
        cause=hypothesis.cause, reasons=(f"{hypothesis.cause} of {hypothesis.target}", *hypothesis.reasons),
        alternatives=others, rule=f"{hypothesis.cause}→{option.action}", rule_revision=REVISION, incident=incident.id,
        attempt=len(tried), evidence=incident.evidence,
    )  # fmt: skip


def _options(incident: Incident) -> Iterator[tuple[float, Hypothesis, Option, str]]:
    for hypothesis in incident.hypotheses:
        for option in CURES.get(hypothesis.cause, ()):
            target = service_of(hypothesis.target) if option.service_wide else hypothesis.target
            yield hypothesis.score * option.confidence, hypothesis, option, target
