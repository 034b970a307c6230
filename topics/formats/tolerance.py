"""Parts of a message that are not as their format says them: they end the message, or are left out alone."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, TypeVar

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
