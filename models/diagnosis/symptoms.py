"""Symptoms from alarms: the tracker applies the rules of the packs to anomalies, alerts and heartbeats.

A symptom is confirmed when enough samples show it for long enough; one on the narrow path, of a few series only, when a
second sample shows it or another entity of its system is off as well. It ends with a sample that does not show it, or
with the end of the alarm that showed it: the lack of samples ends nothing. All views of an entity count together, so
that a fault that several of them see is one symptom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from models.diagnosis.heartbeats import Beats
from models.diagnosis.views import (
    FIRST,
    STATES,
    VIEWS,
    VIEWS_KEPT,
    Found,
    Told,
    View,
    of_alert,
    of_anomaly,
    shown,
    together,
)
from models.keyed import Table, by_domain, by_system, table
from models.knowledge.packs import TaughtState
from topics.signals import NO_SYMPTOM, Anomaly, Symptom
from topics.spec import Instant, derive, system_of
from topics.telemetry import GONE, MAX_ALERT, Event, Heartbeat

ENTITIES_KEPT: Final = 12_000  # more than a correlation domain is made for; the whole state fits in one record
SECOND_LOOK: Final = 2  # samples that a symptom on the narrow path takes, unless another entity is off as well
GRACE_MS: Final = 600  # a symptom that samples of this time do not show goes on
GRACE_PERIODS: Final = 2  # or those of so many sample periods, where that is longer
BEGAN, CONTINUING, ENDED = "began", "continuing", "ended"


class Tracked(msgspec.Struct, frozen=True):
    """A symptom of one entity, from the first sample that showed it to the last."""

    symptom: str
    onset: Instant
    last: Instant
    samples: int
    evidence: str  # of the first sample
    metric: str
    z: float
    value: float
    expected: float
    view: str  # name of the view that showed it last
    detector: str
    confirmed: bool = False


class Newest(msgspec.Struct, frozen=True):
    """What was last taken and told of an entity."""

    ts: Instant  # of the last record
    seq: int  # of it
    period_ms: int
    taken: tuple[tuple[str, Instant], ...]  # by view: event time of what was taken last
    ended: tuple[Tracked, ...] = ()  # symptoms that ended with an alarm of the first view, in its last sample

    def of(self, view: str) -> Instant:
        """The event time of what was last taken of a view; 0: nothing."""
        return next((ts for name, ts in self.taken if name == view), 0)


UNSEEN: Final = Newest(0, 0, 0, ())


def grace_ms(period_ms: int) -> int:
    """For how long a symptom goes on while samples do not show it."""
    return max(GRACE_MS, GRACE_PERIODS * period_ms)


class Tracker(TaughtState):
    """The symptoms of a partition's entities: of the `ENTITIES_KEPT` of which something was told last."""

    views: Table[tuple[View, ...]] = table(group=by_system, domain=by_domain)  # by entity: its alarms that are on
    symptoms: Table[tuple[Tracked, ...]] = table(domain=by_domain)  # by entity
    newest: Table[Newest] = table(domain=by_domain)  # by entity
    beats: Beats = msgspec.field(default_factory=Beats)

    def observe(self, anomaly: Anomaly) -> list[Symptom]:
        """Take the anomaly of one sample of an entity. Returns what follows of its symptoms."""
        if anomaly.state not in STATES or anomaly.view not in VIEWS:
            return []
        if anomaly.suppressed != "none":
            return []  # its budget of false alarms is spent: nobody is to be woken
        return self._take(of_anomaly(anomaly, self.knowledge))

    def event(self, event: Event, evidence: str) -> list[Symptom]:
        """Take an event: alerts from outside may be symptoms, and those of what is gone end. evidence: its place."""
        if event.kind == GONE:
            return self._end(event.entity)
        if event.kind != "alert" or not event.name or event.state not in ("firing", "resolved"):
            return []
        if len(event.name) > MAX_ALERT or len(event.revision) > MAX_ALERT:
            return []  # no rule is called so, and each record of the entity would carry it
        return self._take(of_alert(event, evidence, self.knowledge))

    def beat(self, beat: Heartbeat, evidence: str, now: Instant) -> list[Symptom]:
        """Take a heartbeat of a node."""
        return [s for told in self.beats.take(beat, evidence, now, self.knowledge) for s in self._take(told)]

    def expire(self, now: Instant) -> list[Symptom]:
        """What follows from heartbeats that have not come."""
        return [s for told in self.beats.due(now, self.knowledge) for s in self._take(told)]

    def forget(self, entity: str) -> None:
        """Drop everything that is known of an entity."""
        for book in (self.newest, self.views, self.symptoms):
            book.pop(entity, None)

    def _end(self, entity: str) -> list[Symptom]:
        """End what an entity shows as of its last record, whatever the clock of who says so, and forget it."""
        views = sorted(self.views.pop(entity, ()), key=lambda view: view.name != FIRST)
        before = {s.symptom: s for s in self.symptoms.pop(entity, ())}
        ts = self.newest.get(entity, UNSEEN).ts
        ended = [s for view in views[:1] for s in self._follow(Told(entity, ts, view, on=False), before, ())]
        self.beats.nodes.pop(entity, None)
        self.forget(entity)
        return ended

    def confirmed(self) -> Iterator[tuple[str, Tracked]]:
        """Every confirmed symptom, with its entity."""
        return ((entity, s) for entity, found in self.symptoms.items() for s in found if s.confirmed)

    def _take(self, told: Told) -> list[Symptom]:
        entity, fresh = told.entity, told.view
        newest, known = self.newest.get(entity, UNSEEN), self.views.get(entity, ())
        again = told.begins and told.ts == newest.of(fresh.name) and all(view.name != fresh.name for view in known)
        if told.ts <= newest.of(fresh.name) and not again:
            return []  # a repeat, or late: what is newer was taken already
        if not told.on and fresh.name and all(view.name != fresh.name for view in known):
            return []  # the end of what nobody was told of
        others = tuple(view for view in known if view.name != fresh.name)
        on = _bounded((fresh, *others) if told.on else others)
        held = {FIRST, *(view.name for view in on)}
        before_it = sorted((one for one in newest.taken if one[0] != fresh.name), key=lambda one: one[0] not in held)
        taken = ((fresh.name, told.ts), *before_it)[: 2 * VIEWS_KEPT]
        period = told.period_ms or newest.period_ms
        before = {s.symptom: s for s in ((newest.ended if again else ()) + self.symptoms.get(entity, ()))}
        now = self._revised(told, on, before, period)
        ended = () if told.on else tuple(s for s in before.values() if s.view == fresh.name == FIRST)
        self.newest[entity] = msgspec.structs.replace(newest, period_ms=period, taken=taken, ended=ended)
        self._bound()
        _put(self.views, entity, on)
        _put(self.symptoms, entity, tuple(now))
        return list(self._follow(told, before, now))

    def _revised(self, told: Told, on: tuple[View, ...], known: Mapping[str, Tracked], period: int) -> list[Tracked]:
        """The symptoms of an entity after something was told. on: its alarms that are on, what was told first."""
        stale = not (told.on and told.view.name == FIRST)  # then what the first view showed last is asked last
        asked = sorted(on, key=lambda view: view.name == FIRST) if stale else on
        found = dict(shown(told.entity, asked, self.knowledge))
        sampled = any(view.name == FIRST for view in on)  # then a sample follows that shows it, or not

        def goes_on(s: Tracked) -> bool:
            ended = not told.on and s.view == told.view.name
            return sampled and not ended and told.ts - s.last <= grace_ms(period)

        now = []
        narrow = told.view.narrow and not self._others_are_off(told.entity)
        for symptom, why in found.items():
            before = known.get(symptom)
            if told.on and told.view.name in why.views:
                now.append(_seen(symptom, before, told, why, (SECOND_LOOK if narrow else 1, period)))
            elif before is not None and before.view in why.views:
                now.append(before)
            elif before is not None:
                now.append(msgspec.structs.replace(before, view=why.by.name, detector=why.by.detector))
        return now + [s for symptom, s in known.items() if symptom not in found and goes_on(s)]

    def _follow(self, told: Told, before: Mapping[str, Tracked], now: Sequence[Tracked]) -> Iterator[Symptom]:
        """The records that follow: of each confirmed symptom, of those that have ended, and of none."""
        entity, sampled = told.entity, told.view.name == FIRST
        known = {symptom for symptom, s in before.items() if s.confirmed}
        confirmed = [s for s in now if s.confirmed]
        for s in confirmed:
            if s.symptom not in known:
                yield self._record(entity, told.ts, s, BEGAN)
            elif sampled or s.view == told.view.name:
                yield self._record(entity, told.ts, s, CONTINUING)
        ended = [before[symptom] for symptom in known - {s.symptom for s in confirmed}]
        for s in sorted(ended, key=lambda s: s.symptom):
            yield self._record(entity, told.ts, s, ENDED)
        if not confirmed and (ended or sampled):
            yield self._record(entity, told.ts, _none(told), CONTINUING if self._is_off(entity) else ENDED)

    def _record(self, entity: str, ts: Instant, s: Tracked, state: str) -> Symptom:
        newest = self.newest[entity]
        ts = max(ts, newest.ts)
        seq = newest.seq + 1 if ts == newest.ts else 0
        self.newest[entity] = msgspec.structs.replace(newest, ts=ts, seq=seq)
        return Symptom(
            id=derive("symptom", entity, s.symptom, s.onset), entity=entity, symptom=s.symptom, state=state, ts=ts,
            seq=seq, onset=s.onset, last=s.last, samples=s.samples, period_ms=newest.period_ms, metric=s.metric,
            z=s.z, value=s.value, expected=s.expected, attribution=together(self.views.get(entity, ())),
            alarm=self._is_off(entity), detector=s.detector, view="second" if s.view else "first",
            knowledge=self.knowledge.hash, evidence=s.evidence,
        )  # fmt: skip

    def _is_off(self, entity: str) -> bool:
        """Whether the first view of an entity has an alarm."""
        return any(view.name == FIRST for view in self.views.get(entity, ()))

    def _others_are_off(self, entity: str) -> bool:
        """Whether the first view of another entity of the same system has an alarm."""
        return any(other != entity and self._is_off(other) for other in self.views.keys_of(system_of(entity)))

    def _bound(self) -> None:
        if len(self.newest) > ENTITIES_KEPT:
            self.forget(next(iter(self.newest)))


