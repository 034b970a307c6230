"""Verification: after an action, is the symptom gone, and does it stay away?

Judged on looks at the entities that were affected, never on silence: an entity counts as well only from a look that
found it so, after the action or at the end of its alarm. What somebody has asked for without an incident is judged by
what they expected of it, where they said so and a look has ever shown it; else by the actuator's own result.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from models.bounded import keep
from models.diagnosis.symptoms import Tracker
from models.incidents.following import Following
from models.safety.settings import within
from topics.actions import Result
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident, SymptomKind
from topics.signals import Anomaly
from topics.spec import Count, Instant, derive
from topics.verdicts import EXPECTATION, RESULT, SYMPTOM, Effect, Verdict

JUDGED_KEPT: Final = 1_000  # commands remembered, so that a result that comes again is not judged again
FAILED: Final = ("failed", "timed_out", "canceled", "refused")
# what an actuator's own result says of an action without an incident; of what it did not do, nothing
BY_RESULT: Final = {"succeeded": Effect.REMEDIATED, "failed": Effect.INEFFECTIVE, "timed_out": Effect.INEFFECTIVE}
OFF: Final = 6.0  # standard deviations: a metric that is so far off is not ordinary


class VerificationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long well must last, and how long to wait for it."""

    hold_ms: Count = 2_500  # the symptom must stay away so long
    patience_ms: Count = 15_000  # still there after this: the action did not help


class EffectWatch(msgspec.Struct):
    """One action whose effect is being looked for."""

    result: Result
    well_since: Instant = 0  # 0: not yet
    off: bool = False  # whether a look has shown what was expected to end


class Verifier(msgspec.Struct):
    """Open watches of one partition. The struct is the snapshot."""

    tracker: Tracker = msgspec.field(default_factory=Tracker)
    incidents: Following = msgspec.field(default_factory=Following)
    watches: dict[str, EffectWatch] = msgspec.field(default_factory=dict)  # by command
    judged: dict[str, Instant] = msgspec.field(default_factory=dict)  # command → when
    expected: dict[str, str] = msgspec.field(default_factory=dict)  # by decision without an incident; empty: nothing

    def observe(self, anomaly: Anomaly) -> None:
        """Take one look at an entity."""
        self.tracker.observe(anomaly)

    def incident(self, incident: Incident) -> None:
        """Follow an incident while it is open."""
        if self.incidents.follow(incident) and incident.id in self.incidents.over:
            self.watches = {c: w for c, w in self.watches.items() if w.result.incident != incident.id}

    def decided(self, decision: Decision) -> None:
        """Remember what is expected of an action that was asked for without an incident."""
        if (
            decision.state is DecisionState.DISPATCHED
            and not decision.proposal.incident
            and decision.command not in self.judged
        ):
            keep(self.expected, decision.id, decision.proposal.expects, JUDGED_KEPT)

    def acted(self, result: Result) -> None:
        """Begin to watch an effect, once."""
        if result.incident not in self.incidents.over and result.command not in self.judged:
            self.watches.setdefault(result.command, EffectWatch(result))

    def judge(self, now: Instant, settings: VerificationSettings) -> Iterator[Verdict]:
        """Verdicts that are due; an action that failed is judged at once."""
        for command, watch in list(self.watches.items()):
            result, incident = watch.result, self.incidents.open.get(watch.result.incident)
            if not result.incident:
                if judged := self._asked_for(watch, now, settings):
                    yield self._over(result, result.target, now, *judged)
                continue
            if incident is None:  # its result came first: wait, but not for ever
                if now - result.ts >= settings.patience_ms:
                    del self.watches[command]
                continue
            if failed := _failed(result):
                yield self._over(result, incident.entity, now, *failed, RESULT)
            elif effect := self._effect(watch, incident.affected, now, settings):
                yield self._over(result, incident.entity, now, *effect, SYMPTOM)

    def _over(self, result: Result, entity: str, now: Instant, effect: Effect, reason: str, basis: str) -> Verdict:
        del self.watches[result.command]
        self.expected.pop(result.decision, None)
        keep(self.judged, result.command, now, JUDGED_KEPT)
        return Verdict(
            id=derive("verdict", result.incident, result.command), incident=result.incident, entity=entity,
            decision=result.decision, command=result.command, action=result.action, ts=now, effect=effect,
            reasons=(reason,), basis=basis,
        )  # fmt: skip

    def _asked_for(
        self, watch: EffectWatch, now: Instant, settings: VerificationSettings
    ) -> tuple[Effect, str, str] | None:
        """The verdict on what somebody has asked for without an incident; None: it is not due."""
        result, late = watch.result, now - watch.result.ts >= settings.patience_ms
        if result.decision not in self.expected and not late:
            return None  # its result came first
        metric = self.expected.get(result.decision, "")
        if not metric or result.outcome != "succeeded":
            return _by_result(result)
        off = self._off(result, metric)
        watch.off = watch.off or bool(off)
        if not watch.off:
            return _by_result(result, f", because no look has shown {metric} off") if late else None
        watch.well_since = 0 if off else watch.well_since or now
        if watch.well_since and now - watch.well_since >= settings.hold_ms:
            held = f"{metric} of {result.target} is ordinary again for {settings.hold_ms / 1000:g} s, as was expected"
            return Effect.REMEDIATED, held, EXPECTATION
        if off and late:
            if not any(self.tracker.newest.get(entity, 0) > result.ts for entity in off):
                unseen = f"no look at {', '.join(off)} since the action: telemetry is missing"
                return Effect.MANUAL_REVIEW, unseen, EXPECTATION
            still = f"{metric} of {', '.join(off)} is still off after {settings.patience_ms / 1000:g} s"
            return Effect.INEFFECTIVE, still, EXPECTATION
        return None

    def _off(self, result: Result, metric: str) -> list[str]:
        """The entities of a target whose last look shows the metric off."""
        return [
            entity for entity, shown in self.tracker.context.items()
            if within(entity, result.target) and any(abs(c.z) >= OFF and fnmatchcase(c.metric, metric) for c in shown)
        ]  # fmt: skip

    def _effect(
        self, watch: EffectWatch, affected: tuple[str, ...], now: Instant, settings: VerificationSettings
    ) -> tuple[Effect, str] | None:
        since = watch.result.ts  # when the action ended
        surplus = watch.result.action == "scale_in"  # elsewhere it is no reason to call an action ineffective
        hurting = [
            s for s in self.tracker.confirmed()
            if s.entity in affected and (surplus or s.symptom is not SymptomKind.SURPLUS)
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


def _by_result(result: Result, why: str = "") -> tuple[Effect, str, str]:
    said = f"by the actuator's own result{why}: {result.outcome}, {result.detail}"
    return BY_RESULT.get(result.outcome, Effect.MANUAL_REVIEW), said, RESULT


def _failed(result: Result) -> tuple[Effect, str] | None:
    if result.outcome not in FAILED:
        return None
    return Effect.INEFFECTIVE, f"{result.action} on {result.target} {result.outcome}: {result.detail}"
