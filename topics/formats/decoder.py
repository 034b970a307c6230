"""Messages of telemetry become batches; what cannot become a number is refused with its cause, alone.

Names end at points of event time, and those are places in the log: before the first message with a sample of the next
hour, or with a name for which there is no room. The samples so far are given out first, so that a number never stands
for two things in one batch, and how the log is cut into chunks changes nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from topics import relayed
from topics.batch import (
    HOUR_MS,
    Batch,
    Forgotten,
    Int32,
    Int64,
    KeptNames,
    MustForget,
    Names,
    Reused,
    Steer,
    TooManySeries,
)  # fmt: skip
from topics.chunk import Chunk
from topics.codec import Cause, DeadLetter, DecodeError
from topics.derived import Derived, DerivedState
from topics.formats import columns as layout
from topics.formats import native
from topics.formats.columns import ENCODED, Columns
from topics.formats.layouts import Layouts
from topics.formats.naming import Naming
from topics.formats.texts import NEVER, Texts
from topics.formats.tolerance import Refusals
from topics.frames import MAGIC, unpack
from topics.learning import Ended, Learning
from topics.meanings import NOTHING, Meanings
from topics.moments import Moments, MomentsState, nothing
from topics.rates import Rates, RatesState
from topics.spec import Origin
from topics.state import OTHER_VERSION

VERSION: Final = 4  # of the state
MAX_SHAPES: Final = 200_000  # remembered sets of (entity, metrics)
MAX_TEXTS: Final = 4  # ways to write the same metrics that are remembered
FEW: Final = 64  # stamps
LARGE: Final = 2_000  # values from which a frame is a batch of its own, whose values are not copied

# what is kept; made before there are threads
_KEPT: Final = msgspec.msgpack.Decoder(
    tuple[int, KeptNames, relayed.Seen, MomentsState, RatesState, Meanings, DerivedState]
)
_ANY: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])

Letter = tuple[int, Cause, str]  # which message of the chunk, and why it is refused
Decoded = Batch | Steer | Forgotten | Reused | Meanings | DeadLetter
Known = Callable[[], Meanings | None]
_Result = TypeVar("_Result")


def _last(stamps: NDArray[np.int64]) -> int:
    return int(max(stamps.tolist()) if len(stamps) < FEW else stamps.max())  # numpy is slow to begin


class _Shape:
    """The metrics of an entity as one sender writes them."""

    __slots__ = ("bytes", "entity", "series", "texts")

    def __init__(self, entity: int, series: Sequence[int]) -> None:
        self.entity = entity
        self.series: Int32 = np.array(series, np.int32)
        self.bytes = self.series.tobytes()
        self.texts = 0  # that were learned of it


class Decoder:
    """The names of a partition, and what makes its messages quick to read.

    `Batch`es come out, a `Steer` for each learning control, a `DeadLetter` for each message that is refused, and
    `Forgotten` and `Reused` where numbers end and stand for others. What packs say comes before what rests on it. Take
    each before asking for the next: names change with what comes after it. What is known of labels is not in the state:
    it is found again.

    known: what packs say at the time; None: it is not known, and what they said before holds.
    """

    def __init__(
        self, names: Names | None = None, known: Known = lambda: None, naming: Naming | None = None
    ) -> None:  # fmt: skip
        self.names, self.naming = names or Names(), naming or Naming()
        self._known_packs = known
        self._asked: Meanings | None = None  # what was answered last ...
        self._told = NOTHING  # ... and what the next stage was told
        self._shapes: dict[tuple[str, tuple[str, ...]], _Shape] = {}
        self._layouts = Layouts(self.names)
        self._texts = Texts()
        self._relayed: relayed.Seen = {}
        self._moments = Moments()
        self._rates = Rates()
        self._derived = Derived()

    @property
    def held(self) -> int:
        """How many entities have parts of a moment that are not given on yet."""
        return self._moments.held

    def read(self, chunk: Chunk) -> Iterator[Decoded]:
        """Decode a chunk. A stamp is held against the message's own arrival, so that a replay decides alike."""
        yield from self._learn(chunk)
        texts, at, again = layout.join(chunk.messages), 0, False
        while at < len(chunk):
            columns = Columns()
            at, ended, ts = yield from self._take(chunk, texts, (at, again), columns)
            again = ended is not None
            reused = self.names.take_reused()
            if reused.series or reused.entities:
                self._rates.reuse(reused)
                self._derived.reuse(reused)
                yield reused
            yield from self._flush(chunk, columns)
            if columns.control:
                yield from self._held(chunk, self.names.number(columns.control.entity))
                yield Steer(self.names, columns.control)
            if ended is not None:
                raw = chunk.messages[at]
                yield from self._held(chunk, np.unique(np.array(self.names.series.entity, np.int32)[ended]).tolist())
                yield self._forget(ended, ts, str(Origin(chunk.topic, chunk.partition, raw.offset())))

    def _learn(self, chunk: Chunk) -> Iterator[Decoded]:
        """Take what packs say now: what is another signal than it was ends or begins anew."""
        said = self._known_packs()
        if said is not None and said is not self._asked:
            self._asked = said
            if said != self.names.meanings:
                yield from self._change(chunk, said)
        if self._told is not self.names.meanings:
            self._told = self.names.meanings
            yield self._told

    def _change(self, chunk: Chunk, said: Meanings) -> Iterator[Decoded]:
        ended, anew = self.names.outdated(said)
        owners = np.array(self.names.series.entity, np.int32)
        yield from self._held(chunk, np.unique(owners[np.union1d(ended, anew).astype(np.int64)]).tolist())
        if len(ended):
            place = Origin(chunk.topic, chunk.partition, chunk.messages[0].offset())
            yield self._forget(ended, max(self.names.due - HOUR_MS, 0), str(place))
        self.names.know(said)
        reused = self.names.take_reused()
        self._rates.renew(self.names, anew)
        self._derived.load(self.names, self._derived.dump())
        yield Reused(self.names, sorted({*anew, *reused.series}), reused.entities)

    def keep_only(self, entities: Callable[[str], bool]) -> Forgotten:
        """Forget every entity for which `entities` is false: what was forgotten."""
        kept = np.array([bool(name) and entities(name) for name in self.names.entities], np.bool_)
        owner = np.array(self.names.series.entity, np.int32)
        ended = np.flatnonzero((owner >= 0) & ~kept[owner] if len(kept) else owner >= 0)
        return self._forget(ended.astype(np.int32), 0, "")

    def _forget(self, series: Int32, ts: int, evidence: str) -> Forgotten:
        found = self.names.forget(series)
        touched = found.touched
        ended = np.zeros(len(self.names.series), np.bool_)
        ended[found.series] = True
        self._moments.forget(found)
        self._rates.forget(found)
        self._derived.forget(found)
        self._texts.forget(touched)
        self._layouts.forget(ended)
        for key in [key for key, shape in self._shapes.items() if shape.entity in touched]:
            del self._shapes[key]
        return replace(found, ts=ts, evidence=evidence)

    def _flush(self, chunk: Chunk, columns: Columns) -> Iterator[Decoded]:
        """What has been decoded: the samples, with the large frames that came between them."""
        if not columns.message:
            for _, frame, arrived in columns.between:
                yield from self._whole(frame, np.full(len(frame), arrived, np.int64))
            return
        batch, arrival, kept, absurd = layout.gate(columns, chunk, self.names)
        yield from absurd
        first = 0
        for before, frame, arrived in columns.between:
            end = int(np.count_nonzero(kept[:before]))
            if end > first:
                yield from self._whole(batch.part(first, end), arrival[first:end])
            yield from self._whole(frame, np.full(len(frame), arrived, np.int64))
            first = end
        if len(batch) > first:
            yield from self._whole(batch.part(first, len(batch)) if first else batch, arrival[first:])

    def _whole(self, batch: Batch, arrived: Int64) -> Iterator[Batch]:
        """What of a batch is whole, with what was held before and what follows from it. arrived: (m,) ms."""
        return self._following(self._moments.take(batch, arrived))

    def _held(self, chunk: Chunk, entities: Sequence[int]) -> Iterator[Batch]:
        """What is held of some entities, because something of them ends here."""
        return self._following(self._moments.give(nothing(self.names, chunk.topic, chunk.partition), entities))

    def _following(self, whole: Batch) -> Iterator[Batch]:
        """Whole samples with rates, quantiles and derived signals, if any are left."""
        found = self._derived.take(self._rates.take(whole))
        return iter((found,) if len(found) else ())

    def _take(
        self, chunk: Chunk, texts: layout.Texts, begin: tuple[int, bool], columns: Columns
    ) -> Generator[DeadLetter, None, tuple[int, Int32 | None, int]]:
        """Decode messages up to one before which series have to end: which, these series, and the event time.

        Or up to and with a control: it is to see the names that came before it, and no others.

        begin: the first message, and whether it was tried before. Known texts are decoded together, and what is between
        them one by one. What is not known may be followed by more of its kind: the more there was, the later texts are
        tried again.
        """
        at, again = begin
        least = 1
        while at < len(chunk):
            after = at if texts.apart[at] or again else self._known(texts.whole, texts.ends, at, columns)
            least = 1 if after - at >= least else 2 * least
            at = after
            for number in range(at, min(at + least, len(chunk))):
                try:
                    if again or not self._repeats(chunk.messages[number], texts.values[number]):
                        for which, cause, detail in self._each(chunk, number, texts.values[number], columns):
                            yield DeadLetter(chunk[which], cause, detail)
                except MustForget as full:
                    return number, full.series, self.names.due - HOUR_MS
                except DecodeError as error:
                    yield DeadLetter(chunk[number], error.cause, error.detail)
                at, again = number + 1, False
                if columns.control:
                    return at, None, 0
        return at, None, 0

    def _repeats(self, message: Any, value: bytes) -> bool:
        """Whether a message was relayed before."""
        return value.endswith(ENCODED) and relayed.is_repeat(self._relayed, message.headers() or ())

    def _each(self, chunk: Chunk, at: int, value: bytes, columns: Columns) -> Sequence[Letter]:
        """Decode one message: what is refused of it. Raises MustForget, before anything of it is in the columns."""
        if value.startswith(MAGIC):
            return self._frame(value, chunk, at, columns)
        if self._shaped(value, chunk, at, columns):
            return ()
        return self._slowly(chunk, at, columns)

    def _reach(self, stamps: NDArray[np.int64], arrived: int) -> None:
        """Move the clock to the newest of some stamps. Raises MustForget when series end by that."""
        if len(stamps) and _last(stamps) >= self.names.due:
            ts = layout.newest(stamps, arrived)
            if ts >= self.names.due and ts > 0 and len(ended := self.names.advance(ts)):
                raise MustForget(ended)

    def _known(self, whole: bytes, ends: Int64, first: int, columns: Columns) -> int:
        """Decode messages from `first` up to one whose text is not known: which one."""
        names = self.names
        after, found = self._texts.read(whole, ends, first, names.hour, names.due or NEVER, names.seen)
        samples, values = int(found.total[0]), int(found.total[1])
        columns.entity.frombytes(found.entity[:samples].data.cast("B"))
        columns.ts.frombytes(found.ts[:samples].data.cast("B"))
        columns.count.frombytes(found.many[:samples].data.cast("B"))
        columns.series.frombytes(found.series[:values].data.cast("B"))
        columns.value.frombytes(found.value[:values].data.cast("B"))
        columns.message.extend(range(first, after))
        return after

    def _shaped(self, value: bytes, chunk: Chunk, at: int, columns: Columns) -> bool:
        """Decode a message if it is a sample of known metrics, and learn its text."""
        try:
            sample = orjson.loads(value)
            metrics = sample["metrics"]
            shape = self._shapes[sample["entity"], (*metrics,)]
            if len(sample) != 3 and sample.get("v") != 1:
                return False
            stamp, values = array("q", [sample["ts"]]), array("d", metrics.values())
            if max(map(abs, values), default=0.0) > native.MAX_SIZE:
                return False  # it is refused alone
        except (ValueError, TypeError, KeyError, OverflowError):
            return False
        if stamp[0] >= self.names.due:
            self._reach(np.array(stamp, np.int64), chunk.messages[at].timestamp()[1])
        columns.ts += stamp
        columns.value += values
        columns.message.append(at)
        self._add(shape, columns)
        if shape.texts < MAX_TEXTS:
            shape.texts += 1
            self._texts.learn(value, sample, shape.entity, shape.series)
        return True

    def _add(self, shape: _Shape, columns: Columns) -> None:
        columns.entity.append(shape.entity)
        columns.count.append(len(shape.series))
        columns.series.frombytes(shape.bytes)
        self.names.seen[shape.series] = self.names.hour

    def _slowly(self, chunk: Chunk, at: int, columns: Columns) -> Sequence[Letter]:
        """Decode a message of a new shape or of another kind: what is refused of it. Raises DecodeError."""
        message, parts = chunk.messages[at], Refusals()
        arrived = message.timestamp()[1]
        self.naming.begin(arrived, chunk.topic)
        read = native.read(message.value(), message.key(), parts, arrived, self.naming)
        if isinstance(read, Learning):
            columns.control = read
            return ()
        if isinstance(read, Ended):
            if self.names.number(read.entity):
                raise MustForget(np.array(self.names.of(read.entity)[1], np.int32))
            return ()  # it is forgotten
        for sampled in read:
            if fault := native.fault_of(sampled.ts, arrived):
                parts(DecodeError(Cause.TIMESTAMP, fault))
        sound = [sampled for sampled in read if not native.fault_of(sampled.ts, arrived)]
        self._reach(np.array([sampled.ts for sampled in sound], np.int64), arrived)
        found = []
        for sampled in sound:
            try:
                found.append((sampled.ts, sampled.metrics, self._shape(sampled.entity, tuple(sampled.metrics))))
            except TooManySeries as error:
                parts(DecodeError(Cause.TOO_MANY_SERIES, str(error)))
                known = self.names.metrics(sampled.entity)
                metrics = {name: value for name, value in sampled.metrics.items() if name in known}
                if metrics:
                    found.append((sampled.ts, metrics, self._shape(sampled.entity, tuple(metrics))))
        for ts, metrics, shape in found:
            columns.value.extend(metrics.values())
            columns.ts.append(ts)
            columns.message.append(at)
            self._add(shape, columns)
        return ((at, *parts.reason),) if parts.count else ()

    def _shape(self, entity: str, metrics: tuple[str, ...]) -> _Shape:
        shape = self._shapes.get((entity, metrics))
        if shape is None:
            shape = _Shape(*self.names.intern(entity, metrics))
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()
                self._texts.clear()
            self._shapes[entity, metrics] = shape
        return shape

    def _frame(self, value: bytes, chunk: Chunk, at: int, columns: Columns) -> Sequence[Letter]:
        frame, message = unpack(value), chunk.messages[at]
        arrived = message.timestamp()[1]
        self._reach(frame.ts, arrived)
        shape, frame, refused = self._layouts.find(frame)
        letters = [(at, Cause.TOO_MANY_SERIES, refused)] if refused else []
        if len(frame.value) >= LARGE:
            offset = np.full(len(frame.ts), message.offset(), np.int64)
            whole = Batch(chunk.topic, chunk.partition, self.names, shape.entity, frame.ts, shape.start,
                          shape.series, frame.value, offset)  # fmt: skip
            if layout.sound(whole, arrived):
                columns.between.append((len(columns.ts), whole, arrived))
                return letters
            late, bad = layout.unsound(whole, np.int64(arrived))
            columns.between.append((len(columns.ts), whole.only(~bad), arrived))
            worst = int(np.flatnonzero(bad)[-1])
            return [(at, *layout.fault(bool(late[worst]), int(frame.ts[worst]), arrived))]
        columns.entity.frombytes(shape.entity.data.cast("B"))
        columns.count.frombytes(np.diff(shape.start).data.cast("B"))
        columns.series.frombytes(shape.series.data.cast("B"))
        columns.ts.frombytes(frame.ts.data.cast("B"))
        columns.value.frombytes(frame.value.data.cast("B"))
        columns.message.extend(array("i", [at]) * len(frame.ts))
        return letters

    def dump(self) -> bytes:
        """Everything that is not looked up again."""
        return msgspec.msgpack.encode((
            VERSION, self.names.dump(), self._relayed, self._moments.dump(), self._rates.dump(), self.names.meanings,
            self._derived.dump(),
        ))  # fmt: skip

    def load(self, state: bytes | memoryview) -> None:
        """Become what was dumped. Raises ValueError when it is of another version."""
        if bytes(_ANY.decode(state)[0]) != bytes([VERSION]):
            raise ValueError(OTHER_VERSION.format(what="names", version=VERSION))
        _, names, self._relayed, moments, rates, said, derived = _KEPT.decode(state)
        self.names.load(names, NOTHING if said == NOTHING else said)  # which is known by being the same object
        self._moments.load(moments)
        self._rates.load(self.names, rates)
        self._derived.load(self.names, derived)
        self._asked, self._told = None, NOTHING
        self._shapes.clear()
        self._layouts.clear()
        self._texts.clear()
