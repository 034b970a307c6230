"""Our own samples as JSON, learning controls, and the door to what other agents send."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import orjson

from topics.codec import SUPPORTED_VERSION, Cause, DecodeError
from topics.formats import read as foreign
from topics.formats.names import Sampled
from topics.learning import Learning

MAX_BYTES: Final = 1_000_000  # of one message
MAX_SIZE: Final = 1e100  # of one value: its square must stay finite
MAX_NAME: Final = 256
OURS: Final = frozenset({"entity", "metrics", "learning"})  # any of these: it is meant as one of ours


def read(value: bytes | None, key: bytes | None) -> list[Sampled] | Learning:
    """The samples of a message, each part of its right type; or a control. Raises DecodeError."""
    if not value:
        raise DecodeError(Cause.EMPTY, "the message has no value")
    if len(value) > MAX_BYTES:
        raise DecodeError(Cause.OVERSIZED, f"{len(value)} bytes are more than {MAX_BYTES}")
    try:
        sample = orjson.loads(value) if value[:1] == b"{" else None
    except orjson.JSONDecodeError as error:
        if any(word in value for word in (b"NaN", b"Infinity")):
            raise DecodeError(Cause.NOT_FINITE, f"JSON has no such number: {error}") from None
        raise DecodeError(Cause.MALFORMED, str(error)) from None
    if sample is None or not OURS & sample.keys():
        return [_checked(*sampled) for sampled in foreign(value, key)]
    version = sample.get("v", 1)
    if not isinstance(version, int) or version > SUPPORTED_VERSION:
        raise DecodeError(Cause.VERSION, f"version {version!r} is newer than {SUPPORTED_VERSION}")
    if "learning" in sample:
        return _control(value)
    return [_checked(*(sample.get(name) for name in ("entity", "ts", "metrics")))]


def _checked(entity: Any, ts: Any, metrics: Any) -> Sampled:
    if not isinstance(entity, str) or not 0 < len(entity) <= MAX_NAME:
        raise DecodeError(Cause.WRONG_TYPE, f"`entity` must be a text of 1 to {MAX_NAME} characters")
    if type(ts) is not int:
        raise DecodeError(Cause.WRONG_TYPE, "`ts` must be a whole number of milliseconds")
    if not 0 <= ts < 2**62:
        raise DecodeError(Cause.TIMESTAMP, f"{ts} is no time")
    return Sampled(entity, ts, _metrics(metrics))


def _control(value: bytes) -> Learning:
    try:
        return msgspec.json.decode(value, type=Learning)
    except msgspec.ValidationError as error:
        raise DecodeError(Cause.WRONG_TYPE, str(error)) from None


def _metrics(metrics: Any) -> dict[str, float]:
    if not isinstance(metrics, dict) or not metrics:
        raise DecodeError(Cause.WRONG_TYPE, "`metrics` must be an object of numbers by name")
    for name, number in metrics.items():
        if not isinstance(number, int | float):
            raise DecodeError(Cause.WRONG_TYPE, f"{name[:80]!r} is {type(number).__name__}, not a number")
        if not abs(number) <= MAX_SIZE:
            raise DecodeError(Cause.NOT_FINITE, f"{name[:80]!r} is too large to learn from")
        if not 0 < len(name) <= MAX_NAME:
            raise DecodeError(Cause.WRONG_TYPE, f"a metric's name has 1 to {MAX_NAME} characters")
    return metrics
