"""Which packs hold: the shipped ones, until an admin puts another version of one in force, or adds one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from models.bounded import keep
from models.knowledge.base import Pack, PackFault, read
from models.knowledge.compiled import compiled
from models.knowledge.expression import ExpressionFault, parse
from models.knowledge.knowledge import KnowingState, Knowledge
from models.safety.signing import Refused
from models.versions import Book, Held
from topics.formats.entities import Template
from topics.meanings import Meanings
from topics.packs import PackVersion

LOADED: Final = 1_000  # texts that are kept as packs


class TaughtState(KnowingState, kw_only=True):
    """A state that rests on the packs that hold, and keeps which ones these are."""

    packs: Book = msgspec.field(default_factory=Book)


class Packs:
    """Makes knowledge of the packs that hold. Holds only caches.

    shipped: texts of the packs that hold until an admin changes them by name.
    pinned: texts that hold whatever an admin says, to try them.
    stands_for: the revision whose ids a trial uses, given the packs that are in force; None: its own.
    """

    def __init__(
        self, shipped: Iterable[str], pinned: Iterable[str] = (), stands_for: Callable[[Book], int] | None = None
    ) -> None:
        self._stands_for = stands_for
        self._loaded: dict[str, Pack] = {}
        self._now: tuple[dict[str, str], Knowledge] | None = None  # the texts of the last call
        self._compiled: tuple[Knowledge, Meanings] | None = None
        self.shipped: Mapping[str, str] = {self.load(text).name: text for text in shipped}
        self.pinned: Mapping[str, str] = {self.load(text).name: text for text in pinned}

    def load(self, text: str) -> Pack:
        """The pack that a text holds. Raises PackFault, also for a signal whose expression cannot be read."""
        known = self._loaded.get(text)
        if known is None:
            known = read(text)
            for signal in known.signals:
                try:
                    parse(signal.expression)
                except ExpressionFault as fault:
                    raise PackFault(f"signals {signal.name}: {fault}", "Use + - * /, rate() and names") from None
            for relation in known.relations:
                for template in (relation.entity, relation.to):
                    try:
                        Template.read(template)
                    except ValueError as fault:
                        raise PackFault(f"relations {relation.relation}: {fault}", "See docs/entities.md") from None
            keep(self._loaded, text, known, LOADED)
        return known

    def check(self, word: PackVersion) -> None:
        """Return when a version can hold. Raises Refused: invalid_pack."""
        try:
            pack = self.load(word.source)
        except PackFault as fault:
            raise Refused("invalid_pack", fault.detail) from None
        if pack.name != word.name:
            raise Refused("invalid_pack", f"it calls itself {pack.name}, not {word.name}")

    def texts(self, held: Mapping[str, Held]) -> dict[str, str]:
        """The texts that hold, by name."""
        signed = {name: one.source for name, one in held.items()}
        return {name: text for name, text in {**self.shipped, **signed, **self.pinned}.items() if text}

    def knowledge(self, book: Book) -> Knowledge:
        """What all packs that hold say together."""
        texts = self.texts(book.held)
        stands_for = self._stands_for(book) if self._stands_for else None
        if self._now is None or self._now[0] != texts or self._now[1].stands_for != stands_for:
            self._now = texts, Knowledge.of((self.load(text) for text in texts.values()), stands_for)
        return self._now[1]

    def meanings(self, book: Book) -> Meanings:
        """The same of series, as the lane takes it: the same object until it changes."""
        known = self.knowledge(book)
        if self._compiled is None or self._compiled[0] is not known:
            self._compiled = known, compiled(known)
        return self._compiled[1]
