"""Telemetry: samples, events and heartbeats, and their topics."""

from __future__ import annotations

from topics.spec import DAY_MS, Count, Instant, Record, Topic, Word, domain_of


class Sample(Record, frozen=True):
    """Measurements of one entity at one time."""

    entity: str  # host, service instance or node: `web-1`, `shop/catalog/0`
    ts: Instant  # when it was measured, by the clock of who measured
    metrics: dict[str, float]  # by OpenTelemetry names


class Event(Record, frozen=True):
    """Something that happened to an entity."""

    entity: str
    ts: Instant
    kind: Word  # deploy, config_change, topology, state_change, log, alert
    text: str  # one line for a person
    revision: str = ""  # of a deploy or a configuration: what runs from now on
    previous: str = ""  # what ran before, and what a rollback returns to
    calls: tuple[
        tuple[str, str], ...
    ] = ()  # of a topology: every (caller, callee) of the system; none: it has no calls
    name: str = ""  # of an alert: its rule, as who raises it calls it
    state: str = ""  # of an alert: firing, resolved


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
