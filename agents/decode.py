"""Messages of telemetry become arrays; what cannot become a number is refused with its cause, alone."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from agents._agent import Agent, Buffer, Chunk
from topics import relayed
from topics.batch import Batch, Float64, Int64, Names, Series, Steer, TooManySeries
from topics.codec import Cause, DeadLetter, DecodeError
from topics.formats import native
from topics.formats.native import AHEAD_MS, EARLIEST, MAX_NAME, MAX_SIZE
from topics.formats.texts import LONGEST, WORD, Texts
from topics.frames import MAGIC, Frame, unpack, unpack_names
from topics.learning import Learning
from topics.spec import Instant, Raw
from topics.telemetry import METRICS

MAX_SHAPES: Final = 200_000  # remembered sets of (entity, metrics)
MAX_TEXTS: Final = 4  # ways to write the same metrics that are remembered
MAX_LAYOUTS: Final = 1_000  # remembered shapes of frames
LARGE: Final = 2_000  # values from which a frame is a batch of its own, whose values are not copied

SLACK: Final = bytes(WORD)
ENCODED: Final = b',"v":1}'  # how a record ends as `encode` writes it: it may have been relayed

# what is kept; made before there are threads
_KEPT: Final = msgspec.msgpack.Decoder(tuple[list[str], list[str], bytes, bytes, relayed.Seen])
_KEPT_IN_PAIRS: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])  # with a pair for each series
_ENTITIES: Final = msgspec.msgpack.Decoder(list[str])
_SERIES: Final = msgspec.msgpack.Decoder(list[tuple[int, str]])
_RELAYED: Final = msgspec.msgpack.Decoder(relayed.Seen)
_IN_PAIRS: Final = (b"\x92", b"\x93")  # how such a state begins: two or three things are in it

Shape = tuple[int, bytes, int]  # entity, its series as int32, how many


class _Columns:
    """What has been decoded of a chunk."""

    __slots__ = ("between", "count", "entity", "message", "series", "ts", "value")

    def __init__(self) -> None:
        self.entity = array("i")
        self.ts = array("q")
        self.count = array("i")
        self.series = array("i")
        self.value = array("d")
        self.message = array("i")  # which message of the chunk
        self.between: list[tuple[int, Learning | Batch]] = []  # (samples before it, control or large frame)


class _Layout(NamedTuple):
    """The shape of a sender's frames, looked up once: as sent, and what it is here."""

    shape: bytes
    entity: NDArray[np.int32]  # numbers of the partition
    start: NDArray[np.int32]
    series: NDArray[np.int32]


