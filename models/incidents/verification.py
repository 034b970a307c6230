"""Verification: after an action, is the symptom gone, and does it stay away?

Judged on looks at the entities that were affected, never on silence: an entity counts as well only from a look that
found it so, after the action or at the end of its alarm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from models.bounded import keep
from models.diagnosis.symptoms import Tracker
from models.incidents.following import Following
from topics.actions import Result
from topics.incidents import Incident, Symptom
from topics.signals import Anomaly
from topics.spec import Count, Instant, derive
from topics.verdicts import Effect, Judgement

JUDGED_KEPT: Final = 1_000  # commands remembered, so that a result that comes again is not judged again
FAILED: Final = ("failed", "timed_out", "canceled", "refused")


class VerificationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long well must last, and how long to wait for it."""

    hold_ms: Count = 2_500  # the symptom must stay away so long
    patience_ms: Count = 15_000  # still there after this: the action did not help


class Watch(msgspec.Struct):
    """One action whose effect is being looked for."""

    result: Result
    well_since: Instant = 0  # 0: not yet


class Verifier(msgspec.Struct):
    """Open watches of one partition. The struct is the snapshot."""

    tracker: Tracker = msgspec.field(default_factory=Tracker)
    incidents: Following = msgspec.field(default_factory=Following)
    watches: dict[str, Watch] = msgspec.field(default_factory=dict)  # by command
    judged: dict[str, Instant] = msgspec.field(default_factory=dict)  # command → when

    def look(self, anomaly: Anomaly) -> None:
        """Take one look at an entity."""
        self.tracker.look(anomaly)

    def incident(self, incident: Incident) -> None:
        """Follow an incident while it is open."""
        if self.incidents.follow(incident) and incident.id in self.incidents.over:
            self.watches = {c: w for c, w in self.watches.items() if w.result.incident != incident.id}

    def acted(self, result: Result) -> None:
        """Begin to watch an effect, once."""
        if result.incident not in self.incidents.over and result.command not in self.judged:
            self.watches.setdefault(result.command, Watch(result))

    def judge(self, now: Instant, settings: VerificationSettings) -> Iterator[Judgement]:
        """Verdicts that are due; an action that failed is judged at once."""
        for command, watch in list(self.watches.items()):
            result, incident = watch.result, self.incidents.open.get(watch.result.incident)
            if incident is None:  # its result came first: wait, but not for ever
                if now - result.ts >= settings.patience_ms:
                    del self.watches[command]
                continue
            verdict = _failed(result) or self._effect(watch, incident.affected, now, settings)
            if verdict is not None:
                del self.watches[command]
                keep(self.judged, command, now, JUDGED_KEPT)
                yield _judge(result, incident.entity, now, *verdict)

    def _effect(
        self, watch: Watch, affected: tuple[str, ...], now: Instant, settings: VerificationSettings
    ) -> tuple[Effect, str] | None:
        since = watch.result.ts  # when the action ended
        surplus = watch.result.action == "scale_in"  # elsewhere it is no reason to call an action ineffective
        hurting = [
            s for s in self.tracker.confirmed()
            if s.entity in affected and (surplus or s.symptom is not Symptom.SURPLUS)
        ]  # fmt: skip
        unseen = [e for e in affected if not hurting and not self.tracker.is_well(e, since)]
        if hurting or unseen:
            watch.well_since = 0
        elif not watch.well_since:
            watch.well_since = now
        if watch.well_since and now - watch.well_since >= settings.hold_ms:
            return Effect.REMEDIATED, f"no symptom of {', '.join(affected)} for {settings.hold_ms / 1000:g} s"
        if now - since < settings.patience_ms:
            return None
        if hurting:
            first = hurting[0]
            return Effect.INEFFECTIVE, f"{first.symptom} of {first.entity} after {settings.patience_ms / 1000:g} s"
        if unseen:
            return Effect.MANUAL_REVIEW, f"no look at {', '.join(unseen)} since the action: telemetry is missing"
        return None


def _failed(result: Result) -> tuple[Effect, str] | None:
    if result.outcome not in FAILED:
        return None
    return Effect.INEFFECTIVE, f"{result.action} on {result.target} {result.outcome}: {result.detail}"


def _judge(result: Result, entity: str, now: Instant, effect: Effect, reason: str) -> Judgement:
    return Judgement(
        id=derive("verdict", result.incident, result.command), incident=result.incident, entity=entity,
        decision=result.decision, command=result.command, action=result.action, ts=now, effect=effect,
        reasons=(reason,),
    )  # fmt: skip
