"""Native histograms of Prometheus, in integers or floats, as the metrics of a histogram.

Field numbers are those of `Histogram` in prompb/types.proto; remote write 2.0 has the same. Bucket i of a schema
is from base ** (i - 1) up to and with base ** i, so its number is larger by one than OpenTelemetry's.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from topics.formats.histograms import Buckets, explicit, exponential, since_before, since_start
from topics.formats.protobuf import Fields, double, doubles, fields, int64, varints, zigzag

CUSTOM: Final = -53  # the schema of buckets with bounds of their own
RESET, GAUGE = 1, 3  # hints: it counts from zero since the sample before; it is no counter
_STALE: Final = struct.pack("<Q", 0x7FF0000000000002)  # the sum of a series that has ended
_NEGATIVE, _POSITIVE = (8, 9, 10), (11, 12, 13)  # spans, deltas, counts


class Native(NamedTuple):
    """A histogram at a moment (ms): its metrics; none where its series has ended."""

    ts: int
    metrics: dict[str, float]


def read(message: bytes, name: str) -> Native:
    """A histogram of a series. Raises what `tolerance.NOT_AS_IT_SAYS` has: it is none."""
    held = fields(message)
    ts, hint = int64(_last(held, 15, 0)), _last(held, 14, 0)
    if bytes(_last(held, 3, b"")) == _STALE:
        return Native(ts, {})
    found = _buckets(held)
    if hint == GAUGE:
        return Native(ts, since_before(name, found, 0.0))
    if hint == RESET:  # what it grew to is not told from what it grew by: it begins here, at zero
        found = Buckets(found.bounds, [0.0] * len(found.counts), found.total and 0.0)
    return Native(ts, since_start(name, found))


def _buckets(held: Fields) -> Buckets:
    schema, total = zigzag(_last(held, 4, 0)), _double(held, 3)
    count = _double(held, 2) if 2 in held else float(_last(held, 1, 0))
    zeros = _double(held, 7) if 7 in held else float(_last(held, 6, 0))
    if not math.isfinite(count) or count < 0.0:
        raise ValueError("a histogram has no such count")
    seen = total if math.isfinite(total) else None
    positive = dict(_counted(held, *_POSITIVE))
    if schema == CUSTOM:
        bounds = doubles(held.get(16, ()))
        if any(not 0 <= at <= len(bounds) for at in positive):
            raise ValueError("a bucket of a histogram has no bound")
        return explicit(bounds, [positive.get(at, 0.0) for at in range(len(bounds) + 1)], count, seen)
    negative = sum(number for _, number in _counted(held, *_NEGATIVE))
    return exponential(schema, zeros, {at - 1: number for at, number in positive.items()}, negative, seen)


def _counted(held: Fields, spans: int, deltas: int, counts: int) -> Iterator[tuple[int, float]]:
    """Index and count of each bucket. Integers are differences from the bucket before."""
    numbers: list[float] = doubles(held.get(counts, ()))
    numbers = numbers or [*itertools.accumulate(map(zigzag, varints(held.get(deltas, ()))))]
    if not all(0.0 <= number < math.inf for number in numbers):
        raise ValueError("a bucket of a histogram has no such count")
    places: list[int] = []
    at = 0
    for span in map(fields, held.get(spans, ())):
        at, length = at + zigzag(_last(span, 1, 0)), _last(span, 2, 0)
        if length > len(numbers) - len(places) or (places and at <= places[-1]):
            raise ValueError("the spans of a histogram do not hold its buckets")
        places += range(at, at + length)
        at += length
    if len(places) != len(numbers):
        raise ValueError("a histogram has buckets beyond its spans")
    return zip(places, map(float, numbers), strict=True)


def _last(held: Fields, number: int, otherwise: Any) -> Any:
    return held[number][-1] if number in held else otherwise


def _double(held: Fields, number: int) -> float:
    return double(held[number][-1]) if number in held else 0.0