class Decode(Agent[Raw]):
    """Reads samples and frames; yields a `Batch` a chunk, and a dead letter for each message that is refused.

    Learning controls are yielded between the batches of what came before them and what came after.
    """

    name = "decode"
    reads = (METRICS,)
    writes = ()
    raw = True

    def __init__(self, names: Names | None = None) -> None:
        self.names = names or Names()
        self._shapes: dict[tuple[str, tuple[str, ...]], Shape] = {}
        self._layouts: dict[bytes, _Layout] = {}
        self._last: tuple[bytes, _Layout | None] = b"", None  # names to compare are cheaper than names to look up
        self._texts = Texts()
        self._learned: dict[Shape, int] = {}
        self._relayed: relayed.Seen = {}

    def step(self, records: Sequence[Raw], now: Instant) -> Iterator[Batch | Steer | DeadLetter]:  # noqa: ARG002
        """Decode a `Chunk`. A stamp is held against the message's own arrival, so that a replay decides alike."""
        if not records:
            return
        assert isinstance(records, Chunk)
        columns = _Columns()
        for at, cause, detail in self._take(records, columns):
            yield DeadLetter(records[at], cause, detail)
        between = [(n, Steer(self.names, it) if isinstance(it, Learning) else it) for n, it in columns.between]
        if not columns.message:
            yield from (other for _, other in between)
            return
        batch, kept, absurd = _gate(columns, records, self.names)
        yield from absurd
        first = 0
        for before, other in between:
            end = int(np.count_nonzero(kept[:before]))
            if end > first:
                yield batch.part(first, end)
            yield other
            first = end
        if len(batch) > first:
            yield batch.part(first, len(batch)) if first else batch

    def _take(self, chunk: Chunk, columns: _Columns) -> Iterator[tuple[int, Cause, str]]:
        """Decode samples of known texts together, and whatever is between them one by one.

        What is not known may be followed by more of its kind: the more there was, the later texts are tried again.
        """
        at, messages, least = 0, chunk.messages, 1
        values = [message.value() or b"" for message in messages]
        whole, ends, apart = _joined(values, messages)
        while at < len(messages):
            after = at if apart[at] else self._known(whole, ends, at, columns)
            least = 1 if after - at >= least else 2 * least
            at = after
            for number in range(at, min(at + least, len(messages))):
                try:
                    yield from self._each(chunk, number, values[number], columns)
                except DecodeError as error:
                    yield number, error.cause, error.detail
                at = number + 1

    def _each(self, chunk: Chunk, at: int, value: bytes, columns: _Columns) -> Iterator[tuple[int, Cause, str]]:
        """Decode one message, unless it was relayed again."""
        if value.endswith(ENCODED) and relayed.is_repeat(self._relayed, chunk.messages[at].headers() or ()):
            return
        if value.startswith(MAGIC) or not self._shaped(value, at, columns):
            yield from self._slowly(chunk, at, columns)

    def _known(self, whole: bytes, ends: Int64, first: int, columns: _Columns) -> int:
        """Decode messages from `first` up to one whose text is not known: which one."""
        after, found = self._texts.read(whole, ends, first)
        samples, values = int(found.total[0]), int(found.total[1])
        columns.entity.frombytes(found.entity[:samples].data.cast("B"))
        columns.ts.frombytes(found.ts[:samples].data.cast("B"))
        columns.count.frombytes(found.many[:samples].data.cast("B"))
        columns.series.frombytes(found.series[:values].data.cast("B"))
        columns.value.frombytes(found.value[:values].data.cast("B"))
        columns.message.extend(range(first, after))
        return after

    def _shaped(self, value: bytes, at: int, columns: _Columns) -> bool:
        """Decode a message if it is a sample of known metrics, and learn its text."""
        try:
            sample = orjson.loads(value)
            metrics = sample["metrics"]
            shape = self._shapes[sample["entity"], (*metrics,)]
            if len(sample) != 3 and sample.get("v") != 1:
                return False
            stamp, values = array("q", [sample["ts"]]), array("d", metrics.values())
        except (ValueError, TypeError, KeyError, OverflowError):
            return False
        entity, series, count = shape
        columns.ts += stamp
        columns.value += values
        columns.entity.append(entity)
        columns.count.append(count)
        columns.series.frombytes(series)
        columns.message.append(at)
        if self._learned.get(shape, 0) < MAX_TEXTS:
            self._learned[shape] = self._learned.get(shape, 0) + 1
            self._texts.learn(value, sample, entity, np.frombuffer(series, np.int32))
        return True

    def _slowly(self, chunk: Chunk, at: int, columns: _Columns) -> Iterator[tuple[int, Cause, str]]:
        """Decode a message of a new shape or of another kind, or say what is wrong with it."""
        message = chunk.messages[at]
        value, key = message.value(), message.key()
        if value and value.startswith(MAGIC):
            yield from self._frame(value, chunk, at, columns)
            return
        read = native.read(value, key)
        if isinstance(read, Learning):
            columns.between.append((len(columns.ts), read))
            return
        shapes = [self._shape(sampled.entity, tuple(sampled.metrics)) for sampled in read]
        for sampled, (number, series, count) in zip(read, shapes, strict=True):
            columns.value.extend(sampled.metrics.values())
            columns.ts.append(sampled.ts)
            columns.entity.append(number)
            columns.series.frombytes(series)
            columns.count.append(count)
            columns.message.append(at)

    def _shape(self, entity: str, metrics: tuple[str, ...]) -> Shape:
        shape = self._shapes.get((entity, metrics))
        if shape is None:
            number, series = self._intern(entity, metrics)
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()
                self._texts.clear()
                self._learned.clear()
            shape = self._shapes[entity, metrics] = (number, array("i", series).tobytes(), len(series))
        return shape

    def _intern(self, entity: str, metrics: Iterable[str]) -> tuple[int, list[int]]:
        try:
            return self.names.intern(entity, metrics)
        except TooManySeries as error:
            raise DecodeError(Cause.TOO_MANY_SERIES, str(error)) from None

    def _frame(self, value: bytes, chunk: Chunk, at: int, columns: _Columns) -> Iterator[tuple[int, Cause, str]]:
        frame = unpack(value)
        layout = self._last[1] if self._last[0] == frame.names else self._layouts.get(frame.names)
        if layout is None or layout.shape != frame.shape:
            layout = self._laid_out(frame)
            if len(self._layouts) >= MAX_LAYOUTS:
                self._layouts.clear()
            self._layouts[frame.names] = layout
        self._last = frame.names, layout
        if len(frame.value) >= LARGE:
            offset = np.full(len(frame.ts), chunk.messages[at].offset(), np.int64)
            whole = Batch(chunk.topic, chunk.partition, self.names, layout.entity, frame.ts, layout.start,
                          layout.series, frame.value, offset)  # fmt: skip
            arrived = chunk.messages[at].timestamp()[1]
            if _sound(whole, arrived):
                columns.between.append((len(columns.ts), whole))
                return
            late, bad = _unsound(whole, np.int64(arrived))
            columns.between.append((len(columns.ts), whole.only(~bad)))
            yield from ((at, *_fault(bool(late[i]), int(frame.ts[i]), arrived)) for i in np.flatnonzero(bad)[-1:])
            return
        columns.entity.frombytes(layout.entity.data.cast("B"))
        columns.count.frombytes(np.diff(layout.start).data.cast("B"))
        columns.series.frombytes(layout.series.data.cast("B"))
        columns.ts.frombytes(frame.ts.data.cast("B"))
        columns.value.frombytes(frame.value.data.cast("B"))
        columns.message.extend(array("i", [at]) * len(frame.ts))

    def _laid_out(self, frame: Frame) -> _Layout:
        """What a frame's numbers are here. Raises DecodeError when they are of nothing, or of another's series."""
        entities, series = unpack_names(frame.names)
        for name in (*entities, *(metric for _, metric in series)):
            if not 0 < len(name) <= MAX_NAME:
                raise DecodeError(Cause.WRONG_TYPE, f"a name has 1 to {MAX_NAME} characters")
        count = np.diff(frame.start.astype(np.int64)).astype(np.int32)
        owner = np.array([at for at, _ in series], np.int64)
        if (
            (frame.entity >= len(entities)).any() or (frame.series >= len(series)).any() or not count.all()
            or (owner[frame.series] != np.repeat(frame.entity, count)).any()
        ):  # fmt: skip
            raise DecodeError(Cause.MALFORMED, "a sample of the frame has no values, or those of no series of its own")
        numbers, here = np.zeros(len(entities), np.int32), np.zeros(len(series), np.int32)
        for number, entity in enumerate(entities):
            own = np.flatnonzero(owner == number)
            numbers[number], here[own] = self._intern(entity, [series[at][1] for at in own])
        return _Layout(frame.shape, numbers[frame.entity], frame.start.astype(np.int32), here[frame.series])

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((*self.names.dump(), self._relayed))

    def restore(self, state: Buffer) -> None:
        if state[:1] in _IN_PAIRS:
            entities, pairs, *more = _KEPT_IN_PAIRS.decode(state)
            series = Series()
            for pair in _SERIES.decode(pairs):
                series.append(*pair)
            self.names.load(_ENTITIES.decode(entities), series)
            self._relayed = _RELAYED.decode(more[0]) if more else {}
        else:
            named, metrics, entity, metric, self._relayed = _KEPT.decode(state)
            self.names.load(named, Series(metrics, entity, metric))
        self._shapes.clear()
        self._layouts.clear()
        self._texts.clear()
        self._learned.clear()
        self._last = b"", None


