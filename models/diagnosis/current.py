"""The symptoms that are on, as their topic tells them: what incidents and verdicts rest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from models.keyed import Changes, Table, by_domain, by_service, by_system, table
from models.knowledge.base import Condition
from models.knowledge.knowledge import KnowingState
from topics.selectors import matches
from topics.signals import ABSENCE, HEARTBEAT, NO_SYMPTOM, RANGE, Contribution, Symptom
from topics.spec import Count, Instant

ENTITIES_KEPT: Final = 12_000  # as the tracker
STATES: Final = frozenset({"began", "continuing", "ended"})  # of a symptom; nothing follows from another one
# detectors of which each sample, or the lack of samples, is told; others tell when it begins and ends
TOLD_EACH: Final = frozenset({RANGE, ABSENCE, HEARTBEAT})


def of_tracker(old: Changes) -> Changes:
    """The state of a version that made its symptoms itself: when entities were seen and were well."""
    for book in (old.rows, old.gone):
        for name in ("symptoms", "context"):
            book.pop(f"tracker.{name}", None)
        for name in ("newest", "well"):
            if (kept := book.pop(f"tracker.{name}", None)) is not None:
                book[f"symptoms.{name}"] = kept
    if newest := old.rows.get("symptoms.newest"):
        old.rows["symptoms.newest"] = {entity: (ts, 0) for entity, ts in newest.items()}
    return old


class Current(KnowingState):
    """The symptoms of a partition's entities: of the `ENTITIES_KEPT` of which something was told last."""

    on: Table[tuple[Symptom, ...]] = table(group=by_service, domain=by_domain)  # by entity, without their attribution
    well: Table[Instant] = table(domain=by_domain)  # entity → when a sample showed no symptom
    context: Table[tuple[Contribution, ...]] = table(group=by_system, domain=by_domain)  # what its alarms show
    newest: Table[tuple[Instant, Count]] = table(domain=by_domain)  # entity → time and number of its last record
    periods: Table[Count] = table(domain=by_domain)  # entity → ms between its samples

    def take(self, told: Symptom) -> Symptom | None:
        """Take a record. Returns the symptom that it adds to those of its entity, if there is one."""
        entity = told.entity
        if told.state not in STATES or (told.ts, told.seq) <= self.newest.get(entity, (0, -1)):
            return None  # a repeat, late, or of a state that is not known here
        self.newest[entity] = told.ts, told.seq
        if told.period_ms and told.period_ms != self.periods.get(entity):
            self.periods[entity] = told.period_ms
        self._bound()
        known = () if told.symptom == NO_SYMPTOM else self.on.get(entity, ())
        on = tuple(s for s in known if s.symptom != told.symptom)
        fresh = None
        if told.state != "ended" and told.symptom != NO_SYMPTOM:
            fresh = None if any(s.id == told.id for s in known) else told
            on = (*on, msgspec.structs.replace(told, attribution=()))
        if on:
            self.on[entity] = on
        else:
            self.on.pop(entity, None)
        if on or told.alarm:
            self.context[entity] = told.attribution
        else:
            self.context.pop(entity, None)
        if all(self.knowledge.symptom(s.symptom).harmless for s in on):
            self.well[entity] = told.ts
        else:
            self.well.pop(entity, None)
        return fresh

    def is_well(self, entity: str, since: Instant) -> bool:
        """Whether a sample after `since` showed no symptom of the entity, or an earlier one ended its alarms.

        Nothing is told of an entity without an alarm, so no later sample can be waited for.
        """
        return self.well.get(entity, 0) > since or (entity in self.well and entity not in self.context)

    def seen(self, entity: str) -> Instant:
        """The event time of the last record of an entity; 0: there is none."""
        return self.newest.get(entity, (0, 0))[0]

    def waits(self, entity: str) -> bool:
        """Whether the lack of records says nothing, because the end of a symptom of the entity will be told."""
        return any(s.view != "first" and s.detector not in TOLD_EACH for s in self.on.get(entity, ()))

    def period_ms(self, entities: Iterable[str]) -> int:
        """The longest time between samples of one of these entities; 0: not known."""
        return max((self.periods.get(entity, 0) for entity in entities), default=0)

    def forget(self, entity: str) -> None:
        """Drop everything that is known of an entity that does not exist any more."""
        for book in (self.newest, self.well, self.context, self.on, self.periods):
            book.pop(entity, None)

    def confirmed(self, services: Iterable[str] | None = None) -> Iterator[Symptom]:
        """Every symptom, or those of some services, in the order of their last samples."""
        found = self.on if services is None else (e for s in services for e in self.on.keys_of(s))
        for entity in found:
            yield from self.confirmed_of(entity)

    def confirmed_of(self, entity: str) -> Iterator[Symptom]:
        """Every symptom of one entity."""
        return iter(self.on.get(entity, ()))

    def meets(self, entity: str, condition: Condition) -> Contribution | None:
        """What the alarms of an entity show that meets a condition; None: there is nothing."""
        meeting = (
            c for c in self.context.get(entity, ())
            if matches(condition.signal, c.metric) and condition.holds(c.z, c.value, c.expected)
        )  # fmt: skip
        return next(meeting, None)

    def _bound(self) -> None:
        if len(self.newest) > ENTITIES_KEPT:
            self.forget(next(iter(self.newest)))
