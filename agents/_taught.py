"""Base class of loop agents that rest on knowledge: packs from their topic take effect with the next record."""

from __future__ import annotations

from typing import TypeVar

from agents._agent import Buffer
from agents._state import Stateful
from models.knowledge.packs import Packs, TaughtState
from models.safety.signing import Keyring
from topics.packs import PackVersion
from topics.spec import Instant

T = TypeVar("T", bound=TaughtState)


class Taught(Stateful[T]):
    """An agent whose state is given what the packs that hold say."""

    def __init__(self, packs: Packs, keyring: Keyring) -> None:
        self.known_packs, self.keyring = packs, keyring
        super().__init__()

    def prepare(self) -> None:
        """Give the state what the packs say that it knows."""
        self.state.know(self.known_packs.knowledge(self.state.packs))

    def learn_pack(self, word: PackVersion, arrived: Instant) -> None:
        """Put a version of a pack in force. Raises Refused when it is not believed or cannot hold."""
        self.state.packs.take(word, self.keyring, self.known_packs.check, arrived)
        self.prepare()

    def restore(self, state: Buffer) -> None:
        super().restore(state)
        self.prepare()

    def apply(self, changes: Buffer) -> None:
        super().apply(changes)
        self.prepare()

    def undo(self) -> None:
        super().undo()
        self.prepare()
