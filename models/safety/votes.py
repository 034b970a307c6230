"""Votes: tracks decisions that wait for people, and turns approved ones into commands or grants.

A command is issued only for an approved decision that is in the audit: what cannot be audited is not done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from models.actions.catalogue import ACTIONS
from models.incidents.lifecycle import is_open, is_over
from models.keyed import KeyedState, Table, by_domain, table
from models.safety.approval import Matter, check_approvals, check_vote
from models.safety.guard import LONGEST_MS
from models.safety.modes import Need, mode_of, need
from models.safety.promotion import GRANT, granted
from models.safety.settings import SafetySettings
from models.safety.signing import Keyring, Refused
from models.safety.switch import KillSwitch
from topics.actions import Command, Result
from topics.approvals import Approval, subject
from topics.audit import AuditEntry
from topics.codec import DecodeError, decode_value
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.incidents import Incident
from topics.proposals import Proposal
from topics.refusals import Refusal, refusal
from topics.settings import Setting
from topics.spec import DAY_MS, Instant, derive, domain_of, service_of, system_of

OPEN_KEPT: Final = 20_000  # maximum open decisions
KEPT: Final = 5_000  # ended decisions remembered, so that none is dispatched twice
LOST_MS: Final = DAY_MS  # a decision without a result so long after its command ends as unknown
OVER: Final = "the incident is over"


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings and keys by which votes are checked."""

    settings: SafetySettings
    keyring: Keyring


def _target(_id: str, decision: Decision) -> str:
    return domain_of(decision.proposal.target)


