"""The one contract between drivers and agents: `step(records, now)`.

A driver makes one instance of an agent for each partition that it owns, feeds it that partition's records in order,
sends what it yields, and keeps its snapshot together with the offsets that are in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from topics.chunk import Chunk as Chunk
from topics.codec import DeadLetter
from topics.spec import Instant, Record, Topic

In = TypeVar("In")

Output = Record | DeadLetter
Buffer = bytes | memoryview  # of bytes


class Agent(ABC, Generic[In]):
    """A verb of the loop. `In` is what its steps are given: `Read[...]` records, raw `Chunk`s or decoded batches."""

    name: ClassVar[str]  # names its snapshots and its metrics: never renamed lightly
    reads: ClassVar[tuple[Topic, ...]]
    writes: ClassVar[tuple[Topic, ...]]
    raw: ClassVar[bool] = False  # steps are given a `Chunk` of messages, and this agent decodes for itself
    chain: ClassVar[Topic | None] = None  # written to the partition that was read, and its newest record is the state

    @abstractmethod
    def step(self, records: Sequence[In], now: Instant) -> Iterable[Any]:
        """Take records in the order of their partition; yield what follows from them.

        Called without records when `next_deadline` has come. `now` is the only clock.
        """

    def snapshot(self) -> bytes:
        """The whole state as data; empty when there is none."""
        return b""

    def pieces(self) -> list[Buffer]:
        """What `snapshot` gives, in a row. No copy is needed for it: views of what the next step changes will do."""
        return [self.snapshot()]

    def restore(self, state: Buffer) -> None:
        """Become what `snapshot` was taken from."""

    def next_deadline(self) -> Instant | None:
        """When the next step without records is wanted; None: never, as things are."""
        return None

    def overdue(self, now: Instant) -> list[Hashable]:
        """What a step without records would deal with now."""
        return []

    def hold(self, items: Iterable[Hashable]) -> None:
        """Leave these of `overdue` alone until they are named no more."""

    def set_aside(self, item: Hashable) -> DeadLetter:
        """Forget one of `overdue` that breaks the step: what it was."""
        raise NotImplementedError(f"{self.name} has no deadlines")

    def changes(self) -> bytes:
        """What the steps since the last call changed in the state, as data; empty when they changed nothing."""
        return b""

    def apply(self, changes: Buffer) -> None:
        """Take what `changes` gave after the snapshot, or after the changes, that this state is."""
        raise NotImplementedError(f"{self.name} keeps no state")

    def blocks(self) -> Iterator[bytes]:
        """The whole state as of this call, as `apply` takes it to an agent that was just made, in small pieces."""
        return iter(())

    def mark(self) -> None:
        """What was stepped until now stands."""

    def undo(self) -> None:
        """Become what this was at the last `mark`."""

    def resume(self, last: Record) -> dict[str, int]:
        """Take up from the newest record of `chain`; the offsets that are already in it, by topic."""
        raise NotImplementedError(f"{self.name} writes no chain")


class Meter(Protocol):
    """Where a driver reports what it did."""

    def stepped(self, agent: str, records: int, outputs: int, oldest: Instant, now: Instant) -> None: ...
    def refused(self, agent: str, cause: str) -> None: ...


def warm_up(agents: Iterable[Agent[Any]]) -> None:
    """Let each read its first state back, before there are threads that do.

    msgspec 0.22 crashes the process (a null pointer, not an exception) when two threads meet a type for the first time.
    """
    for agent in agents:
        if state := agent.snapshot():
            agent.restore(state)


def packed(pieces: Sequence[Buffer]) -> list[Buffer]:
    """MessagePack of the bytes that lie in pieces, in pieces."""
    return [b"\xc6" + sum(map(len, pieces)).to_bytes(4, "big"), *pieces]
