"""What is known of entities: who says what of each, whether its samples come, and when it is gone.

Each source says all that it knows of an entity at once, and what it said before is forgotten. The kind is that of the
source with the most confidence. Packs are a source too: they know kinds by the series that an entity has, and relations
by the attributes of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from models.keyed import Table, by_domain, by_system, table
from models.knowledge.knowledge import Knowledge
from models.knowledge.packs import TaughtState
from models.topology import calls as topology
from models.topology.calls import Graph
from models.topology.lifetimes import DEFAULTS, EntitySettings, ttl_ms
from topics.entities import Entity, Presence, Related
from topics.formats.entities import Template
from topics.formats.naming import LABELS
from topics.learning import Ended
from topics.selectors import matches, parts
from topics.spec import DAY_MS, Instant, Record, later, system_of
from topics.telemetry import ENTITY, GONE, LONGEST, MOST_FACTS, SILENT, Event, Facts, Relation

MOST: Final = 50_000  # entities of a partition; the one of which was heard longest ago makes room
MOST_SOURCES: Final = 16  # of an entity
HEARSAY_MS: Final = 3 * 3_600_000  # what others' labels say is told again each hour; after so long it holds no more
RENEW_MS: Final = DAY_MS  # a record is written again at least so often, with what is known of the last sample
TOPOLOGY, PACKS = "topology", "packs"
SURE: Final = 0.9  # in topology events
GUESS: Final = 0.6  # in what packs say


class Known(msgspec.Struct, frozen=True):
    """What is kept of one entity."""

    record: Entity  # as it was told last
    facts: dict[str, Facts] = {}  # by source, and by the entity whose telemetry says so
    heard: dict[str, Instant] = {}  # when, by the same
    said_of: tuple[str, ...] = ()  # other entities of which packs say something because of its series
    own: bool = False  # samples of its own have come
    silent: Instant = 0  # since when they stay away; 0: they do not
    at: Instant = 0  # when to look at it again


class Inventory(TaughtState):
    """The entities of the systems of one partition."""

    entities: Table[Known] = table(MOST, when=lambda known: known.at, group=by_system, domain=by_domain)

    def see(self, event: Event, now: Instant, settings: EntitySettings = DEFAULTS) -> Iterator[Record]:
        """Take an event. Yields entities that have changed, and events about others that packs know of."""
        if event.kind == "topology":
            yield from self._graph(event, now, settings)
        elif event.kind == SILENT and (known := self.entities.get(event.entity)) is not None and known.own:
            silent = known.silent or now
            yield from self._put(event.entity, msgspec.structs.replace(known, silent=silent), now, settings, event.ts)
        elif event.kind == ENTITY and event.facts is not None:
            yield from self._said(event.entity, _place(event.facts), event.facts, now, settings)
        elif event.kind == ENTITY:
            yield from self._came(event, now, settings)

    def expire(self, now: Instant, settings: EntitySettings = DEFAULTS) -> Iterator[Record]:
        """Look at entities whose time has come: they are gone, or are told again."""
        for entity in self.entities.due(now):
            known = self.entities[entity]
            old = [p for p, heard in known.heard.items() if known.facts[p].via and now - heard >= HEARSAY_MS
                   and known.facts[p].source != PACKS]  # fmt: skip
            yield from self._put(entity, _without(known, old), now, settings)

    # --- sources ------------------------------------------------------------------------------------------------------

    def _said(
        self, entity: str, place: str, facts: Facts, now: Instant, settings: EntitySettings
    ) -> Iterator[Record]:  # fmt: skip
        known = self._known(entity, now)
        if not (facts.kind or facts.attributes or facts.relations):
            if place in known.facts:
                yield from self._put(entity, _without(known, [place]), now, settings)
            return
        kept, heard = {**known.facts, place: facts}, {**known.heard, place: now}
        while len(kept) > MOST_SOURCES:
            oldest = min(heard, key=heard.__getitem__)
            del kept[oldest], heard[oldest]
        yield from self._put(entity, msgspec.structs.replace(known, facts=kept, heard=heard), now, settings)

    def _graph(self, event: Event, now: Instant, settings: EntitySettings) -> Iterator[Record]:
        """The calls of a system, which take the place of those before; none: it has no calls."""
        system, found = system_of(event.entity), dict[str, Graph]()
        topology.take(found, event)
        graph = found.get(system, {})
        named = dict.fromkeys([*graph, *(callee for callees in graph.values() for callee in callees)])
        for entity in self.entities.keys_of(system):
            if TOPOLOGY in self.entities[entity].facts and entity not in named:
                yield from self._said(entity, TOPOLOGY, Facts(TOPOLOGY), now, settings)
        for one in named:
            callees = [callee for callee in graph.get(one, ()) if 0 < len(callee) <= LONGEST]
            relations = tuple(Relation("calls", callee) for callee in callees[:MOST_FACTS])
            if system_of(one) == system and 0 < len(one) <= LONGEST:
                yield from self._said(one, TOPOLOGY, Facts(TOPOLOGY, SURE, "service", {}, relations), now, settings)

    def _came(self, event: Event, now: Instant, settings: EntitySettings) -> Iterator[Record]:
        """Samples of an entity come. What packs say because of its series takes the place of what they said before."""
        known = self._known(event.entity, now)
        said = dict(_by_packs(event.entity, event.series, self.knowledge)) if event.series else {}
        own = said.pop(event.entity, None)
        facts = {p: f for p, f in known.facts.items() if p != PACKS or not event.series}
        heard = {p: at for p, at in known.heard.items() if p in facts}
        if own is not None:
            facts, heard = {**facts, PACKS: own}, {**heard, PACKS: now}
        others = tuple(said) if event.series else known.said_of
        changed = msgspec.structs.replace(known, facts=facts, heard=heard, own=True, silent=0, said_of=others)
        yield from self._put(event.entity, changed, now, settings, event.ts)
        for other in known.said_of:
            if other not in others:
                yield _about(other, Facts(PACKS, GUESS, via=event.entity), now)
        for other, about in said.items():
            yield _about(other, about, now)

    # --- what follows -------------------------------------------------------------------------------------------------

    def _known(self, entity: str, now: Instant) -> Known:
        found = self.entities.get(entity)
        if found is None:
            found = Known(Entity(entity=entity, ts=0, seq=0, state=Presence.GONE, kind="", attributes={},
                                 relations=(), sources=(), first=now, last=0))  # fmt: skip
        return found

    def _put(
        self, entity: str, known: Known, now: Instant, settings: EntitySettings, last: Instant = 0
    ) -> Iterator[Record]:  # fmt: skip
        """Keep what is known of an entity, and tell what of it has changed."""
        before = known.record
        facts = sorted(known.facts.values(), key=lambda f: -f.confidence)
        kind = next((f.kind for f in facts if f.kind), "")
        ttl = ttl_ms([kind], settings, self.knowledge.lifetimes) or round(1000 * settings.other_ttl_s)
        ends = later(known.silent, ttl) if known.silent else 0
        state = Presence.SILENT if known.silent else Presence.PRESENT
        if (0 < ends <= now) or not (known.own or facts):
            state = Presence.GONE
        record = Entity(
            entity=entity, ts=now, seq=before.seq + 1 if before.ts else 0, state=state, kind=kind,
            attributes=_merged(facts), relations=_related(before, facts, now),
            sources=tuple(dict.fromkeys(f.source for f in facts)), first=before.first,
            last=max(before.last, min(last, now) if last else 0, now if known.own and not known.silent else 0),
            template=next((f.template for f in facts if f.template), ""),
        )  # fmt: skip
        same = _same(before, record) and now - before.ts < RENEW_MS
        record = before if same else record
        if state is Presence.GONE:
            yield from self._end(entity, known, record, now)
            return
        at = min(later(record.ts, RENEW_MS), ends or later(now, RENEW_MS))
        if any(f.via and f.source != PACKS for f in facts):
            at = min(at, later(min(known.heard.values()), HEARSAY_MS))
        self.entities[entity] = msgspec.structs.replace(known, record=record, at=max(at, now + 1))
        if not same:
            yield record

    def _end(self, entity: str, known: Known, record: Entity, now: Instant) -> Iterator[Record]:
        """An entity is gone: so are its series and symptoms, and what packs said of others because of it.

        What others say of it, files and events, is kept for when it comes back.
        """
        theirs = [place for place, f in known.facts.items() if f.source in (LABELS, PACKS)]
        kept = msgspec.structs.replace(_without(known, theirs), record=record, own=False, said_of=(), at=0)
        if kept.facts:
            self.entities[entity] = kept
        else:
            self.entities.pop(entity, None)
        if record is not known.record:
            yield record
        if known.own:
            yield Ended(entity=entity, ts=now, ended=record.last)
            yield Event(entity=entity, ts=now, kind=GONE, text="")
        for other in known.said_of:
            yield _about(other, Facts(PACKS, GUESS, via=entity), now)


def _place(facts: Facts) -> str:
    """Under what the facts of a source are kept."""
    return f"{facts.source}@{facts.via}" if facts.via else facts.source


def _about(entity: str, facts: Facts, now: Instant) -> Event:
    return Event(entity=entity, ts=now, kind=ENTITY, text="", facts=facts)


def _without(known: Known, places: Iterable[str]) -> Known:
    gone = set(places)
    return msgspec.structs.replace(
        known, facts={p: f for p, f in known.facts.items() if p not in gone},
        heard={p: at for p, at in known.heard.items() if p not in gone},
    )  # fmt: skip


def _merged(facts: Iterable[Facts]) -> dict[str, str]:
    """Attributes of all sources; of one name, that of the source with the most confidence."""
    found: dict[str, str] = {}
    for each in facts:
        for name, text in each.attributes.items():
            found.setdefault(name, text)
    return dict(sorted(found.items()))


def _related(before: Entity, facts: Iterable[Facts], now: Instant) -> tuple[Related, ...]:
    """Relations of all sources, each once; those that were known keep since when they are."""
    since = {(r.kind, r.to): r.since for r in before.relations}
    found: dict[tuple[str, str], Related] = {}
    for each in facts:
        for r in each.relations:
            known = since.get((r.kind, r.to), now)
            found.setdefault((r.kind, r.to), Related(r.kind, r.to, each.source, each.confidence, known))
    return tuple(found[pair] for pair in sorted(found))


def _same(one: Entity, other: Entity) -> bool:
    """Whether nothing is different that is told at once."""
    return one.ts > 0 and msgspec.structs.replace(one, ts=0, seq=0, last=0) == msgspec.structs.replace(
        other, ts=0, seq=0, last=0
    )


def _by_packs(entity: str, series: Iterable[str], knowledge: Knowledge) -> Iterator[tuple[str, Facts]]:
    """What packs say because of the series of an entity, of it and of others, by entity."""
    shown = list(series)
    kinds, relations = dict[str, str](), dict[str, dict[Relation, None]]()
    for pack in knowledge.packs:
        for rule in pack.relations:
            entities, targets = Template.read(rule.entity), Template.read(rule.to)
            for one in shown:
                if matches(rule.signal, one):
                    labels: Mapping[str, str] = {**dict(parts(one).attributes), "entity": entity}
                    who, to = entities.fill(labels)[:LONGEST], targets.fill(labels)[:LONGEST]
                    if who and to and who != to:
                        relations.setdefault(who, {})[Relation(rule.relation, to)] = None
                        kinds.setdefault(who, rule.kind or pack.head.kind)
    if kind := knowledge.kind_of(shown):
        kinds[entity] = kind
    for who in list(kinds)[:MOST_FACTS]:
        via = "" if who == entity else entity
        yield who, Facts(PACKS, GUESS, kinds[who], {}, tuple(relations.get(who, ()))[:MOST_FACTS], via=via)
