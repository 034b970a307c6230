"""The gate: all limits between a proposal and an action, as one ordered list of checks.

The first check that objects sets the block reason. The state records what was allowed, so that limits hold across
restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from models.keyed import KeyedState, Table, by_domain, table
from models.policy.engine import Policies, Ruling
from models.policy.facts import facts_of
from models.policy.violations import ViolationRemediator
from models.safety.approval import check_proposal
from models.safety.context import CONTEXT_CHECKS, LEAST_URGENT, Objection, SafetyContext, in_scope
from models.safety.modes import SILENT, Mode, acts, at_most, mode_of, need, tier
from models.safety.promotion import GRANT, LEADS, group_of
from models.safety.settings import SafetySettings as SafetySettings
from models.safety.signing import TRUST, Keyring, Refused
from models.safety.switch import KillSwitch
from models.safety.trust import Trust
from models.versions import Book
from topics.decisions import Decision, DecisionState
from topics.policies import Facts, SystemFacts
from topics.proposals import Proposal
from topics.settings import Setting
from topics.spec import Instant, derive, later, service_of

ENDED: Final = frozenset({DecisionState.DENIED, DecisionState.REJECTED, DecisionState.EXPIRED, DecisionState.COMPLETED})
NOWHERE: Final = -1  # offset of a proposal that is known only from its decision
SEEN_KEPT: Final = 5_000  # proposals remembered: a repeat is answered once


class Opened(msgspec.Struct, frozen=True):
    """A decision that has not ended. It occupies its target."""

    decision: str
    until: Instant
    priority: int = LEAST_URGENT
    waiting: Decision | None = None  # set while it waits for votes: a more urgent one may replace it


class GateState(KeyedState):
    """The proposals that one partition's gate answered, and the decisions and actions that limits count.

    See `count_by`.
    """

    seen: Table[int] = table(SEEN_KEPT)  # proposal that was answered → its offset
    open: Table[Opened] = table(when=lambda held: held.until, domain=by_domain)  # by the target's service
    acted: Table[dict[str, Instant]] = table(domain=by_domain)  # target → decision → time of dispatch
    switch: KillSwitch = msgspec.field(default_factory=KillSwitch)
    context: SafetyContext = msgspec.field(default_factory=SafetyContext)
    policies: Book = msgspec.field(default_factory=Book)
    trust: Trust = msgspec.field(default_factory=Trust)
    violations: ViolationRemediator = msgspec.field(default_factory=ViolationRemediator)

    def __post_init__(self) -> None:
        self.count_by(SafetySettings())

    def count_by(self, settings: SafetySettings) -> None:
        """Count by the safety scopes of these settings from here on."""

        def groups(service: str, held: Opened) -> list[str]:
            return [in_scope(settings.scope_of(service)), *([held.waiting.proposal.incident] if held.waiting else ())]

        self.open.grouped(groups)
        self.acted.grouped(lambda target, _: in_scope(settings.scope_of(target)))
        self.context.count_by(settings)

    def set(self, setting: Setting, keyring: Keyring, arrived: Instant) -> None:
        """Apply a live setting. arrived: time of the broker (ms since 1970). Raises Refused."""
        self.switch.take(setting, keyring, arrived)
        self.context.maintain(setting, keyring)
        self.trust.set(setting, keyring, arrived)

    def admit(self, proposal: Proposal, offset: int, keyring: Keyring, now: Instant) -> bool:
        """Check a proposal. True when it must be judged; False when this record of it was answered before.

        Raises:
            Refused: repeated when it was answered from another offset, or what `check_proposal` raises.
        """
        place = self.seen.get(proposal.id)
        if place == offset:
            return False
        check_proposal(proposal, keyring, now)
        if place is None:
            return True
        if place != NOWHERE:
            raise Refused("repeated", f"it was answered as {derive('decision', proposal.id)}, from offset {place}")
        self.seen[proposal.id] = offset
        return False

    def proposals(self, settings: SafetySettings, policies: Policies, now: Instant) -> Iterator[Proposal]:
        """Yield the gate's own proposals: earned promotions, and actions that end violations of policies."""
        yield from self.trust.promotions(settings, now)
        yield from self.violations.check(self.policies, policies, lambda facts: self._today(facts, settings, now), now)

    def judge(
        self, proposal: Proposal, settings: SafetySettings, policies: Policies, now: Instant, offset: int = NOWHERE
    ) -> Iterator[Decision]:
        """Yield the decision on a proposal (denied, approved or pending) and denials of those that it replaces."""
        if proposal.id in self.seen:
            return
        self.seen[proposal.id] = offset
        if proposal.action == GRANT:
            yield self._promote(proposal, settings, policies, now)
            return
        self.expire(now)
        yield from self._withdraw(proposal, now)
        objection = self._objection(proposal, settings, now)
        if objection is not None:
            yield _decision(proposal, settings, now, DecisionState.DENIED, objection[1], blocked=objection[0])
            return
        decision = self._answer(proposal, settings, policies, now)
        if decision.state is DecisionState.DENIED:
            yield decision
            return
        yield from self._make_room(decision, now)
        waiting = decision if decision.state is DecisionState.PENDING else None
        held = Opened(decision.id, later(now, settings.open_for_ms), self.context.priority(proposal), waiting)
        self.open[service_of(proposal.target)] = held
        yield decision

    def _promote(self, proposal: Proposal, settings: SafetySettings, policies: Policies, now: Instant) -> Decision:
        """Decide on a promotion: pending for a lead, or denied when it was not earned or a policy denies it."""
        facts = facts_of(
            proposal, self._situation(proposal, settings, now), LEAST_URGENT, settings.environments, now
        )  # fmt: skip
        ruling = policies.rule(self.policies, facts)
        changed, denied = ruling.applied(proposal)
        objection: Objection = None
        if self.switch.killed:
            objection = "killed", "the kill switch is on"
        elif proposal.requester != TRUST or not self.trust.ripe(group_of(proposal)):
            objection = "not_allowed", f"{group_of(proposal)} has not earned it"
        elif denied or changed != proposal:
            objection = "policy", f"policy denies it: {denied or 'it is to be less than it is'}"
        blocked, reason = objection or ("", f"a promotion: {proposal.reasons[0]}; a lead ratifies it")
        answer = _decision(proposal, settings, now, DecisionState.DENIED, reason, blocked=blocked)
        answer = msgspec.structs.replace(
            answer, reasons=(*ruling.reasons, reason), policy=ruling.results, facts=facts
        )  # fmt: skip
        return answer if objection else msgspec.structs.replace(
            answer, state=DecisionState.PENDING, required_role=LEADS.role,
            quorum=max(ruling.quorum, settings.quorum, LEADS.quorum), expires=later(now, settings.promotion_ms),
        )  # fmt: skip

    def _objection(self, proposal: Proposal, settings: SafetySettings, now: Instant) -> Objection:
        ours = (o for check in CHECKS if (o := check(self, proposal, settings, now)))
        context = (o for check in CONTEXT_CHECKS if (o := check(self.context, proposal, settings, now)))
        return next(ours, None) or next(context, None)

    def _answer(self, proposal: Proposal, settings: SafetySettings, policies: Policies, now: Instant) -> Decision:
        """Decide by policies, then by whether a person must approve."""
        situation, priority = self._situation(proposal, settings, now), self.context.priority(proposal)
        facts = facts_of(proposal, situation, priority, settings.environments, now)
        ruling = policies.rule(self.policies, facts)
        allowed, objection = ruling.applied(proposal)
        mode = at_most(Mode(situation.mode), ruling.mode)
        answer = msgspec.structs.replace(
            _decision(allowed, settings, now, DecisionState.DENIED, ""), mode=mode, policy=ruling.results, facts=facts
        )
        if objection or mode in SILENT:
            reason = f"policy denies it: {objection}" if objection else f"mode {mode}: nothing acts"
            blocked = "policy" if objection else "mode"
            return msgspec.structs.replace(answer, reasons=(*ruling.reasons, reason), blocked=blocked)
        reason, ask = self._asked(allowed, settings, mode, ruling, now)
        unasked = need(Mode(situation.mode), allowed.confidence) is None  # the mode alone asks nobody
        asked = need(Mode.APPROVE, allowed.confidence) if ask and unasked else None
        role = ruling.role or (asked.role if asked else "")
        return msgspec.structs.replace(
            answer, state=DecisionState.PENDING if ask else DecisionState.APPROVED, reasons=(*ruling.reasons, reason),
            required_role=role, quorum=max(ruling.quorum, 1) if role else 0,
            expires=later(now, settings.approval_ms) if ask else 0,
        )  # fmt: skip

    def _asked(
        self, proposal: Proposal, settings: SafetySettings, mode: Mode, ruling: Ruling, now: Instant
    ) -> tuple[str, bool]:
        """Return the reason, and whether a person must approve."""
        sure = proposal.confidence
        if not acts(mode, sure):
            who = "a lead" if tier(sure) == "lead" else "an approver or a lead"
            return f"mode {mode}: at confidence {sure:.2f} {who} has to say yes", True
        if doubt := self.trust.objection(proposal, settings):
            return doubt, True
        if stale := self.context.stale(proposal, settings, now):
            return f"nothing acts alone: {stale}", True
        if ruling.role:
            return f"policy wants {ruling.quorum} × {ruling.role}", True
        return f"confidence {sure:.2f} is enough in mode {mode}", False

    def _situation(self, proposal: Proposal, settings: SafetySettings, now: Instant) -> SystemFacts:
        """Return the facts on the target's safety scope that policies see for a proposal."""
        target, context = proposal.target, self.context
        failed = context.failed.get(service_of(proposal.target))
        unwell = context.unwell(target, settings)
        return SystemFacts(
            mode=mode_of(target, settings.scopes, settings.mode),
            storm=context.storm(target, settings),
            stale=bool(context.stale(proposal, settings, now)),
            services=len(context.services(target, settings)),
            incidents=len(context.open.keys_of(in_scope(settings.scope_of(target)))),
            unwell=len(unwell),
            actions=len(self.recent(now, settings, scope=settings.scope_of(target))),
            target_actions=len(self.recent(now, settings, target=target)),
            failures=failed.count if failed else 0,
        )

    def _today(self, facts: Facts, settings: SafetySettings, now: Instant) -> Facts:
        """Return the facts of an earlier decision as of now, with its proposal (requester, cause) unchanged."""
        proposal = Proposal(
            id="",
            ts=now,
            action=facts.action.name,
            target=facts.target.id,
            parameters=facts.parameters,
            requester=facts.proposal.requester,
            confidence=facts.proposal.confidence,
            cause=facts.proposal.cause,
            reasons=(),
        )
        situation = self._situation(proposal, settings, now)
        today = facts_of(proposal, situation, LEAST_URGENT, settings.environments, now)
        return msgspec.structs.replace(today, proposal=facts.proposal)

    def _withdraw(self, proposal: Proposal, now: Instant) -> Iterator[Decision]:
        """Deny decisions that wait for votes if their requester now proposes another action for the same incident."""
        for service in self.open.keys_of(proposal.incident) if proposal.incident else ():
            stale = self.open[service].waiting
            if stale is None or stale.proposal.requester != proposal.requester:
                continue
            del self.open[service]
            why = f"withdrawn: {proposal.cause} now explains the incident best, see {derive('decision', proposal.id)}"
            yield stale.moved(DecisionState.DENIED, now, why, blocked="superseded")

    def _make_room(self, winner: Decision, now: Instant) -> Iterator[Decision]:
        """Deny the decision that waits for votes on the winner's target, with the winner as the reason."""
        held = self.open.get(service_of(winner.proposal.target))
        if held is not None and held.waiting is not None:
            lost = f"lost {service_of(winner.proposal.target)} to {winner.id}, which is more urgent"
            yield held.waiting.moved(DecisionState.DENIED, now, lost, blocked="lease_held")

    def follow(self, decision: Decision, settings: SafetySettings) -> None:
        """Process a decision: count it when dispatched, release its target when it has ended.

        A decision of this gate that is missing in its state was made just before a crash. It is kept.
        """
        target, service = decision.proposal.target, service_of(decision.proposal.target)
        if decision.proposal.id not in self.seen:
            self.seen[decision.proposal.id] = NOWHERE
            if decision.state not in ENDED and decision.proposal.action != GRANT:
                urgency = self.context.priority(decision.proposal)
                self.open[service] = Opened(decision.id, later(decision.ts, settings.open_for_ms), urgency)
        if decision.state is DecisionState.DISPATCHED:
            since = decision.ts - settings.window_ms
            before = {d: ts for d, ts in self.acted.get(target, {}).items() if ts > since}
            self.acted[target] = {decision.id: decision.ts} | before
        held = self.open.get(service)
        if held is not None and held.decision == decision.id and decision.state is not DecisionState.PENDING:
            self.open[service] = held = msgspec.structs.replace(held, waiting=None)
        if decision.state in ENDED and held is not None and held.decision == decision.id:
            del self.open[service]

    def recent(self, now: Instant, settings: SafetySettings, *, target: str = "", scope: str = "") -> list[Instant]:
        """Return times of dispatch within the window, sorted, for one target or for all of a safety scope."""
        since = now - settings.window_ms
        while self.acted and max((oldest := next(iter(self.acted.items())))[1].values()) <= since:
            del self.acted[oldest[0]]
        found = [self.acted.get(target, {})] if target else self.acted.of(in_scope(scope))
        return sorted(ts for times in found for ts in times.values() if ts > since)

    def expire(self, now: Instant) -> None:
        """Release targets whose decision has not ended within `open_for_ms`."""
        for service in self.open.due(now):
            del self.open[service]

    def next_check(self, settings: SafetySettings) -> Instant | None:
        """Return when `proposals` must be called next (ms since 1970); None: there is nothing to propose."""
        checks = (self.trust.next_check(settings), self.violations.next_check(self.policies))
        return min((at for at in checks if at is not None), default=None)


