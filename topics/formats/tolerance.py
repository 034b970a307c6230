"""Parts of a message that are not as their format says them: they end the message, or are left out alone."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, TypeVar

from topics.codec import Cause, DecodeError

T = TypeVar("T")
Refuse = Callable[[Exception], None]  # is told why a part cannot be read; what it raises ends the message

# what readers raise about content that is not as its format says it
NOT_AS_IT_SAYS: Final = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError, ZeroDivisionError,
    struct.error,
)  # fmt: skip


def strict(error: Exception) -> None:
    """Refuse the message for one part of it: a message of a topic is dead-lettered as a whole."""
    raise error


def tried(refuse: Refuse, read: Callable[..., T], *parts: object) -> tuple[T, ...]:
    """What `read` makes of some parts, alone in a tuple; nothing when `refuse` was told that they cannot be read."""
    try:
        return (read(*parts),)
    except NOT_AS_IT_SAYS as error:
        refuse(error)
        return ()


class Refusals:
    """Collects the parts of a message that are refused, for a dead letter that says why."""

    def __init__(self) -> None:
        self.count = 0
        self.first: Exception | None = None

    def __call__(self, error: Exception) -> None:
        self.first = self.first or error
        self.count += 1

    @property
    def reason(self) -> tuple[Cause, str]:
        """The cause of the first, and a text of all."""
        assert self.first is not None
        known = self.first if isinstance(self.first, DecodeError) else None
        detail = known.detail if known else f"a part is not as its format says it: {self.first!r}"[:300]
        if self.count > 1:
            detail = f"{self.count} parts are refused, the first: {detail}"
        return known.cause if known else Cause.MALFORMED, detail
