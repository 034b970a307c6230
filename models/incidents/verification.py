"""Verification: checks after each action whether the symptom is gone and stays away.

Verdicts rest on samples of the affected entities, never on missing samples: an entity counts as well only after a
sample, taken after the action or at the end of its alarm, that shows it well. An action without an incident is judged
by the metric that its requester expected to change, if a sample has shown that metric off; otherwise by the actuator's
own result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Final

import msgspec

from models.diagnosis.current import Current, of_tracker
from models.incidents.following import Following
from models.keyed import Changes, Table, table
from models.knowledge.packs import TaughtState
from topics.actions import Result
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident
from topics.patterns import covers
from topics.selectors import matches
from topics.signals import Symptom
from topics.spec import Count, Instant, derive, domain_of, system_of
from topics.verdicts import EXPECTATION, RESULT, SYMPTOM, Effect, Verdict

JUDGED_KEPT: Final = 1_000  # commands remembered: a repeated result is not judged again
FAILED: Final = ("failed", "timed_out", "canceled", "refused")
# effect of an action without an incident by the outcome of its result; other outcomes need a manual review
BY_RESULT: Final = {"succeeded": Effect.REMEDIATED, "failed": Effect.INEFFECTIVE, "timed_out": Effect.INEFFECTIVE}
OFF: Final = 6.0  # standard deviations from the expected value from which a metric counts as off


HOLD_PERIODS: Final = 2  # sample periods of the slowest affected entity that a hold lasts at least
PATIENCE_PERIODS: Final = 10  # and that patience does: symptoms end by the third sample that does not show them


class VerificationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a symptom must stay away, and how long to wait for that, for entities that are sampled often enough."""

    hold_ms: Count = 2_500  # the action counts as successful after so long without a symptom
    patience_ms: Count = 15_000  # the action counts as ineffective when the symptom is still there after this

    def at(self, period_ms: int) -> VerificationSettings:
        """The times for entities with so many milliseconds between their samples; 0: not known."""
        return VerificationSettings(
            max(self.hold_ms, HOLD_PERIODS * period_ms), max(self.patience_ms, PATIENCE_PERIODS * period_ms)
        )


class EffectWatch(msgspec.Struct, frozen=True):
    """One action whose effect is being verified."""

    result: Result
    due: Instant  # when it is judged next if no sample comes before
    well_since: Instant = 0  # since when the entities are well; 0: they are not
    off: bool = False  # whether a sample has shown the expected metric off


def _target(_command: str, watch: EffectWatch) -> str:
    return domain_of(watch.result.target)


