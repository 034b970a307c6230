"""Memory with a bound: what is remembered of things that are over."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def keep(book: dict[K, V], key: K, value: V, most: int) -> None:
    """Put an entry at the end of a book of at most `most` entries; the oldest make room."""
    book.pop(key, None)
    book[key] = value
    while len(book) > most:
        del book[next(iter(book))]
