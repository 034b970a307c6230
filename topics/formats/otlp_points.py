"""Data points of OpenTelemetry as metrics, by their type and temporality; what tells two of them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from topics import kinds
from topics.formats import histograms
from topics.formats.histograms import Buckets
from topics.formats.naming import Naming, Whose

DELTA: Final = 1
TEMPORALITIES: Final[Mapping[Any, int]] = {
    1: 1, 2: 2, "AGGREGATION_TEMPORALITY_DELTA": 1, "AGGREGATION_TEMPORALITY_CUMULATIVE": 2,
}  # fmt: skip

# attributes of a resource that say how it is made, not which one it is
_MADE: Final = ("telemetry.", "os.", "host.", "cloud.", "container.image.", "process.runtime.", "process.command")
_SAYS_HOW: Final = ("version", "uid", "start_time", "description", "schema_url")
_COLLECTOR: Final = ("github.com/open-telemetry/opentelemetry-collector", "otelcol/", "go.opentelemetry.io/collector")
SCOPE: Final = "otel.scope.name"


class Held(NamedTuple):
    """What the points of a metric have in common."""

    name: str
    kind: str
    monotonic: bool = False
    temporality: int = 0  # 0: it is not said


class Point(NamedTuple):
    """A data point in either encoding."""

    labels: Mapping[str, Any]
    ns: int
    start_ns: int = 0
    value: float | None = None  # of a gauge or sum; None: nothing was recorded
    buckets: Buckets | None = None
    quantiles: Mapping[float, float] = {}


class Shared(NamedTuple):
    """What the points of a scope have in common."""

    naming: Naming
    labels: Mapping[str, Any]  # of the resource, and its scope
    made: frozenset[str]  # those of the resource that say how it is made

    def of(self, name: str, labels: Mapping[str, Any]) -> Whose:
        """Whose a point of a metric is, which has these labels of its own."""
        if not labels:
            return self.naming.of(self.labels, name, self.made)
        return self.naming.of({**self.labels, **labels}, name, self.made.difference(labels))


def shared(naming: Naming, resource: Mapping[str, Any], scope: str) -> Shared:
    """What a scope of a resource has in common. The Collector's own scopes are not named: no two measure the same."""
    made = frozenset(n for n in resource if n.startswith(_MADE) or n.rpartition(".")[2] in _SAYS_HOW)
    own = {SCOPE: scope} if scope and not scope.startswith(_COLLECTOR) else {}
    return Shared(naming, {**resource, **own}, made)


def metrics_of(held: Held, point: Point, whose: Whose) -> dict[str, float]:
    """The metrics of a point."""
    named = whose.named(held.name)
    if named is None:
        return {}
    name, factor = named
    interval_ms = (point.ns - point.start_ns) / 1e6 if point.start_ns else 0.0
    if point.buckets is not None:
        delta = held.temporality == DELTA
        found = (
            histograms.since_before(name, point.buckets, interval_ms)
            if delta
            else histograms.since_start(name, point.buckets)
        )
        return found | {kinds.figure(name, f"p{100 * q:g}"): value for q, value in point.quantiles.items()}
    if point.value is None:
        return {}
    if held.kind == "sum" and held.temporality == DELTA and interval_ms > 0:
        return {kinds.figure(name, "rate"): point.value * factor * 1000.0 / interval_ms}
    if held.kind == "sum" and held.monotonic and held.temporality != DELTA:
        return {kinds.counter(name): point.value * factor}
    return {kinds.gauge(name): point.value * factor}
