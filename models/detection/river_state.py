"""River learners as data: an exact list of classes and of their fields, and nothing that is not on it.

Never pickle: no callable and no class is taken from the bytes, only the name of a row of `SHAPES`. A learner with a
number that is not finite is not written; bytes with an unknown class or field, or a value of another type, are not
read. Equal learners give equal bytes, whatever the order of their dictionaries.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
from river import anomaly, drift, proba, stats, time_series
from river._river_rust.drift import AdaptiveWindowing
from river.time_series import holt_winters

from models.detection.base import StateError

MOST_BYTES: Final = 64_000  # of ADWIN's window: five buckets for each power of two
MOST_ITEMS: Final = 4_096
DEPTH: Final = 8  # of learners within learners


class Shape(NamedTuple):
    """A class that may be written: how one is made anew, and what is then set."""

    make: Callable[[], Any]
    fields: frozenset[str]
    derived: frozenset[str] = frozenset()  # made anew with it: neither written nor read
    endless: frozenset[str] = frozenset()  # fields that may be infinite


def _shape(make: Callable[[], Any], fields: str, derived: str = "", endless: str = "") -> Shape:
    return Shape(make, frozenset(fields.split()), frozenset(derived.split()), frozenset(endless.split()))


SHAPES: Final[dict[type, Shape]] = {
    stats.Mean: _shape(stats.Mean, "n _mean"),
    stats.Var: _shape(stats.Var, "ddof mean _S"),
    proba.Gaussian: _shape(proba.Gaussian, "seed _var", "_rng"),
    anomaly.GaussianScorer: _shape(anomaly.GaussianScorer, "window_size gaussian grace_period"),
    anomaly.StandardAbsoluteDeviation: _shape(anomaly.StandardAbsoluteDeviation, "variance sub_stat"),
    drift.ADWIN: _shape(
        drift.ADWIN, "_drift_detected delta clock max_buckets min_window_length grace_period _helper"
    ),
    drift.PageHinkley: _shape(
        drift.PageHinkley,
        "_drift_detected min_instances delta threshold alpha mode _x_mean _sum_increase _sum_decrease _min_increase"
        " _max_decrease",
        derived="_test_drift",  # of `mode`, which stays "both"
        endless="_min_increase",
    ),
    time_series.HoltWinters: _shape(
        lambda: time_series.HoltWinters(0.5, 0.5),
        "alpha beta gamma seasonality multiplicative level trend season _first_values _initialized",
    ),
}  # fmt: skip

DEQUES: Final[dict[type, str]] = {holt_winters.AdditiveLevel: "alpha", holt_winters.Trend: "beta"}
NAMES: Final[dict[str, type]] = {f"{c.__module__}.{c.__qualname__}": c for c in (*SHAPES, *DEQUES)}
KINDS: Final = {name: type_ for type_, name in NAMES.items()}
FIXED: Final = {"mode": "both", "seed": None, "window_size": None, "seasonality": 0, "multiplicative": False}


def dump(learner: Any) -> bytes:
    """A learner as canonical bytes.

    Raises:
        StateError: its class or one of its fields is not on the list, or one of its numbers is not finite.
    """
    return msgspec.msgpack.encode(_out(learner, 0), order="sorted")


def load(data: bytes) -> Any:
    """The learner that was dumped.

    Raises:
        StateError: the bytes are not what `dump` writes.
    """
    try:
        return _in(msgspec.msgpack.decode(data, strict=True), 0)
    except (msgspec.MsgspecError, TypeError, ValueError, LookupError, RecursionError, UnicodeDecodeError) as error:
        raise error if isinstance(error, StateError) else StateError(f"no learner: {error}") from None


def _out(value: Any, depth: int, *, endless: bool = False) -> Any:
    kind = type(value)
    if depth > DEPTH:
        raise StateError("a learner within too many others")
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return _sound(value, endless)
    if kind is list:
        return ["list", [_sound(item) for item in _few(value)]]
    if kind is AdaptiveWindowing:
        _sound(value.get_total()), _sound(value.get_variance())
        _, (_, *given), window = value.__reduce_ex__(4)[:3]
        return ["window", given, window]
    if kind in DEQUES:
        name = DEQUES[kind]
        return ["deque", KINDS[kind], _sound(getattr(value, name)), [_sound(item) for item in value]]
    if (shape := SHAPES.get(kind)) is None:
        raise StateError(f"{kind.__module__}.{kind.__qualname__} is not written")
    state = vars(value)
    if state.keys() != shape.fields | shape.derived:
        raise StateError(f"{KINDS[kind]} has fields {sorted(state.keys() ^ shape.fields)} that are not on the list")
    for name in FIXED.keys() & shape.fields:
        if state[name] != FIXED[name]:
            raise StateError(f"{KINDS[kind]} with {name}={state[name]!r} is not written")
    return [
        "learner", KINDS[kind],
        {name: _out(state[name], depth + 1, endless=name in shape.endless) for name in shape.fields},
    ]  # fmt: skip


def _in(read: Any, depth: int, *, endless: bool = False) -> Any:
    if depth > DEPTH:
        raise StateError("a learner within too many others")
    match read:
        case None | bool() | int() | str():
            return read
        case float():
            return _sound(read, endless)
        case ["list", list(items)]:
            return [_sound(item) for item in _few(items)]
        case ["window", [float(delta), *counts], bytes(window)] if len(window) <= MOST_BYTES:
            return _window(delta, counts, window)
        case ["deque", str(name), float(rate), list(items)] if NAMES.get(name) in DEQUES:
            made: deque[float] = NAMES[name](_sound(rate))
            made.extend(_sound(item) for item in _few(items))
            return made
        case ["learner", str(name), dict(state)] if NAMES.get(name) in SHAPES:
            return _learner(name, state, depth)
    raise StateError(f"no learner: {str(read)[:80]}")


def _learner(name: str, state: dict[str, Any], depth: int) -> Any:
    shape = SHAPES[NAMES[name]]
    if state.keys() != shape.fields:
        raise StateError(f"{name} has fields {sorted(state.keys() ^ shape.fields)} that are not on the list")
    made = shape.make()
    for field, read in state.items():
        value = _in(read, depth + 1, endless=field in shape.endless)
        if field in FIXED and value != FIXED[field]:
            raise StateError(f"{name} with {field}={value!r} is not read")
        if not _alike(value, getattr(made, field)):
            raise StateError(f"{name}.{field} is no {type(value).__name__}")
        setattr(made, field, value)
    return made


def _alike(value: object, fresh: object) -> bool:
    """Whether a value may stand where a new learner has `fresh`: numbers for numbers, else the very class."""
    number = (int, float)
    if type(fresh) in number and type(value) in number:
        return True
    return type(value) is type(fresh)


def _window(delta: float, counts: list[Any], window: bytes) -> Any:
    if len(counts) != 4 or not all(type(count) is int and 0 < count < 1_000_000 for count in counts):
        raise StateError("no window of ADWIN")
    made = AdaptiveWindowing(_sound(delta), *counts)
    try:
        made.__setstate__(window)
        again = made.__reduce_ex__(4)[2]
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # Rust's panic is no Exception
        raise StateError(f"no window of ADWIN: {error}") from None
    if again != window:
        raise StateError("no window of ADWIN: it has other bytes when it is written again")
    _sound(made.get_total()), _sound(made.get_variance())
    return made


def _sound(value: Any, endless: bool = False) -> float:
    if type(value) not in (float, int) or not (math.isfinite(value) or (endless and not math.isnan(value))):
        raise StateError(f"{value!r} is no finite number")
    return float(value)


def _few(items: Any) -> Any:
    if len(items) > MOST_ITEMS:
        raise StateError(f"{len(items)} items are more than {MOST_ITEMS}")
    return items
