"""Combines the answers of many policies into one ruling.

All policies that cover a proposal are evaluated. An enforced denial or an enforced fault denies it, and so does the
lack of an `access` policy that allows it. The strictest required votes and the most restrictive mode apply.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from models.actions.catalogue import ACTIONS
from models.bounded import keep
from models.policy.base import (
    Answer,
    Ask,
    Compiled,
    Enforcement,
    Evaluator,
    Header,
    Less,
    PolicyEffect,
    PolicyFault,
    PolicyKind,
)
from models.policy.checks import Path, check, project
from models.policy.header import package_of, read
from models.policy.question import question
from models.safety.modes import Mode, at_most
from models.safety.roles import Role
from models.safety.signing import Refused
from models.versions import Book, Held
from topics import patterns
from topics.policies import Facts, Policy, PolicyResult
from topics.proposals import Proposal

LOADED: Final = 2_000  # maximum compiled texts in memory
REMEMBERED: Final = 4_096  # maximum cached answers per policy
STRICTNESS: Final = {"": 0, Role.APPROVER: 1, Role.LEAD: 2}


@dataclass(frozen=True)
class Loaded:
    """A compiled policy with a cache: equal questions have equal answers."""

    header: Header
    paths: frozenset[Path]
    compiled: Compiled
    question: Callable[[Facts], Hashable]  # the part of the input that determines the answer
    answers: dict[Hashable, tuple[PolicyResult, Answer]] = field(default_factory=dict)

    def ask(self, facts: Facts) -> Answer:
        """Evaluate the policy, without the cache. Raises PolicyFault."""
        said = self.compiled.evaluate(project(msgspec.to_builtins(facts), self.paths))
        if not isinstance(said, dict) or "allow" not in said:
            raise PolicyFault("undefined", "it says nothing of `allow`")
        if not isinstance(said["allow"], bool):
            raise PolicyFault("not_boolean", f"`allow` is {said['allow']!r}"[:200])
        try:
            return msgspec.convert(said, Answer)
        except msgspec.ValidationError as error:
            raise PolicyFault("error", str(error)) from None


@dataclass(frozen=True, slots=True)
class Active:
    """An active version of a policy. `loaded` is a fault when its text cannot be evaluated."""

    name: str
    version: int
    loaded: Loaded | PolicyFault


@dataclass(frozen=True)
class Ruling:
    """The combined answer of all policies to one proposal."""

    results: tuple[PolicyResult, ...]
    asks: tuple[Ask, ...] = ()
    less: tuple[Less, ...] = ()

    @functools.cached_property
    def denied(self) -> str:
        """Why the proposal is denied; empty: it is not."""
        against = [r for r in self.results if r.enforced and r.effect in (PolicyEffect.DENY, PolicyEffect.FAULT)]
        if against:
            return "; ".join(f"{r.policy}: {', '.join(r.reasons) or 'not allowed'}" for r in against)
        granted = any(r.kind == PolicyKind.ACCESS and r.enforced for r in self.results)
        return "" if granted else "no access policy covers it"

    @property
    def effect(self) -> PolicyEffect:
        """The combined effect."""
        if self.denied:
            return PolicyEffect.DENY
        if self.asks:
            return PolicyEffect.REQUIRE_APPROVAL
        return PolicyEffect.DEGRADE if self.less else PolicyEffect.ALLOW

    @property
    def role(self) -> str:
        """Role whose votes are required; empty: none."""
        return max((ask.role for ask in self.asks), key=lambda role: STRICTNESS[role], default="")

    @property
    def quorum(self) -> int:
        """Number of required votes; 0: none."""
        return max((ask.quorum for ask in self.asks), default=0)

    @property
    def mode(self) -> Mode:
        """The most restrictive mode that the policies set."""
        return functools.reduce(at_most, (less.mode for less in self.less), Mode.AUTONOMOUS)

    def applied(self, proposal: Proposal) -> tuple[Proposal, str]:
        """Return the proposal with the parameters that policies set, and why it is denied; empty: it is not."""
        changes = {name: value for less in self.less for name, value in less.parameters.items()}
        if self.denied or not changes:
            return proposal, self.denied
        action, parameters = ACTIONS.get(proposal.action), proposal.parameters | changes
        wrong = action.objection(parameters) if action else "the action is unknown"
        return msgspec.structs.replace(proposal, parameters=parameters), wrong or ""

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of the enforced policies that restrict the proposal."""
        return tuple(
            f"policy {r.policy}: {', '.join(r.reasons) or r.effect}"
            for r in self.results if r.enforced and r.effect != PolicyEffect.ALLOW
        )  # fmt: skip


