"""Our own samples as JSON, learning controls, and the door to what other agents send."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from topics import formats
from topics.codec import SUPPORTED_VERSION, Cause, DecodeError
from topics.formats.names import NO_TIME, Logged, Sampled
from topics.formats.naming import Naming
from topics.formats.tolerance import Refuse, strict
from topics.kinds import DERIVED, SIGNAL, meaning
from topics.learning import Ended, Learning
from topics.spec import Instant

MAX_BYTES: Final = 1_000_000  # of one message
MAX_SIZE: Final = 1e100  # of one value: its square must stay finite
MAX_NAME: Final = 256
MAX_METRIC: Final = 512  # characters of a metric's name with its labels
CONTROLS: Final[dict[str, type[Learning | Ended]]] = {
    "learning": Learning,
    "ended": Ended,
}  # what only they have, and their records
MAX_TEXT: Final = 1_000  # characters that are kept of a log line
OURS: Final = frozenset({"entity", "metrics", *CONTROLS})  # any of these: it is meant as one of ours
EARLIEST: Final = 100_000_000_000  # 1973 in milliseconds: smaller stamps are seconds, or nonsense
AHEAD_MS: Final = 600_000  # how far a stamp may be ahead of the message's arrival at the broker


def content_of(value: bytes | None) -> formats.Content:
    """What is in a message, bounded. Raises DecodeError."""
    if not value:
        raise DecodeError(Cause.EMPTY, "the message has no value")
    if len(value) > MAX_BYTES:
        raise DecodeError(Cause.OVERSIZED, f"{len(value)} bytes are more than {MAX_BYTES}")
    return formats.content_of(value)


def is_ours(content: formats.Content) -> bool:
    """Whether it is meant as a sample or control of our own."""
    if not isinstance(content, dict) or OURS.isdisjoint(content):
        return False
    if "entity" in content or not CONTROLS.keys().isdisjoint(content):
        return True
    return not isinstance(content["metrics"], list)  # Telegraf's batch


def read(
    value: bytes | None,
    key: bytes | None,
    refuse: Refuse = strict,
    arrived: Instant = 0,
    naming: Naming | None = None,
) -> list[Sampled] | Learning | Ended:
    """The samples of a message, each part of its right type; or a control. Raises DecodeError.

    refuse: is told of each part that is left out alone; arrived: at the broker, ms, the time of what has none.
    """
    content = content_of(value)
    if is_ours(content):
        return _ours(content, value or b"", refuse)
    found = foreign(content, key, "", refuse, arrived, naming)
    if any(isinstance(each, Logged) for each in found):
        raise DecodeError(Cause.WRONG_TYPE, "a log line is no sample: give logs a topic of their own, under [ingest]")
    return [each for each in found if isinstance(each, Sampled)]


def foreign(
    content: formats.Content,
    key: bytes | None,
    format: str = "",
    refuse: Refuse = strict,
    arrived: Instant = 0,
    naming: Naming | None = None,
) -> list[Sampled | Logged]:
    """What a message of another agent says, each part bounded. Raises DecodeError."""
    found: list[Sampled | Logged] = []
    for each in formats.read(content, key, format, refuse, naming):
        try:
            if isinstance(each, Logged):
                found.append(bounded(each))
            else:
                dated = each._replace(ts=arrived) if each.ts == NO_TIME and arrived > 0 else each
                found.append(checked(*dated, refuse))
        except DecodeError as error:
            refuse(error)
    return [each for each in found if isinstance(each, Logged) or each.metrics]


def ours(content: formats.Content, refuse: Refuse = strict) -> list[Sampled]:
    """A sample of our own. Raises DecodeError: also for a control, which only our own topic may carry."""
    if not isinstance(content, dict):
        raise DecodeError(Cause.WRONG_TYPE, "it is no object: a sample has entity, ts and metrics")
    if not CONTROLS.keys().isdisjoint(content):
        raise DecodeError(Cause.WRONG_TYPE, "controls stand on our own topic alone")
    found = _ours(content, b"", refuse)
    assert isinstance(found, list)
    return found


def fault_of(ts: Instant, arrived: Instant) -> str:
    """What is wrong with a stamp, held against the message's arrival at the broker (0: unknown); empty: nothing."""
    if ts < EARLIEST:
        return f"{ts} is before 1973: stamps are milliseconds since 1970"
    if arrived > 0 and ts > arrived + AHEAD_MS:
        return f"{ts} is more than {AHEAD_MS // 60_000} minutes ahead of the message's arrival"
    return ""