def _gate(columns: _Columns, chunk: Chunk, names: Names) -> tuple[Batch, NDArray[np.bool_], list[DeadLetter]]:
    """The batch of all samples with sound stamps and numbers, which they are, and the messages of the others."""
    message, ts = np.frombuffer(columns.message, np.int32), np.frombuffer(columns.ts, np.int64)
    count, value = np.frombuffer(columns.count, np.int32), np.frombuffer(columns.value, np.float64)
    start = np.zeros(len(count) + 1, np.int32)
    np.cumsum(count, out=start[1:])
    arrived = np.fromiter((m.timestamp()[1] for m in chunk.messages), np.int64, len(chunk))[message]
    entity, series = np.frombuffer(columns.entity, np.int32), np.frombuffer(columns.series, np.int32)
    offset = _offsets(chunk)[message]
    batch = Batch(chunk.topic, chunk.partition, names, entity, ts, start, series, value, offset)
    late, bad = _unsound(batch, arrived)
    if not bad.any():
        return batch, ~bad, []
    worst = {int(message[i]): _fault(bool(late[i]), int(ts[i]), int(arrived[i])) for i in np.flatnonzero(bad)}
    return batch.only(~bad), ~bad, [DeadLetter(chunk[at], cause, detail) for at, (cause, detail) in worst.items()]


