"""Turns a case into a proposal: rules give options, which are scored and checked, and one is chosen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from models.decision import choice, scoring
from models.decision.base import Case, DecisionSettings
from models.decision.calibration import Platt
from models.decision.learned import Learned
from models.decision.rules import Match, matches
from models.knowledge.knowledge import KnowingState
from models.policy.engine import Policies
from models.policy.facts import facts_of
from models.safety.modes import mode_of
from models.safety.settings import SafetySettings
from models.versions import Book
from topics.policies import SystemFacts
from topics.proposals import Option, Proposal
from topics.spec import Instant, derive

OPTIONS_KEPT: Final = 12  # maximum number of options on a proposal
LEAST_URGENT: Final = 4


class Bounds(msgspec.Struct, frozen=True):
    """Settings and policies for a decision. policies: None leaves the policy check to the gate."""

    decision: DecisionSettings = DecisionSettings()
    safety: SafetySettings = SafetySettings()
    policies: Policies | None = None


class Advisor(KnowingState):
    """What one partition has learned from the outcomes of its decisions. Part of an agent's state."""

    learned: Learned = msgspec.field(default_factory=Learned)
    platt: Platt = msgspec.field(default_factory=Platt)
    policies: Book = msgspec.field(default_factory=Book)

    def options(self, case: Case, bounds: Bounds) -> list[Option]:
        """Return the options that the rules give for a case, best score first, then by name."""
        best: dict[tuple[str, str, str], Option] = {}
        for match in matches(self.knowledge, case):
            option = self._option(match, case, bounds.decision)
            key = option.action, option.target, repr(sorted(option.parameters.items()))
            if key not in best or best[key].score < option.score:
                best[key] = option
        found = sorted(best.values(), key=lambda o: (-o.score, o.action, o.target, sorted(o.parameters.items())))
        own = scoring.WEIGHTS.keys() | bounds.decision.own.keys()
        marks = scoring.efficient([{k: o.parts[k] for k in own} for o in found])
        return [msgspec.structs.replace(o, efficient=mark) for o, mark in zip(found, marks, strict=True)]

    def propose(self, case: Case, tried: Collection[str], bounds: Bounds, now: Instant) -> Proposal | None:
        """Return the proposal for a case; None when no option is left to try automatically.

        tried: `action@target` of earlier attempts. When policies deny all remaining options, the best is proposed with
        propensity 0, so that the gate's refusal is recorded.
        """
        found = self.options(case, bounds)[:OPTIONS_KEPT]
        used = {i: choice.TRIED for i, o in enumerate(found) if f"{o.action}@{o.target}" in tried}
        harmful = {i: f"would harm more than help ({o.score:.2f})" for i, o in enumerate(found) if o.score <= 0}
        objected = self._objected(found, used.keys() | harmful.keys(), case, bounds, now)
        seed = derive("explore", case.id, case.context.attempt)
        explore = bounds.decision.explore
        options, propensity = choice.choose(found, objected | harmful | used, explore, seed)
        if not options:
            options, _ = choice.choose(found, harmful | used, 0.0, seed)
        return self._proposal(case, options, propensity, now) if options else None

    def learn(self, proposal: Proposal, helped: bool) -> None:
        """Learn from the outcome of a proposal that was carried out."""
        if proposal.options:
            chosen = proposal.options[0]
            self.learned.learn(chosen.rule, chosen.parts["rule"], proposal.context, helped)
            self.platt.learn(chosen.raw, helped)

    def _option(self, match: Match, case: Case, settings: DecisionSettings) -> Option:
        context = case.context
        raw = self.learned.expect(match.rule, match.prior, context.facts())
        sure = self.platt(raw)
        values = scoring.objectives(match.cure.action, match.parameters, sure, context, settings)
        parts = {"rule": match.prior, "learned": raw - match.prior, **values}
        return Option(
            action=match.cure.action, target=match.target, parameters=match.parameters, confidence=round(sure, 4),
            raw=round(raw, 6), score=round(scoring.score(values, context, settings), 4), rule=match.rule,
            parts={name: round(value, 4) + 0.0 for name, value in parts.items()}, cause=match.hypothesis.cause,
        )  # fmt: skip

    def _objected(
        self, found: Sequence[Option], out: Collection[int], case: Case, bounds: Bounds, now: Instant
    ) -> dict[int, str]:
        """Return by index why the gate would deny an option. Without exploration, stops at the first allowed one."""
        objected = {}
        for i, option in enumerate(found):
            if i in out:
                continue
            if why := self._objection(option, case, bounds, now):
                objected[i] = why
            elif not bounds.decision.explore:
                break
        return objected

    def _objection(self, option: Option, case: Case, bounds: Bounds, now: Instant) -> str:
        """Return why the gate would deny an option, as far as can be known here; empty when it would not."""
        safety = bounds.safety
        if not safety.allows(option.action):
            return "not on the list of allowed actions"
        if bounds.policies is None:
            return ""
        proposal = self._proposal(case, (option,), 0.0, now)
        system = SystemFacts(mode=mode_of(option.target, safety.scopes, safety.mode))
        urgency = round(LEAST_URGENT * (1.0 - case.context.urgency)) if case.incident else LEAST_URGENT
        facts = facts_of(proposal, system, urgency, safety.environments, now)
        _, why = bounds.policies.rule(self.policies, facts).applied(proposal)
        return f"policy denies it: {why}" if why else ""

    def _proposal(self, case: Case, options: tuple[Option, ...], propensity: float, now: Instant) -> Proposal:
        """Build the proposal for the first of the options."""
        chosen, attempt, revision = options[0], case.context.attempt, self.knowledge.revision
        why = next(h for h in case.hypotheses if h.cause == chosen.cause)
        return Proposal(
            id=derive("proposal", case.id, chosen.action, chosen.target, revision, attempt), ts=now,
            action=chosen.action, target=chosen.target, parameters=chosen.parameters, requester=case.requester,
            confidence=chosen.confidence, cause=why.cause, reasons=(f"{why.cause} of {why.target}", *why.reasons),
            alternatives=tuple(f"{choice.label(o)}: {o.why_not}" for o in options[1:]), rule=chosen.rule,
            rule_revision=revision, incident=case.incident, attempt=attempt, evidence=case.evidence, kind=case.kind,
            options=options, context=case.context.facts(), raw=chosen.raw, propensity=propensity,
        )  # fmt: skip
