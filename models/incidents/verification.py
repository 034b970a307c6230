"""Verification: after an action, is the symptom gone, and does it stay away?

Judged on looks at the entities that were affected, never on silence: an entity counts as well only from a look that
found it so, after the action.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from models.diagnosis.symptoms import Tracker
from models.incidents.lifecycle import is_open
from topics.actions import Result
from topics.incidents import Incident, Symptom
from topics.signals import Anomaly
from topics.spec import Instant, derive
from topics.verdicts import Effect, Judgement

FAILED: Final = ("failed", "timed_out", "canceled", "refused")


class VerificationSettings(msgspec.Struct, frozen=True):
    """How long well must last, and how long to wait for it."""

    hold_ms: int = 2_500  # the symptom must stay away so long
    patience_ms: int = 15_000  # still there after this: the action did not help


class Watch(msgspec.Struct):
    """One action whose effect is being looked for."""

    result: Result
    entity: str
    affected: tuple[str, ...]
    since: Instant  # when the action ended
    well_since: Instant = 0  # 0: not yet


class Verifier(msgspec.Struct):
    """Open watches of one partition. The struct is the snapshot."""

    tracker: Tracker = msgspec.field(default_factory=Tracker)
    incidents: dict[str, Incident] = msgspec.field(default_factory=dict)  # the open ones
    watches: dict[str, Watch] = msgspec.field(default_factory=dict)  # by command

    def look(self, anomaly: Anomaly) -> None:
        """Take one look at an entity."""
        self.tracker.look(anomaly)

    def incident(self, incident: Incident) -> None:
        """Follow an incident while it is open."""
        if is_open(incident.state):
            self.incidents[incident.id] = incident
        else:
            self.incidents.pop(incident.id, None)
            self.watches = {c: w for c, w in self.watches.items() if w.result.incident != incident.id}

    def acted(self, result: Result) -> Iterator[Judgement]:
        """Begin to watch an effect; an action that failed is judged at once."""
        incident = self.incidents.get(result.incident)
        if incident is None or result.command in self.watches:
            return
        if result.outcome in FAILED:
            reason = f"{result.action} on {result.target} {result.outcome}: {result.detail}"
            yield _judge(result, incident.entity, result.ts, Effect.INEFFECTIVE, reason)
            return
        self.watches[result.command] = Watch(result, incident.entity, incident.affected, result.ts)

    def judge(self, now: Instant, settings: VerificationSettings) -> Iterator[Judgement]:
        """Verdicts that are due."""
        for command, watch in list(self.watches.items()):
            verdict = self._effect(watch, now, settings)
            if verdict is not None:
                del self.watches[command]
                yield _judge(watch.result, watch.entity, now, *verdict)

    def _effect(self, watch: Watch, now: Instant, settings: VerificationSettings) -> tuple[Effect, str] | None:
        incident = self.incidents.get(watch.result.incident)
        affected = incident.affected if incident else watch.affected
        surplus = watch.result.action == "scale_in"  # elsewhere it is no reason to call an action ineffective
        hurting = [
            s for s in self.tracker.confirmed()
            if s.entity in affected and (surplus or s.symptom is not Symptom.SURPLUS)
        ]  # fmt: skip
        unseen = [e for e in affected if not hurting and self.tracker.well.get(e, 0) <= watch.since]
        if hurting or unseen:
            watch.well_since = 0
        elif not watch.well_since:
            watch.well_since = now
        if watch.well_since and now - watch.well_since >= settings.hold_ms:
            return Effect.REMEDIATED, f"no symptom of {', '.join(affected)} for {settings.hold_ms / 1000:g} s"
        if now - watch.since < settings.patience_ms:
            return None
        if hurting:
            first = hurting[0]
            return Effect.INEFFECTIVE, f"{first.symptom} of {first.entity} after {settings.patience_ms / 1000:g} s"
        if unseen:
            return Effect.MANUAL_REVIEW, f"no look at {', '.join(unseen)} since the action: telemetry is missing"
        return None


def _judge(result: Result, entity: str, now: Instant, effect: Effect, reason: str) -> Judgement:
    return Judgement(
        id=derive("verdict", result.incident, result.command), incident=result.incident, entity=entity,
        decision=result.decision, command=result.command, action=result.action, ts=now, effect=effect,
        reasons=(reason,),
    )  # fmt: skip