def _ours(sample: dict[str, Any], value: bytes, refuse: Refuse) -> list[Sampled] | Learning | Ended:
    version = sample.get("v", 1)
    if not isinstance(version, int) or version > SUPPORTED_VERSION:
        raise DecodeError(Cause.VERSION, f"version {version!r} is newer than {SUPPORTED_VERSION}")
    for name, control in CONTROLS.items():
        if name in sample:
            return _control(value, control)
    read = checked(sample.get("entity"), sample.get("ts"), sample.get("metrics"), refuse)
    return [read] if read.metrics else []


def bounded(line: Logged) -> Logged:
    """A line with at most MAX_TEXT characters. Raises DecodeError: its entity is none."""
    _whose(line.entity)
    return line._replace(text=line.text[:MAX_TEXT])


def _whose(entity: Any) -> str:
    if not isinstance(entity, str) or not 0 < len(entity) <= MAX_NAME:
        raise DecodeError(Cause.WRONG_TYPE, f"`entity` must be a text of 1 to {MAX_NAME} characters")
    return entity


def checked(entity: Any, ts: Any, metrics: Any, refuse: Refuse = strict) -> Sampled:
    """A sample of these parts (`ts` in ms). Raises DecodeError: one is not of its type, or out of its bounds.

    `refuse` is told of each metric that is left out alone.
    """
    _whose(entity)
    if ts == NO_TIME:
        raise DecodeError(Cause.TIMESTAMP, "it has no time, and when it arrived is unknown")
    if type(ts) is not int:
        raise DecodeError(Cause.WRONG_TYPE, "`ts` must be a whole number of milliseconds")
    if not 0 <= ts < 2**62:
        raise DecodeError(Cause.TIMESTAMP, f"{ts} is no time")
    return Sampled(entity, ts, _metrics(metrics, refuse))


def _control(value: bytes, control: type[Learning | Ended]) -> Learning | Ended:
    try:
        return msgspec.json.decode(value, type=control)
    except msgspec.ValidationError as error:
        raise DecodeError(Cause.WRONG_TYPE, str(error)) from None


def _metrics(metrics: Any, refuse: Refuse) -> dict[str, float]:
    if not isinstance(metrics, dict) or not metrics:
        raise DecodeError(Cause.WRONG_TYPE, "`metrics` must be an object of numbers by name")
    kept = metrics
    for name, number in metrics.items():
        if error := fault_of_metric(name, number):
            refuse(error)
            kept = {other: value for other, value in kept.items() if other != name}
    return kept


def fault_of_metric(name: str, number: Any) -> DecodeError | None:
    """Why a metric is refused; None: it is not."""
    if not isinstance(number, int | float):
        return DecodeError(Cause.WRONG_TYPE, f"{name[:80]!r} is {type(number).__name__}, not a number")
    if not math.isfinite(number):
        return DecodeError(Cause.NOT_FINITE, f"{name[:80]!r} is {number}, which is no finite number")
    if abs(number) > MAX_SIZE:
        return DecodeError(Cause.NOT_FINITE, f"{name[:80]!r} is too large to learn from")
    return fault_of_name(name)


def fault_of_name(name: str) -> DecodeError | None:
    """Why the name of a metric is refused; None: it is not."""
    if not 0 < len(name) <= MAX_METRIC:
        said = f"{name[:80]!r} has {len(name)} characters" if name else "a metric has no name"
        return DecodeError(Cause.WRONG_TYPE, f"{said}: a metric's name has 1 to {MAX_METRIC}, with its labels")
    if name.startswith(SIGNAL):
        return DecodeError(Cause.WRONG_TYPE, f"{name[:80]!r}: a metric's name does not begin with {SIGNAL}")
    if meaning(name).kind == DERIVED:
        return DecodeError(Cause.WRONG_TYPE, f"{name[:80]!r}: `le` of a bucket is a number, +Inf or sum")
    return None
