"""OpenTelemetry: requests of metrics and of logs, as protobuf (the collector's default) and as JSON.

Gauges and sums are taken as they are; of a histogram or a summary, the mean. Of a log record its text is taken. Field
numbers are those of opentelemetry-proto 1.x, metrics/v1; those of logs are in `otlp_logs`. A request does not say what
it is of: its records are told apart by their wire types.
"""

from __future__ import annotations

import itertools
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from topics.codec import Cause, DecodeError
from topics.formats import otlp_logs
from topics.formats.names import Logged, Sampled, host_of, instant, metric
from topics.formats.otlp_logs import labels_of
from topics.formats.protobuf import BYTES, FIXED, double, fields, fixed, pairs, signed, wires
from topics.formats.tolerance import Refuse, strict, tried

Point = tuple[str, dict[str, Any], int, float | None]  # name, labels, ns, value: none when nothing was recorded

_KINDS: Final = {5: "gauge", 7: "sum", 9: "histogram", 10: "exponentialHistogram", 11: "summary"}


def read(request: Mapping[str, Any] | bytes, refuse: Refuse = strict) -> Iterator[Sampled | Logged]:
    """The samples or log lines of a request in either encoding.

    `refuse` is called for each data point or line that is not as the format says it. What it raises ends the request.
    """
    if isinstance(request, bytes):
        return read_protobuf(request, refuse)
    if "resourceSpans" in request:
        raise _spans()
    return otlp_logs.read_json(request, refuse) if "resourceLogs" in request else read_json(request, refuse)


def read_json(request: Mapping[str, Any], refuse: Refuse = strict) -> Iterator[Sampled]:
    """The samples of a request in OTLP/JSON."""
    for resource in request["resourceMetrics"]:
        labels = labels_of(resource.get("resource", {}).get("attributes", ()))
        points: list[Point] = []
        for scope in resource.get("scopeMetrics", ()):
            for held in scope.get("metrics", ()):
                points += itertools.chain(*tried(refuse, _json_points, held, refuse))
        yield from _samples(labels, points)


def _json_points(held: Mapping[str, Any], refuse: Refuse) -> list[Point]:
    kind = next((name for name in _KINDS.values() if name in held), "")  # none: a KeyError below
    name, points = held["name"], held[kind]["dataPoints"]
    return [read for point in points for read in tried(refuse, _json_point, name, point)]


def _json_point(name: str, point: Mapping[str, Any]) -> Point:
    value: float | None = None
    if "asDouble" in point or "asInt" in point:
        value = float(point.get("asDouble", point.get("asInt", 0)))
    elif "sum" in point:
        value = float(point["sum"]) / max(int(point.get("count", 0)), 1)
    return name, labels_of(point.get("attributes", ())), int(point["timeUnixNano"]), value


def read_protobuf(value: bytes, refuse: Refuse = strict) -> Iterator[Sampled | Logged]:
    """The samples or lines of a request in protobuf. Raises ValueError, IndexError or KeyError when it is none."""
    try:
        for resource in map(fields, fields(value).get(1, ())):
            labels = pairs(fields(resource[1][0]).get(1, ())) if 1 in resource else {}
            points: list[Point] = []
            for scope in map(fields, resource.get(2, ())):
                held = scope.get(2, ())
                if held and _are_logs(held[0]):
                    logger = otlp_logs.logger_of(scope)
                    for record in held:
                        yield from tried(refuse, otlp_logs.read_record, labels, logger, record)
                    continue
                for measured in held:
                    points += itertools.chain(*tried(refuse, _points, measured, refuse))
            yield from _samples(labels, points)
    except struct.error as error:
        raise ValueError(str(error)) from None


def _are_logs(record: bytes) -> bool:
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


def _points(measured: bytes, refuse: Refuse) -> list[Point]:
    held = fields(measured)
    name = bytes(held[1][0]).decode()
    found: list[Point] = []
    for number, kind in _KINDS.items():
        for data in map(fields, held.get(number, ())):
            found += (read for point in data.get(1, ()) for read in tried(refuse, _point, name, kind, point))
    return found


def _point(name: str, kind: str, data: bytes) -> Point:
    point = fields(data)
    value: float | None = None
    if kind in ("gauge", "sum"):
        if 4 in point or 6 in point:
            value = double(point[4][0]) if 4 in point else float(signed(point[6][0]))
        labels = pairs(point.get(7, ()))
    else:
        if 5 in point:
            value = double(point[5][0]) / max(fixed(point[4][0]) if 4 in point else 0, 1)
        labels = pairs(point.get(1 if kind == "exponentialHistogram" else 9 if kind == "histogram" else 7, ()))
    return name, labels, fixed(point[3][0]), value


def _samples(labels: Mapping[str, Any], points: Iterable[Point]) -> Iterator[Sampled]:
    """Points of one resource, together where they are of one time."""
    by_time: dict[int, dict[str, float]] = defaultdict(dict)
    for name, own, ns, value in points:
        metrics = by_time[instant(ns)]
        if value is not None:
            known, converted = metric(name, value, own)
            metrics[known] = converted
    for ts, metrics in by_time.items():
        yield Sampled(host_of(labels), ts, metrics)
