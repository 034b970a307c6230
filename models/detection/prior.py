"""What a series is taken to be before it has shown itself, where its name is one that is known to all.

A word within a name teaches nothing: `scale_up_events_total` is not up, and `memory_pressure_events` is no memory. What
is known stands in three tables: whole names of which it is known where they are, whole names of which it is known what
they measure, and units. Names stand in them with dots; in a series' name an underscore is as good (`pg_up`, `pg.up`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Final, NamedTuple


class Prior(NamedTuple):
    """What is known of a series."""

    peak: float = 0.0  # an ordinary large value: the least spread is a share of it (`DetectorConfig.floor`)
    trust: float = 0.0  # weight of such a series when it is off alone: above 0 where a person would act on it alone
    mean: float = math.nan  # where it is, when that is known: such a series is scored from its first value on


UNKNOWN: Final = Prior()
UP, REFUSED = Prior(10.0, 3.0, 1.0), Prior(10.0, 3.0, 0.0)
RATIO, UTILIZATION, DURATION = Prior(5.0, 1.5), Prior(3.0, 1.5), Prior(0.7, 1.5)
MEMORY, RESERVED, QUEUE = Prior(1e8, 1.5), Prior(1e8), Prior(100.0)  # reserved: mapped, committed, or a limit

# where a series is while all is well. `up` is Prometheus' and Opsloop's, `up.refused` Opsloop's, the others exporters'
AVAILABILITY: Final[Mapping[str, Prior]] = {
    "up.refused": REFUSED,
    **dict.fromkeys((
        "up", "apache.up", "consul.up", "haproxy.up", "memcached.up", "mongodb.up", "mysql.up", "nginx.up", "pg.up",
        "pgbouncer.up", "phpfpm.up", "probe.success", "rabbitmq.up", "redis.up",
    ), UP),
}  # fmt: skip

# what a series measures: OpenTelemetry's conventions, then the collector's and the demo's, then Prometheus' libraries
# and exporters
MEASURES: Final[Mapping[str, Prior]] = {
    **dict.fromkeys((
        "system.cpu.utilization", "system.memory.utilization", "system.paging.utilization",
        "system.filesystem.utilization", "process.cpu.utilization", "jvm.cpu.recent.utilization",
        "nodejs.eventloop.utilization", "http.server.utilization",
    ), UTILIZATION),
    **dict.fromkeys((
        "system.memory.usage", "system.linux.memory.available", "process.memory.usage", "container.memory.usage",
        "k8s.pod.memory.usage", "k8s.node.memory.usage", "jvm.memory.used", "go.memory.used", "v8js.memory.heap.used",
        "process.resident.memory.bytes", "jvm.memory.used.bytes", "container.memory.usage.bytes",
        "container.memory.working.set.bytes", "redis.memory.used.bytes",
    ), MEMORY),
    **dict.fromkeys((
        "system.memory.limit", "process.memory.virtual", "process.virtual.memory.bytes", "jvm.memory.committed",
    ), RESERVED),
    **dict.fromkeys((
        "http.server.request.duration", "http.client.request.duration", "rpc.server.call.duration",
        "rpc.client.call.duration", "db.client.operation.duration", "messaging.client.operation.duration",
        "messaging.process.duration", "dns.lookup.duration", "jvm.gc.duration",
        "http.server.duration.p95", "http.server.own.duration.p50", "http.server.own.duration.p95",
        "http.request.duration.seconds", "http.server.request.duration.seconds",
        "http.client.request.duration.seconds", "http.server.requests.seconds", "grpc.server.handling.seconds",
        "probe.duration.seconds",
    ), DURATION),
    **dict.fromkeys(("http.server.error.ratio", "http.client.error.ratio"), RATIO),
    **dict.fromkeys((
        "otelcol.exporter.queue.size", "rabbitmq.queue.messages", "rabbitmq.queue.messages.ready",
        "rabbitmq.queue.messages.unacked",
    ), QUEUE),
}  # fmt: skip

# Prometheus' base units, at the end of a name: which differences are small. A share counts alone too. Seconds may be an
# age and bytes a message's: neither does, and the least spread of bytes is 200 B, where that of memory is 200 kB
UNITS: Final[Mapping[str, Prior]] = {"ratio": RATIO, "seconds": Prior(0.7), "bytes": Prior(1e5)}

GROWING: Final = frozenset({"total", "sum", "count", "bucket"})  # at the end of a name: a counter, which has no level
FIGURES: Final = frozenset({"p50", "p95", "p99", "mean"})  # at the end of a name (`topics.rates`)


@functools.lru_cache(maxsize=100_000)
def prior(metric: str) -> Prior:
    """What is known of a metric by its name, which is what stands before `{`.

    Values of attributes may follow what it measures, each after a dot, as in `system.cpu.utilization.user`. Nothing may
    follow where it is, nor a unit.
    """
    name = metric.partition("{")[0]
    whole = _dotted(name)
    stem, _, last = whole.rpartition(".")
    if last in GROWING:
        return UNKNOWN
    if found := AVAILABILITY.get(whole):
        return found
    measure = name
    while measure:
        if found := MEASURES.get(_dotted(measure)):
            return UNKNOWN if GROWING.intersection(whole[len(measure) :].split(".")) else found
        measure = measure.rpartition(".")[0]
    if last in FIGURES:  # of a histogram: in the unit of what it observed
        last = stem.rpartition(".")[2]
    return UNITS.get(last, UNKNOWN) if stem else UNKNOWN


def _dotted(name: str) -> str:
    return name.replace("_", ".")
