"""A promise, and how it is told that one is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

Subject = TypeVar("Subject")


class Broken(Exception):
    """A promise is not kept: the text says what was found."""


class Promise(NamedTuple, Generic[Subject]):
    """A sentence about every member of a family, and the check of it."""

    text: str
    check: Callable[[Subject], None]  # raises Broken, or whatever the member raises, when it is not kept


def require(kept: bool, found: str) -> None:
    """Raise Broken with what was found unless the promise is kept."""
    if not kept:
        raise Broken(found)


def broken(promises: Iterable[Promise[Subject]], subject: Subject) -> Iterator[tuple[str, str]]:
    """Each promise of a family with what is wrong with a member; empty where it is kept."""
    for promise in promises:
        try:
            promise.check(subject)
        except Broken as error:
            yield promise.text, str(error)
        except Exception as error:  # what is tried may be a stranger's
            yield promise.text, f"it raised {type(error).__name__}: {error}".replace("\n", " ")[:300]
        else:
            yield promise.text, ""