class ApprovalTracker(KeyedState):
    """Decisions of one partition from proposal to result."""

    waiting: Table[Decision] = table(
        OPEN_KEPT,
        when=lambda decision: max(decision.expires, 1),
        group=lambda _, d: d.proposal.incident,
        domain=_target,
    )
    votes: Table[tuple[Approval, ...]] = table(  # decision → its valid votes, until it ends
        OPEN_KEPT, domain=lambda _, votes: domain_of(votes[0].system)
    )
    early: Table[Approval] = table(  # votes that were read before their decision, by origin
        KEPT, group=lambda _, vote: vote.decision, domain=lambda _, vote: domain_of(vote.system)
    )
    approved: Table[Decision] = table(OPEN_KEPT, domain=_target)  # approved decisions that are not in the audit yet
    dispatched: Table[Decision] = table(  # dispatched decisions without a result
        OPEN_KEPT, when=lambda decision: decision.ts + LOST_MS, domain=_target
    )
    at_work: Table[str] = table(KEPT, domain=by_domain)  # service → the decision dispatched last
    ended: Table[Instant] = table(KEPT)
    over: Table[Instant] = table(KEPT)  # incident that has ended → when
    epochs: Table[int] = table(KEPT, domain=by_domain)  # service → its newest epoch
    switch: KillSwitch = msgspec.field(default_factory=KillSwitch)

    def decided(self, decision: Decision, rules: Rules, now: Instant) -> Iterator[Decision | Refusal]:
        """Track decisions that need votes or an audit entry. Drop denied ones: a denial is final."""
        if decision.id in self.ended or decision.id in self.dispatched:
            return
        if decision.state is DecisionState.DENIED:  # final, even if another gate answers a copy of the proposal
            self._end(decision.id, now)
        if decision.state not in (DecisionState.PENDING, DecisionState.APPROVED):
            return
        if decision.proposal.incident in self.over:
            yield self._refuse(decision, now, OVER)
            return
        if decision.state is DecisionState.APPROVED:
            yield from self._make_room(self.approved, now)
            self.approved.setdefault(decision.id, decision)
        elif decision.id not in self.approved:
            yield from self._make_room(self.waiting, now)
            self.waiting.setdefault(decision.id, decision)
            for origin in self.early.keys_of(decision.id):
                yield from self._catch_up(origin, rules, now)

    def vote(self, approval: Approval, origin: str, rules: Rules, now: Instant) -> Iterator[Decision]:
        """Count a vote on a pending decision. A vote that comes before its decision is kept.

        Raises:
            Refused: the vote is invalid, repeated or late.
        """
        if approval.decision in self.waiting:
            yield from self._count(approval, rules, now)
        elif any(approval.decision in known for known in (self.ended, self.approved, self.dispatched)):
            raise Refused("late", f"decision {approval.decision} does not wait any more")
        else:
            self.early[origin] = approval

    def audited(self, entry: AuditEntry, rules: Rules, now: Instant) -> Iterator[Decision | Command | Setting]:
        """Process an audit entry: an approved decision in it becomes a command or a grant.

        Raises:
            Refused: unapproved when the votes for it are missing here; altered when it holds no decision.
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
        votes = self.votes.get(decision.id, ())
        check_approvals(votes, matter(decision, rules.settings), rules.keyring, now)
        objection = self._objection(decision, rules, now)
        if objection is not None:
            self._end(decision.id, now)
            yield decision.moved(DecisionState.DENIED, now, objection[1], blocked=objection[0])
            return
        if decision.proposal.action == GRANT:
            yield granted(decision.proposal, votes, now)
            self._end(decision.id, now)
            yield decision.moved(DecisionState.COMPLETED, now, "granted", outcome="granted")
            return
        yield from self._dispatch(decision, rules, entry, now)

    def incident(self, incident: Incident, now: Instant) -> Iterator[Decision]:
        """Refuse pending decisions of an ended incident, and those for a cause that the incident no longer names."""
        if is_open(incident.state):
            yield from self._withdraw(incident, now)
        if not is_over(incident.state):
            return
        self.over[incident.id] = incident.ts
        for decision in self.waiting.of(incident.id):
            yield self._refuse(decision, now, OVER)

    def _withdraw(self, incident: Incident, now: Instant) -> Iterator[Decision]:
        """Deny pending decisions that were proposed before this incident record for a cause that it does not name."""
        named = {hypothesis.cause for hypothesis in incident.hypotheses}
        ours = [d.proposal for d in self.waiting.of(incident.id)]
        stale = {proposal.id for proposal in ours if proposal.ts < incident.ts and proposal.cause not in named}
        for decision in [d for d in self.waiting.of(incident.id) if d.proposal.id in stale]:
            self._end(decision.id, now)
            why = f"withdrawn: {decision.proposal.cause} does not explain the incident any more"
            yield decision.moved(DecisionState.DENIED, now, why, blocked="superseded")

    def acted(self, result: Result, now: Instant) -> Iterator[Decision]:
        """Complete the decision of a result."""
        decision = self.dispatched.pop(result.decision, None)
        if decision is not None:
            self._end(decision.id, now)
            said = f"{result.outcome}: {result.detail}"
            yield decision.moved(DecisionState.COMPLETED, now, said, outcome=result.outcome)

    def expire(self, rules: Rules, now: Instant) -> Iterator[Decision]:
        """Refuse decisions not approved, or not recorded in the audit, in time; end those without a result."""
        if self.approved.when is None:
            self.hold_to(rules.settings)
        for identity in self.waiting.due(now):
            yield self._refuse(self.waiting[identity], now, "nobody approved it in time")
        for identity in self.approved.due(now):
            yield self._refuse(self.approved[identity], now, "the audit did not keep it in time")
        for identity in self.dispatched.due(now):
            yield self._give_up(self.dispatched[identity], now)

    def hold_to(self, settings: SafetySettings) -> None:
        """Set how long approved decisions wait for the audit: `approval_ms`."""
        self.approved.timed(lambda decision: decision.ts + settings.approval_ms)

    def _make_room(self, table: Table[Decision], now: Instant) -> Iterator[Decision]:
        """End the oldest decision of a table that is full, instead of forgetting it without a word."""
        if len(table) < table.most:
            return
        oldest = next(iter(table.values()))
        if table is not self.dispatched:
            yield self._refuse(oldest, now, f"{table.most} newer decisions are open")
            return
        yield self._give_up(oldest, now)

    def _catch_up(self, origin: str, rules: Rules, now: Instant) -> Iterator[Decision | Refusal]:
        vote = self.early.pop(origin)
        try:
            yield from self.vote(vote, origin, rules, now)
        except Refused as refused:
            yield refusal(vote, origin, refused.code, refused.detail, now)

    def _count(self, approval: Approval, rules: Rules, now: Instant) -> Iterator[Decision]:
        decision = self.waiting[approval.decision]
        votes = self.votes.get(decision.id, ())
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
        votes = (*votes, approval)
        self.votes[decision.id] = votes
        quorum = max((need.quorum for need in wanted.needs), default=1)
        if len(votes) < quorum:
            said = f"{said}; {len(votes)} of {quorum} votes"
            self.waiting[decision.id] = moved = decision.moved(DecisionState.PENDING, now, said, voters=voters)
        else:
            del self.waiting[decision.id]
            yield from self._make_room(self.approved, now)
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

    def _dispatch(
        self, decision: Decision, rules: Rules, entry: AuditEntry, now: Instant
    ) -> Iterator[Decision | Command]:
        wanted = decision.proposal
        service = service_of(wanted.target)
        epoch = max(self.epochs.get(service, 0) + 1, now)  # at least the time, so that epochs grow after a lost state
        self.epochs[service] = epoch
        asked = policy_need(decision)
        decided = hashlib.sha256(bytes(entry.body)).hexdigest()
        command = Command(
            id=derive("command", decision.id, 0), decision=decision.id, incident=wanted.incident, ts=now,
            action=wanted.action, target=wanted.target, parameters=wanted.parameters,
            expires=now + min(rules.settings.command_ms, LONGEST_MS), audience=audience(wanted), epoch=epoch,
            requester=wanted.requester, confidence=wanted.confidence, role=asked.role if asked else "",
            quorum=asked.quorum if asked else 0, decided=decided,
            audit=f"{entry.chain}/{entry.seq}", approvals=self.votes.get(decision.id, ()),
        )  # fmt: skip
        moved = decision.moved(DecisionState.DISPATCHED, now, f"command {command.id}", command=command.id)
        self._forget(decision.id)
        yield from self._make_room(self.dispatched, now)
        self.dispatched[decision.id] = moved
        self.at_work[service] = decision.id
        yield command
        yield moved

    def _refuse(self, decision: Decision, now: Instant, reason: str) -> Decision:
        self._end(decision.id, now)
        return decision.moved(DecisionState.EXPIRED, now, reason)

    def _give_up(self, decision: Decision, now: Instant) -> Decision:
        del self.dispatched[decision.id]
        self._end(decision.id, now)
        return decision.moved(DecisionState.COMPLETED, now, "no result of it came", outcome="unknown")

    def _end(self, identity: str, now: Instant) -> None:
        self._forget(identity)
        self.ended[identity] = now

    def _forget(self, identity: str) -> None:
        for part in (self.waiting, self.votes, self.approved):
            part.pop(identity, None)


def matter(decision: Decision, settings: SafetySettings) -> Matter:
    """Return the subject of a vote and the votes that it needs, by the mode of its scope and by policy."""
    wanted = decision.proposal
    mode = mode_of(wanted.target, settings.scopes, settings.mode)
    needs = (need(mode, wanted.confidence, settings.quorum), policy_need(decision))
    bound = subject(decision.id, wanted.action, wanted.target, wanted.parameters, wanted.requester)
    return Matter(bound, wanted.requester, tuple(filter(None, needs)))


def policy_need(decision: Decision) -> Need | None:
    """Return the votes that a policy requires; None: none."""
    role, quorum = getattr(decision, "required_role", ""), getattr(decision, "quorum", 0)
    return Need(role, max(quorum, 1)) if role else None


def audience(proposal: Proposal) -> str:
    """Audience of a command, as `kind/system`, for example `supervisor/shop`."""
    action = ACTIONS.get(proposal.action)
    return f"{action.actuators[0] if action else ''}/{system_of(proposal.target)}"
