"""OpenTelemetry: requests of metrics and of logs, as protobuf (the collector's default) and as JSON.

What becomes of a point of each type and temporality is in `otlp_points`. Of a log record its text is taken. Field
numbers are those of opentelemetry-proto 1.x, metrics/v1; those of logs are in `otlp_logs`. A request does not say what
it is of: its records are told apart by their wire types.
"""

from __future__ import annotations

import itertools
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from topics.codec import Cause, DecodeError
from topics.formats import otlp_logs
from topics.formats.histograms import Buckets, explicit, exponential
from topics.formats.names import Logged, Sampled, instant
from topics.formats.naming import Naming
from topics.formats.otlp_logs import labels_of
from topics.formats.otlp_points import TEMPORALITIES, Held, Point, Shared, metrics_of, shared
from topics.formats.protobuf import (
    BYTES,
    FIXED,
    Fields,
    double,
    doubles,
    fields,
    fixed,
    fixeds,
    pairs,
    signed,
    varints,
    wires,
    zigzag,
)
from topics.formats.tolerance import Refuse, strict, tried

_KINDS: Final = {5: "gauge", 7: "sum", 9: "histogram", 10: "exponentialHistogram", 11: "summary"}


def read(
    request: Mapping[str, Any] | bytes, naming: Naming, refuse: Refuse = strict, signal: str = ""
) -> Iterator[Sampled | Logged]:  # fmt: skip
    """The samples or log lines of a request in either encoding.

    `refuse` is called for each data point or line that is not as the format says it. What it raises ends the request.
    `signal` is `metrics` or `logs` where it is known: then one damaged record is not taken for the other signal.
    """
    if isinstance(request, bytes):
        return read_protobuf(request, naming, refuse, signal)
    if "resourceSpans" in request:
        raise _spans()
    return (otlp_logs.read_json if "resourceLogs" in request else read_json)(request, naming, refuse)


Read = tuple[str, int, dict[str, float]]  # entity, ns, metrics


def read_json(request: Mapping[str, Any], naming: Naming, refuse: Refuse = strict) -> Iterator[Sampled]:
    """The samples of a request in OTLP/JSON."""
    for resource in request["resourceMetrics"]:
        yield from itertools.chain(*tried(refuse, _json_resource, resource, naming, refuse))


def _json_resource(resource: Mapping[str, Any], naming: Naming, refuse: Refuse) -> list[Sampled]:
    labels = labels_of(resource.get("resource", {}).get("attributes", ()))
    found: list[Read] = []
    for scope in resource.get("scopeMetrics", ()):
        of = shared(naming, labels, str(scope.get("scope", {}).get("name", "")))
        for held in scope.get("metrics", ()):
            found += itertools.chain(*tried(refuse, _json_metric, held, of, refuse))
    return list(_samples(found))


def _json_metric(held: Mapping[str, Any], shared: Shared, refuse: Refuse) -> list[Read]:
    kind = next((name for name in _KINDS.values() if name in held), "")  # none: a KeyError below
    data = held[kind]
    said = data.get("aggregationTemporality", 0)
    of = Held(held["name"], kind, bool(data.get("isMonotonic")), TEMPORALITIES.get(said, 0))
    return [read for point in data["dataPoints"] for read in tried(refuse, _json_point, of, point, shared)]


def _json_point(held: Held, point: Mapping[str, Any], shared: Shared) -> Read:
    labels, ns = labels_of(point.get("attributes", ())), int(point["timeUnixNano"])
    value: float | None = None
    buckets: Buckets | None = None
    quantiles: dict[float, float] = {}
    if "asDouble" in point or "asInt" in point:
        value = float(point.get("asDouble", point.get("asInt", 0)))
    elif "count" in point or "sum" in point:
        buckets = _json_buckets(held.kind, point)
        quantiles = {float(q.get("quantile", 0)): float(q.get("value", 0)) for q in point.get("quantileValues", ())}
    found = Point(labels, ns, int(point.get("startTimeUnixNano", 0)), value, buckets, quantiles)
    whose = shared.of(held.name, labels)
    return whose.entity, ns, metrics_of(held, found, whose)


def _json_buckets(kind: str, point: Mapping[str, Any]) -> Buckets:
    total = float(point["sum"]) if "sum" in point else None
    count = float(point.get("count", 0))
    if kind == "exponentialHistogram":
        positive, negative = point.get("positive", {}), point.get("negative", {})
        counts = dict(enumerate(map(float, positive.get("bucketCounts", ())), int(positive.get("offset", 0))))
        below = sum(map(float, negative.get("bucketCounts", ())))
        return exponential(int(point.get("scale", 0)), float(point.get("zeroCount", 0)), counts, below, total)
    bounds = [float(each) for each in point.get("explicitBounds", ())]
    return explicit(bounds, [float(each) for each in point.get("bucketCounts", ())], count, total)


