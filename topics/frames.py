"""Columnar frames: many samples of many series in one message, read without copying a value.

    magic "OPF1" · u32 length of the names · names (msgpack: entities, series) · zeros up to a multiple of 8
    u32 m · u32 n · i64 ts[m] · u32 entity[m] · u32 start[m + 1] · u32 series[n] · zeros · f64 value[n]

All little-endian. `entity` and `series` count within the frame's own names; a series is (entity, metric). A sender
repeats the same names in every frame, so that a reader looks them up once. Sent with the content type below, to the
partition of its entities.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from topics.codec import Cause, DecodeError
from topics.formats.native import MAX_METRIC, MAX_NAME
from topics.spec import Instant

CONTENT_TYPE: Final = b"application/vnd.opsloop.frame"
MAGIC: Final = b"OPF1"
MAX_FRAME_BYTES: Final = 4_000_000
MAX_METRICS: Final = 2_000  # of one entity: what a reader takes by default
_HEAD: Final = struct.Struct("<4sI")
_COUNTS: Final = struct.Struct("<II")

FrameNames = tuple[list[str], list[tuple[int, str]]]  # entities; series as (entity, metric)


class Frame(NamedTuple):
    """The columns of a frame, as views of its message."""

    names: bytes  # as sent: equal bytes are equal names
    ts: NDArray[np.int64]  # (m,)
    entity: NDArray[np.uint32]  # (m,)
    start: NDArray[np.uint32]  # (m + 1,) sample i has the values start[i]:start[i + 1]
    series: NDArray[np.uint32]  # (n,)
    value: NDArray[np.float64]  # (n,)
    shape: bytes = b""  # entity, start and series as they were sent


def pack_names(entities: Sequence[str], series: Sequence[tuple[int, str]]) -> bytes:
    """The names of a frame as bytes."""
    return msgspec.msgpack.encode((entities, series))


def unpack_names(data: bytes) -> FrameNames:
    """The names in a frame.

    Raises:
        DecodeError: they are not names, or a series is of an entity that is not there.
    """
    try:
        entities, series = msgspec.msgpack.decode(data, type=FrameNames)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(Cause.MALFORMED, f"the names of the frame: {error}") from None
    if any(not 0 <= at < len(entities) for at, _ in series) or not all(entities):
        raise DecodeError(Cause.MALFORMED, "a series of the frame is of no entity")
    return entities, series


def pack(frame: Frame) -> bytes:
    """The message of a frame."""
    head = _HEAD.pack(MAGIC, len(frame.names)) + frame.names
    head += b"\0" * (-len(head) % 8) + _COUNTS.pack(len(frame.ts), len(frame.value))
    small = b"".join(
        np.ascontiguousarray(column, "<u4").tobytes() for column in (frame.entity, frame.start, frame.series)
    )
    ts, value = np.ascontiguousarray(frame.ts, "<i8").tobytes(), np.ascontiguousarray(frame.value, "<f8").tobytes()
    return b"".join((head, ts, small, b"\0" * (-len(small) % 8), value))


def unpack(data: bytes) -> Frame:
    """The columns of a message.

    Raises:
        DecodeError: it is cut, has bytes too many, or its columns contradict each other.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise DecodeError(Cause.OVERSIZED, f"{len(data)} bytes are more than {MAX_FRAME_BYTES}")
    try:
        magic, length = _HEAD.unpack_from(data)
        names = data[8 : 8 + length]
        at = 8 + length + (-length % 8)
        m, n = _COUNTS.unpack_from(data, at)
        at += 8
        small = 4 * (2 * m + 1 + n)
        values = at + 8 * m + small + (-small % 8)
        if magic != MAGIC or len(names) != length or values + 8 * n != len(data):
            raise DecodeError(Cause.MALFORMED, "the length of the frame is not what it says")
        ts = np.frombuffer(data, "<i8", m, at)
        entity = np.frombuffer(data, "<u4", m, at + 8 * m)
        start = np.frombuffer(data, "<u4", m + 1, at + 12 * m)
        series = np.frombuffer(data, "<u4", n, at + 16 * m + 4)
        value = np.frombuffer(data, "<f8", n, values)
    except (struct.error, ValueError) as error:
        raise DecodeError(Cause.MALFORMED, f"the frame is cut: {error}") from None
    if start[0] != 0 or start[-1] != n or (start[1:] < start[:-1]).any():
        raise DecodeError(Cause.MALFORMED, "the values of the frame are not shared out among its samples")
    return Frame(names, ts, entity, start, series, value, data[at + 8 * m : at + 8 * m + small])


class FrameBuilder:
    """Collects samples into a frame. Its names stay from frame to frame and only grow, as its sender knows more."""

    def __init__(self) -> None:
        self._entities: dict[str, int] = {}
        self._series: dict[tuple[int, str], int] = {}
        self._metrics: dict[int, int] = {}  # how many each entity has
        self._names = 0  # bytes, about
        self._ts, self._entity, self._start = array("q"), array("I"), array("I", [0])
        self._number, self._value = array("I"), array("d")

    @property
    def values(self) -> int:
        """How many values are waiting."""
        return len(self._value)

    @property
    def size(self) -> int:
        """About how many bytes the frame will have."""
        return self._names + 12 * len(self._value) + 16 * len(self._ts)

    def add(self, entity: str, ts: Instant, metrics: Mapping[str, float]) -> None:
        """One sample.

        Raises:
            ValueError: it has no metric, a name that no reader takes, or more metrics than an entity may have.
            TypeError: a value is no number.
        """
        if not entity or not metrics:
            raise ValueError("a sample has an entity and at least one metric")
        values, stamp = array("d", list(metrics.values())), array("q", [ts])
        at = self._entities.get(entity, -1)
        try:
            numbers = [self._series[at, metric] for metric in metrics]
        except KeyError:
            at = self._learn(entity, metrics)
            numbers = [self._series[at, metric] for metric in metrics]
        self._number.extend(numbers)
        self._value += values
        self._ts += stamp
        self._entity.append(at)
        self._start.append(len(self._value))

    def _learn(self, entity: str, metrics: Mapping[str, float]) -> int:
        """The number of an entity, which has metrics that were not seen before: names stay, so they are checked."""
        known = self._entities.get(entity, -1)
        fresh = [metric for metric in metrics if (known, metric) not in self._series]
        for name, most in ((entity, MAX_NAME), *((metric, MAX_METRIC) for metric in fresh)):
            if not 0 < len(name) <= most:
                raise ValueError(f"a name has 1 to {most} characters: {name[:80]!r}")
        count = self._metrics.get(known, 0) + len(fresh)
        if count > MAX_METRICS:
            raise ValueError(f"{entity} would have more than {MAX_METRICS} metrics")
        self._names += sum(len(name.encode()) + 8 for name in (entity, *fresh))
        at = self._entities.setdefault(entity, len(self._entities))
        self._metrics[at] = count
        for metric in fresh:
            self._series[at, metric] = len(self._series)
        return at

    def take(self) -> bytes:
        """The message of what is waiting, and begin anew."""
        frame = Frame(
            pack_names(list(self._entities), list(self._series)), np.array(self._ts, np.int64),
            np.array(self._entity, np.uint32), np.array(self._start, np.uint32), np.array(self._number, np.uint32),
            np.array(self._value, np.float64),
        )  # fmt: skip
        self._ts, self._entity, self._start = array("q"), array("I"), array("I", [0])
        self._number, self._value = array("I"), array("d")
        return pack(frame)
