"""Telemetry: samples, events and heartbeats, and their topics."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from topics.spec import DAY_MS, Count, Instant, Record, Topic, Word, domain_of

ENTITY: Final = "entity"  # an event that tells of an entity
SILENT: Final = "silent"  # that its samples stay away; GONE: for longer than its time to live
GONE: Final = "gone"
MAX_ALERT: Final = 200  # characters of the name of an alert, and of what says which one of that name it is
LONGEST: Final = 256  # characters of an entity, of an attribute
MOST_SERIES: Final = 64  # of an entity, in an event
MOST_FACTS: Final = 32  # attributes of an entity, and relations, by one source

Entity = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST)]
Kind = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,62}$|^$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Text = Annotated[str, msgspec.Meta(max_length=LONGEST)]
Series = Annotated[tuple[Text, ...], msgspec.Meta(max_length=MOST_SERIES)]


class Sample(Record, frozen=True):
    """Measurements of one entity at one time."""

    entity: str  # host, service instance or node: `web-1`, `shop/catalog/0`
    ts: Instant  # when it was measured, by the clock of who measured
    metrics: dict[str, float]  # by OpenTelemetry names


class Relation(msgspec.Struct, frozen=True):
    """That an entity has to do with another one."""

    kind: Word  # runs_on, part_of, calls, depends_on, reads, writes
    to: Entity


class Facts(msgspec.Struct, frozen=True):
    """What one source says of an entity, all of it."""

    source: Name  # labels, packs, a file, who sent the event
    confidence: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 1.0
    kind: Kind = ""  # of entity: host, pod, redis; empty: it does not know
    attributes: Annotated[dict[Name, Text], msgspec.Meta(max_length=MOST_FACTS)] = {}
    relations: Annotated[tuple[Relation, ...], msgspec.Meta(max_length=MOST_FACTS)] = ()
    template: Text = ""  # of settings, that named it
    via: Text = ""  # the entity whose telemetry says so; empty: its own does

    def with_(self, other: Facts) -> Facts:
        """These and other facts of the same source; where they differ, the others hold. Within bounds."""
        attributes = {**self.attributes, **{name: text[:LONGEST] for name, text in other.attributes.items()}}
        relations = tuple(dict.fromkeys((*self.relations, *other.relations)))[:MOST_FACTS]
        return msgspec.structs.replace(
            other, kind=other.kind or self.kind, attributes=dict(list(attributes.items())[:MOST_FACTS]),
            relations=relations, template=other.template or self.template,
            via=other.via if self.via else "",
        )  # fmt: skip


class Event(Record, frozen=True):
    """Something that happened to an entity."""

    entity: str
    ts: Instant
    kind: Word  # deploy, config_change, topology, entity, silent, gone, state_change, log, alert
    text: str  # one line for a person
    revision: str = ""  # of a deploy or a configuration: what runs from now on; of an alert: which one of its rule
    previous: str = ""  # what ran before, and what a rollback returns to
    calls: tuple[
        tuple[str, str], ...
    ] = ()  # of a topology: every (caller, callee) of the system; none: it has no calls
    name: str = ""  # of an alert: its rule, as who raises it calls it
    state: str = ""  # of an alert: firing, resolved
    facts: Facts | None = None  # of an entity: what `facts.source` says of it; none: it has nothing more to say
    series: Series = ()  # of an entity: some of its series, as far as they differ


class Heartbeat(Record, frozen=True):
    """A heartbeat of a node."""

    node: str
    ts: Instant
    seq: Count  # from 0 at each start of the node: a gap is a lost beat, a fall is a restart
    period_ms: Count = 1000


METRICS = Topic(
    "opsloop.telemetry.metrics", Sample, key=lambda sample: sample.entity, what="samples: JSON or columnar frames",
    retention_ms=DAY_MS, cloudevents=False, stamped=True,
)  # fmt: skip
EVENTS = Topic(
    "opsloop.telemetry.events", Event, key=lambda event: domain_of(event.entity),
    what="deploys, configuration changes, topology, state changes, log templates",
)  # fmt: skip
HEARTBEATS = Topic(
    "opsloop.telemetry.heartbeats", Heartbeat, key=lambda beat: domain_of(beat.node), what="liveness of nodes",
    retention_ms=DAY_MS, cloudevents=False,
)  # fmt: skip
