"""Symptoms from deviating metrics: the tracker applies the rules of the packs to anomalies.

A symptom is confirmed when enough samples show it for long enough; one on the narrow path, of a few series only, when a
second sample shows it or another entity of its system is off as well. It ends with a sample that does not show it: the
lack of samples ends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from models.keyed import Table, table
from models.knowledge.base import Condition, SymptomRule
from models.knowledge.knowledge import KnowingState, Knowledge
from topics.incidents import SymptomKind
from topics.patterns import matches
from topics.signals import Anomaly, Contribution
from topics.spec import Instant, system_of

ENTITIES_KEPT: Final = 5_000  # a snapshot of so many, each with its attribution, still fits in one record
STATES: Final = frozenset({"raised", "continuing", "cleared"})  # of an alarm; nothing follows from another one
SECOND_LOOK: Final = 2  # samples that a symptom on the narrow path takes, unless another entity is off as well
GRACE_MS: Final = 600  # a symptom that samples of this time do not show goes on
GRACE_PERIODS: Final = 2  # or those of so many sample periods, where that is longer


class Symptom(msgspec.Struct, frozen=True):
    """A symptom of one entity, from the first sample that showed it to the last."""

    entity: str
    symptom: SymptomKind
    metric: str
    onset: Instant
    last: Instant
    samples: int
    z: float
    value: float
    expected: float
    evidence: str  # of the first sample
    confirmed: bool = False

    @property
    def grace_ms(self) -> int:
        """For how long it goes on while samples do not show it."""
        period = (self.last - self.onset) // (self.samples - 1) if self.samples > 1 else 0
        return max(GRACE_MS, GRACE_PERIODS * period)


def _system(entity: str, _row: object) -> str:
    return system_of(entity)


class Tracker(KnowingState):
    """The symptoms of a partition's entities: of the `ENTITIES_KEPT` that were sampled last."""

    symptoms: Table[tuple[Symptom, ...]] = table(group=_system, domain=_system)  # by entity
    well: Table[Instant] = table(domain=_system)  # entity → when a sample showed no symptom
    context: Table[tuple[Contribution, ...]] = table(group=_system, domain=_system)  # attribution of the last sample
    newest: Table[Instant] = table(domain=_system)  # entity → event time of its last sample

    def observe(self, anomaly: Anomaly) -> list[Symptom]:
        """Take the anomaly of one sample of an entity. Returns the symptoms that it confirms."""
        entity = anomaly.entity
        if anomaly.view != "first" or anomaly.state not in STATES:
            return []  # its alarm begins and ends by itself, and says nothing of what the first view sees
        if anomaly.suppressed != "none":
            return []  # its budget of false alarms is spent: nobody is to be woken
        if anomaly.ts <= self.newest.get(entity, 0):
            return []  # a repeat, or late: a newer sample was taken already
        self.newest[entity] = anomaly.ts
        self._bound()
        if anomaly.state == "cleared":
            self.symptoms.pop(entity, None)
            self.context.pop(entity, None)
            self.well[entity] = anomaly.ts
            return []
        self.context[entity] = anomaly.attribution
        known = {s.symptom: s for s in self.symptoms.get(entity, ())}
        shown = dict(_shown(anomaly, self.knowledge))
        least = 1 if anomaly.path != "narrow" or self._others_are_off(entity) else SECOND_LOOK
        now = [_seen(known.get(symptom), anomaly, found, least) for symptom, found in shown.items()]
        fresh = [s for s in now if s.confirmed and not (s.symptom in known and known[s.symptom].confirmed)]
        kept = (s for s in known.values() if s.symptom not in shown and anomaly.ts - s.last <= s.grace_ms)
        if found := (*now, *kept):
            self.symptoms[entity] = found
        else:
            self.symptoms.pop(entity, None)
        if any(s.confirmed and not self.knowledge.symptom(s.symptom).harmless for s in found):
            self.well.pop(entity, None)
        else:
            self.well[entity] = anomaly.ts
        return fresh

    def is_well(self, entity: str, since: Instant) -> bool:
        """Whether a sample after `since` showed no symptom of the entity, or an earlier one ended its alarm.

        Detectors report nothing of an entity without an alarm, so no later sample can be waited for.
        """
        return self.well.get(entity, 0) > since or (entity in self.well and entity not in self.context)

    def forget(self, entity: str) -> None:
        """Drop everything that is known of an entity that does not exist any more."""
        for book in (self.newest, self.well, self.context, self.symptoms):
            book.pop(entity, None)

    def confirmed(self, system: str | None = None) -> Iterator[Symptom]:
        """Every confirmed symptom, or those of one system."""
        for entity in self.symptoms if system is None else self.symptoms.keys_of(system):
            yield from self.confirmed_of(entity)

    def confirmed_of(self, entity: str) -> Iterator[Symptom]:
        """Every confirmed symptom of one entity."""
        return (s for s in self.symptoms.get(entity, ()) if s.confirmed)

    def meets(self, entity: str, condition: Condition) -> Contribution | None:
        """The contribution to the last sample of an entity that meets a condition; None: there is none."""
        meeting = (
            c for c in self.context.get(entity, ())
            if matches(condition.signal, c.metric) and condition.holds(c.z, c.value, c.expected)
        )  # fmt: skip
        return next(meeting, None)

    def _others_are_off(self, entity: str) -> bool:
        """Whether another entity of the same system has an alarm."""
        return any(other != entity for other in self.context.keys_of(system_of(entity)))

    def _bound(self) -> None:
        if len(self.newest) > ENTITIES_KEPT:
            self.forget(next(iter(self.newest)))


def _shown(anomaly: Anomaly, knowledge: Knowledge) -> Iterator[tuple[SymptomKind, tuple[SymptomRule, Contribution]]]:
    """Each symptom that a sample shows, with the first rule that says so and the contribution that meets it."""
    met: dict[int, dict[int, Contribution]] = {}  # by rule: what meets each of its conditions
    explained: set[int] = set()
    for c in anomaly.attribution:
        hits = knowledge.hits(c.metric)
        if c.z > 0:
            explained |= hits.unless
        for number, at in hits.conditions:
            if knowledge.rules[number].rule.when[at].holds(c.z, c.value, c.expected):
                met.setdefault(number, {}).setdefault(at, c)
    named: set[str] = set()
    for number in sorted(met.keys() - explained):
        stated = knowledge.rules[number]
        rule = stated.rule
        if len(met[number]) == len(rule.when) and rule.name not in named and stated.pack.covers(anomaly.entity):
            named.add(rule.name)
            yield SymptomKind(rule.name), (rule, met[number][0])


def _seen(known: Symptom | None, anomaly: Anomaly, found: tuple[SymptomRule, Contribution], least: int) -> Symptom:
    """A symptom after one more sample that shows it. least: samples that it takes whatever its rule says."""
    rule, c = found
    before = known or Symptom(
        anomaly.entity, SymptomKind(rule.name), c.metric, anomaly.ts, anomaly.ts, 0, c.z, c.value, c.expected,
        anomaly.evidence,
    )  # fmt: skip
    samples = before.samples + 1
    lasted = samples >= max(rule.periods, least) and anomaly.ts - before.onset >= rule.lasts_ms
    return msgspec.structs.replace(
        before, last=anomaly.ts, samples=samples, z=c.z, value=c.value, expected=c.expected, metric=c.metric,
        confirmed=before.confirmed or lasted,
    )  # fmt: skip
