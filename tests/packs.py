"""What packs say of series, for tests of what rests on it."""

from __future__ import annotations

from models.knowledge.base import read
from models.knowledge.compiled import compiled
from models.knowledge.knowledge import Knowledge
from topics.meanings import Meanings


def signals(**derived: str) -> str:
    """A pack with derived signals. A name is written with `_` for each dot."""
    texts = (f"[[signals]]\nname = \"{name.replace('_', '.')}\"\nis = '{text}'\n" for name, text in derived.items())
    return '[pack]\nname = "test"\nkind = "thing"\n' + "\n".join(texts)


def said(*packs: str) -> Meanings:
    """What some packs say."""
    return compiled(Knowledge.of(map(read, packs)))