Check = Callable[[GateState, Proposal, SafetySettings, Instant], Objection]


def _kill_switch(gate: GateState, *_: object) -> Objection:
    return ("killed", "the kill switch is on") if gate.switch.killed else None


def _mode(_gate: GateState, proposal: Proposal, settings: SafetySettings, _now: Instant) -> Objection:
    mode = mode_of(proposal.target, settings.scopes, settings.mode)
    return ("mode", f"mode {mode}: nothing acts") if mode in SILENT else None


def _allowed(_gate: GateState, proposal: Proposal, settings: SafetySettings, _now: Instant) -> Objection:
    if settings.allows(proposal.action):
        return None
    return "not_allowed", f"{proposal.action} is not on the list of allowed actions"


def _in_progress(gate: GateState, proposal: Proposal, _settings: SafetySettings, now: Instant) -> Objection:
    held = gate.open.get(service_of(proposal.target))
    if held is None or now >= held.until:
        return None
    if held.waiting is not None and gate.context.priority(proposal) < held.priority:
        return None
    return "duplicate_in_progress", f"decision {held.decision} on {service_of(proposal.target)} has not ended"


def _cooldown(gate: GateState, proposal: Proposal, settings: SafetySettings, now: Instant) -> Objection:
    times = gate.recent(now, settings, target=proposal.target)
    if not times or now - times[-1] >= settings.cooldown_ms:
        return None
    return "recently_remediated", f"{proposal.target} was acted on {(now - times[-1]) / 1000:.1f} s ago"