def read_protobuf(
    value: bytes, naming: Naming, refuse: Refuse = strict, signal: str = ""
) -> Iterator[Sampled | Logged]:
    """The samples or lines of a request in protobuf. Raises ValueError, IndexError or KeyError when it is none."""
    try:
        for resource in fields(value).get(1, ()):
            yield from itertools.chain(*tried(refuse, _resource, resource, naming, refuse, signal))
    except struct.error as error:
        raise ValueError(str(error)) from None


def _resource(data: bytes, naming: Naming, refuse: Refuse, signal: str) -> list[Sampled | Logged]:
    resource = fields(data)
    labels = pairs(fields(resource[1][0]).get(1, ())) if 1 in resource else {}
    found: list[Read] = []
    lines: list[Logged] = []
    for scope in map(fields, resource.get(2, ())):
        held, logger = scope.get(2, ()), otlp_logs.logger_of(scope)
        if held and _hold_logs(held, signal):
            entity = naming.of(labels).entity
            for record in held:
                lines += tried(refuse, otlp_logs.read_record, entity, logger, record)
            continue
        of = shared(naming, labels, logger)
        for measured in held:
            found += itertools.chain(*tried(refuse, _metric, measured, of, refuse))
    return [*lines, *_samples(found)]


def _hold_logs(held: Sequence[bytes], signal: str) -> bool:
    """Whether the records of a scope are lines of a log: their signal, unless all of them are of the other one."""
    if signal == "logs":
        return any(any(tried(_pass, _is_line, record)) for record in held)
    if signal == "metrics":
        return all(any(tried(_pass, _is_line, record)) for record in held)
    return _is_line(held[0])


def _pass(_: Exception) -> None:
    """A record that cannot be read is of no signal; its reader refuses it."""


def _is_line(record: bytes) -> bool:
    """Whether a record of a scope is a line of a log, no metric: its time is a number where a metric has its name.

    Raises:
        DecodeError: it is the span of a trace.
    """
    found = wires(record)
    if (1, BYTES) in found and {(7, FIXED), (8, FIXED)} & found:
        raise _spans()
    return (1, BYTES) not in found and bool({(1, FIXED), (11, FIXED), (5, BYTES)} & found)


def _spans() -> DecodeError:
    return DecodeError(Cause.WRONG_TYPE, "it holds spans of traces, which are not read: send metrics and logs")


def _metric(measured: bytes, shared: Shared, refuse: Refuse) -> list[Read]:
    held = fields(measured)
    name = bytes(held[1][0]).decode()
    found: list[Read] = []
    for number, kind in _KINDS.items():
        for data in map(fields, held.get(number, ())):
            of = Held(name, kind, bool(data[3][-1]) if 3 in data else False, data[2][-1] if 2 in data else 0)
            found += (read for point in data.get(1, ()) for read in tried(refuse, _point, of, point, shared))
    return found


_ATTRIBUTES: Final = {"exponentialHistogram": 1, "histogram": 9}  # the number of their field; 7 in other points


def _point(held: Held, data: bytes, shared: Shared) -> Read:
    point = fields(data)
    labels, ns = pairs(point.get(_ATTRIBUTES.get(held.kind, 7), ())), fixed(point[3][0])
    value: float | None = None
    buckets: Buckets | None = None
    quantiles: dict[float, float] = {}
    if held.kind in ("gauge", "sum"):
        if 4 in point or 6 in point:
            value = double(point[4][0]) if 4 in point else float(signed(point[6][0]))
    elif 4 in point or 5 in point:
        buckets = _buckets(held.kind, point)
        if held.kind == "summary":
            quantiles = {_double(q, 1): _double(q, 2) for q in map(fields, point.get(6, ()))}
    found = Point(labels, ns, fixed(point[2][0]) if 2 in point else 0, value, buckets, quantiles)
    whose = shared.of(held.name, labels)
    return whose.entity, ns, metrics_of(held, found, whose)


def _double(held: Fields, number: int) -> float:
    return double(held[number][-1]) if number in held else 0.0


def _buckets(kind: str, point: Fields) -> Buckets:
    total = _double(point, 5) if 5 in point else None
    count = float(fixed(point[4][0])) if 4 in point else 0.0
    if kind == "exponentialHistogram":
        positive, negative = (fields(point[number][0]) if number in point else {} for number in (8, 9))
        counts, below = ([float(n) for n in varints(side.get(2, ()))] for side in (positive, negative))
        first = zigzag(positive[1][-1]) if 1 in positive else 0
        scale, zeros = zigzag(point[6][-1]) if 6 in point else 0, float(fixed(point[7][-1])) if 7 in point else 0.0
        return exponential(scale, zeros, dict(enumerate(counts, first)), sum(below), total)
    if kind == "summary":
        return explicit((), (), count, total)
    return explicit(doubles(point.get(7, ())), [float(n) for n in fixeds(point.get(6, ()))], count, total)


def _samples(found: Iterable[Read]) -> Iterator[Sampled]:
    """Metrics of one resource, together where they are of one entity and time."""
    together: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for entity, ns, metrics in found:
        together[entity, instant(ns)] |= metrics
    for (entity, ts), metrics in together.items():
        yield Sampled(entity, ts, metrics)
