"""What has been decoded of a chunk, as columns; samples that no learner should see are taken out of them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topics.batch import Batch, Float64, Int64, Names
from topics.chunk import Chunk
from topics.codec import Cause, DeadLetter
from topics.formats import native
from topics.formats.native import AHEAD_MS, EARLIEST, MAX_SIZE
from topics.formats.texts import LONGEST, WORD
from topics.frames import MAGIC
from topics.learning import Learning
from topics.spec import Instant

SLACK: Final = bytes(WORD)
ENCODED: Final = b',"v":1}'  # how a record ends as `encode` writes it: it may have been relayed


class Columns:
    """Samples of some messages of a chunk, in their order."""

    __slots__ = ("between", "control", "count", "entity", "message", "series", "ts", "value")

    def __init__(self) -> None:
        self.entity = array("i")
        self.ts = array("q")
        self.count = array("i")
        self.series = array("i")
        self.value = array("d")
        self.message = array("i")  # which message of the chunk
        self.between: list[tuple[int, Batch, Instant]] = []  # (samples before it, large frame, its arrival)
        self.control: Learning | None = None  # that came after them


class Texts(NamedTuple):
    """The values of a chunk's messages, for the kernel that reads known texts."""

    values: Sequence[bytes]
    whole: bytes  # one after the other, with `WORD` bytes more
    ends: Int64  # where each ends
    apart: Sequence[bool]  # which are no texts, and empty in `whole`: frames, and what may have been relayed before


def join(messages: Sequence[Any]) -> Texts:
    """Lay out the values of messages. Mostly what is apart is seen of all at once: a look at each costs more."""
    values = [message.value() or b"" for message in messages]
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    ends = np.cumsum(lengths)
    if lengths.max() <= LONGEST:
        whole = b"".join((*values, SLACK))
        text = np.frombuffer(whole, np.uint8)
        framed = text[ends - lengths] == MAGIC[0]
        ended = (text[ends - 2] == ENCODED[-2]) & (text[ends - 3] == ENCODED[-3])
        if not (framed | ended).any():
            return Texts(values, whole, ends, [False] * len(values))
    apart = [
        value.startswith(MAGIC) or (value.endswith(ENCODED) and bool(message.headers()))
        for value, message in zip(values, messages, strict=True)
    ]
    texts = [b"" if each else value for value, each in zip(values, apart, strict=True)]
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    return Texts(values, b"".join((*texts, SLACK)), ends, apart)


def gate(columns: Columns, chunk: Chunk, names: Names) -> tuple[Batch, Int64, NDArray[np.bool_], list[DeadLetter]]:
    """The batch of all samples with sound stamps and numbers, when each arrived, which they are, and the others."""
    message, ts = np.frombuffer(columns.message, np.int32), np.frombuffer(columns.ts, np.int64)
    count, value = np.frombuffer(columns.count, np.int32), np.frombuffer(columns.value, np.float64)
    start = np.zeros(len(count) + 1, np.int32)
    np.cumsum(count, out=start[1:])
    low, high = int(message[0]), int(message[-1]) + 1
    stamps = (sent.timestamp()[1] for sent in chunk.messages[low:high])
    arrived = np.fromiter(stamps, np.int64, high - low)[message - low]
    entity, series = np.frombuffer(columns.entity, np.int32), np.frombuffer(columns.series, np.int32)
    offset = _offsets(chunk)[message]
    batch = Batch(chunk.topic, chunk.partition, names, entity, ts, start, series, value, offset)
    late, bad = unsound(batch, arrived)
    if not bad.any():
        return batch, arrived, ~bad, []
    worst = {int(message[i]): fault(bool(late[i]), int(ts[i]), int(arrived[i])) for i in np.flatnonzero(bad)}
    return (
        batch.only(~bad),
        arrived[~bad],
        ~bad,
        [DeadLetter(chunk[at], cause, detail) for at, (cause, detail) in worst.items()],
    )


def _offsets(chunk: Chunk) -> Int64:
    """The offset of each message; they only grow, so mostly two of them tell all."""
    first, last = chunk.messages[0].offset(), chunk.messages[-1].offset()
    if last - first == len(chunk) - 1:
        return np.arange(first, last + 1, dtype=np.int64)
    return np.fromiter((m.offset() for m in chunk.messages), np.int64, len(chunk))


def _small(value: Float64) -> bool:
    return bool(value.max() <= MAX_SIZE and value.min() >= -MAX_SIZE)  # NaN is neither


def sound(batch: Batch, arrived: Instant) -> bool:
    """Whether all stamps and values of a batch may be learned. arrived: at the broker, ms; 0: unknown."""
    ts = batch.ts
    return bool(ts.min() >= EARLIEST and (arrived <= 0 or ts.max() <= arrived + AHEAD_MS) and _small(batch.value))


def unsound(batch: Batch, arrived: NDArray[np.int64] | np.int64) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which samples (m,) have an absurd stamp, and which have that or a value that may not be learned."""
    ts, value = batch.ts, batch.value
    late = (ts < EARLIEST) | ((arrived > 0) & (ts > arrived + AHEAD_MS))
    if not len(value) or _small(value):
        return late, late
    return late, late | np.logical_or.reduceat(~(np.abs(value) <= MAX_SIZE), batch.start[:-1])


def newest(stamps: NDArray[np.int64], arrived: Instant) -> Instant:
    """The newest of the stamps that are sound; 0 when none is."""
    last = int(stamps.max())
    if native.fault_of(last, arrived):
        rest = stamps[(stamps >= EARLIEST) & ((arrived <= 0) | (stamps <= arrived + AHEAD_MS))]
        last = int(rest.max()) if len(rest) else 0
    return last


def fault(bad_time: bool, ts: Instant, arrived: Instant) -> tuple[Cause, str]:
    """Why a sample is refused."""
    if bad_time:
        return Cause.TIMESTAMP, native.fault_of(ts, arrived)
    return Cause.NOT_FINITE, "a value is not finite, or too large to learn from"
