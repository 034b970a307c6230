"""Formats that agents already put on Kafka, each as samples: what `Decode` takes beside its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from topics.codec import Cause, DecodeError
from topics.formats import influx, otlp, records
from topics.formats.names import Sampled

# JSON objects are told apart by what only they have: first match wins
_OBJECTS: Final[tuple[tuple[Callable[[dict[str, Any]], bool], Callable[[dict[str, Any]], Iterable[Sampled]]], ...]] = (
    (lambda d: "resourceMetrics" in d, otlp.read_json),
    (lambda d: "fields" in d and "tags" in d and "timestamp" in d, records.telegraf),
    (lambda d: "labels" in d and "value" in d and "name" in d, records.prometheus),
    (lambda d: "kind" in d and "name" in d and "timestamp" in d, records.vector),
    (lambda d: "metricset" in d and "@timestamp" in d, records.metricbeat),
    (lambda d: "@timestamp" in d and "message" not in d, records.fluent_bit),
)


def read(value: bytes, key: bytes | None) -> list[Sampled]:
    """The samples of a message in a known format: Telegraf JSON and influx lines, OTLP JSON and protobuf, collectd,
    Vector, Fluent Bit, prometheus-kafka-adapter, Metricbeat.

    `key` names the entity where the format does not. Logs are no samples.

    Raises:
        DecodeError: it is in none of them, or a part of it is not what its format says.
    """
    try:
        found = list(_read(value, (key or b"").decode(errors="replace")))
    except DecodeError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise DecodeError(Cause.MALFORMED, f"in no known format, or not as it says: {error!r}") from None
    if not found:
        raise DecodeError(Cause.WRONG_TYPE, "there is no measurement in it")
    return found


def _read(value: bytes, key: str) -> Iterable[Sampled]:
    first = value[:1]
    if first == b"[":
        return records.collectd(orjson.loads(value))
    if first == b"{":
        sample = orjson.loads(value)
        for is_one, reader in _OBJECTS:
            if is_one(sample):
                return (Sampled(s.entity or key or "unknown", s.ts, s.metrics) for s in reader(sample))
        raise DecodeError(Cause.WRONG_TYPE, "an object of no known format: a sample has entity, ts and metrics")
    if first == b"\x0a":
        return otlp.read_protobuf(value)
    return influx.read(value)