def _bounded(views: tuple[View, ...]) -> tuple[View, ...]:
    """The first view, those that are a symptom, and of the others those that were told last."""
    if len(views) <= VIEWS_KEPT:
        return views
    kept = sorted(views, key=lambda view: (view.name != FIRST, not view.symptom))[:VIEWS_KEPT]
    return tuple(view for view in views if view in kept)


def _put(book: Table[tuple[Any, ...]], entity: str, rows: tuple[Any, ...]) -> None:
    """Keep the rows of an entity, if there are any."""
    if rows:
        book[entity] = rows
    else:
        book.pop(entity, None)


def _none(told: Told) -> Tracked:
    c = told.view.first
    return Tracked(
        NO_SYMPTOM, told.ts, told.ts, 0, told.view.evidence, c.metric, c.z, c.value, c.expected, told.view.name,
        told.view.detector,
    )  # fmt: skip


def _seen(symptom: str, known: Tracked | None, told: Told, why: Found, least: tuple[int, int]) -> Tracked:
    """A symptom after one more sample that shows it. least: samples that it takes whatever its rule says, and the
    sample period (ms), by which an alarm that is told late has been shown by the samples since its onset."""
    (fewest, period), view, c = least, told.view, why.contribution
    onset = min(view.onset, told.ts) if view.name else told.ts
    before = known or Tracked(
        symptom, onset, 0, 0, view.evidence, c.metric, c.z, c.value, c.expected, view.name, view.detector
    )
    samples = before.samples + (told.ts > before.last)
    if view.name and period:
        samples = max(samples, 1 + (told.ts - onset) // period)
    periods, lasts_ms = (why.rule.periods, why.rule.lasts_ms) if why.rule else (1, 0)
    lasted = samples >= max(periods, fewest) and told.ts - before.onset >= lasts_ms
    return msgspec.structs.replace(
        before, last=max(told.ts, before.last), samples=samples, metric=c.metric, z=c.z, value=c.value,
        expected=c.expected, view=view.name, detector=view.detector, confirmed=before.confirmed or lasted,
    )  # fmt: skip
