"""Votes: what waits for people, and the way from a yes to a command, or of a promotion to a grant.

A command is given only for an approved decision that the audit has kept: what cannot be audited is not done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from models.actions.catalogue import ACTIONS
from models.bounded import keep
from models.incidents.lifecycle import is_over
from models.safety.approval import Matter, check_approvals, check_vote
from models.safety.guard import LONGEST_MS
from models.safety.modes import Need, mode_of, need
from models.safety.promotion import GRANT, granted
from models.safety.settings import SafetySettings
from models.safety.signing import Keyring, Refused
from models.safety.switch import KillSwitch
from topics.actions import Command, Result
from topics.approvals import Approval, subject
from topics.audit import Entry
from topics.codec import DecodeError, decode_value
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.incidents import Incident
from topics.proposals import Proposal
from topics.refusals import Refusal, refusal
from topics.settings import Setting
from topics.spec import Instant, derive, service_of, system_of

KEPT: Final = 5_000  # ended decisions remembered, so that nothing is dispatched twice
OVER: Final = "the incident is over"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a ballot is held by."""

    settings: SafetySettings
    keyring: Keyring


class ApprovalTracker(msgspec.Struct):
    """Decisions of one partition on their way to a command. The struct is the snapshot."""

    waiting: dict[str, Decision] = msgspec.field(default_factory=dict)
    votes: dict[str, list[Approval]] = msgspec.field(default_factory=dict)  # that count, by decision, until it ends
    early: dict[str, Approval] = msgspec.field(default_factory=dict)  # before their decision, by where they stand
    approved: dict[str, Decision] = msgspec.field(default_factory=dict)  # until the audit has them
    dispatched: dict[str, Decision] = msgspec.field(default_factory=dict)  # until their result comes
    at_work: dict[str, str] = msgspec.field(default_factory=dict)  # the decision dispatched last, by service
    ended: dict[str, Instant] = msgspec.field(default_factory=dict)
    over: dict[str, Instant] = msgspec.field(default_factory=dict)  # incidents that need nothing any more
    epochs: dict[str, int] = msgspec.field(default_factory=dict)  # the newest, by service
    switch: KillSwitch = msgspec.field(default_factory=KillSwitch)

    def decided(self, decision: Decision, rules: Rules, now: Instant) -> Iterator[Decision | Refusal]:
        """Hold what waits for votes or for the audit; forget what was denied, which it stays."""
        if decision.id in self.ended or decision.id in self.dispatched:
            return
        if decision.state is DecisionState.DENIED:  # for good: whatever another gate says of a copy of the proposal
            self._end(decision.id, now)
        if decision.state not in (DecisionState.PENDING, DecisionState.APPROVED):
            return
        if decision.proposal.incident in self.over:
            yield self._refuse(decision, now, OVER)
        elif decision.state is DecisionState.APPROVED:
            keep(self.approved, decision.id, self.approved.get(decision.id, decision), KEPT)
        elif decision.id not in self.approved:
            keep(self.waiting, decision.id, self.waiting.get(decision.id, decision), KEPT)
            for origin in [o for o, vote in self.early.items() if vote.decision == decision.id]:
                yield from self._catch_up(origin, rules, now)

    def vote(self, approval: Approval, origin: str, rules: Rules, now: Instant) -> Iterator[Decision]:
        """Count a vote on what waits.

        Raises:
            Refused: the vote does not count, with the reason.
        """
        if approval.decision in self.waiting:
            yield from self._count(approval, rules, now)
        elif any(approval.decision in known for known in (self.ended, self.approved, self.dispatched)):
            raise Refused("late", f"decision {approval.decision} does not wait any more")
        else:
            keep(self.early, origin, approval, KEPT)

    def audited(self, entry: Entry, rules: Rules, now: Instant) -> Iterator[Decision | Command | Setting]:
        """An approved decision that is on the audit becomes a command or a grant.

        Raises:
            Refused: unapproved: the decision says that it was approved, and the votes for it are not here.
        """
        if entry.topic != DECISIONS.name:
            return
        try:
            decision = decode_value(DECISIONS, bytes(entry.body))
        except DecodeError as error:
            raise Refused("altered", f"the entry holds no decision: {error.detail}") from None
        assert isinstance(decision, Decision)
        if decision.state is not DecisionState.APPROVED or decision.id in self.ended or decision.id in self.dispatched:
            return
        if decision.proposal.incident in self.over:
            yield self._refuse(decision, now, OVER)
            return
        votes = tuple(self.votes.get(decision.id, ()))
        check_approvals(votes, matter(decision, rules.settings), rules.keyring, now)
        objection = self._objection(decision, rules, now)
        if objection is not None:
            self._end(decision.id, now)
            yield decision.moved(DecisionState.DENIED, now, objection[1], blocked=objection[0])
            return
        if decision.proposal.action == GRANT:
            yield granted(decision.proposal, votes, now)
            self._end(decision.id, now)
            yield decision.moved(DecisionState.COMPLETED, now, "granted")
            return
        yield from self._dispatch(decision, rules, entry, now)

    def incident(self, incident: Incident, now: Instant) -> Iterator[Decision]:
        """What waits for an incident that is over is not wanted any more."""
        if not is_over(incident.state):
            return
        keep(self.over, incident.id, incident.ts, KEPT)
        for decision in [d for d in self.waiting.values() if d.proposal.incident == incident.id]:
            yield self._refuse(decision, now, OVER)

    def acted(self, result: Result, now: Instant) -> Iterator[Decision]:
        """A result ends its decision."""
        decision = self.dispatched.pop(result.decision, None)
        if decision is not None:
            self._end(decision.id, now)
            yield decision.moved(DecisionState.COMPLETED, now, f"{result.outcome}: {result.detail}")

    def expire(self, rules: Rules, now: Instant) -> Iterator[Decision]:
        """What nobody approved in time is refused, and so is what the audit did not keep in time."""
        for decision in [d for d in self.waiting.values() if now >= d.expires]:
            yield self._refuse(decision, now, "nobody approved it in time")
        for decision in [d for d in self.approved.values() if now >= d.ts + rules.settings.approval_ms]:
            yield self._refuse(decision, now, "the audit did not keep it in time")

    def _catch_up(self, origin: str, rules: Rules, now: Instant) -> Iterator[Decision | Refusal]:
        vote = self.early.pop(origin)
        try:
            yield from self.vote(vote, origin, rules, now)
        except Refused as refused:
            yield refusal(vote, origin, refused.code, refused.detail, now)

    def _count(self, approval: Approval, rules: Rules, now: Instant) -> Iterator[Decision]:
        decision = self.waiting[approval.decision]
        votes = self.votes.get(decision.id, [])
        wanted = matter(decision, rules.settings)
        if now >= decision.expires:
            raise Refused("late", f"decision {decision.id} has expired")
        check_vote(approval, wanted, rules.keyring, now)
        if any(vote.voter == approval.voter for vote in votes):
            raise Refused("repeated", f"{approval.voter} has voted on {decision.id}")
        said = f"{approval.voter}: {approval.vote}" + (f" ({approval.reason})" if approval.reason else "")
        voters = (*decision.voters, approval.voter)
        if approval.vote == "reject":
            self._end(decision.id, now)
            yield decision.moved(DecisionState.REJECTED, now, said, voters=voters)
            return
        votes = [*votes, approval]
        keep(self.votes, decision.id, votes, KEPT)
        quorum = max((need.quorum for need in wanted.needs), default=1)
        if len(votes) < quorum:
            said = f"{said}; {len(votes)} of {quorum} votes"
            self.waiting[decision.id] = moved = decision.moved(DecisionState.PENDING, now, said, voters=voters)
        else:
            del self.waiting[decision.id]
            self.approved[decision.id] = moved = decision.moved(DecisionState.APPROVED, now, said, voters=voters)
        yield moved

    def _objection(self, decision: Decision, rules: Rules, now: Instant) -> tuple[str, str] | None:
        if self.switch.killed:
            return "killed", "the kill switch is on"
        service = service_of(decision.proposal.target)
        other = self.dispatched.get(self.at_work.get(service, ""))
        if other is not None and now < other.ts + rules.settings.open_for_ms:
            return "lease_held", f"decision {other.id} is at work on {service}"
        return None

    def _dispatch(self, decision: Decision, rules: Rules, entry: Entry, now: Instant) -> Iterator[Decision | Command]:
        wanted = decision.proposal
        service = service_of(wanted.target)
        epoch = max(self.epochs.get(service, 0) + 1, now)  # the clock, so that a lost state does not begin again at 1
        keep(self.epochs, service, epoch, KEPT)
        asked = policy_need(decision)
        decided = hashlib.sha256(bytes(entry.body)).hexdigest()
        command = Command(
            id=derive("command", decision.id, 0), decision=decision.id, incident=wanted.incident, ts=now,
            action=wanted.action, target=wanted.target, parameters=wanted.parameters,
            expires=now + min(rules.settings.command_ms, LONGEST_MS), audience=audience(wanted), epoch=epoch,
            requester=wanted.requester, confidence=wanted.confidence, role=asked.role if asked else "",
            quorum=asked.quorum if asked else 0, decided=decided,
            audit=f"{entry.chain}/{entry.seq}", approvals=tuple(self.votes.get(decision.id, ())),
        )  # fmt: skip
        moved = decision.moved(DecisionState.DISPATCHED, now, f"command {command.id}", command=command.id)
        self._forget(decision.id)
        keep(self.dispatched, decision.id, moved, KEPT)
        keep(self.at_work, service, decision.id, KEPT)
        yield command
        yield moved

    def _refuse(self, decision: Decision, now: Instant, reason: str) -> Decision:
        self._end(decision.id, now)
        return decision.moved(DecisionState.EXPIRED, now, reason)

    def _end(self, identity: str, now: Instant) -> None:
        self._forget(identity)
        keep(self.ended, identity, now, KEPT)

    def _forget(self, identity: str) -> None:
        for part in (self.waiting, self.votes, self.approved):
            part.pop(identity, None)


def matter(decision: Decision, settings: SafetySettings) -> Matter:
    """What is voted on, and whose votes it takes: by the mode of its scope, and by policy."""
    wanted = decision.proposal
    mode = mode_of(wanted.target, settings.scopes, settings.mode)
    needs = (need(mode, wanted.confidence, settings.quorum), policy_need(decision))
    bound = subject(decision.id, wanted.action, wanted.target, wanted.parameters, wanted.requester)
    return Matter(bound, wanted.requester, tuple(filter(None, needs)))


def policy_need(decision: Decision) -> Need | None:
    """The votes that a policy asked for."""
    role, quorum = getattr(decision, "required_role", ""), getattr(decision, "quorum", 0)
    return Need(role, max(quorum, 1)) if role else None


def audience(proposal: Proposal) -> str:
    """Who a command is for: the kind of actuator and the system."""
    action = ACTIONS.get(proposal.action)
    return f"{action.actuators[0] if action else ''}/{system_of(proposal.target)}"
