"""Symptoms from deviating metrics: the table of rules, and the tracker that applies it to anomalies.

A symptom is confirmed when enough samples show it for long enough. It ends with a sample that does not show it: the
lack of samples ends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from models.keyed import KeyedState, Table, table
from topics.incidents import SymptomKind
from topics.signals import Anomaly, Contribution, Direction
from topics.spec import Instant, system_of


class SymptomRule(msgspec.Struct, frozen=True):
    """When the deviation of a metric is a symptom."""

    symptom: SymptomKind
    metric: str  # glob over metric names
    direction: Direction
    least: float  # smallest absolute deviation from the expected value, in the metric's unit
    ratio: float = 0.0  # smallest deviation as a share of the expected value
    lasts_ms: int = 0  # how long it must be seen before it counts
    samples: int = 1  # and how often
    unless: tuple[str, ...] = ()  # not while one of these deviates upwards
    z: float = 6.0


# The most reliable first. `least` and `ratio` are the smallest harm that is worth an incident; the ordinary range of a
# series is learned, and is not part of this table.
RULES: Final[tuple[SymptomRule, ...]] = (
    SymptomRule(SymptomKind.DOWN, "up.refused", "up", 0.5, samples=1),
    SymptomRule(SymptomKind.UNRESPONSIVE, "up", "down", 0.5, lasts_ms=400, samples=2, unless=("up.refused",)),
    SymptomRule(SymptomKind.ERRORS, "http.server.error_ratio", "up", 0.08, lasts_ms=400, samples=3),
    SymptomRule(SymptomKind.MEMORY, "process.memory.usage", "up", 16e6, ratio=0.25, lasts_ms=800, samples=4),
    SymptomRule(
        SymptomKind.SATURATION, "http.server.utilization", "up", 0.25, ratio=0.5, lasts_ms=1200, samples=4,
        unless=("http.client.error_ratio.*",),  # slots are held by calls that hang: the callee hurts
    ),
    SymptomRule(SymptomKind.LATENCY, "http.server.own_duration.p95", "up", 0.1, ratio=1.0, lasts_ms=800, samples=4),
    SymptomRule(SymptomKind.DEPENDENCY, "http.client.error_ratio.*", "up", 0.1, lasts_ms=1500, samples=5),
    SymptomRule(SymptomKind.SURPLUS, "service.idle_replicas", "up", 0.5, lasts_ms=5_000, samples=10),
)  # fmt: skip


ENTITIES_KEPT: Final = 5_000  # a snapshot of so many, each with its attribution, still fits in one record
STATES: Final = frozenset({"raised", "continuing", "cleared"})  # of an alarm; nothing follows from another one
GRACE_MS: Final = 600  # a symptom that samples of this time do not show goes on


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


def _system(entity: str, _row: object) -> str:
    return system_of(entity)


class Tracker(KeyedState):
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
        shown = dict(_shown(anomaly.attribution))
        now = [_seen(known.get(symptom), anomaly, found) for symptom, found in shown.items()]
        fresh = [s for s in now if s.confirmed and not (s.symptom in known and known[s.symptom].confirmed)]
        kept = (s for s in known.values() if s.symptom not in shown and anomaly.ts - s.last <= GRACE_MS)
        if found := (*now, *kept):
            self.symptoms[entity] = found
        else:
            self.symptoms.pop(entity, None)
        if any(s.confirmed and s.symptom is not SymptomKind.SURPLUS for s in found):
            self.well.pop(entity, None)
        else:
            self.well[entity] = anomaly.ts  # too much capacity harms nobody
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

    def deviates(self, entity: str, metric: str) -> Contribution | None:
        """The contribution of a metric to the last sample of an entity, if it deviated upwards."""
        return next((c for c in self.context.get(entity, ()) if c.z > 0 and fnmatchcase(c.metric, metric)), None)

    def _bound(self) -> None:
        if len(self.newest) > ENTITIES_KEPT:
            self.forget(next(iter(self.newest)))


def _shown(attribution: Iterable[Contribution]) -> Iterator[tuple[SymptomKind, tuple[SymptomRule, Contribution]]]:
    """The strongest contribution of each symptom in a sample, with the rule that names it."""
    contributions = tuple(attribution)
    up = [c.metric for c in contributions if c.z > 0]
    named: set[SymptomKind] = set()
    for rule in RULES:
        if rule.symptom in named or any(fnmatchcase(m, block) for m in up for block in rule.unless):
            continue
        for c in contributions:
            if fnmatchcase(c.metric, rule.metric) and _matters(rule, c):
                named.add(rule.symptom)
                yield rule.symptom, (rule, c)
                break


def _matters(rule: SymptomRule, c: Contribution) -> bool:
    off = c.value - c.expected if rule.direction == "up" else c.expected - c.value
    return abs(c.z) >= rule.z and off >= rule.least and off >= rule.ratio * abs(c.expected)


def _seen(known: Symptom | None, anomaly: Anomaly, found: tuple[SymptomRule, Contribution]) -> Symptom:
    rule, c = found
    before = known or Symptom(
        anomaly.entity, rule.symptom, c.metric, anomaly.ts, anomaly.ts, 0, c.z, c.value, c.expected, anomaly.evidence
    )
    samples = before.samples + 1
    lasted = samples >= rule.samples and anomaly.ts - before.onset >= rule.lasts_ms
    return msgspec.structs.replace(
        before, last=anomaly.ts, samples=samples, z=c.z, value=c.value, expected=c.expected, metric=c.metric,
        confirmed=before.confirmed or lasted,
    )  # fmt: skip
