"""Formats that agents already put on Kafka: each message as samples or log lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import orjson

from topics.codec import Cause, DecodeError
from topics.formats import influx, otlp, records, vector
from topics.formats.names import Logged, Sampled
from topics.formats.naming import Naming
from topics.formats.tolerance import NOT_AS_IT_SAYS, Refusals, Refuse, strict

Found = Sampled | Logged
Content = Any  # a parsed JSON object or array, else the bytes

# JSON objects are told apart by what only they have: first match wins
_SIGNS: Final[tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...]] = (
    ("otlp", lambda d: not {"resourceMetrics", "resourceLogs", "resourceSpans"}.isdisjoint(d)),
    ("telegraf", lambda d: isinstance(d.get("metrics"), list) or ("fields" in d and "tags" in d and "timestamp" in d)),
    ("prometheus", lambda d: "labels" in d and "value" in d and "name" in d),
    ("vector", lambda d: "kind" in d and "name" in d and "timestamp" in d),
    ("metricbeat", lambda d: "metricset" in d and "@timestamp" in d),
    ("rsyslog", lambda d: "message" in d and "severity" in d and "@timestamp" in d),
    ("fluent_bit", lambda d: "@timestamp" in d and "message" not in d),
)

READERS: Final[Mapping[str, Callable[..., Iterable[Found]]]] = {
    "collectd": records.collectd, "fluent_bit": records.fluent_bit, "influx": influx.read,
    "metricbeat": records.metricbeat, "otlp": otlp.read, "prometheus": records.prometheus, "rsyslog": records.rsyslog,
    "telegraf": records.telegraf, "vector": vector.vector,
}  # fmt: skip

Reader = Callable[[Content], Iterable[Found]]
_added: dict[str, Reader] = {}


def add(readers: Mapping[str, Reader]) -> None:
    """Make formats of other packages known by name, in the place of those added before. `recognise` never finds them.

    Raises:
        ValueError: a name is that of a shipped format.
    """
    if taken := sorted(readers.keys() & READERS.keys()):
        raise ValueError(f"{', '.join(taken)}: a shipped format has this name")
    _added.update(readers)
    for name in _added.keys() - readers.keys():  # one that stays is never missing, not even for a moment
        del _added[name]


def reader(name: str) -> Reader:
    """The reader of a format. Raises KeyError when there is none of this name."""
    return _added.get(name) or partial(READERS[name], naming=Naming())


def names() -> tuple[str, ...]:
    """The names of all formats, the shipped ones first."""
    return (*READERS, *sorted(_added))


def content_of(value: bytes) -> Content:
    """A JSON object or array parsed, anything else as it is. Raises DecodeError when it begins as JSON and is none."""
    if value[:1] not in (b"{", b"["):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if any(word in value for word in (b"NaN", b"Infinity")):
            raise DecodeError(Cause.NOT_FINITE, f"JSON has no such number: {error}") from None
        raise DecodeError(Cause.MALFORMED, str(error)) from None


def recognise(content: Content) -> str:
    """The name of the format that `content` is in. Raises DecodeError when it is in none of `READERS`."""
    if isinstance(content, dict):
        for name, is_one in _SIGNS:
            if is_one(content):
                return name
        raise DecodeError(Cause.WRONG_TYPE, "an object of no known format: a sample has entity, ts and metrics")
    if isinstance(content, list):
        return "collectd"
    return "otlp" if content[:1] == b"\x0a" else "influx"


def read(
    content: Content, key: bytes | None, format: str = "", refuse: Refuse = strict, naming: Naming | None = None
) -> list[Found]:  # fmt: skip
    """What a message in `format` (empty: the one that it looks like) says.

    `key` names the entity where the format does not; `naming` says what labels name (None: what is built in). `refuse`
    is told of each part that is not what its format says, if that can be left out alone; by default it refuses the
    message. Nothing, when it is right and has no number in it: a text alone, or a rate that its sender does not know.

    Raises:
        DecodeError: it is in no known format, or a part of it is not what its format says.
    """
    name, refused, naming = format or recognise(content), Refusals(), naming or Naming()

    def told(error: Exception) -> None:
        refused(error)
        refuse(error)

    try:
        found = _of_package(name, content) if name in _added else list(READERS[name](content, naming, told))
    except DecodeError:
        raise
    except NOT_AS_IT_SAYS as error:
        raise DecodeError(Cause.MALFORMED, f"not as {name} says it: {error!r}"[:300]) from None
    for clash in naming.take_clashes():
        told(clash)
    if not found and not refused.count:
        raise DecodeError(Cause.WRONG_TYPE, "there is no measurement in it")
    whose = (key or b"").decode(errors="replace") or "unknown"
    said = [each for each in found if not isinstance(each, Sampled) or each.metrics]
    return [each if each.entity else each._replace(entity=whose) for each in said]


def _of_package(name: str, content: Content) -> list[Found]:
    """What a reader of another package finds. Whatever it raises refuses this message and stops nothing."""
    try:
        found = list(_added[name](content))
    except Exception as error:
        raise DecodeError(Cause.MALFORMED, f"not as {name} says it: {error!r}"[:300]) from None
    if wrong := next((each for each in found if not isinstance(each, Sampled | Logged)), None):
        raise DecodeError(Cause.WRONG_TYPE, f"the reader of {name} gave {type(wrong).__name__}, no Sampled or Logged")
    return found
