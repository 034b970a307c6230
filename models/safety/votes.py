"""Votes: what waits for a person, and the way from a yes to a command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from models.bounded import keep
from models.incidents.lifecycle import is_open
from models.safety.limits import SafetySettings
from topics.actions import Command, Result
from topics.approvals import Approval
from topics.decisions import Decision, Verdict
from topics.incidents import Incident
from topics.settings import KILL_SWITCH, ON, Setting
from topics.spec import Instant, derive

KEPT: Final = 5_000  # ended decisions remembered, so that nothing is dispatched twice
OVER: Final = "the incident is over"


class Ballot(msgspec.Struct):
    """Decisions of one partition on their way to a command. The struct is the snapshot."""

    waiting: dict[str, Decision] = msgspec.field(default_factory=dict)
    dispatched: dict[str, Decision] = msgspec.field(default_factory=dict)  # until their result comes
    ended: dict[str, Instant] = msgspec.field(default_factory=dict)
    over: dict[str, Instant] = msgspec.field(default_factory=dict)  # incidents that need nothing any more
    killed: bool = False

    def set(self, setting: Setting) -> None:
        """Take a live setting."""
        if setting.name == KILL_SWITCH:
            self.killed = setting.value == ON

    def decided(self, decision: Decision, settings: SafetySettings, now: Instant) -> Iterator[Decision | Command]:
        """Hold what waits; dispatch what was approved, once."""
        if decision.id in self.ended or decision.id in self.dispatched:
            return
        if decision.state not in (Verdict.PENDING, Verdict.APPROVED):
            return
        self.waiting.pop(decision.id, None)
        if decision.proposal.incident in self.over:
            yield self._refuse(decision, now, OVER)
        elif decision.state is Verdict.PENDING:
            self.waiting[decision.id] = decision
        else:
            yield from self._dispatch(decision, settings, now)

    def vote(self, approval: Approval, now: Instant) -> Iterator[Decision]:
        """Count a vote on what waits. A requester has no vote on its own proposal; a late vote changes nothing."""
        decision = self.waiting.get(approval.decision)
        if decision is None or now >= decision.expires or approval.voter == decision.proposal.requester:
            return
        del self.waiting[decision.id]
        state = Verdict.APPROVED if approval.vote == "approve" else Verdict.REJECTED
        if state is Verdict.REJECTED:
            self._end(decision.id, now)
        said = f"{approval.voter}: {approval.vote}" + (f" ({approval.reason})" if approval.reason else "")
        yield _moved(decision, state, now, said, voters=(*decision.voters, approval.voter))

    def incident(self, incident: Incident, now: Instant) -> Iterator[Decision]:
        """What waits for an incident that is over is not wanted any more."""
        if is_open(incident.state):
            return
        keep(self.over, incident.id, incident.ts, KEPT)
        for decision in [d for d in self.waiting.values() if d.proposal.incident == incident.id]:
            del self.waiting[decision.id]
            yield self._refuse(decision, now, OVER)

    def acted(self, result: Result, now: Instant) -> Iterator[Decision]:
        """A result ends its decision."""
        decision = self.dispatched.pop(result.decision, None)
        if decision is not None:
            self._end(decision.id, now)
            yield _moved(decision, Verdict.COMPLETED, now, f"{result.outcome}: {result.detail}")

    def expire(self, now: Instant) -> Iterator[Decision]:
        """What nobody approved in time is refused."""
        for decision in [d for d in self.waiting.values() if now >= d.expires]:
            del self.waiting[decision.id]
            yield self._refuse(decision, now, "nobody approved it in time")

    def _dispatch(self, decision: Decision, settings: SafetySettings, now: Instant) -> Iterator[Decision | Command]:
        if self.killed:
            self._end(decision.id, now)
            yield _moved(decision, Verdict.DENIED, now, "the kill switch is on", blocked="killed")
            return
        proposal = decision.proposal
        command = Command(
            id=derive("command", decision.id, 0), decision=decision.id, incident=proposal.incident, ts=now,
            action=proposal.action, target=proposal.target, parameters=proposal.parameters,
            expires=now + settings.command_ms,
        )  # fmt: skip
        moved = _moved(decision, Verdict.DISPATCHED, now, f"command {command.id}", command=command.id)
        keep(self.dispatched, decision.id, moved, KEPT)
        yield command
        yield moved

    def _refuse(self, decision: Decision, now: Instant, reason: str) -> Decision:
        self._end(decision.id, now)
        return _moved(decision, Verdict.EXPIRED, now, reason)

    def _end(self, identity: str, now: Instant) -> None:
        keep(self.ended, identity, now, KEPT)


def _moved(decision: Decision, state: Verdict, now: Instant, reason: str, **changes: object) -> Decision:
    return msgspec.structs.replace(
        decision, state=state, ts=now, reasons=(*decision.reasons, reason), **changes
    )  # fmt: skip
