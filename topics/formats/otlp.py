"""OpenTelemetry metrics: ExportMetricsServiceRequest as protobuf (the collector's default) and as JSON.

Gauges and sums are taken as they are; of a histogram or a summary, the mean. Field numbers are those of
opentelemetry-proto 1.x, metrics/v1.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from topics.formats.names import Sampled, host_of, instant, metric

Fields = dict[int, list[Any]]
Point = tuple[str, dict[str, Any], int, float | None]  # name, labels, ns, value: none when nothing was recorded

_KINDS: Final = {5: "gauge", 7: "sum", 9: "histogram", 10: "exponentialHistogram", 11: "summary"}


def read(request: Mapping[str, Any] | bytes) -> Iterator[Sampled]:
    """The samples of a request in either encoding."""
    return read_protobuf(request) if isinstance(request, bytes) else read_json(request)


def read_json(request: Mapping[str, Any]) -> Iterator[Sampled]:
    """The samples of a request in OTLP/JSON."""
    for resource in request["resourceMetrics"]:
        labels = _labels(resource.get("resource", {}).get("attributes", ()))
        points: list[Point] = []
        for scope in resource.get("scopeMetrics", ()):
            for held in scope.get("metrics", ()):
                kind = next((name for name in _KINDS.values() if name in held), "")  # none: a KeyError below
                points += (_json_point(held["name"], point) for point in held[kind]["dataPoints"])
        yield from _samples(labels, points)


def _json_point(name: str, point: Mapping[str, Any]) -> Point:
    value: float | None = None
    if "asDouble" in point or "asInt" in point:
        value = float(point.get("asDouble", point.get("asInt", 0)))
    elif "sum" in point:
        value = float(point["sum"]) / max(int(point.get("count", 0)), 1)
    return name, _labels(point.get("attributes", ())), int(point["timeUnixNano"]), value


def _labels(attributes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {a["key"]: next(iter(a["value"].values()), "") for a in attributes}


def read_protobuf(value: bytes) -> Iterator[Sampled]:
    """The samples of a request in protobuf. Raises ValueError, IndexError or struct.error when it is none."""
    try:
        for resource in map(_fields, _fields(value).get(1, ())):
            labels = _pairs(_fields(resource[1][0]).get(1, ())) if 1 in resource else {}
            points: list[Point] = []
            for scope in map(_fields, resource.get(2, ())):
                for held in map(_fields, scope.get(2, ())):
                    points += _points(held)
            yield from _samples(labels, points)
    except struct.error as error:
        raise ValueError(str(error)) from None


def _points(held: Fields) -> Iterator[Point]:
    name = bytes(held[1][0]).decode()
    for number, kind in _KINDS.items():
        for data in map(_fields, held.get(number, ())):
            for point in map(_fields, data.get(1, ())):
                yield _point(name, kind, point)


def _point(name: str, kind: str, point: Fields) -> Point:
    value: float | None = None
    if kind in ("gauge", "sum"):
        if 4 in point or 6 in point:
            value = _double(point[4][0]) if 4 in point else float(_signed(point[6][0]))
        labels = _pairs(point.get(7, ()))
    else:
        if 5 in point:
            value = _double(point[5][0]) / max(_fixed(point[4][0]) if 4 in point else 0, 1)
        labels = _pairs(point.get(1 if kind == "exponentialHistogram" else 9 if kind == "histogram" else 7, ()))
    return name, labels, _fixed(point[3][0]), value


def _pairs(attributes: Iterable[bytes]) -> dict[str, Any]:
    found = {}
    for attribute in map(_fields, attributes):
        held = _fields(attribute[2][0]) if 2 in attribute else {}
        text = next((bytes(v[0]).decode() for number, v in held.items() if number == 1), None)
        found[bytes(attribute[1][0]).decode()] = text if text is not None else str(next(iter(held.values()), [""])[0])
    return found


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


def _fields(data: bytes) -> Fields:
    """The fields of a protobuf message by number, undecoded; bounded by its bytes."""
    found: Fields = defaultdict(list)
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            held, at = _varint(data, at)
        else:
            if wire == 2:
                size, at = _varint(data, at)
            else:
                size = {1: 8, 5: 4}[wire]
            if at + size > len(data):
                raise ValueError("a protobuf field is cut")
            held, at = data[at : at + size], at + size  # type: ignore[assignment]
        found[number].append(held)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a protobuf number is too long")


def _fixed(data: bytes) -> int:
    return int(struct.unpack("<Q", data)[0])


def _signed(data: bytes) -> int:
    return int(struct.unpack("<q", data)[0])


def _double(data: bytes) -> float:
    return float(struct.unpack("<d", data)[0])