class Verifier(TaughtState):
    """The actions of one partition whose effects are being verified."""

    version: ClassVar[int] = 3  # 3: symptoms come from their topic

    @classmethod
    def migrate(cls, old: Changes) -> Changes:
        """Who was well is kept. What hurts is told again with the next sample."""
        return of_tracker(old)

    symptoms: Current = msgspec.field(default_factory=Current)
    incidents: Following = msgspec.field(default_factory=Following)
    watches: Table[EffectWatch] = table(when=lambda watch: watch.due, group=_target, domain=_target)  # command → watch
    judged: Table[Instant] = table(JUDGED_KEPT)  # command → when
    expected: Table[str] = table(JUDGED_KEPT)  # decision without incident → metric; empty: none

    def observe(self, symptom: Symptom) -> None:
        """Process what is told of the symptoms of an entity."""
        self.symptoms.take(symptom)

    def incident(self, incident: Incident) -> None:
        """Track an incident. Drops its watches when it ends."""
        if self.incidents.follow(incident) and incident.id in self.incidents.over:
            for command in self.watches.keys_of(domain_of(incident.entity)):
                if self.watches[command].result.incident == incident.id:
                    del self.watches[command]

    def decided(self, decision: Decision) -> None:
        """Store the expected metric of a dispatched decision without an incident."""
        if (
            decision.state is DecisionState.DISPATCHED
            and not decision.proposal.incident
            and decision.command not in self.judged
        ):
            self.expected[decision.id] = decision.proposal.expects

    def acted(self, result: Result) -> None:
        """Begin to verify the effect of a result. A repeated result changes nothing."""
        if result.incident not in self.incidents.over and result.command not in self.judged:
            self.watches.setdefault(result.command, EffectWatch(result, result.ts))

    def judge(self, domains: Iterable[str], now: Instant, settings: VerificationSettings) -> Iterator[Verdict]:
        """Yield verdicts on actions in `domains`, of which records were read, and on actions that are due."""
        commands = [command for domain in domains for command in self.watches.keys_of(domain)]
        for command in dict.fromkeys((*commands, *self.watches.due(now))):
            if (watch := self.watches.get(command)) is not None:
                yield from self._judge(watch, now, settings)

    def _judge(self, watch: EffectWatch, now: Instant, settings: VerificationSettings) -> Iterator[Verdict]:
        """Yield the verdict on one action if it is due. A failed action is judged at once."""
        result, incident = watch.result, self.incidents.open.get(watch.result.incident)
        settings = settings.at(self._period(result, incident))
        if not result.incident:
            judged = self._asked_for(watch, now, settings)
            if judged:
                yield self._over(result, result.target, now, *judged)
        elif incident is None:  # the result was read before the incident: wait for `patience_ms`
            if now - result.ts >= settings.patience_ms:
                del self.watches[result.command]
        elif failed := _failed(result):
            yield self._over(result, incident.entity, now, *failed, RESULT)
        elif effect := self._effect(watch, incident, now, settings):
            yield self._over(result, incident.entity, now, *effect, SYMPTOM)
        self._plan(result.command, now, settings)

    def _period(self, result: Result, incident: Incident | None) -> int:
        """Return the longest time (ms) between samples of what an action was for; 0: not known."""
        if incident is not None:
            return self.symptoms.period_ms(incident.affected)
        system = system_of(result.target)
        return self.symptoms.period_ms(e for e in self.symptoms.context.keys_of(system) if covers(result.target, e))

    def _plan(self, command: str, now: Instant, settings: VerificationSettings) -> None:
        """Schedule the next judgement: when the passing of time alone can change the verdict."""
        if (watch := self.watches.get(command)) is None:
            return
        ends = [watch.result.ts + settings.patience_ms]
        if watch.well_since:
            ends.append(watch.well_since + settings.hold_ms)
        due = min((at for at in ends if at > now), default=0)
        if due != watch.due:
            self.watches[command] = msgspec.structs.replace(watch, due=due)

    def _see(self, watch: EffectWatch, **seen: object) -> EffectWatch:
        """Update a watch with what a sample has shown."""
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
        """Judge an action without an incident: effect, reason and basis. None while it is not due."""
        result, late = watch.result, now - watch.result.ts >= settings.patience_ms
        if result.decision not in self.expected and not late:
            return None  # the result was read before the decision
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
            if not any(self.symptoms.seen(entity) > result.ts + settings.patience_ms // 2 for entity in off):
                unseen = f"no look at {', '.join(off)} since the action: telemetry is missing"
                return Effect.MANUAL_REVIEW, unseen, EXPECTATION
            still = f"{metric} of {', '.join(off)} is still off after {settings.patience_ms / 1000:g} s"
            return Effect.INEFFECTIVE, still, EXPECTATION
        return None

    def _off(self, result: Result, metric: str) -> list[str]:
        """Return the entities of a target whose last sample shows the metric off."""
        return [
            entity for entity in self.symptoms.context.keys_of(system_of(result.target))
            if covers(result.target, entity)
            and any(abs(c.z) >= OFF and matches(metric, c.metric) for c in self.symptoms.context[entity])
        ]  # fmt: skip

    def _effect(
        self, watch: EffectWatch, incident: Incident, now: Instant, settings: VerificationSettings
    ) -> tuple[Effect, str] | None:
        since, affected = watch.result.ts, incident.affected  # since the action ended
        harmless = self.knowledge.symptom(incident.symptom).harmless  # else a harmless symptom is no failure
        hurting = [
            s for entity in affected for s in self.symptoms.confirmed_of(entity)
            if harmless or not self.knowledge.symptom(s.symptom).harmless
        ]  # fmt: skip
        unseen = [e for e in affected if not hurting and not self.symptoms.is_well(e, since)]
        watch = self._see(watch, well_since=0 if hurting or unseen else watch.well_since or now)
        if watch.well_since and now - watch.well_since >= settings.hold_ms:
            return Effect.REMEDIATED, f"no symptom of {', '.join(affected)} for {settings.hold_ms / 1000:g} s"
        if now - since < settings.patience_ms:
            return None
        if still := next((s for s in hurting if s.last > since + settings.patience_ms // 2), None):
            return Effect.INEFFECTIVE, f"{still.symptom} of {still.entity} after {settings.patience_ms / 1000:g} s"
        if unseen := unseen or list(dict.fromkeys(s.entity for s in hurting)):
            return Effect.MANUAL_REVIEW, f"no look at {', '.join(unseen)} since the action: telemetry is missing"
        return None


def _by_result(result: Result, why: str = "") -> tuple[Effect, str, str]:
    said = f"by the actuator's own result{why}: {result.outcome}, {result.detail}"
    return BY_RESULT.get(result.outcome, Effect.MANUAL_REVIEW), said, RESULT


def _failed(result: Result) -> tuple[Effect, str] | None:
    if result.outcome not in FAILED:
        return None
    return Effect.INEFFECTIVE, f"{result.action} on {result.target} {result.outcome}: {result.detail}"
