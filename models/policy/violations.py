"""Standing violations: checks changes that are still in effect against the current policies.

A policy with `standing: true` in its metadata also denies changes that were made before. Each reversible change is
evaluated again with current facts: mode, health, telemetry, recent actions, environment, time; requester and cause stay
as they were. If it would be denied now, its inverse is proposed, through the same gate as every proposal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from models.actions.catalogue import ACTIONS
from models.keyed import KeyedState, Table, table
from models.policy.base import PolicyEffect
from models.policy.engine import Active, Loaded, Policies, answers
from models.versions import Book
from topics.actions import Result
from topics.decisions import Decision, DecisionState
from topics.policies import Facts, PolicyResult
from topics.proposals import Proposal
from topics.spec import Instant, derive, domain_of

UPHOLD: Final = "uphold"
KEPT: Final = 1_000
CHECK_MS: Final = 10_000  # period of the check; a change of policies triggers one at once
AGAIN_MS: Final = 300_000  # wait before a proposal is repeated, doubled each time; longer than votes are waited for
TRIES: Final = 5
SURE: Final = 0.9  # confidence: the inverse ends the violation, unless something else has changed meanwhile


class StandingChange(msgspec.Struct, frozen=True):
    """A change that is still in effect."""

    decision: str
    facts: Facts


class Violation(msgspec.Struct, frozen=True):
    """The proposals against one violation."""

    tries: int
    next: Instant


def _asked_of(_decision: str, facts: Facts) -> str:
    return domain_of(facts.target.id)


def _changed(_place: str, change: StandingChange) -> str:
    return domain_of(change.facts.target.id)


def _reported(_decision: str, result: Result) -> str:
    return domain_of(result.target)


class ViolationRemediator(KeyedState):
    """The changes in effect of one partition. Part of an agent's state."""

    sent: Table[Facts] = table(KEPT, domain=_asked_of)  # decision → its facts, dispatched, without a result yet
    early: Table[Result] = table(KEPT, domain=_reported)  # decision → its result, read before the decision
    over: Table[Instant] = table(KEPT)  # decision → time of its result, for those that were counted
    stands: Table[StandingChange] = table(KEPT, domain=_changed)  # target and action → change in effect
    asked: Table[Violation] = table(KEPT)  # decision and policy → proposals
    checked: Instant = 0
    under: dict[str, Instant] = msgspec.field(default_factory=dict)  # policy → newest record at the last check

    def decided(self, decision: Decision) -> None:
        """Store a dispatched decision whose action can be undone."""
        if decision.state is not DecisionState.DISPATCHED or decision.facts is None or decision.id in self.over:
            return
        if _can_be_undone(decision.proposal.action):
            self.sent[decision.id] = decision.facts
            if (result := self.early.pop(decision.id, None)) is not None:
                self.done(result)

    def done(self, result: Result) -> None:
        """Process a result: a success takes effect and ends its inverse. The remediator's own are not tracked."""
        if not _can_be_undone(result.action) or result.decision in self.over:
            return
        facts = self.sent.pop(result.decision, None)
        if facts is None:
            self.early[result.decision] = result
            return
        self.over[result.decision] = result.ts
        if result.outcome == "succeeded":
            self.stands.pop(_place(facts.target.id, ACTIONS[facts.action.name].inverse), None)
            if facts.proposal.requester != UPHOLD:
                self.stands[_place(facts.target.id, facts.action.name)] = StandingChange(result.decision, facts)

    def next_check(self, book: Book) -> Instant | None:
        """Return when `check` must run next (ms since 1970); None when no change is in effect."""
        if not self.stands:
            return None
        return self.checked + CHECK_MS if self.under == _newest(book) else 0

    def check(self, book: Book, ready: Policies, today: Callable[[Facts], Facts], now: Instant) -> Iterator[Proposal]:
        """Yield a proposal for each violation without one, or whose last proposal led to nothing.

        today: returns the current facts for those of an earlier decision.
        """
        if not self.stands:
            return
        under = _newest(book)
        if now - self.checked < CHECK_MS and self.under == under:
            return
        self.checked, self.under = now, under
        wanted = [p for p in ready.active(book) if isinstance(p.loaded, Loaded) and p.loaded.header.standing]
        if not wanted:
            return
        for change in list(self.stands.values()):
            for result in violated(wanted, today(change.facts)):
                yield from self._propose(change, result, now)

    def _propose(self, change: StandingChange, result: PolicyResult, now: Instant) -> Iterator[Proposal]:
        case = f"{change.decision}/{result.policy}/{result.version}"
        before = self.asked.get(case, Violation(0, 0))
        if before.tries >= TRIES or now < before.next:
            return
        proposal = _undoing(change, result, before.tries, now)
        if proposal is not None:
            self.asked[case] = Violation(before.tries + 1, now + AGAIN_MS * 2**before.tries)
            yield proposal


def _newest(book: Book) -> dict[str, Instant]:
    """Return by policy the time of its newest record."""
    return {name: held.ts for name, held in book.held.items()}


def violated(policies: list[Active], facts: Facts) -> Iterator[PolicyResult]:
    """Yield the enforced denials of a change in effect. A fault of a policy is no denial here."""
    return (result for result, _ in answers(policies, facts) if result.enforced and result.effect == PolicyEffect.DENY)


def _undoing(change: StandingChange, result: PolicyResult, tries: int, now: Instant) -> Proposal | None:
    """Return the proposal of a change's inverse; None when there is none, or the known parameters do not fit it."""
    facts = change.facts
    inverse = ACTIONS.get(ACTIONS[facts.action.name].inverse)
    if inverse is None:
        return None
    named = {parameter.name for parameter in inverse.parameters} - {"revision"}  # belongs to the original change
    parameters = {name: value for name, value in facts.parameters.items() if name in named}
    if inverse.objection(parameters):
        return None
    why = ", ".join(result.reasons) or "not allowed"
    return Proposal(
        id=derive("proposal", UPHOLD, change.decision, result.policy, result.version, tries), ts=now,
        action=inverse.name, target=facts.target.id, parameters=parameters, requester=UPHOLD, confidence=SURE,
        cause="policy_violation", rule=f"{result.policy}→{inverse.name}", rule_revision=result.version, attempt=tries,
        reasons=(f"policy {result.policy} denies the {facts.action.name} that stands there: {why}",),
        kind="compliance",
    )  # fmt: skip


def _can_be_undone(action: str) -> bool:
    return action in ACTIONS and bool(ACTIONS[action].inverse)


def _place(target: str, action: str) -> str:
    return f"{target} {action}"
