"""The contract between drivers and agents: `step(records, now)`.

A driver creates one agent instance for each partition that it owns, passes it the records of that partition in order,
sends the records that it yields, and stores its snapshot together with the offsets that the snapshot includes.
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
    """Base class of agents. `In` is the type of a step's inputs: `Read[...]`, raw `Chunk`s or decoded batches."""

    name: ClassVar[str]  # part of its snapshot keys and metric labels: a rename orphans its state
    reads: ClassVar[tuple[Topic, ...]]
    writes: ClassVar[tuple[Topic, ...]]
    raw: ClassVar[bool] = False  # True: `step` receives `Chunk`s of raw messages and decodes them itself
    chain: ClassVar[Topic | None] = None  # written to the partition that was read; its newest record restores the agent

    @abstractmethod
    def step(self, records: Sequence[In], now: Instant) -> Iterable[Any]:
        """Process records of one partition in offset order. Yields output records.

        The driver calls it without records when `next_deadline` has passed. `now` (ms since 1970) is the only clock.
        """

    def snapshot(self) -> bytes:
        """Encode the whole state. Empty when the agent has no state."""
        return b""

    def pieces(self) -> list[Buffer]:
        """Encode the state as `snapshot` does, in consecutive buffers. They may be views that the next step changes."""
        return [self.snapshot()]

    def restore(self, state: Buffer) -> None:
        """Replace the state by the one that `snapshot` encoded."""

    def next_deadline(self) -> Instant | None:
        """Return when `step` must be called without records; None while no deadline is set."""
        return None

    def overdue(self, now: Instant) -> list[Hashable]:
        """List the items that a step without records would process at `now`."""
        return []

    def hold(self, items: Iterable[Hashable]) -> None:
        """Skip these items of `overdue` until the next call, which replaces the list."""

    def set_aside(self, item: Hashable) -> DeadLetter:
        """Remove an item of `overdue` with which `step` raises. Returns the dead letter that describes it."""
        raise NotImplementedError(f"{self.name} has no deadlines")

    def changes(self) -> bytes:
        """Encode the keys that changed in the state since the last call. Empty when none changed."""
        return b""

    def apply(self, changes: Buffer) -> None:
        """Apply the output of `changes`. The state must be the one from which those changes were made."""
        raise NotImplementedError(f"{self.name} keeps no state")

    def blocks(self) -> Iterator[bytes]:
        """Encode the state at the time of the call in small blocks. A new agent restores it by `apply` of each."""
        return iter(())

    def mark(self) -> None:
        """Commit the steps since the last `mark`: `undo` no longer reverts them."""

    def undo(self) -> None:
        """Revert the state to the last `mark`."""

    def resume(self, last: Record) -> dict[str, int]:
        """Restore from the newest record of `chain`. Returns by topic the next offset that is not in the state."""
        raise NotImplementedError(f"{self.name} writes no chain")


class Meter(Protocol):
    """Metrics of a driver."""

    def stepped(self, agent: str, records: int, outputs: int, oldest: Instant, now: Instant) -> None:
        """Report one step of an agent: records in, outputs, and the time of its oldest record (ms since 1970)."""

    def refused(self, agent: str, cause: str) -> None:
        """Count one dead letter of an agent, by its cause."""

    def misplaced(self, topic: str, cause: str) -> None:
        """Count and tell a record under a key that this worker does not give it."""


def warm_up(agents: Iterable[Agent[Any]]) -> None:
    """Encode and decode the first state of each agent. Call it before threads start.

    msgspec 0.22 crashes the process (null pointer) when two threads use a type for the first time at once.
    """
    for agent in agents:
        if state := agent.snapshot():
            agent.restore(state)


def packed(pieces: Sequence[Buffer]) -> list[Buffer]:
    """Encode the concatenation of `pieces` as one MessagePack bytes value, as a list of buffers without a copy."""
    return [b"\xc6" + sum(map(len, pieces)).to_bytes(4, "big"), *pieces]