def _per_target(gate: GateState, proposal: Proposal, settings: SafetySettings, now: Instant) -> Objection:
    times = gate.recent(now, settings, target=proposal.target)
    if len(times) < settings.per_target:
        return None
    return "consecutive_failures", f"{len(times)} actions on {proposal.target} within the window are enough"


def _budget(gate: GateState, proposal: Proposal, settings: SafetySettings, now: Instant) -> Objection:
    scope = settings.scope_of(proposal.target)
    if len(gate.recent(now, settings, scope=scope)) < settings.per_scope:
        return None
    return "budget_exhausted", f"{settings.per_scope} actions in {scope} within the window are enough"


def _concurrency(gate: GateState, proposal: Proposal, settings: SafetySettings, _now: Instant) -> Objection:
    scope, service = settings.scope_of(proposal.target), service_of(proposal.target)
    count = sum(other != service for other in gate.open.keys_of(in_scope(scope)))
    if count < settings.concurrency:
        return None
    return "resource_busy", f"{count} decisions on {scope} have not ended"


def _blast(gate: GateState, proposal: Proposal, settings: SafetySettings, now: Instant) -> Objection:
    scope, service = settings.scope_of(proposal.target), service_of(proposal.target)
    since, ours = now - settings.blast_window_ms, in_scope(scope)
    others = {service_of(t) for t in gate.acted.keys_of(ours) if any(ts > since for ts in gate.acted[t].values())}
    others |= set(gate.open.keys_of(ours))
    others.discard(service)
    known = len(gate.context.services(proposal.target, settings))
    most = max(1, int(settings.blast_share * max(known, settings.concurrency)))
    if len(others) < most:
        return None
    return "blast_radius", f"{len(others)} services of {scope} are being changed, {most} is the most"


CHECKS: Final[tuple[Check, ...]] = (
    _kill_switch, _mode, _allowed, _in_progress, _cooldown, _per_target, _budget, _concurrency, _blast,
)  # fmt: skip


def _decision(
    proposal: Proposal, settings: SafetySettings, now: Instant, state: DecisionState, reason: str, *, blocked: str = ""
) -> Decision:
    return Decision(
        id=derive("decision", proposal.id), ts=now, state=state, proposal=proposal, tier=tier(proposal.confidence),
        mode=mode_of(proposal.target, settings.scopes, settings.mode), reasons=(reason,), blocked=blocked,
    )  # fmt: skip
