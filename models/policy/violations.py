"""What was done and still stands, held against the policies of now.

A policy with `standing: true` in its metadata denies not only what is to be done but also what stands: a change that
can be undone is asked about again as things are now: mode, health, telemetry, actions of late, environment, time. Only
who wanted it and why is as it was. Where it would be denied now, its inverse is proposed, through the same gate as
everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from models.actions.catalogue import ACTIONS
from models.keyed import KeyedState, Table, table
from models.policy.base import Effect
from models.policy.book import Book
from models.policy.engine import Active, Loaded, Policies, answers
from topics.actions import Result
from topics.decisions import Decision, DecisionState
from topics.policies import Facts, PolicyResult
from topics.proposals import Proposal
from topics.spec import Instant, derive, system_of

UPHOLD: Final = "uphold"
KEPT: Final = 1_000
CHECK_MS: Final = 10_000  # so often what stands is looked at, and at once when a policy changes
AGAIN_MS: Final = 300_000  # longer than votes are waited for; then it is proposed again, and so on
TRIES: Final = 5
SURE: Final = 0.9  # the inverse of what was done ends the violation, unless the world has changed meanwhile


class Change(msgspec.Struct, frozen=True):
    """A change that stands."""

    decision: str
    facts: Facts


class Violation(msgspec.Struct, frozen=True):
    """What was proposed against one."""

    tries: int
    next: Instant


def _asked_of(_decision: str, facts: Facts) -> str:
    return system_of(facts.target.id)


def _changed(_place: str, change: Change) -> str:
    return system_of(change.facts.target.id)


def _reported(_decision: str, result: Result) -> str:
    return system_of(result.target)


class ViolationRemediator(KeyedState):
    """What stands on one partition. A part of a state."""

    sent: Table[Facts] = table(KEPT, domain=_asked_of)  # by decision: dispatched, without a result yet
    early: Table[Result] = table(KEPT, domain=_reported)  # by decision: read before what was dispatched
    over: Table[Instant] = table(KEPT)  # decisions whose result was counted
    stands: Table[Change] = table(KEPT, domain=_changed)  # by target and action
    asked: Table[Violation] = table(KEPT)  # by decision and policy
    checked: Instant = 0
    under: dict[str, Instant] = msgspec.field(default_factory=dict)  # policies when it was checked, by name

    def decided(self, decision: Decision) -> None:
        """Remember what was sent out."""
        if decision.state is not DecisionState.DISPATCHED or decision.facts is None or decision.id in self.over:
            return
        if _can_be_undone(decision.proposal.action):
            self.sent[decision.id] = decision.facts
            if (result := self.early.pop(decision.id, None)) is not None:
                self.done(result)

    def done(self, result: Result) -> None:
        """What has succeeded stands, and its inverse does not any more; what upholds a policy does not stand itself."""
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
                self.stands[_place(facts.target.id, facts.action.name)] = Change(result.decision, facts)

    def next_check(self, book: Book) -> Instant | None:
        """When what stands is to be looked at; None: nothing stands."""
        if not self.stands:
            return None
        return self.checked + CHECK_MS if self.under == _newest(book) else 0

    def check(self, book: Book, ready: Policies, today: Callable[[Facts], Facts], now: Instant) -> Iterator[Proposal]:
        """A proposal for each standing violation that has none yet, or whose last one has led to nothing.

        today: what a policy is asked now about something that was decided upon with other facts.
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

    def _propose(self, change: Change, result: PolicyResult, now: Instant) -> Iterator[Proposal]:
        case = f"{change.decision}/{result.policy}/{result.version}"
        before = self.asked.get(case, Violation(0, 0))
        if before.tries >= TRIES or now < before.next:
            return
        proposal = _undoing(change, result, before.tries, now)
        if proposal is not None:
            self.asked[case] = Violation(before.tries + 1, now + AGAIN_MS * 2**before.tries)
            yield proposal


def _newest(book: Book) -> dict[str, Instant]:
    """When the newest word about each policy was said."""
    return {name: held.ts for name, held in book.held.items()}


def violated(policies: list[Active], facts: Facts) -> Iterator[PolicyResult]:
    """What of these policies denies something that stands. A policy at fault denies nothing that stands."""
    return (result for result, _ in answers(policies, facts) if result.enforced and result.effect == Effect.DENY)


def _undoing(change: Change, result: PolicyResult, tries: int, now: Instant) -> Proposal | None:
    """The inverse of a change; None: the catalogue does not take it with what is known."""
    facts = change.facts
    inverse = ACTIONS.get(ACTIONS[facts.action.name].inverse)
    if inverse is None:
        return None
    named = {parameter.name for parameter in inverse.parameters} - {"revision"}  # it was the other one's
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
