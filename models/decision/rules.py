"""Rules as data: facts that indicate a cause, actions that cure a cause, and the confidence of each."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal

import msgspec

from models.decision.base import Case, DecisionKind
from topics.incidents import Hypothesis
from topics.spec import service_of

REVISION: Final = 1  # revision of these tables: part of every id derived from them

COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {">=": operator.ge, "<=": operator.le, "=": operator.eq}


class When(msgspec.Struct, frozen=True):
    """A condition on one fact."""

    fact: str
    compare: Literal[">=", "<=", "="]
    bound: float

    def holds(self, facts: Mapping[str, float]) -> bool:
        """Whether the fact is known and meets the condition."""
        return self.fact in facts and COMPARE[self.compare](facts[self.fact], self.bound)


class RuleFinding(msgspec.Struct, frozen=True):
    """Facts that together indicate a cause."""

    kind: DecisionKind
    cause: str
    score: float  # confidence in the cause, 0..1
    when: tuple[When, ...]


class Cure(msgspec.Struct, frozen=True):
    """One action for one cause."""

    action: str
    confidence: float  # probability that it cures, given the cause
    service_wide: bool = False
    parameters: Mapping[str, str] = {}  # `{name}` is filled from the case; the rule does not apply without it


class Match(msgspec.Struct, frozen=True):
    """A cure that applies to a hypothesis of a case."""

    hypothesis: Hypothesis
    cure: Cure
    target: str
    parameters: dict[str, str]

    @property
    def prior(self) -> float:
        """Confidence of the rules: that of the cause times that of its cure."""
        return self.hypothesis.score * self.cure.confidence

    @property
    def rule(self) -> str:
        """Name of the rule: `cause→action`."""
        return f"{self.hypothesis.cause}→{self.cure.action}"


def _replicas(count: int, confidence: float) -> Cure:
    return Cure("scale_out", confidence, service_wide=True, parameters={"replicas": str(count)})


_FEWER: Final = Cure("scale_in", 0.95, service_wide=True, parameters={"replicas": "1"})
_BACK: Final = Cure("rollback_config", 0.97, service_wide=True)
_APPROVED: Final = Cure("rollback_config", 0.97, service_wide=True, parameters={"revision": "{approved_revision}"})
_ROLLING: Final = Cure("restart_service", 0.30, service_wide=True)

CURES: Final[Mapping[str, tuple[Cure, ...]]] = {
    # incidents
    "process_gone": (Cure("restart_service", 0.98),),
    "process_hung": (Cure("restart_service", 0.97),),
    "memory_leak": (Cure("restart_service", 0.96),),
    "faulty_state": (Cure("restart_service", 0.95), Cure("rollback_config", 0.40, service_wide=True)),
    "bad_configuration": (_BACK, _ROLLING),
    "slowness": (Cure("restart_service", 0.60, service_wide=True),),
    "failing_dependency": (),
    # scaling
    "overload": (_replicas(1, 0.96),),
    "swamped": (_replicas(2, 0.93), _replicas(1, 0.60)),
    "idle_capacity": (_FEWER,),
    # provisioning
    "capacity_ahead": (_replicas(1, 0.90), _replicas(2, 0.92)),
    "below_floor": (_replicas(1, 0.97),),
    # optimisation
    "overprovisioned": (_FEWER,),
    "worse_configuration": (_BACK,),
    # security response
    "untrusted_configuration": (_APPROVED, Cure("rollback_config", 0.80, service_wide=True)),
    "tampered_process": (Cure("restart_service", 0.75), Cure("rollback_config", 0.35, service_wide=True)),
    # compliance
    "unapproved_configuration": (_APPROVED, Cure("rollback_config", 0.60, service_wide=True)),
    "too_few_replicas": (_replicas(1, 0.97),),
    # maintenance
    "aged_process": (Cure("restart_service", 0.94),),
    "leak_ahead": (Cure("restart_service", 0.90),),
    # disaster recovery
    "service_lost": (
        Cure("restart_service", 0.85, service_wide=True),
        Cure("rollback_config", 0.30, service_wide=True),
    ),
    "capacity_lost": (_replicas(3, 0.85), Cure("restart_service", 0.55, service_wide=True)),
}

FINDINGS: Final[tuple[RuleFinding, ...]] = (
    RuleFinding(DecisionKind.SCALING, "overload", 0.93, (When("utilization", ">=", 0.80),)),
    RuleFinding(DecisionKind.SCALING, "swamped", 0.97, (When("utilization", ">=", 0.95), When("load", ">=", 2.0))),
    RuleFinding(
        DecisionKind.SCALING, "idle_capacity", 0.90, (When("utilization", "<=", 0.20), When("replicas", ">=", 2))
    ),
    RuleFinding(
        DecisionKind.PROVISIONING,
        "capacity_ahead",
        0.90,
        (When("forecast_utilization", ">=", 0.85), When("hours_ahead", "<=", 72)),
    ),
    RuleFinding(DecisionKind.PROVISIONING, "below_floor", 0.99, (When("missing_replicas", ">=", 1),)),
    RuleFinding(DecisionKind.INCIDENT_RESPONSE, "process_gone", 0.98, (When("up", "=", 0),)),
    RuleFinding(DecisionKind.INCIDENT_RESPONSE, "process_hung", 0.95, (When("up", "=", 1), When("answers", "=", 0))),
    RuleFinding(DecisionKind.INCIDENT_RESPONSE, "faulty_state", 0.80, (When("error_ratio", ">=", 0.10),)),
    RuleFinding(
        DecisionKind.INCIDENT_RESPONSE,
        "bad_configuration",
        0.95,
        (When("error_ratio", ">=", 0.05), When("changed_s_ago", "<=", 180)),
    ),
    RuleFinding(
        DecisionKind.OPTIMISATION,
        "overprovisioned",
        0.92,
        (When("cost_per_request", ">=", 1.3), When("utilization", "<=", 0.40), When("replicas", ">=", 2)),
    ),
    RuleFinding(
        DecisionKind.OPTIMISATION,
        "worse_configuration",
        0.90,
        (When("p95_since_change", ">=", 1.2), When("changed_s_ago", "<=", 86_400)),
    ),
    RuleFinding(DecisionKind.SECURITY_RESPONSE, "untrusted_configuration", 0.95, (When("signed_revision", "=", 0),)),
    RuleFinding(DecisionKind.SECURITY_RESPONSE, "tampered_process", 0.90, (When("tampered", ">=", 1),)),
    RuleFinding(DecisionKind.COMPLIANCE, "unapproved_configuration", 0.97, (When("revision_approved", "=", 0),)),
    RuleFinding(DecisionKind.COMPLIANCE, "too_few_replicas", 0.97, (When("missing_replicas", ">=", 1),)),
    RuleFinding(
        DecisionKind.MAINTENANCE, "aged_process", 0.95, (When("uptime_days", ">=", 30), When("in_window", "=", 1))
    ),
    RuleFinding(
        DecisionKind.MAINTENANCE,
        "leak_ahead",
        0.92,
        (When("hours_to_exhaustion", "<=", 72), When("in_window", "=", 1)),
    ),
    RuleFinding(DecisionKind.DISASTER_RECOVERY, "service_lost", 0.97, (When("lost_share", "=", 1),)),
    RuleFinding(
        DecisionKind.DISASTER_RECOVERY,
        "capacity_lost",
        0.93,
        (When("lost_share", ">=", 0.5), When("survivors", ">=", 1)),
    ),
)

# kinds of decision by cause; all other causes are incident response
OF_INCIDENTS: Final[Mapping[str, DecisionKind]] = {
    "overload": DecisionKind.SCALING,
    "idle_capacity": DecisionKind.SCALING,
}


def findings(kind: DecisionKind, target: str, facts: Mapping[str, float]) -> tuple[Hypothesis, ...]:
    """Return the causes that facts about a target indicate, best score first, each with those facts as reasons."""
    found = (f for f in FINDINGS if f.kind is kind and all(w.holds(facts) for w in f.when))
    named = [
        Hypothesis(
            f.cause, target, f.score, tuple(f"{w.fact} is {facts[w.fact]:g} ({w.compare} {w.bound:g})" for w in f.when)
        )
        for f in found
    ]
    return tuple(sorted(named, key=lambda h: (-h.score, h.cause)))


def facts_of(kind: DecisionKind) -> list[str]:
    """Return the names of the facts that the rules of a kind use."""
    return sorted({w.fact for f in FINDINGS if f.kind is kind for w in f.when})


def matches(case: Case) -> Iterator[Match]:
    """Yield every cure of every hypothesis of a case."""
    for hypothesis in case.hypotheses:
        for cure in CURES.get(hypothesis.cause, ()):
            parameters = _filled(cure.parameters, case.parameters)
            if parameters is not None:
                target = service_of(hypothesis.target) if cure.service_wide else hypothesis.target
                yield Match(hypothesis, cure, target, parameters)


def _filled(parameters: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str] | None:
    """Fill `{name}` in parameters from `known`. None when a name is not known."""
    wanted = {name: re.fullmatch(r"\{(\w+)\}", value) for name, value in parameters.items()}
    if any(found is not None and found[1] not in known for found in wanted.values()):
        return None
    return {name: known[found[1]] if found else parameters[name] for name, found in wanted.items()}
