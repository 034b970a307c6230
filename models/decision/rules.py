"""Applies the packs' rules: facts that indicate a cause, actions that cure a cause, and the confidence of each."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from models.decision.base import Case, DecisionKind
from models.knowledge.base import Cure, When
from models.knowledge.knowledge import Knowledge
from topics.incidents import Hypothesis
from topics.spec import service_of

COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {">=": operator.ge, "<=": operator.le, "=": operator.eq}


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


def findings(
    knowledge: Knowledge, kind: DecisionKind, target: str, facts: Mapping[str, float]
) -> tuple[Hypothesis, ...]:
    """Return the causes that facts about a target indicate, best score first, each with those facts as reasons."""
    found = (f for f in knowledge.findings if f.kind is kind and all(_holds(w, facts) for w in f.when))
    named = [
        Hypothesis(
            f.cause, target, f.score, tuple(f"{w.fact} is {facts[w.fact]:g} ({w.compare} {w.bound:g})" for w in f.when)
        )
        for f in found
    ]
    return tuple(sorted(named, key=lambda h: (-h.score, h.cause)))


def facts_of(knowledge: Knowledge, kind: DecisionKind) -> list[str]:
    """Return the names of the facts that the rules of a kind use."""
    return sorted({w.fact for f in knowledge.findings if f.kind is kind for w in f.when})


def matches(knowledge: Knowledge, case: Case) -> Iterator[Match]:
    """Yield every cure of every hypothesis of a case."""
    for hypothesis in case.hypotheses:
        for cure in knowledge.cures(hypothesis.cause):
            parameters = _filled(cure.parameters, case.parameters)
            if parameters is not None:
                target = service_of(hypothesis.target) if cure.target == "service" else hypothesis.target
                yield Match(hypothesis, cure, target, parameters)


def _holds(when: When, facts: Mapping[str, float]) -> bool:
    """Whether a fact is known and meets the condition."""
    return when.fact in facts and COMPARE[when.compare](facts[when.fact], when.bound)


def _filled(parameters: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str] | None:
    """Fill `{name}` in parameters from `known`. None when a name is not known."""
    wanted = {name: re.fullmatch(r"\{(\w+)\}", value) for name, value in parameters.items()}
    if any(found is not None and found[1] not in known for found in wanted.values()):
        return None
    return {name: known[found[1]] if found else parameters[name] for name, found in wanted.items()}
