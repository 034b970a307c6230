"""Verification: after an action, is the symptom gone, and does it stay away?

Judged on looks at the entities that were affected, never on silence: an entity counts as well only from a look that
found it so, after the action or at the end of its alarm. What somebody has asked for without an incident is judged by
what they expected of it, where they said so and a look has ever shown it; else by the actuator's own result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from models.diagnosis.symptoms import Tracker
from models.incidents.following import Following
from models.keyed import KeyedState, Table, table
from models.safety.settings import within
from topics.actions import Result
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident, SymptomKind
from topics.signals import Anomaly
from topics.spec import Count, Instant, derive, system_of
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


class EffectWatch(msgspec.Struct, frozen=True):
    """One action whose effect is being looked for."""

    result: Result
    due: Instant  # when it is judged next, whatever comes until then
    well_since: Instant = 0  # 0: not yet
    off: bool = False  # whether a look has shown what was expected to end


def _target(_command: str, watch: EffectWatch) -> str:
    return system_of(watch.result.target)


class Verifier(KeyedState):
    """Open watches of one partition."""

    tracker: Tracker = msgspec.field(default_factory=Tracker)
    incidents: Following = msgspec.field(default_factory=Following)
    watches: Table[EffectWatch] = table(when=lambda watch: watch.due, group=_target, domain=_target)  # by command
    judged: Table[Instant] = table(JUDGED_KEPT)  # command → when
    expected: Table[str] = table(JUDGED_KEPT)  # by decision without an incident; empty: nothing

    def observe(self, anomaly: Anomaly) -> None:
        """Take one look at an entity."""
        self.tracker.observe(anomaly)

    def incident(self, incident: Incident) -> None:
        """Follow an incident while it is open."""
        if self.incidents.follow(incident) and incident.id in self.incidents.over:
            for command in self.watches.keys_of(system_of(incident.entity)):
                if self.watches[command].result.incident == incident.id:
                    del self.watches[command]

    def decided(self, decision: Decision) -> None:
        """Remember what is expected of an action that was asked for without an incident."""
        if (
            decision.state is DecisionState.DISPATCHED
            and not decision.proposal.incident
            and decision.command not in self.judged
        ):
            self.expected[decision.id] = decision.proposal.expects

    def acted(self, result: Result) -> None:
        """Begin to watch an effect, once."""
        if result.incident not in self.incidents.over and result.command not in self.judged:
            self.watches.setdefault(result.command, EffectWatch(result, result.ts))

    def judge(self, systems: Iterable[str], now: Instant, settings: VerificationSettings) -> Iterator[Verdict]:
        """Verdicts on actions on `systems`, of which something was read, and on those whose time has come."""
        commands = [command for system in systems for command in self.watches.keys_of(system)]
        for command in dict.fromkeys((*commands, *self.watches.due(now))):
            if (watch := self.watches.get(command)) is not None:
                yield from self._judge(watch, now, settings)

    def _judge(self, watch: EffectWatch, now: Instant, settings: VerificationSettings) -> Iterator[Verdict]:
        """The verdict on one action, if it is due; an action that failed is judged at once."""
        result, incident = watch.result, self.incidents.open.get(watch.result.incident)
        if not result.incident:
            judged = self._asked_for(watch, now, settings)
            if judged:
                yield self._over(result, result.target, now, *judged)
        elif incident is None:  # its result came first: wait, but not for ever
            if now - result.ts >= settings.patience_ms:
                del self.watches[result.command]
        elif failed := _failed(result):
            yield self._over(result, incident.entity, now, *failed, RESULT)
        elif effect := self._effect(watch, incident.affected, now, settings):
            yield self._over(result, incident.entity, now, *effect, SYMPTOM)
        self._plan(result.command, now, settings)

    def _plan(self, command: str, now: Instant, settings: VerificationSettings) -> None:
        """Judge an action again when time alone can change the verdict."""
        if (watch := self.watches.get(command)) is None:
            return
        ends = [watch.result.ts + settings.patience_ms]
        if watch.well_since:
            ends.append(watch.well_since + settings.hold_ms)
        due = min((at for at in ends if at > now), default=0)
        if due != watch.due:
            self.watches[command] = msgspec.structs.replace(watch, due=due)

    def _see(self, watch: EffectWatch, **seen: object) -> EffectWatch:
        """Keep what a sample has shown of an action's effect."""
        changed = {name: value for name, value in seen.items() if getattr(watch, name) != value}
        if changed:
            watch = self.watches[watch.result.command] = msgspec.structs.replace(watch, **changed)
        return watch

    def _over(self, result: Result, entity: str, now: Instant, effect: Effect, reason: str, basis: str) -> Verdict:
        del self.watches[result.command]
        self.expected.pop(result.decision, None)
        self.judged[result.command] = now
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
        watch = self._see(watch, off=watch.off or bool(off))
        if not watch.off:
            return _by_result(result, f", because no look has shown {metric} off") if late else None
        watch = self._see(watch, well_since=0 if off else watch.well_since or now)
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
            entity for entity in self.tracker.context.keys_of(system_of(result.target))
            if within(entity, result.target)
            and any(abs(c.z) >= OFF and fnmatchcase(c.metric, metric) for c in self.tracker.context[entity])
        ]  # fmt: skip

    def _effect(
        self, watch: EffectWatch, affected: tuple[str, ...], now: Instant, settings: VerificationSettings
    ) -> tuple[Effect, str] | None:
        since = watch.result.ts  # when the action ended
        surplus = watch.result.action == "scale_in"  # elsewhere it is no reason to call an action ineffective
        hurting = [
            s for entity in affected for s in self.tracker.confirmed_of(entity)
            if surplus or s.symptom is not SymptomKind.SURPLUS
        ]  # fmt: skip
        unseen = [e for e in affected if not hurting and not self.tracker.is_well(e, since)]
        watch = self._see(watch, well_since=0 if hurting or unseen else watch.well_since or now)
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
