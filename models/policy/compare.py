"""Compares what two sets of policies make of recorded decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from models.policy.base import PolicyEffect
from models.policy.engine import Active, Ruling, ruling
from models.safety.modes import SILENT, Mode, acts, at_most, need
from models.safety.roles import Role
from topics.decisions import Decision
from topics.policies import Facts
from topics.proposals import Proposal
from topics.spec import Instant


class Outcome(msgspec.Struct, frozen=True):
    """The gate's answer to a proposal under some policies, without its limits."""

    effect: Literal["denied", "asked", "free"]
    role: str = ""  # role whose votes are needed
    quorum: int = 0
    mode: str = ""
    parameters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        changed = "".join(f", {name} = {value}" for name, value in self.parameters)
        votes = f": {max(self.quorum, 1)} × {self.role}" if self.effect == "asked" else ""
        return f"{self.effect}{votes}{f' in mode {self.mode}' if self.effect != 'denied' else ''}{changed}"


RulingChangeKind = Literal["newly_allowed", "newly_blocked", "changed"]


class RulingChange(msgspec.Struct, frozen=True):
    """One decision that another set of policies would change."""

    decision: str
    ts: Instant
    action: str
    target: str
    kind: RulingChangeKind
    before: str
    after: str
    why: tuple[str, ...]  # reasons of the new policies


class Simulation(msgspec.Struct):
    """The effect of a change of policies on recorded decisions."""

    decisions: int = 0
    newly_allowed: int = 0
    newly_blocked: int = 0
    changed: int = 0
    faults: int = 0  # faults of policies of the new set
    drifted: int = 0  # decisions that the policies before the change would not reproduce
    changes: list[RulingChange] = msgspec.field(default_factory=list)

    def add(self, decision: Decision, before: Sequence[Active], after: Sequence[Active]) -> None:
        """Evaluate one decision under the policies before and after a change. Skips decisions without facts."""
        facts = decision.facts
        if facts is None:
            return
        old, new = ruling(before, facts), ruling(after, facts)
        was, now = outcome(decision.proposal, facts, old), outcome(decision.proposal, facts, new)
        self.decisions += 1
        self.faults += sum(result.effect == PolicyEffect.FAULT for result in new.results)
        self.drifted += (was.effect == "denied") != (decision.blocked in ("policy", "mode"))
        if was != now:
            self._note(decision, facts, was, now, new)

    def _note(self, decision: Decision, facts: Facts, was: Outcome, now: Outcome, new: Ruling) -> None:
        kind: RulingChangeKind = "changed"
        if was.effect == "denied":
            kind = "newly_allowed"
        elif now.effect == "denied":
            kind = "newly_blocked"
        setattr(self, kind, getattr(self, kind) + 1)
        why = (new.denied,) if new.denied else new.reasons
        self.changes.append(RulingChange(
            decision.id, decision.ts, facts.action.name, facts.target.id, kind, str(was), str(now), why
        ))  # fmt: skip


def outcome(proposal: Proposal, facts: Facts, said: Ruling) -> Outcome:
    """Return the gate's answer to a ruling, computed as in `models.safety.limits.Gate`."""
    wanted = msgspec.structs.replace(proposal, parameters=facts.parameters)
    allowed, objection = said.applied(wanted)
    usual, sure = Mode(facts.system.mode), facts.proposal.confidence
    mode = at_most(usual, said.mode)
    if objection or mode in SILENT:
        return Outcome("denied")
    changed = tuple(sorted(set(allowed.parameters.items()) - set(facts.parameters.items())))
    if acts(mode, sure) and not facts.system.stale and not said.role:
        return Outcome("free", mode=mode, parameters=changed)
    asked = need(mode, sure)
    roles = {said.role, asked.role if asked else Role.APPROVER} - {""}
    return Outcome("asked", Role.LEAD if Role.LEAD in roles else Role.APPROVER, max(said.quorum, 1), mode, changed)