class Policies:
    """Compiles and evaluates the active policies. Holds only caches.

    shipped: texts of the policies that are active until an admin changes them by name.
    """

    def __init__(self, evaluator: Evaluator, shipped: Iterable[str] = ()) -> None:
        self.evaluator = evaluator
        self._loaded: dict[str, Loaded | PolicyFault] = {}
        self._now: tuple[dict[str, Held], list[Active]] | None = None  # the active policies at the last call
        self.shipped = {read(source).id: source for source in shipped}

    def load(self, source: str) -> Loaded:
        """Check and compile a text. Raises PolicyFault."""
        found = self._loaded.get(source)
        if found is None:
            try:
                header = read(source)
                paths, compiled = check(source), self.evaluator.compile(source, package_of(header.id))
                found = Loaded(header, paths, compiled, question(source, paths))
            except PolicyFault as fault:
                if fault.code != "invalid":  # other faults may pass, for example a server that is down
                    raise
                found = fault
            keep(self._loaded, source, found, LOADED)
        if isinstance(found, PolicyFault):
            raise PolicyFault(found.code, found.detail)
        return found

    def check(self, policy: Policy) -> None:
        """Return if a policy can be evaluated. Raises Refused."""
        try:
            named = self.load(policy.source).header.id
        except PolicyFault as fault:
            raise Refused("invalid_policy", fault.detail) from None
        if named != policy.name:
            raise Refused("invalid_policy", f"its file says that it is {named}")

    def active(self, book: Book) -> list[Active]:
        """Return the active policies, sorted by name."""
        if self._now is None or self._now[0] != book.held:
            found = self._find(book)
            sure = all(isinstance(p.loaded, Loaded) or p.loaded.code == "invalid" for p in found)
            self._now = (dict(book.held), found) if sure else None
            return found
        return self._now[1]

    def _find(self, book: Book) -> list[Active]:
        texts = {name: (0, source) for name, source in self.shipped.items()}
        texts |= {name: (held.version, held.source) for name, held in book.held.items()}
        return [self._active(name, *texts[name]) for name in sorted(texts) if texts[name][1]]

    def rule(self, book: Book, facts: Facts) -> Ruling:
        """Return the ruling of the active policies on a proposal."""
        return ruling(self.active(book), facts)

    def _active(self, name: str, version: int, source: str) -> Active:
        try:
            return Active(name, version, self.load(source))
        except PolicyFault as fault:
            return Active(name, version, fault)


def ruling(policies: Sequence[Active], facts: Facts) -> Ruling:
    """Return the ruling of these policies on one proposal."""
    results: list[PolicyResult] = []
    asks: list[Ask] = []
    less: list[Less] = []
    for result, answer in answers(policies, facts):
        results.append(result)
        if answer is not None and result.enforced:
            asks += answer.require_approval
            less += answer.degrade
    return Ruling(tuple(results), tuple(asks), tuple(less))


def answers(policies: Sequence[Active], facts: Facts) -> Iterator[tuple[PolicyResult, Answer | None]]:
    """Yield the result and the answer of each policy that covers a proposal; the answer is None for a fault."""
    return (_result(policy, facts) for policy in _covering(policies, facts))


def _covering(policies: Sequence[Active], facts: Facts) -> list[Active]:
    """Return the policies that cover this target and action, without those that a narrower one overrides."""
    found = [p for p in policies if isinstance(p.loaded, PolicyFault) or covers(p.loaded.header, facts)]
    narrower = {
        p.loaded.header.overrides: p.loaded.header
        for p in found
        if isinstance(p.loaded, Loaded) and p.loaded.header.overrides and enforced(p.loaded.header, facts)
    }
    return [p for p in found if not _overridden(p, narrower.get(p.name))] if narrower else found


def _overridden(policy: Active, by: Header | None) -> bool:
    if by is None or isinstance(policy.loaded, PolicyFault):
        return False
    header = policy.loaded.header
    wider = not patterns.covers(by.scope, header.scope) and patterns.covers(header.scope, by.scope)
    return header.overridable and header.type is by.type and wider


def covers(header: Header, facts: Facts) -> bool:
    """Whether a policy covers this target and action."""
    return (not header.actions or facts.action.name in header.actions) and patterns.covers(
        header.scope, facts.target.id
    )


def enforced(header: Header, facts: Facts) -> bool:
    """Whether a policy's answer is enforced for this target at this time."""
    if header.enforcement is not Enforcement.GRADUAL:
        return header.enforcement is Enforcement.STRICT
    now = facts.time.ms
    if header.until and now >= header.until:
        return True
    return now >= header.since and share(header.id, facts.target.id) < header.percent


def share(name: str, target: str) -> int:
    """Return the position of a target in a policy's roll-out, 0..99; always the same for the same names."""
    return int.from_bytes(hashlib.blake2b(f"{name}\x1f{target}".encode(), digest_size=8).digest()) % 100


def _result(policy: Active, facts: Facts) -> tuple[PolicyResult, Answer | None]:
    loaded, version = policy.loaded, policy.version
    if isinstance(loaded, PolicyFault):
        return PolicyResult(policy.name, version, "", PolicyEffect.FAULT, True, (str(loaded),)), None
    header, counts = loaded.header, enforced(loaded.header, facts)
    asked = version, counts, loaded.question(facts)
    try:
        if header.valid_until and facts.time.ms >= header.valid_until:
            raise PolicyFault("old", "nobody has renewed it")
        known = loaded.answers.get(asked)
        if known is None:
            answer = loaded.ask(facts)
            known = (
                PolicyResult(
                    policy.name, version, header.type, answer.effect, counts, tuple(_why(answer)), header.enforcement
                ),
                answer,
            )
            keep(loaded.answers, asked, known, REMEMBERED)
        return known
    except PolicyFault as fault:
        return PolicyResult(
            policy.name, version, header.type, PolicyEffect.FAULT, counts, (str(fault),), header.enforcement
        ), None


def _why(answer: Answer) -> Iterator[str]:
    yield from sorted(answer.reasons)
    if answer.allow:
        yield from sorted(f"{ask.quorum} × {ask.role}: {ask.reason}" for ask in answer.require_approval)
        yield from sorted(f"at most {less.mode}: {less.reason}" for less in answer.degrade)
