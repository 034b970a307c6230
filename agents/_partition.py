"""A partition of the lane: its own instance of each stage, and the outputs of its records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from agents._agent import Agent, Buffer, Chunk, packed
from agents._snapshots import SnapshotStore
from topics.codec import Cause, DeadLetter, DecodeError, decode
from topics.spec import Instant, Raw, Read, Record

Produced = Iterator[Record | DeadLetter]

# what a record can make a learner raise; anything else (a full disk, a damaged ledger) is no fault of the record
POISON: Final = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
    msgspec.MsgspecError,
)  # fmt: skip

_STATES: Final = msgspec.msgpack.Decoder(dict[str, memoryview])  # by stage; made before there are threads


class PartitionState:
    """One partition: its stages, restored from `state`, and the offsets that are in them.

    Raises ValueError when this version cannot read the state.
    """

    def __init__(self, make: Sequence[Callable[[], Agent[Any]]], state: bytes, store: SnapshotStore) -> None:
        self.make, self.store = make, store
        self.stages = self._made(state)
        self.applied: dict[str, int] = dict(store.applied or {})  # the next offset of each topic that is not in them
        self.began: dict[str, int] = {}  # the first offset of each topic that was seen
        self.careful: dict[str, int] = {}  # below this offset is a record that broke a stage
        self.dirty = False
        self.size = len(state)  # of its last snapshot
        self.saved = time.monotonic()

    def pieces(self) -> list[Buffer]:
        """All stages' states as one, so that no crash tears them apart: a map by stage, as `Agent.pieces`."""
        found: list[Buffer] = [bytes([0x80 + len(self.stages)])]
        for stage in self.stages:
            found += [msgspec.msgpack.encode(stage.name), *packed(stage.pieces())]
        return found

    @property
    def waiting(self) -> list[list[Agent[Any]]]:
        """Each stage, which may have output without a record, with the stages after it."""
        return [self.stages[index:] for index in range(len(self.stages))]

    def carefully(self, chunk: Chunk, now: Instant) -> list[Record | DeadLetter]:
        """The outputs of a chunk with a record in it that breaks a stage. That record becomes a dead letter."""
        before = b"".join(self.pieces())
        try:
            return list(self.following(chunk, now))
        except POISON as error:
            self.stages = self._made(before)
            if len(chunk) == 1:
                return [DeadLetter(chunk[0], Cause.HANDLER, repr(error))]
        middle = len(chunk) // 2
        return self.carefully(chunk[:middle], now) + self.carefully(chunk[middle:], now)

    def following(self, chunk: Chunk, now: Instant) -> Produced:
        """The outputs of a chunk. A record that does not decode becomes a dead letter."""
        given: Sequence[Any] = chunk
        if not self.stages[0].raw:
            found = [_decoded(raw) for raw in chunk]
            yield from (each for each in found if isinstance(each, DeadLetter))
            given = [each for each in found if isinstance(each, Read)]
        yield from through(self.stages, given, now)

    def _made(self, state: bytes) -> list[Agent[Any]]:
        stages = [make() for make in self.make]
        kept = _STATES.decode(state) if state else {}
        for stage in stages:
            if own := kept.get(stage.name):
                stage.restore(own)
        return stages


@dataclass(slots=True)
class PendingRestore:
    """A partition that is being restored."""

    part: Future[PartitionState]
    passed: dict[str, int] = field(default_factory=dict)  # the first offset of each topic that came too early


@dataclass(slots=True)
class InflightSnapshot:
    """A snapshot on its way to the broker."""

    applied: dict[str, int]  # the offsets that are in it
    parts: int
    places: list[int] = field(default_factory=list)  # the offsets at which its parts stand

    @property
    def stands(self) -> bool:
        return len(self.places) == self.parts


def keep_only(stages: Sequence[Any], entities: Callable[[str], bool]) -> None:
    """Forget every entity for which `entities` is false, in each stage. For stages of telemetry: `decode`, `detect`.

    The rest goes on bit for bit, so a copied state can be split by key when a topic gets more partitions.
    """
    kept: Any = entities
    for stage in stages:
        kept = stage.keep_only(kept)


def through(stages: Sequence[Agent[Any]], given: Sequence[Any], now: Instant) -> Produced:
    """Push `given` through the stages. Yields the records and dead letters that leave them.

    An output goes through all stages before the next one is made: the names that it refers to may change then.
    """
    for output in stages[0].step(given, now):
        if isinstance(output, Record | DeadLetter):
            yield output
        else:
            yield from through(stages[1:], (output,), now)


def _decoded(raw: Raw) -> Read[Record] | DeadLetter:
    try:
        return decode(raw)
    except DecodeError as error:
        return DeadLetter(raw, error.cause, error.detail)
