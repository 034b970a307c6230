"""Messages of one partition as a client gave them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from topics.spec import Raw


class Chunk(Sequence[Raw]):
    """Messages of one partition as the client gave them: columns for the hot path, `Raw` on demand."""

    __slots__ = ("messages", "partition", "topic")

    def __init__(self, topic: str, partition: int, messages: Sequence[Any]) -> None:
        self.topic = topic
        self.partition = partition
        self.messages = messages  # as `Raw.of` takes them

    def __len__(self) -> int:
        return len(self.messages)

    @overload
    def __getitem__(self, index: int) -> Raw: ...
    @overload
    def __getitem__(self, index: slice) -> Chunk: ...
    def __getitem__(self, index: int | slice) -> Raw | Chunk:
        if isinstance(index, slice):
            return Chunk(self.topic, self.partition, self.messages[index])
        return Raw.of(self.messages[index])

    def __iter__(self) -> Iterator[Raw]:
        return (self[i] for i in range(len(self.messages)))


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