def _joined(values: Sequence[bytes], messages: Sequence[Any]) -> tuple[bytes, Int64, Sequence[bool]]:
    """Texts one after the other, where each ends, and which are none: frames, and what may have been relayed before.

    Mostly that is seen of all at once: one look at each in Python costs as much as reading it.
    """
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    ends = np.cumsum(lengths)
    if lengths.max() <= LONGEST:
        whole = b"".join((*values, SLACK))
        text = np.frombuffer(whole, np.uint8)
        framed, ended = (
            text[ends - lengths] == MAGIC[0],
            (text[ends - 2] == ENCODED[-2]) & (text[ends - 3] == ENCODED[-3]),
        )
        if not (framed | ended).any():
            return whole, ends, [False] * len(values)
    apart = [
        value.startswith(MAGIC) or (value.endswith(ENCODED) and bool(message.headers()))
        for value, message in zip(values, messages, strict=True)
    ]
    texts = [b"" if each else value for value, each in zip(values, apart, strict=True)]
    return b"".join((*texts, SLACK)), np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts))), apart


def _offsets(chunk: Chunk) -> Int64:
    """The offset of each message; they only grow, so mostly two of them tell all."""
    first, last = chunk.messages[0].offset(), chunk.messages[-1].offset()
    if last - first == len(chunk) - 1:
        return np.arange(first, last + 1, dtype=np.int64)
    return np.fromiter((m.offset() for m in chunk.messages), np.int64, len(chunk))


def _small(value: Float64) -> bool:
    return bool(value.max() <= MAX_SIZE and value.min() >= -MAX_SIZE)  # NaN is neither


def _sound(batch: Batch, arrived: Instant) -> bool:
    """Whether all stamps and values of a batch are to be learned."""
    ts = batch.ts
    return bool(ts.min() >= EARLIEST and (arrived <= 0 or ts.max() <= arrived + AHEAD_MS) and _small(batch.value))


def _unsound(batch: Batch, arrived: NDArray[np.int64] | np.int64) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which samples have an absurd stamp, and which have that or a value that is not to be learned."""
    ts, value = batch.ts, batch.value
    late = (ts < EARLIEST) | ((arrived > 0) & (ts > arrived + AHEAD_MS))
    if not len(value) or _small(value):
        return late, late
    return late, late | np.logical_or.reduceat(~(np.abs(value) <= MAX_SIZE), batch.start[:-1])


def _fault(bad_time: bool, ts: Instant, arrived: Instant) -> tuple[Cause, str]:
    if bad_time:
        return Cause.TIMESTAMP, native.fault_of(ts, arrived)
    return Cause.NOT_FINITE, "a value is not finite, or too large to learn from"


def chunk_of(raws: Iterable[Raw]) -> Chunk:
    """A chunk of messages that did not come from a client: for offline use of the same code."""
    given = [_Message(raw) for raw in raws]
    return Chunk(given[0].raw.topic, given[0].raw.partition, given)


class _Message:
    """A `Raw` that answers like a message of the client."""

    __slots__ = ("raw",)

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    def topic(self) -> str:
        return self.raw.topic

    def partition(self) -> int:
        return self.raw.partition

    def value(self) -> bytes | None:
        return self.raw.value

    def key(self) -> bytes | None:
        return self.raw.key

    def headers(self) -> list[tuple[str, bytes]] | None:
        return list(self.raw.headers) or None

    def offset(self) -> int:
        return self.raw.offset

    def timestamp(self) -> tuple[int, int]:
        return 1, self.raw.arrived
