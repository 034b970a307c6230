"""Agents of the loop whose state is keyed: what a step changed is written, and can be undone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import ClassVar, Final, Generic, TypeVar, cast

import msgspec

from agents._agent import Agent, Buffer
from models.keyed import ChangeTracker, KeyedState
from topics.codec import Cause, DeadLetter
from topics.spec import Instant, Raw, Read, Record

S = TypeVar("S", bound=KeyedState)

_BLOCKS: Final = msgspec.msgpack.Decoder(list[memoryview])


class Stateful(Agent[Read[Record]], Generic[S]):
    """An agent of the loop with its state in `self.state`."""

    shape: ClassVar[type[KeyedState]]
    state: S

    def __init__(self) -> None:
        self._anew()

    def _anew(self) -> None:
        self.state = self.shape()  # type: ignore[assignment]
        self.tracked = ChangeTracker(self.state)
        self.prepare()

    def prepare(self) -> None:
        """Hand settings to a state that was just made; a subclass with such settings does."""

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode([msgspec.msgpack.encode(block) for block in self.tracked.whole()])

    def blocks(self) -> Iterator[bytes]:
        """The whole state as it is now, in blocks of some milliseconds at most; what changes later is not in them."""
        return (msgspec.msgpack.encode(block) for block in self.tracked.whole())

    def restore(self, state: Buffer) -> None:
        self._anew()
        try:
            blocks = _BLOCKS.decode(state)
        except msgspec.MsgspecError as error:
            raise ValueError(f"unreadable ({error})") from None
        for block in blocks:
            self.tracked.load(block)

    def apply(self, changes: Buffer) -> None:
        self.tracked.load(changes)

    def changes(self) -> bytes:
        taken = self.tracked.take()
        return b"" if taken is None else msgspec.msgpack.encode(taken)

    def mark(self) -> None:
        self.tracked.mark()

    def undo(self) -> None:
        self.tracked.undo()

    def overdue(self, now: Instant) -> list[Hashable]:
        return list(self.tracked.due(now))

    def hold(self, items: Iterable[Hashable]) -> None:
        self.tracked.hold(cast("Iterable[tuple[str, str]]", items))

    def set_aside(self, item: Hashable) -> DeadLetter:
        path, key = cast("tuple[str, str]", item)
        row = self.tracked.tables[path].pop(key)
        value = msgspec.json.encode({"state": f"{self.name}.{path}", "key": key, "row": row})
        return DeadLetter(Raw(self.reads[0].name, 0, 0, key.encode(), value), Cause.HANDLER, f"its deadline in {path}")

    def next_deadline(self) -> Instant | None:
        return self.tracked.next_due()
