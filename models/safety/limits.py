"""The gate: every limit between a proposal and an action, as one ordered list of checks.

The first check that objects names the block reason. Its state is the record of what was let through, so that limits
hold across restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Final

import msgspec

from models.bounded import keep
from models.safety.modes import Mode, acts, tier
from topics.decisions import Decision, Verdict
from topics.proposals import Proposal
from topics.settings import KILL_SWITCH, ON, Setting
from topics.spec import Count, Instant, derive, service_of, system_of

ENDED: Final = frozenset({Verdict.DENIED, Verdict.REJECTED, Verdict.EXPIRED, Verdict.COMPLETED})
SEEN_KEPT: Final = 5_000  # proposals remembered, so that a repeat is answered once


class SafetySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the gate lets through, and how often."""

    mode: Mode = Mode.APPROVE
    scopes: dict[str, Mode] = {}  # narrower than the mode above: `{"shop/catalog" = "suggest"}`
    quorum: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1  # votes that are needed where votes are needed
    allowed: tuple[str, ...] = ("restart_service", "scale_out", "scale_in", "rollback_config")
    cooldown_ms: Count = 10_000  # between two actions on one target
    per_target: Count = 3  # actions on one target in a window
    per_system: Count = 20  # actions on one system in a window
    per_site: Count = 30  # actions at one actuator in a window
    window_ms: Count = 600_000
    approval_ms: Count = 120_000  # a pending decision turns into a refusal after this
    command_ms: Count = 30_000  # a command that has not begun by then never runs
    open_for_ms: Count = 180_000  # a decision whose end was never seen blocks its target no longer than this


class Opened(msgspec.Struct):
    """A decision that has not ended."""

    decision: str
    until: Instant


class Gate(msgspec.Struct):
    """What one partition's gate has let through. The struct is the snapshot."""

    seen: dict[str, Instant] = msgspec.field(default_factory=dict)
    open: dict[str, Opened] = msgspec.field(default_factory=dict)  # by the target's service
    acted: dict[str, dict[str, Instant]] = msgspec.field(default_factory=dict)  # target → decision → when
    killed: bool = False

    def set(self, setting: Setting) -> None:
        """Take a live setting."""
        if setting.name == KILL_SWITCH:
            self.killed = setting.value == ON

    def judge(self, proposal: Proposal, settings: SafetySettings, now: Instant) -> Iterator[Decision]:
        """The one decision on a proposal: denied with a reason, approved, or waiting for a person."""
        if proposal.id in self.seen:
            return
        keep(self.seen, proposal.id, now, SEEN_KEPT)
        self.open = {service: held for service, held in self.open.items() if now < held.until}
        objection = next((o for check in CHECKS if (o := check(self, proposal, settings, now))), None)
        if objection is not None:
            yield _decision(proposal, settings, now, Verdict.DENIED, objection[1], blocked=objection[0])
            return
        if acts(settings.mode, proposal.confidence):
            state, reason = Verdict.APPROVED, f"confidence {proposal.confidence:.2f} is enough in mode {settings.mode}"
        else:
            state, reason = Verdict.PENDING, f"mode {settings.mode}: a person approves {tier(proposal.confidence)} tier"
        decision = _decision(proposal, settings, now, state, reason)
        self.open[service_of(proposal.target)] = Opened(decision.id, now + settings.open_for_ms)
        yield decision

    def follow(self, decision: Decision, settings: SafetySettings) -> None:
        """Count what was dispatched, and free the target of what has ended.

        A decision of this gate that its state knows nothing of was made just before a crash: it stands.
        """
        target, service = decision.proposal.target, service_of(decision.proposal.target)
        if decision.proposal.id not in self.seen:
            keep(self.seen, decision.proposal.id, decision.ts, SEEN_KEPT)
            if decision.state not in ENDED:
                self.open[service] = Opened(decision.id, decision.ts + settings.open_for_ms)
        if decision.state is Verdict.DISPATCHED:
            self.acted.setdefault(target, {}).setdefault(decision.id, decision.ts)
        held = self.open.get(service)
        if decision.state in ENDED and held is not None and held.decision == decision.id:
            del self.open[service]

    def recent(self, now: Instant, settings: SafetySettings, *, target: str = "", system: str = "") -> list[Instant]:
        """When actions were dispatched in the window, on one target or on all of a system."""
        since = now - settings.window_ms
        acted = {t: {d: ts for d, ts in times.items() if ts > since} for t, times in self.acted.items()}
        self.acted = {t: times for t, times in acted.items() if times}
        return sorted(
            ts for t, times in self.acted.items() if t == target or system_of(t) == system for ts in times.values()
        )


Objection = tuple[str, str] | None
Check = Callable[[Gate, Proposal, SafetySettings, Instant], Objection]


def _kill_switch(gate: Gate, *_: object) -> Objection:
    return ("killed", "the kill switch is on") if gate.killed else None


def _mode(_gate: Gate, _proposal: Proposal, settings: SafetySettings, _now: Instant) -> Objection:
    return ("mode", "mode observe: nothing acts") if settings.mode is Mode.OBSERVE else None


def _allowed(_gate: Gate, proposal: Proposal, settings: SafetySettings, _now: Instant) -> Objection:
    if proposal.action in settings.allowed:
        return None
    return "not_allowed", f"{proposal.action} is not on the list of allowed actions"


def _in_progress(gate: Gate, proposal: Proposal, _settings: SafetySettings, now: Instant) -> Objection:
    held = gate.open.get(service_of(proposal.target))
    if held is None or now >= held.until:
        return None
    return "duplicate_in_progress", f"decision {held.decision} on {service_of(proposal.target)} has not ended"


def _cooldown(gate: Gate, proposal: Proposal, settings: SafetySettings, now: Instant) -> Objection:
    times = gate.recent(now, settings, target=proposal.target)
    if not times or now - times[-1] >= settings.cooldown_ms:
        return None
    return "recently_remediated", f"{proposal.target} was acted on {(now - times[-1]) / 1000:.1f} s ago"


def _per_target(gate: Gate, proposal: Proposal, settings: SafetySettings, now: Instant) -> Objection:
    times = gate.recent(now, settings, target=proposal.target)
    if len(times) < settings.per_target:
        return None
    return "consecutive_failures", f"{len(times)} actions on {proposal.target} within the window are enough"


def _budget(gate: Gate, proposal: Proposal, settings: SafetySettings, now: Instant) -> Objection:
    if len(gate.recent(now, settings, system=system_of(proposal.target))) < settings.per_system:
        return None
    return "budget_exhausted", f"{settings.per_system} actions within the window are enough"


CHECKS: Final[tuple[Check, ...]] = (_kill_switch, _mode, _allowed, _in_progress, _cooldown, _per_target, _budget)


def _decision(
    proposal: Proposal, settings: SafetySettings, now: Instant, state: Verdict, reason: str, *, blocked: str = ""
) -> Decision:
    return Decision(
        id=derive("decision", proposal.id), ts=now, state=state, proposal=proposal, tier=tier(proposal.confidence),
        mode=settings.mode, reasons=(reason,), blocked=blocked,
        expires=now + settings.approval_ms if state is Verdict.PENDING else 0,
    )  # fmt: skip
