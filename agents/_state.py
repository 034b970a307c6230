"""Agents whose whole state is one msgspec struct: it is its own snapshot."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import msgspec

from agents._agent import Agent, Buffer
from topics.spec import Read, Record

S = TypeVar("S", bound=msgspec.Struct)


class Stateful(Agent[Read[Record]], Generic[S]):
    """An agent of the loop with its state in `self.state`."""

    shape: ClassVar[type[msgspec.Struct]]
    state: S

    def __init__(self) -> None:
        self.state = self.shape()  # type: ignore[assignment]

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.state)

    def restore(self, state: Buffer) -> None:
        self.state = msgspec.msgpack.decode(state, type=self.shape)  # type: ignore[assignment]
