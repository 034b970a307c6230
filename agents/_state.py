"""Base class of loop agents with keyed state: writes only changed keys, and reverts them in memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import ClassVar, Final, Generic, TypeVar, cast

import msgspec

from agents._agent import Agent, Buffer
from models.keyed import KeyedState
from models.tracked import ChangeTracker
from topics.codec import Cause, DeadLetter
from topics.spec import Instant, Raw, Read, Record

S = TypeVar("S", bound=KeyedState)

_BLOCKS: Final = msgspec.msgpack.Decoder(list[memoryview])


class Stateful(Agent[Read[Record]], Generic[S]):
    """An agent of the loop with a `KeyedState` in `self.state`."""

    shape: ClassVar[type[KeyedState]]
    state: S

    def __init__(self) -> None:
        self._anew()

    def _anew(self) -> None:
        self.state = self.shape()  # type: ignore[assignment]
        self.tracked = ChangeTracker(self.state)
        self.prepare()

    def prepare(self) -> None:
        """Pass settings to a new state. Subclasses whose state needs settings override it."""

    def snapshot(self) -> bytes:
        """Encode the whole state."""
        return msgspec.msgpack.encode([msgspec.msgpack.encode(block) for block in self.tracked.whole()])

    def blocks(self) -> Iterator[bytes]:
        """Encode the state at the time of the call, in blocks of a few milliseconds each."""
        return (msgspec.msgpack.encode(block) for block in self.tracked.whole())

    def restore(self, state: Buffer) -> None:
        """Replace the state by an encoded one."""
        self._anew()
        try:
            blocks = _BLOCKS.decode(state)
        except msgspec.MsgspecError as error:
            raise ValueError(f"unreadable ({error})") from None
        for block in blocks:
            self.tracked.load(block)

    def apply(self, changes: Buffer) -> None:
        """Apply encoded changes to the state."""
        self.tracked.load(changes)

    def changes(self) -> bytes:
        """Encode the keys that changed since the last call. Empty when none changed."""
        taken = self.tracked.take()
        return b"" if taken is None else msgspec.msgpack.encode(taken)

    def mark(self) -> None:
        """Commit the steps since the last `mark`: `undo` no longer reverts them."""
        self.tracked.mark()

    def undo(self) -> None:
        """Revert the state to the last `mark`."""
        self.tracked.undo()

    def overdue(self, now: Instant) -> list[Hashable]:
        """List the items whose deadline has passed at `now`."""
        return list(self.tracked.due(now))

    def hold(self, items: Iterable[Hashable]) -> None:
        """Skip these overdue items until the next call, which replaces the list."""
        self.tracked.hold(cast("Iterable[tuple[str, str]]", items))

    def set_aside(self, item: Hashable) -> DeadLetter:
        """Remove an item with which `step` raises. Returns the dead letter that describes it."""
        path, key = cast("tuple[str, str]", item)
        row = self.tracked.tables[path].pop(key)
        value = msgspec.json.encode({"state": f"{self.name}.{path}", "key": key, "row": row})
        return DeadLetter(Raw(self.reads[0].name, 0, 0, key.encode(), value), Cause.HANDLER, f"its deadline in {path}")

    def next_deadline(self) -> Instant | None:
        """Return the earliest deadline of the state's items; None when no item has one."""
        return self.tracked.next_due()
